//! GetCapacity (CSI 1.12): how much room a pool still has for new volumes.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{GetCapacityRequest, GetCapacityResponse};

pub(super) async fn get_capacity(_: &Plugin, _: GetCapacityRequest) -> Result<GetCapacityResponse, Status> {
    Err(Status::unimplemented("GetCapacity"))
}
