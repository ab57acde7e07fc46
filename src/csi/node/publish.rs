//! NodePublishVolume and NodeUnpublishVolume (CSI 1.12): shown at a pod's path; inline ephemeral volumes live from one to the other.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
};

pub(super) async fn node_publish_volume(
    _: &Plugin,
    _: NodePublishVolumeRequest,
) -> Result<NodePublishVolumeResponse, Status> {
    Err(Status::unimplemented("NodePublishVolume"))
}

pub(super) async fn node_unpublish_volume(
    _: &Plugin,
    _: NodeUnpublishVolumeRequest,
) -> Result<NodeUnpublishVolumeResponse, Status> {
    Err(Status::unimplemented("NodeUnpublishVolume"))
}
