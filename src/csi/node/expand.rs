//! NodeExpandVolume (CSI 1.12): file, loop and file system grow.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{NodeExpandVolumeRequest, NodeExpandVolumeResponse};

pub(super) async fn node_expand_volume(
    _: &Plugin,
    _: NodeExpandVolumeRequest,
) -> Result<NodeExpandVolumeResponse, Status> {
    Err(Status::unimplemented("NodeExpandVolume"))
}
