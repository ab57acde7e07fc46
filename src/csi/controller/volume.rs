//! A volume as the Controller's answers show it (CSI 1.12, Volume and its status).

use tonic::Status;

use crate::csi::index::Records;
use crate::csi::parameters::shown;
use crate::csi::plugin::Plugin;
use crate::csi::proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
use crate::csi::proto::{Volume, VolumeContentSource};
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{Backing, Capacity, Source, VolumeId};

/// The volume of a record.
pub(super) fn volume_of(plugin: &Plugin, record: &VolumeRecord) -> Volume {
    let bytes = record.spec.required().map_or(0, Capacity::get);
    Volume {
        capacity_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        content_source: record.spec.source.as_ref().map(source_of),
        ..unknown(plugin, &record.spec.id)
    }
}

/// A volume of which nothing is known but that it is here.
pub(super) fn unknown(plugin: &Plugin, id: &VolumeId) -> Volume {
    Volume { volume_id: id.to_string(), accessible_topology: vec![plugin.topology().clone()], ..Volume::default() }
}

fn source_of(source: &Source) -> VolumeContentSource {
    let r#type = match source {
        Source::Volume(id) => Type::Volume(VolumeSource { volume_id: id.to_string() }),
        Source::Snapshot(id) => Type::Snapshot(SnapshotSource { snapshot_id: id.to_string() }),
    };
    VolumeContentSource { r#type: Some(r#type) }
}

/// Whether a volume is there: not while its creation has still to be finished by a retry. Its image gets its name as the last step, and a power
/// cut may take the word of that from the record.
pub(super) fn is_whole(plugin: &Plugin, record: &VolumeRecord) -> bool {
    match &record.spec.backing {
        Backing::Image(image) if !record.is_in_place() => {
            matches!(plugin.driver().host().stat(&image.image_path(&record.spec.id)), Ok(Some(_)))
        }
        _ => true,
    }
}

/// The id in a request; NOT_FOUND for text that can be none.
///
/// # Errors
/// As said.
pub(super) fn id_of(text: &str) -> Result<VolumeId, Status> {
    text.parse().map_err(|_| no_volume(text))
}

/// No such volume.
pub(super) fn no_volume(id: &str) -> Status {
    Status::not_found(format!("no volume '{}' is recorded", shown(id)))
}

/// The record of a volume that has to be there.
///
/// # Errors
/// NOT_FOUND when there is none, FAILED_PRECONDITION for one of a newer csictl.
pub(super) fn existing<'a>(
    plugin: &Plugin,
    records: &'a Records<VolumeRecord>,
    id: &VolumeId,
) -> Result<Option<&'a VolumeRecord>, Status> {
    match records.get(id).map(AsRef::as_ref) {
        Some(Recorded::Present(record)) if is_whole(plugin, record) => Ok(Some(record)),
        Some(Recorded::Newer { version }) => {
            let message = format!("volume {id}: its record has version {version}: use the csictl that wrote it");
            Err(Status::failed_precondition(message))
        }
        // Damaged: the verbs rebuild it from its image.
        Some(Recorded::Corrupt { .. } | Recorded::Unknown { .. }) => Ok(None),
        Some(Recorded::Present(_) | Recorded::Absent) | None => Err(no_volume(id.as_str())),
    }
}
