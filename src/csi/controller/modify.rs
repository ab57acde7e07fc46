//! ControllerModifyVolume (CSI 1.12): what can change in place, does.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{ControllerModifyVolumeRequest, ControllerModifyVolumeResponse};

pub(super) async fn controller_modify_volume(
    _: &Plugin,
    _: ControllerModifyVolumeRequest,
) -> Result<ControllerModifyVolumeResponse, Status> {
    Err(Status::unimplemented("ControllerModifyVolume"))
}
