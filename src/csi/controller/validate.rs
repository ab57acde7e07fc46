//! ValidateVolumeCapabilities (CSI 1.12): whether a volume can be used in these ways.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{ValidateVolumeCapabilitiesRequest, ValidateVolumeCapabilitiesResponse};

pub(super) async fn validate_volume_capabilities(
    _: &Plugin,
    _: ValidateVolumeCapabilitiesRequest,
) -> Result<ValidateVolumeCapabilitiesResponse, Status> {
    Err(Status::unimplemented("ValidateVolumeCapabilities"))
}
