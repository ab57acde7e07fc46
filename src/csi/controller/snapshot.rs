//! CreateSnapshot, DeleteSnapshot, ListSnapshots and GetSnapshot (CSI 1.12).

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{
    CreateSnapshotRequest, CreateSnapshotResponse, DeleteSnapshotRequest, DeleteSnapshotResponse, GetSnapshotRequest,
    GetSnapshotResponse, ListSnapshotsRequest, ListSnapshotsResponse,
};

pub(super) async fn create_snapshot(_: &Plugin, _: CreateSnapshotRequest) -> Result<CreateSnapshotResponse, Status> {
    Err(Status::unimplemented("CreateSnapshot"))
}

pub(super) async fn delete_snapshot(_: &Plugin, _: DeleteSnapshotRequest) -> Result<DeleteSnapshotResponse, Status> {
    Err(Status::unimplemented("DeleteSnapshot"))
}

pub(super) async fn list_snapshots(_: &Plugin, _: ListSnapshotsRequest) -> Result<ListSnapshotsResponse, Status> {
    Err(Status::unimplemented("ListSnapshots"))
}

pub(super) async fn get_snapshot(_: &Plugin, _: GetSnapshotRequest) -> Result<GetSnapshotResponse, Status> {
    Err(Status::unimplemented("GetSnapshot"))
}
