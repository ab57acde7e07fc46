//! ListVolumes and ControllerGetVolume (CSI 1.12): what there is, where it is used, how it is.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{
    ControllerGetVolumeRequest, ControllerGetVolumeResponse, ListVolumesRequest, ListVolumesResponse,
};

pub(super) async fn list_volumes(_: &Plugin, _: ListVolumesRequest) -> Result<ListVolumesResponse, Status> {
    Err(Status::unimplemented("ListVolumes"))
}

pub(super) async fn controller_get_volume(
    _: &Plugin,
    _: ControllerGetVolumeRequest,
) -> Result<ControllerGetVolumeResponse, Status> {
    Err(Status::unimplemented("ControllerGetVolume"))
}
