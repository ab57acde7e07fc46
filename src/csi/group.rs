//! GroupController (CSI 1.12, alpha): snapshots of several volumes at one moment.

use tonic::{Request, Response, Status};

use super::plugin::Plugin;
use super::proto::group_controller_server::GroupController;
use super::proto::{
    CreateVolumeGroupSnapshotRequest, CreateVolumeGroupSnapshotResponse, DeleteVolumeGroupSnapshotRequest,
    DeleteVolumeGroupSnapshotResponse, GetVolumeGroupSnapshotRequest, GetVolumeGroupSnapshotResponse,
    GroupControllerGetCapabilitiesRequest, GroupControllerGetCapabilitiesResponse,
};

/// The service.
pub struct GroupControllerService {
    #[expect(dead_code)]
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
        Err(Status::unimplemented("GroupControllerGetCapabilities"))
    }

    async fn create_volume_group_snapshot(
        &self,
        _: Request<CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<CreateVolumeGroupSnapshotResponse>, Status> {
        Err(Status::unimplemented("CreateVolumeGroupSnapshot"))
    }

    async fn delete_volume_group_snapshot(
        &self,
        _: Request<DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeGroupSnapshotResponse>, Status> {
        Err(Status::unimplemented("DeleteVolumeGroupSnapshot"))
    }

    async fn get_volume_group_snapshot(
        &self,
        _: Request<GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<GetVolumeGroupSnapshotResponse>, Status> {
        Err(Status::unimplemented("GetVolumeGroupSnapshot"))
    }
}
