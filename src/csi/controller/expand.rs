//! ControllerExpandVolume (CSI 1.12).

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{ControllerExpandVolumeRequest, ControllerExpandVolumeResponse};

pub(super) async fn controller_expand_volume(
    _: &Plugin,
    _: ControllerExpandVolumeRequest,
) -> Result<ControllerExpandVolumeResponse, Status> {
    Err(Status::unimplemented("ControllerExpandVolume"))
}
