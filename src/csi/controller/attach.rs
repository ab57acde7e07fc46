//! ControllerPublishVolume and ControllerUnpublishVolume (CSI 1.12): the volume gets a block device on this node.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{
    ControllerPublishVolumeRequest, ControllerPublishVolumeResponse, ControllerUnpublishVolumeRequest,
    ControllerUnpublishVolumeResponse,
};

pub(super) async fn controller_publish_volume(
    _: &Plugin,
    _: ControllerPublishVolumeRequest,
) -> Result<ControllerPublishVolumeResponse, Status> {
    Err(Status::unimplemented("ControllerPublishVolume"))
}

pub(super) async fn controller_unpublish_volume(
    _: &Plugin,
    _: ControllerUnpublishVolumeRequest,
) -> Result<ControllerUnpublishVolumeResponse, Status> {
    Err(Status::unimplemented("ControllerUnpublishVolume"))
}
