//! CreateSnapshot, DeleteSnapshot, ListSnapshots and GetSnapshot (CSI 1.12), over the driver's verbs and the records. A snapshot of a
//! project's volume may be taken, since that changes nothing of the volume; it is the orchestrator's then, not the project's.

use std::collections::HashMap;

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::list_snapshots_response::Entry;
use crate::csi::proto::{
    CreateSnapshotRequest, CreateSnapshotResponse, DeleteSnapshotRequest, DeleteSnapshotResponse, GetSnapshotRequest,
    GetSnapshotResponse, ListSnapshotsRequest, ListSnapshotsResponse, Snapshot,
};
use crate::csi::{identifier, page, request, status};
use crate::driver::Driver;
use crate::exec::lanes::Lane;
use crate::model::record::{Recorded, SnapshotRecord};
use crate::model::{Approval, Loss, ObjectRef, Owner, SnapshotId, SnapshotSpec, VolumeId, action};
use crate::state::Reader;

/// What the standard sidecars add to parameters; of no meaning here.
const SIDECARS: [&str; 2] = ["csi.storage.k8s.io/", "storage.kubernetes.io/"];

pub(super) async fn create_snapshot(
    plugin: &Plugin,
    asked: CreateSnapshotRequest,
) -> Result<CreateSnapshotResponse, Status> {
    let name = request::required("name", &asked.name)?;
    let source = request::required("source_volume_id", &asked.source_volume_id)?;
    check_parameters(&asked.parameters)?;
    request::map("secrets", &asked.secrets)?;
    let volume: VolumeId = source.parse().map_err(|_| no_volume(source))?;
    let id = identifier::of_snapshot(name);
    let spec = SnapshotSpec { id: id.clone(), owner: Owner::Csi, name: name.to_owned(), volume };
    let claims = [spec.volume.to_string(), claim(&id)];
    let claims = [claims[0].as_str(), claims[1].as_str()];
    let known = id.clone();
    // A retry finds its snapshot without a place among the copies, which may be long taken.
    let is_new = plugin.run(&[], Lane::Kernel, move |plugin| Ok(recorded(plugin, &known).present().is_none())).await?;
    let lane = if is_new { Lane::Copy } else { Lane::Kernel };
    let work = move |plugin: &Plugin| {
        plugin.driver().snapshot(&spec).map_err(|error| status::of(&error))?;
        existing(plugin, &id)
    };
    let record = plugin.run(&claims, lane, work).await?;
    Ok(CreateSnapshotResponse { snapshot: Some(snapshot_of(&record)) })
}

pub(super) async fn delete_snapshot(
    plugin: &Plugin,
    asked: DeleteSnapshotRequest,
) -> Result<DeleteSnapshotResponse, Status> {
    let text = request::required("snapshot_id", &asked.snapshot_id)?;
    request::map("secrets", &asked.secrets)?;
    // What can't be an id is no snapshot, and what is not there is deleted.
    let Ok(id) = text.parse::<SnapshotId>() else { return Ok(DeleteSnapshotResponse {}) };
    let work = move |plugin: &Plugin| {
        if let Some(Owner::Project(project)) = recorded(plugin, &id).present().map(|record| &record.owner) {
            return Err(Status::failed_precondition(format!(
                "snapshot {id} belongs to project {project}: take it out of that project's manifest and apply it"
            )));
        }
        // The call is the orchestrator's word for the loss.
        let approval = Some(Approval { object: ObjectRef::Snapshot(id.clone()), loss: Loss::Delete });
        let request = action::DeleteSnapshotRequest { id, approval };
        plugin.driver().delete_snapshot(&request).map_err(|error| status::of(&error))
    };
    plugin.run(&[&format!("{text}@snapshot")], Lane::Kernel, work).await?;
    Ok(DeleteSnapshotResponse {})
}

pub(super) async fn list_snapshots(
    plugin: &Plugin,
    asked: ListSnapshotsRequest,
) -> Result<ListSnapshotsResponse, Status> {
    request::map("secrets", &asked.secrets)?;
    let work = move |plugin: &Plugin| {
        let records = plugin.snapshots()?;
        let only = (!asked.snapshot_id.is_empty()).then_some(asked.snapshot_id.as_str());
        let of = (!asked.source_volume_id.is_empty()).then_some(asked.source_volume_id.as_str());
        let present = records.values().filter_map(|record| record.present());
        let entries = present
            .filter(|record| only.is_none_or(|id| record.id.as_str() == id))
            .filter(|record| of.is_none_or(|volume| record.volume.as_str() == volume));
        let (page, next_token) =
            page::page(entries, |record| record.id.as_str(), &asked.starting_token, asked.max_entries)?;
        let entries = page.into_iter().map(|record| Entry { snapshot: Some(snapshot_of(record)) }).collect();
        Ok(ListSnapshotsResponse { entries, next_token })
    };
    plugin.run(&[], Lane::Kernel, work).await
}

pub(super) async fn get_snapshot(plugin: &Plugin, asked: GetSnapshotRequest) -> Result<GetSnapshotResponse, Status> {
    let text = request::required("snapshot_id", &asked.snapshot_id)?;
    request::map("secrets", &asked.secrets)?;
    let id: SnapshotId = text.parse().map_err(|_| no_snapshot(text))?;
    let record = plugin.run(&[], Lane::Kernel, move |plugin| existing(plugin, &id)).await?;
    Ok(GetSnapshotResponse { snapshot: Some(snapshot_of(&record)) })
}

/// What a call on a snapshot claims; `@` keeps it apart from a volume of the same id.
pub fn claim(id: &SnapshotId) -> String {
    format!("{id}@snapshot")
}

/// Snapshots take no parameters of csictl's own.
///
/// # Errors
/// INVALID_ARGUMENT naming the first that is unknown.
pub fn check_parameters(parameters: &HashMap<String, String>) -> Result<(), Status> {
    request::map("parameters", parameters)?;
    let ours = |key: &&String| !SIDECARS.iter().any(|prefix| key.starts_with(prefix));
    match parameters.keys().filter(ours).min() {
        Some(key) => {
            let key = crate::csi::parameters::shown(key);
            Err(Status::invalid_argument(format!("parameter '{key}': snapshots have none of their own")))
        }
        None => Ok(()),
    }
}

/// No such volume.
pub fn no_volume(id: &str) -> Status {
    Status::not_found(format!("no volume '{}' is recorded", id.escape_debug()))
}

/// No such snapshot.
pub fn no_snapshot(id: &str) -> Status {
    Status::not_found(format!("no snapshot '{}' is recorded", id.escape_debug()))
}

/// The record of a snapshot that has to be there.
///
/// # Errors
/// NOT_FOUND when there is none, FAILED_PRECONDITION for one of a newer csictl, INTERNAL for one that can't be read.
pub fn existing(plugin: &Plugin, id: &SnapshotId) -> Result<SnapshotRecord, Status> {
    match recorded(plugin, id) {
        Recorded::Present(record) => Ok(record),
        Recorded::Absent => Err(no_snapshot(id.as_str())),
        Recorded::Newer { version } => {
            let message = format!("snapshot {id}: its record has version {version}: use the csictl that wrote it");
            Err(Status::failed_precondition(message))
        }
        Recorded::Corrupt { cause } | Recorded::Unknown { cause } => {
            Err(Status::internal(format!("snapshot {id}: its record can't be used: {cause}")))
        }
    }
}

fn recorded(plugin: &Plugin, id: &SnapshotId) -> Recorded<SnapshotRecord> {
    reader(plugin).snapshot(id)
}

/// The records.
pub fn reader(plugin: &Plugin) -> Reader<'_> {
    Reader::new(plugin.driver().host(), plugin.driver().layout())
}

/// A snapshot as callers see it.
pub fn snapshot_of(record: &SnapshotRecord) -> Snapshot {
    Snapshot {
        size_bytes: i64::try_from(record.size.get()).unwrap_or(i64::MAX),
        snapshot_id: record.id.to_string(),
        source_volume_id: record.volume.to_string(),
        creation_time: timestamp(&record.created_at),
        ready_to_use: record.ready,
        group_snapshot_id: record.group.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// A record's time as protobuf has it; nothing for what is no time.
pub fn timestamp(text: &str) -> Option<prost_types::Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(prost_types::Timestamp { seconds: time.as_second(), nanos: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_record() {
        assert_eq!(timestamp("2026-01-01T00:00:01Z").unwrap().seconds, 1_767_225_601);
        assert_eq!(timestamp("yesterday"), None);
    }

    #[test]
    fn only_what_sidecars_add_is_let_through() {
        let of = |key: &str| HashMap::from([(key.to_owned(), "x".to_owned())]);
        assert!(check_parameters(&of("csi.storage.k8s.io/volumesnapshot/name")).is_ok());
        assert_eq!(check_parameters(&of("speed")).unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
