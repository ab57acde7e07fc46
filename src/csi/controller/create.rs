//! CreateVolume (CSI 1.12): a volume under a name, from parameters, capabilities and a content source. The same call again finds the same volume.

use tonic::Status;

use super::volume::{no_volume, volume_of};
use crate::csi::capability::Capability;
use crate::csi::parameters::{Parameters, kept, shown};
use crate::csi::plugin::Plugin;
use crate::csi::proto::volume_content_source::Type;
use crate::csi::proto::{
    CreateVolumeRequest, CreateVolumeResponse, Topology, TopologyRequirement, VolumeContentSource,
};
use crate::csi::provision::{self, Origin, Wish};
use crate::csi::size_range::Range;
use crate::csi::{identifier, request, status};
use crate::driver::Driver;
use crate::exec::lanes::Lane;
use crate::model::action::CreateRequest;
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{Asked, Done, Source, VolumeId, VolumeSpec};

/// More topologies than these are not said back.
const TOPOLOGIES_SHOWN: usize = 4;

/// A checked request.
struct Wanted {
    id: VolumeId,
    name: String,
    capabilities: Vec<Capability>,
    parameters: Parameters,
    range: Range,
    asked: Asked,
    /// Whether this node lies where the volume has to be.
    here: bool,
    /// Where it has to be, in words.
    requisite: String,
}

pub(super) async fn create_volume(plugin: &Plugin, call: CreateVolumeRequest) -> Result<CreateVolumeResponse, Status> {
    let wanted = read(plugin, &call)?;
    let id = wanted.id.to_string();
    let lane = match &wanted.asked.source {
        // A retry finds its volume without a place among the copies, which may be long taken.
        Some(_) => {
            let known = wanted.id.clone();
            let is_there =
                plugin.run(&[], Lane::Kernel, move |plugin| Ok(plugin.volumes()?.contains_key(&known))).await?;
            if is_there { Lane::Mkfs } else { Lane::Copy }
        }
        None => Lane::Mkfs,
    };
    plugin.run(&[&id], lane, move |plugin| create(plugin, wanted)).await
}

fn read(plugin: &Plugin, call: &CreateVolumeRequest) -> Result<Wanted, Status> {
    let name = request::required("name", &call.name)?;
    request::map("secrets", &call.secrets)?;
    let capabilities = Capability::read_all(&call.volume_capabilities)?;
    provision::volume_mode(&capabilities)?;
    let parameters = Parameters::read(&call.parameters, &call.mutable_parameters)?;
    provision::fs_type_asked(&capabilities, &parameters)?;
    let asked = Asked {
        capabilities: capabilities.clone(),
        fs_type: parameters.fs_type,
        parameters: kept(&call.parameters),
        mutable: kept(&call.mutable_parameters),
        source: call.volume_content_source.as_ref().map(source).transpose()?,
    };
    Ok(Wanted {
        id: identifier::of_volume(name),
        name: name.to_owned(),
        capabilities,
        parameters,
        range: Range::read(call.capacity_range.as_ref())?,
        asked,
        here: plugin.config().meets(call.accessibility_requirements.as_ref()),
        requisite: requisite(call.accessibility_requirements.as_ref()),
    })
}

/// The topologies that a requirement allows, as messages have them.
fn requisite(requirement: Option<&TopologyRequirement>) -> String {
    let segment = |(key, value): (&String, &String)| format!("{}={}", shown(key), shown(value));
    let topology = |topology: &Topology| {
        let mut segments: Vec<_> = topology.segments.iter().map(segment).collect();
        segments.sort();
        segments.join(",")
    };
    let all = requirement.iter().flat_map(|requirement| &requirement.requisite);
    all.take(TOPOLOGIES_SHOWN).map(topology).collect::<Vec<_>>().join("; ")
}

fn source(source: &VolumeContentSource) -> Result<Source, Status> {
    match &source.r#type {
        None => Err(Status::invalid_argument("volume_content_source names neither a volume nor a snapshot")),
        Some(Type::Volume(volume)) => {
            let id = request::required("volume_content_source.volume.volume_id", &volume.volume_id)?;
            id.parse().map(Source::Volume).map_err(|_| no_volume(id))
        }
        Some(Type::Snapshot(snapshot)) => {
            let id = request::required("volume_content_source.snapshot.snapshot_id", &snapshot.snapshot_id)?;
            id.parse().map(Source::Snapshot).map_err(|_| no_snapshot(id))
        }
    }
}

fn no_snapshot(id: &str) -> Status {
    Status::not_found(format!("no snapshot '{}' is recorded", shown(id)))
}

fn create(plugin: &Plugin, mut wanted: Wanted) -> Result<CreateVolumeResponse, Status> {
    let records = plugin.volumes()?;
    let existing = records.get(&wanted.id).and_then(|record| record.present());
    let again = existing.filter(|record| record.asked.is_some());
    if let Some(first) = again.and_then(|record| record.asked.as_ref()) {
        wanted.asked = provision::in_words_of(&plugin.storage(), first, wanted.asked);
    }
    let (spec, reservation) = match again {
        Some(record) => (as_it_is(plugin, &wanted, record)?, None),
        None if !wanted.here => {
            return Err(Status::resource_exhausted(format!(
                "volumes are made on this node only, whose topology is {}: asked is {}; ask where one of these includes it",
                requisite(Some(&plugin.config().everywhere())),
                wanted.requisite
            )));
        }
        None => {
            let spec = new(plugin, &wanted)?;
            let reservation = match existing {
                Some(_) => None,
                None => plugin.ledger().reserve_volume(plugin, &spec)?,
            };
            (spec, reservation)
        }
    };
    let request = CreateRequest { spec, replaces: false, approval: None, asked: Some(wanted.asked) };
    let outcome = plugin.driver().create(&request).map_err(|error| status::of(&error))?;
    if outcome.done == Done::Changed {
        plugin.conditions().forget(&request.spec.id);
    }
    drop(reservation);
    for note in outcome.notes {
        tracing::info!(volume_id = %wanted.id, "{note}");
    }
    let records = plugin.volumes()?;
    let Some(record) = records.get(&wanted.id).and_then(|record| record.present()) else {
        return Err(Status::aborted(format!("volume {} was taken away while it was made; try again", wanted.id)));
    };
    Ok(CreateVolumeResponse { volume: Some(volume_of(plugin, record)) })
}

/// The spec of a volume that is there, with the size now asked for: what the driver compares the retry with.
fn as_it_is(plugin: &Plugin, wanted: &Wanted, record: &VolumeRecord) -> Result<VolumeSpec, Status> {
    if !wanted.here {
        let (id, name) = (&wanted.id, shown(&wanted.name));
        return Err(Status::already_exists(format!(
            "volume {id} ('{name}') exists already and differs: its topology is {}, asked is {}. Ask for what is there, or choose another name",
            requisite(Some(&plugin.config().everywhere())),
            wanted.requisite
        )));
    }
    Ok(VolumeSpec { capacity: Some(wanted.range.of_spec()), ..record.spec.clone() })
}

fn new(plugin: &Plugin, wanted: &Wanted) -> Result<VolumeSpec, Status> {
    let origin = wanted.asked.source.as_ref().map(|source| origin(plugin, source)).transpose()?;
    let wish = Wish {
        id: wanted.id.clone(),
        name: &wanted.name,
        capabilities: &wanted.capabilities,
        parameters: &wanted.parameters,
        range: wanted.range,
        origin: origin.as_ref(),
    };
    provision::spec(&plugin.storage(), &wish)
}

/// What is to be copied. Whose it is does not matter: copying takes nothing from it.
fn origin(plugin: &Plugin, source: &Source) -> Result<Origin, Status> {
    match source {
        Source::Volume(id) => {
            let records = plugin.volumes()?;
            let record = match records.get(id).map(AsRef::as_ref) {
                Some(Recorded::Present(record)) if super::volume::is_whole(plugin, record) => record,
                Some(Recorded::Present(_) | Recorded::Absent) | None => return Err(no_volume(id.as_str())),
                Some(_) => return Err(Status::failed_precondition(format!("volume {id}: its record can't be read"))),
            };
            let Some(image) = record.spec.backing.as_image() else {
                let kind = record.spec.backing.kind();
                return Err(Status::invalid_argument(format!("volume {id} is a {kind}: only images can be copied")));
            };
            Ok(Origin {
                source: source.clone(),
                size: record.spec.required().unwrap_or_default(),
                fs_type: record.spec.fs_type(),
                sector_size: image.sector_size,
            })
        }
        Source::Snapshot(id) => {
            let records = plugin.snapshots()?;
            let record = match records.get(id).map(AsRef::as_ref) {
                Some(Recorded::Present(record)) if record.ready => record,
                Some(Recorded::Present(_) | Recorded::Absent) | None => return Err(no_snapshot(id.as_str())),
                Some(_) => return Err(Status::failed_precondition(format!("snapshot {id}: its record can't be read"))),
            };
            Ok(Origin {
                source: source.clone(),
                size: record.size,
                fs_type: record.fs_type,
                sector_size: record.sector_size,
            })
        }
    }
}
