//! The driver as the DaemonSet starts it, seen from its sidecars and kubelet: what they need to know of it over the socket.

use csictl::csi::proto::node_service_capability::rpc::Type as NodeRpc;
use csictl::csi::proto::node_service_capability::{self, Rpc};
use csictl::csi::proto::{GetPluginInfoRequest, NodeGetCapabilitiesRequest, NodeGetInfoRequest};

use super::tools::{container, kustomize, object, strings, text};
use crate::support::place::Place;
use crate::support::serving::Serving;

/// A server with the DaemonSet's flags, its paths in this place and this node.
fn serving(place: &Place) -> Serving {
    let config = text("deploy/kubernetes/kustomize/base/config.toml");
    let config =
        place.write("config.toml", &config.replace("/var/lib/csictl/pool", place.join("pool").to_str().unwrap()));
    let args = strings(&container(&kustomize("base"), "csictl")["args"]);
    let flags: Vec<String> = args
        .into_iter()
        .filter(|arg| arg.starts_with("--") && !arg.starts_with("--endpoint=") && !arg.starts_with("--node-id="))
        .map(|arg| arg.replace("/etc/csictl/config.toml", config.to_str().unwrap()))
        .collect();
    Serving::start(place, &flags.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn kubelet_finds_the_driver_of_the_csidriver_object_and_its_node() {
    let place = Place::new();
    let serving = serving(&place);
    let objects = kustomize("base");
    let name = serving.ok(serving.identity().get_plugin_info(GetPluginInfoRequest {})).name;
    object(&objects, "CSIDriver", &name);
    for class in objects.iter().filter(|object| object["kind"] == "StorageClass") {
        assert_eq!(class["provisioner"], name.as_str());
    }

    let info = serving.ok(serving.node().node_get_info(NodeGetInfoRequest {}));

    // csi-provisioner --strict-topology makes volumes of exactly this segment.
    assert_eq!(info.node_id, "node-1");
    let segments = info.accessible_topology.unwrap().segments;
    assert_eq!(
        segments.into_iter().collect::<Vec<_>>(),
        [("topology.csi.csictl.io/node".to_owned(), "node-1".to_owned())]
    );
}

#[test]
fn the_node_does_what_the_csidriver_object_and_the_resizer_leave_to_it() {
    let place = Place::new();
    let serving = serving(&place);

    let answer = serving.ok(serving.node().node_get_capabilities(NodeGetCapabilitiesRequest {}));

    let offered: Vec<NodeRpc> = answer
        .capabilities
        .into_iter()
        .filter_map(|capability| match capability.r#type {
            Some(node_service_capability::Type::Rpc(Rpc { r#type })) => NodeRpc::try_from(r#type).ok(),
            None => None,
        })
        .collect();
    for needed in
        [NodeRpc::StageUnstageVolume, NodeRpc::ExpandVolume, NodeRpc::VolumeMountGroup, NodeRpc::GetVolumeStats]
    {
        assert!(offered.contains(&needed), "{needed:?} of {offered:?}");
    }
}
