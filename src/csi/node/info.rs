//! NodeGetInfo and NodeGetCapabilities (CSI 1.12): which node this is, how many volumes it takes, what it can do.

use crate::csi::config::Config;
use crate::csi::proto::node_service_capability::{self, Rpc, rpc};
use crate::csi::proto::{NodeGetCapabilitiesResponse, NodeGetInfoResponse, NodeServiceCapability, Topology};

/// All that the node's service can do; `--node-local` changes what the controller can do, not this.
const CAPABILITIES: [rpc::Type; 6] = [
    rpc::Type::StageUnstageVolume,
    rpc::Type::GetVolumeStats,
    rpc::Type::ExpandVolume,
    rpc::Type::VolumeCondition,
    rpc::Type::SingleNodeMultiWriter,
    rpc::Type::VolumeMountGroup,
];

pub(super) fn capabilities() -> NodeGetCapabilitiesResponse {
    let capability = |kind: rpc::Type| NodeServiceCapability {
        r#type: Some(node_service_capability::Type::Rpc(Rpc { r#type: kind.into() })),
    };
    NodeGetCapabilitiesResponse { capabilities: CAPABILITIES.map(capability).into() }
}

pub(super) fn info(config: &Config) -> NodeGetInfoResponse {
    NodeGetInfoResponse {
        node_id: config.node_id.clone(),
        max_volumes_per_node: config.max_volumes_per_node.map_or(0, i64::from),
        accessible_topology: Some(Topology { segments: config.segments().into_iter().collect() }),
    }
}
