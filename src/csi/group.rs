//! GroupController (CSI 1.12): snapshots of several volumes at one moment, over the driver's verb. A group is all or nothing: what a call
//! answers is whole, and what a killed server left half-way no call shows.

use std::collections::BTreeSet;

use tonic::{Request, Response, Status};

use super::controller::snapshot::{check_parameters, claim, no_volume, reader, snapshot_of, timestamp};
use super::plugin::Plugin;
use super::proto::group_controller_server::GroupController;
use super::proto::group_controller_service_capability::{Rpc, Type, rpc};
use super::proto::{
    CreateVolumeGroupSnapshotRequest, CreateVolumeGroupSnapshotResponse, DeleteVolumeGroupSnapshotRequest,
    DeleteVolumeGroupSnapshotResponse, GetVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotResponse,
    GroupControllerGetCapabilitiesRequest, GroupControllerGetCapabilitiesResponse, GroupControllerServiceCapability,
    VolumeGroupSnapshot,
};
use super::{identifier, request, status};
use crate::exec::lanes::Lane;
use crate::model::action::DeleteGroupRequest;
use crate::model::record::{GroupRecord, GroupState, Recorded};
use crate::model::{Approval, GroupId, GroupMember, GroupSpec, Loss, ObjectRef, Owner, VolumeId};

/// The most volumes of one group: each that is in use is held still by a process of its own.
const MOST_MEMBERS: usize = 256;

/// The service.
pub struct GroupControllerService {
    plugin: Plugin,
}

impl GroupControllerService {
    /// Of this plugin.
    pub fn new(plugin: Plugin) -> Self {
        Self { plugin }
    }
}

#[tonic::async_trait]
impl GroupController for GroupControllerService {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<GroupControllerGetCapabilitiesResponse>, Status> {
        let rpc = Rpc { r#type: rpc::Type::CreateDeleteGetVolumeGroupSnapshot.into() };
        let capabilities = vec![GroupControllerServiceCapability { r#type: Some(Type::Rpc(rpc)) }];
        Ok(Response::new(GroupControllerGetCapabilitiesResponse { capabilities }))
    }

    async fn create_volume_group_snapshot(
        &self,
        asked: Request<CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<CreateVolumeGroupSnapshotResponse>, Status> {
        let spec = wanted(&asked.into_inner())?;
        let claims: Vec<String> = (spec.members.iter().map(|member| member.volume.to_string()))
            .chain(spec.members.iter().map(|member| claim(&member.snapshot)))
            .chain([claim_group(spec.id.as_str())])
            .collect();
        let claims: Vec<&str> = claims.iter().map(String::as_str).collect();
        let id = spec.id.clone();
        let known = move |plugin: &Plugin| Ok(reader(plugin).group(&id).present().is_some());
        // A retry finds its group without a place among the copies, which may be long taken.
        let lane = if self.plugin.run(&[], Lane::Kernel, known).await? { Lane::Kernel } else { Lane::Copy };
        let work = move |plugin: &Plugin| {
            plugin.driver().snapshot_group(&spec).map_err(|error| status::of(&error))?;
            existing(plugin, &spec.id)
        };
        let record = self.plugin.run(&claims, lane, work).await?;
        Ok(Response::new(CreateVolumeGroupSnapshotResponse { group_snapshot: Some(group_of(&record)) }))
    }

    async fn delete_volume_group_snapshot(
        &self,
        asked: Request<DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeGroupSnapshotResponse>, Status> {
        let asked = asked.into_inner();
        let text = request::required("group_snapshot_id", &asked.group_snapshot_id)?.to_owned();
        request::map("secrets", &asked.secrets)?;
        let done = || Ok(Response::new(DeleteVolumeGroupSnapshotResponse {}));
        let Ok(id) = text.parse::<GroupId>() else { return done() };
        let work = move |plugin: &Plugin| {
            if let Recorded::Present(record) = reader(plugin).group(&id) {
                is_all_of(&record, &asked.snapshot_ids)?;
            }
            // The call is the orchestrator's word for the loss.
            let approval = Some(Approval { object: ObjectRef::Group(id.clone()), loss: Loss::Delete });
            plugin.driver().delete_group(&DeleteGroupRequest { id, approval }).map_err(|error| status::of(&error))
        };
        self.plugin.run(&[&claim_group(&text)], Lane::Kernel, work).await?;
        done()
    }

    async fn get_volume_group_snapshot(
        &self,
        asked: Request<GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<GetVolumeGroupSnapshotResponse>, Status> {
        let asked = asked.into_inner();
        let text = request::required("group_snapshot_id", &asked.group_snapshot_id)?;
        request::map("secrets", &asked.secrets)?;
        let id: GroupId = text.parse().map_err(|_| no_group(text))?;
        let work = move |plugin: &Plugin| {
            let record = existing(plugin, &id)?;
            is_all_of(&record, &asked.snapshot_ids)?;
            Ok(record)
        };
        let record = self.plugin.run(&[], Lane::Kernel, work).await?;
        Ok(Response::new(GetVolumeGroupSnapshotResponse { group_snapshot: Some(group_of(&record)) }))
    }
}

/// The group a request asks for, checked.
fn wanted(asked: &CreateVolumeGroupSnapshotRequest) -> Result<GroupSpec, Status> {
    let name = request::required("name", &asked.name)?;
    check_parameters(&asked.parameters)?;
    request::map("secrets", &asked.secrets)?;
    if asked.source_volume_ids.is_empty() {
        return Err(Status::invalid_argument("source_volume_ids is missing"));
    }
    if asked.source_volume_ids.len() > MOST_MEMBERS {
        let len = asked.source_volume_ids.len();
        return Err(Status::invalid_argument(format!("source_volume_ids has {len} ids, the most is {MOST_MEMBERS}")));
    }
    let id = identifier::of_group(name);
    let mut volumes = BTreeSet::new();
    for text in &asked.source_volume_ids {
        let volume: VolumeId = request::required("source_volume_ids", text)?.parse().map_err(|_| no_volume(text))?;
        if !volumes.insert(volume) {
            return Err(Status::invalid_argument(format!("source_volume_ids names {text} twice")));
        }
    }
    let member = |volume: VolumeId| GroupMember { snapshot: identifier::of_member(&id, &volume), volume };
    let members = volumes.into_iter().map(member).collect();
    Ok(GroupSpec { id, owner: Owner::Csi, name: name.to_owned(), members })
}

/// What a call on a group claims.
fn claim_group(id: &str) -> String {
    format!("{id}@group")
}

fn no_group(id: &str) -> Status {
    Status::not_found(format!("no group snapshot '{}' is recorded", id.escape_debug()))
}

fn existing(plugin: &Plugin, id: &GroupId) -> Result<GroupRecord, Status> {
    match reader(plugin).group(id) {
        Recorded::Present(record) if record.state != GroupState::Deleting => Ok(record),
        Recorded::Present(_) | Recorded::Absent => Err(no_group(id.as_str())),
        Recorded::Newer { version } => {
            let message = format!("group {id}: its record has version {version}: use the csictl that wrote it");
            Err(Status::failed_precondition(message))
        }
        Recorded::Corrupt { cause } | Recorded::Unknown { cause } => {
            Err(Status::internal(format!("group {id}: its record can't be used: {cause}")))
        }
    }
}

/// The caller has to know which snapshots it speaks of (CSI 1.12, "Snapshot list mismatch").
fn is_all_of(record: &GroupRecord, ids: &[String]) -> Result<(), Status> {
    let asked: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    let members: BTreeSet<&str> = record.members.iter().map(|member| member.id.as_str()).collect();
    if asked == members {
        return Ok(());
    }
    let members: Vec<_> = members.into_iter().collect();
    let message = format!("snapshot_ids are not those of group {}, which has {}", record.id, members.join(", "));
    Err(Status::invalid_argument(message))
}

fn group_of(record: &GroupRecord) -> VolumeGroupSnapshot {
    let ready = record.state == GroupState::Ready;
    let mut snapshots: Vec<_> = record.members.iter().map(snapshot_of).collect();
    for snapshot in &mut snapshots {
        snapshot.ready_to_use &= ready;
    }
    VolumeGroupSnapshot {
        group_snapshot_id: record.id.to_string(),
        ready_to_use: snapshots.iter().all(|snapshot| snapshot.ready_to_use),
        snapshots,
        creation_time: timestamp(&record.created_at),
    }
}
