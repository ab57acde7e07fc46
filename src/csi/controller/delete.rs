//! DeleteVolume (CSI 1.12): removes a volume that is used nowhere.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{DeleteVolumeRequest, DeleteVolumeResponse};

pub(super) async fn delete_volume(_: &Plugin, _: DeleteVolumeRequest) -> Result<DeleteVolumeResponse, Status> {
    Err(Status::unimplemented("DeleteVolume"))
}
