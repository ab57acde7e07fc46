//! NodeStageVolume and NodeUnstageVolume (CSI 1.12): mounted once on this node.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{
    NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
};

pub(super) async fn node_stage_volume(
    _: &Plugin,
    _: NodeStageVolumeRequest,
) -> Result<NodeStageVolumeResponse, Status> {
    Err(Status::unimplemented("NodeStageVolume"))
}

pub(super) async fn node_unstage_volume(
    _: &Plugin,
    _: NodeUnstageVolumeRequest,
) -> Result<NodeUnstageVolumeResponse, Status> {
    Err(Status::unimplemented("NodeUnstageVolume"))
}
