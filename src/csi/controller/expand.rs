//! ControllerExpandVolume (CSI 1.12): file, loop and file system grow at once, online where the volume is staged. What is left for the
//! node is nothing: xfs and btrfs that are not staged grow at their next stage by themselves.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{self, ControllerExpandVolumeRequest, ControllerExpandVolumeResponse};
use crate::csi::room::Reservation;
use crate::csi::size_range::MOST;
use crate::csi::{request, status};
use crate::driver::Driver;
use crate::exec::lanes::Lane;
use crate::model::action::ExpandRequest;
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{Allocate, Capacity, Owner, VolumeId};

/// The sizes of a CapacityRange; `None` where it leaves one open.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::csi) struct Sizes {
    required: Option<Capacity>,
    limit: Option<Capacity>,
}

/// The size a volume has now.
#[derive(Debug, Clone, Copy)]
pub(in crate::csi) struct Size(Capacity);

impl Size {
    /// As messages have it.
    pub(in crate::csi) fn wire(self) -> i64 {
        i64::try_from(self.0.get()).unwrap_or(i64::MAX)
    }
}

impl Sizes {
    /// Reads one.
    pub(in crate::csi) fn read(range: &proto::CapacityRange) -> Result<Self, Status> {
        let size = |field: &str, bytes: i64| match u64::try_from(bytes) {
            Ok(0) => Ok(None),
            Ok(bytes) => Ok(Some(Capacity::bytes(bytes))),
            Err(_) => Err(Status::invalid_argument(format!("capacity_range.{field} is negative"))),
        };
        let (required, limit) =
            (size("required_bytes", range.required_bytes)?, size("limit_bytes", range.limit_bytes)?);
        if let (Some(required), Some(limit)) = (required, limit)
            && limit < required
        {
            let message = format!("capacity_range has a limit ({limit}) below what it requires ({required})");
            return Err(Status::invalid_argument(message));
        }
        if required.is_none() && limit.is_none() {
            return Err(Status::invalid_argument("capacity_range has neither required_bytes nor limit_bytes"));
        }
        Ok(Self { required, limit })
    }
}

pub(super) async fn controller_expand_volume(
    plugin: &Plugin,
    request: ControllerExpandVolumeRequest,
) -> Result<ControllerExpandVolumeResponse, Status> {
    plugin.only_central("ControllerExpandVolume")?;
    let id = request::required("volume_id", &request.volume_id)?;
    let range = request.capacity_range.as_ref();
    let sizes = Sizes::read(range.ok_or_else(|| Status::invalid_argument("capacity_range is missing"))?)?;
    request.volume_capability.as_ref().map(crate::csi::capability::Capability::read).transpose()?;
    request::map("secrets", &request.secrets)?;
    let unknown = format!("there is no volume '{}'", id.escape_debug());
    let Ok(id) = id.parse::<VolumeId>() else { return Err(Status::not_found(unknown)) };
    let claimed = id.clone();
    let work = move |plugin: &Plugin| match plugin.driver().record(&id) {
        Recorded::Absent => Err(Status::not_found(unknown)),
        Recorded::Present(record) => grow(plugin, &record, sizes),
        // The verb says what is wrong with the record.
        _ => expand(plugin, &id, Capacity::bytes(1)).map(|()| Size(Capacity::bytes(1))),
    };
    let size = plugin.run(&[claimed.as_str()], Lane::Mkfs, work).await?;
    Ok(ControllerExpandVolumeResponse { capacity_bytes: size.wire(), node_expansion_required: false })
}

/// Grows an orchestrator's volume to what is required, never beyond the limit, and answers the size it has then.
pub(in crate::csi) fn grow(plugin: &Plugin, record: &VolumeRecord, sizes: Sizes) -> Result<Size, Status> {
    let id = &record.spec.id;
    if let Owner::Project(project) = &record.spec.owner {
        return Err(Status::failed_precondition(format!(
            "volume {id} belongs to project {project}: raise its capacity in that project's manifest and apply"
        )));
    }
    let is = record.spec.required().unwrap_or_default();
    let to = sizes.required.map_or(is, |required| required.rounded_up().max(is));
    let most = Capacity::bytes(MOST);
    if to > most {
        return Err(Status::out_of_range(format!(
            "volume {id} would have {to}, more than an image can have ({most}); ask for less"
        )));
    }
    if let Some(limit) = sizes.limit.filter(|limit| to > *limit) {
        return Err(Status::out_of_range(format!(
            "volume {id} has {is} and would have {to}, more than the limit {limit}; a volume never shrinks"
        )));
    }
    let room = more_room(plugin, record, to.get().saturating_sub(is.get()))?;
    expand(plugin, id, to)?;
    drop(room);
    match plugin.driver().record(id) {
        Recorded::Present(grown) => Ok(Size(grown.spec.required().unwrap_or(to))),
        _ => Ok(Size(to)),
    }
}

/// Keeps the bytes it grows by in its pool, where that is one of the configuration's.
fn more_room(plugin: &Plugin, record: &VolumeRecord, more: u64) -> Result<Option<Reservation>, Status> {
    let Some(image) = record.spec.backing.as_image().filter(|_| more > 0) else { return Ok(None) };
    let storage = plugin.storage();
    let pool = storage.pools.get(&image.pool).filter(|pool| pool.path == image.pool_path);
    let Some(pool) = pool else { return Ok(None) };
    let bytes = if image.allocate == Allocate::Full { more } else { 0 };
    plugin.ledger().reserve(plugin, pool, &format!("expand {}", record.spec.id), bytes)
}

fn expand(plugin: &Plugin, id: &VolumeId, to: Capacity) -> Result<(), Status> {
    let request = ExpandRequest { id: id.clone(), to, owner: Some(Owner::Csi) };
    plugin.driver().expand(&request).map(drop).map_err(|error| status::of(&error))
}
