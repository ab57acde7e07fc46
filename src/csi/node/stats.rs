//! NodeGetVolumeStats (CSI 1.12): use and condition.

use tonic::Status;

use crate::csi::plugin::Plugin;
use crate::csi::proto::{NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse};

pub(super) async fn node_get_volume_stats(
    _: &Plugin,
    _: NodeGetVolumeStatsRequest,
) -> Result<NodeGetVolumeStatsResponse, Status> {
    Err(Status::unimplemented("NodeGetVolumeStats"))
}
