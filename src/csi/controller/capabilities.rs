//! ControllerGetCapabilities (CSI 1.12): which calls this server answers. With `--node-local` each node has its own server and nobody attaches.

use crate::csi::config::Config;
use crate::csi::proto::controller_service_capability::rpc::Type;
use crate::csi::proto::controller_service_capability::{Rpc, Type as Kind};
use crate::csi::proto::{ControllerGetCapabilitiesResponse, ControllerServiceCapability};

/// What every server offers.
const ALWAYS: [Type; 9] = [
    Type::CreateDeleteVolume,
    Type::ListVolumes,
    Type::GetCapacity,
    Type::CreateDeleteSnapshot,
    Type::ListSnapshots,
    Type::CloneVolume,
    Type::GetVolume,
    Type::VolumeCondition,
    Type::SingleNodeMultiWriter,
];
/// What needs one controller for all nodes: the attacher and the resizer have no mode with one a node.
const CENTRAL: [Type; 5] = [
    Type::PublishUnpublishVolume,
    Type::PublishReadonly,
    Type::ListVolumesPublishedNodes,
    Type::ExpandVolume,
    Type::ModifyVolume,
];

pub(super) fn capabilities(config: &Config) -> ControllerGetCapabilitiesResponse {
    let central = if config.node_local { &[][..] } else { &CENTRAL };
    let alpha = if config.announce_get_snapshot { &[Type::GetSnapshot][..] } else { &[] };
    let capability =
        |kind: &Type| ControllerServiceCapability { r#type: Some(Kind::Rpc(Rpc { r#type: (*kind).into() })) };
    ControllerGetCapabilitiesResponse {
        capabilities: ALWAYS.iter().chain(central).chain(alpha).map(capability).collect(),
    }
}
