//! CreateVolume (CSI 1.12): a volume under a name, from parameters, capabilities and a content source.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{CreateVolumeRequest, CreateVolumeResponse};

pub(super) async fn create_volume(_: &Plugin, _: CreateVolumeRequest) -> Result<CreateVolumeResponse, Status> {
    Err(Status::unimplemented("CreateVolume"))
}
