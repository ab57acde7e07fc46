//! What the node's requests have in common: the volume they name, and what of their contexts matters. Secrets and tokens are counted and
//! never read.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use tonic::Status;

use crate::csi::capability::Capability;
use crate::csi::parameters::shown;
use crate::csi::plugin::Plugin;
use crate::csi::proto::VolumeCapability;
use crate::csi::{request, status};
use crate::driver::local::of_the_system;
use crate::host::FileKind;
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{Name, VolumeId};

/// The pod a kubelet publishes for (`podInfoOnMount`).
const POD_NAME: &str = "csi.storage.k8s.io/pod.name";
/// The pod of a publish whose caller names none.
const NO_POD: &str = "csi";

/// The volume a request names; `None` for an id that no volume of ours can have. Such an id never becomes a path.
pub(super) fn volume_id(text: &str) -> Result<Option<VolumeId>, Status> {
    request::required("volume_id", text).map(|text| text.parse().ok())
}

/// NOT_FOUND for a volume.
pub(super) fn unknown(id: &str) -> Status {
    Status::not_found(format!("there is no volume '{}'", id.escape_debug()))
}

/// The record of a volume that has to be there.
pub(super) fn record(plugin: &Plugin, id: &VolumeId) -> Result<VolumeRecord, Status> {
    match plugin.driver().record(id) {
        Recorded::Present(record) => Ok(record),
        Recorded::Absent => Err(unknown(id.as_str())),
        Recorded::Corrupt { cause } => plugin.driver().healed(id).map_err(failed)?.ok_or_else(|| {
            let way = "put its image back, or repeat its CreateVolume";
            Status::failed_precondition(format!("the record of volume {id} cannot be read: {cause}; {way}"))
        }),
        Recorded::Unknown { cause } => {
            Err(Status::failed_precondition(format!("the record of volume {id} cannot be read: {cause}")))
        }
        Recorded::Newer { version } => Err(Status::failed_precondition(format!(
            "the record of volume {id} has version {version}, written by a newer csictl: use that one"
        ))),
    }
}

/// The capability a request has to have.
pub(super) fn capability(asked: Option<&VolumeCapability>) -> Result<Capability, Status> {
    Capability::read(asked.ok_or_else(|| Status::invalid_argument("volume_capability is missing"))?)
}

/// Checks the sizes of a request's maps.
pub(super) fn maps(maps: &[(&str, &HashMap<String, String>)]) -> Result<(), Status> {
    maps.iter().try_for_each(|(field, map)| request::map(field, map))
}

/// Refuses a path of the system's, or one in, over or above a pool of any volume or snapshot. The pools of the configuration and of the volume
/// itself are the driver's to mind. Blocks: for work on a lane.
pub(super) fn for_mounts(plugin: &Plugin, field: &str, path: &Path) -> Result<(), Status> {
    let records = plugin.volumes()?;
    let mut pools: Vec<&Path> = Vec::new();
    for record in records.values().filter_map(|record| record.present()) {
        let pool = record.spec.backing.as_image().map(|image| image.pool_path.as_path());
        if let Some(pool) = pool.filter(|pool| !pools.iter().any(|known| known.as_os_str() == pool.as_os_str())) {
            pools.push(pool);
        }
    }
    let snapshots = plugin.snapshots()?;
    for pool in snapshots.values().filter_map(|record| record.present()?.path.parent()) {
        if !pools.iter().any(|known| known.as_os_str() == pool.as_os_str()) {
            pools.push(pool);
        }
    }
    match of_the_system(path).or_else(|| plugin.driver().kept_at(path, pools)) {
        Some(why) => Err(Status::invalid_argument(format!(
            "{field} '{}' is not for volumes to be mounted at: {why}",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// Refuses a path that can never be made.
pub(super) fn not_below_a_file(plugin: &Plugin, field: &str, path: &Path) -> Result<(), Status> {
    let host = plugin.driver().host();
    let found = path.ancestors().skip(1).find_map(|path| Some((path, host.stat(path).ok().flatten()?)));
    match found {
        Some((file, facts)) if facts.kind == FileKind::File => Err(Status::invalid_argument(format!(
            "{field} '{}' lies below the file {}: give a path below a directory",
            path.display(),
            file.display()
        ))),
        _ => Ok(()),
    }
}

/// A path that an orchestrator's volume is shown at: not `/`, and not of csictl's own directories.
pub(super) fn place<'a>(plugin: &Plugin, field: &str, text: &'a str) -> Result<&'a Path, Status> {
    let path = request::path(field, text)?;
    let layout = plugin.driver().layout();
    if path == Path::new("/") || layout.owns(path) {
        let why = format!("{field} '{}' is not for volumes to be mounted at", shown(text));
        return Err(Status::invalid_argument(why));
    }
    Ok(path)
}

/// Where a volume is said to be shown. Only compared with what is recorded: a path that cannot be one of those is simply not found.
pub(super) fn volume_path(text: &str) -> Result<PathBuf, Status> {
    match request::path("volume_path", text) {
        Err(refused) if text.is_empty() || text.len() > request::PATH_MAX => Err(refused),
        _ => Ok(PathBuf::from(text)),
    }
}

/// The pod's name for messages: as the volume context has it, where that is a name.
pub(super) fn pod(context: &HashMap<String, String>) -> Name {
    let named = context.get(POD_NAME).and_then(|name| name.parse().ok());
    named.unwrap_or_else(|| NO_POD.parse().expect("'csi' is a name"))
}

/// A driver's failure as a status.
#[expect(clippy::needless_pass_by_value, reason = "the shape of map_err")]
pub(super) fn failed(error: crate::driver::DriverError) -> Status {
    status::of(&error)
}
