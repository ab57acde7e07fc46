//! The driver as the DaemonSet starts it, seen from its sidecars and kubelet: what they need to know of it over the socket.

use std::collections::HashMap;

use csictl::csi::proto::controller_service_capability::{self, rpc::Type as ControllerRpc};
use csictl::csi::proto::node_service_capability::rpc::Type as NodeRpc;
use csictl::csi::proto::node_service_capability::{self, Rpc};
use csictl::csi::proto::volume_capability::access_mode::Mode;
use csictl::csi::proto::volume_capability::{AccessMode, AccessType, MountVolume};
use csictl::csi::proto::{
    CapacityRange, ControllerGetCapabilitiesRequest, CreateVolumeRequest, DeleteVolumeRequest, GetPluginInfoRequest,
    NodeExpandVolumeRequest, NodeGetCapabilitiesRequest, NodeGetInfoRequest, NodePublishVolumeRequest,
    NodeStageVolumeRequest, NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, Topology, TopologyRequirement,
    VolumeCapability,
};

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

#[test]
fn the_controller_leaves_out_what_has_no_sidecar_on_a_node() {
    let place = Place::new();
    let serving = serving(&place);

    let answer = serving.ok(serving.controller().controller_get_capabilities(ControllerGetCapabilitiesRequest {}));

    let offered: Vec<i32> = answer
        .capabilities
        .into_iter()
        .filter_map(|capability| capability.r#type)
        .map(|controller_service_capability::Type::Rpc(rpc)| rpc.r#type)
        .collect();
    for needed in [ControllerRpc::CreateDeleteVolume, ControllerRpc::GetCapacity, ControllerRpc::CreateDeleteSnapshot] {
        assert!(offered.contains(&needed.into()), "{needed:?} of {offered:?}");
    }
    // With the last of these csi-resizer would call a driver that is not the volume's.
    for central in [ControllerRpc::PublishUnpublishVolume, ControllerRpc::ModifyVolume, ControllerRpc::ExpandVolume] {
        assert!(!offered.contains(&central.into()), "{central:?}");
    }
}

#[test]
fn a_claim_goes_its_whole_way_without_an_attacher() {
    let place = Place::new();
    let serving = serving(&place);
    let objects = kustomize("base");
    let class = object(&objects, "StorageClass", "csictl-xfs");
    let here = Topology { segments: [("topology.csi.csictl.io/node".to_owned(), "node-1".to_owned())].into() };
    let capability = VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeSingleWriter.into() }),
        access_type: Some(AccessType::Mount(MountVolume { fs_type: "xfs".into(), ..Default::default() })),
    };
    // As csi-provisioner makes it of the class: without the file system's type, with what --extra-create-metadata adds.
    let parameters = class["parameters"].as_object().unwrap().iter().filter(|(key, _)| !key.starts_with("csi.storage"));
    let mut parameters: HashMap<String, String> =
        parameters.map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect();
    parameters.insert("csi.storage.k8s.io/pvc/name".into(), "data".into());
    let (staging, target) = (place.join("plugins/globalmount"), place.join("pods/1/mount"));
    for made in [staging.as_path(), target.parent().unwrap()] {
        std::fs::create_dir_all(made).unwrap();
    }

    let volume = serving.ok(serving.controller().create_volume(CreateVolumeRequest {
        name: "pvc-6c5d".into(),
        capacity_range: Some(CapacityRange { required_bytes: 320 << 20, limit_bytes: 0 }),
        volume_capabilities: vec![capability.clone()],
        parameters,
        accessibility_requirements: Some(TopologyRequirement {
            requisite: vec![here.clone()],
            preferred: vec![here.clone()],
        }),
        ..Default::default()
    }));
    let volume = volume.volume.unwrap();
    assert_eq!(volume.accessible_topology, [here]);
    let id = volume.volume_id;
    serving.ok(serving.node().node_stage_volume(NodeStageVolumeRequest {
        volume_id: id.clone(),
        staging_target_path: staging.to_str().unwrap().into(),
        volume_capability: Some(capability.clone()),
        volume_context: volume.volume_context.clone(),
        ..Default::default()
    }));
    serving.ok(serving.node().node_publish_volume(NodePublishVolumeRequest {
        volume_id: id.clone(),
        staging_target_path: staging.to_str().unwrap().into(),
        target_path: target.to_str().unwrap().into(),
        volume_capability: Some(capability.clone()),
        volume_context: volume.volume_context,
        ..Default::default()
    }));
    std::fs::write(target.join("kept"), "yes").unwrap();
    let grown = serving.ok(serving.node().node_expand_volume(NodeExpandVolumeRequest {
        volume_id: id.clone(),
        volume_path: target.to_str().unwrap().into(),
        staging_target_path: staging.to_str().unwrap().into(),
        capacity_range: Some(CapacityRange { required_bytes: 400 << 20, limit_bytes: 0 }),
        volume_capability: Some(capability),
        ..Default::default()
    }));

    assert_eq!(grown.capacity_bytes, 400 << 20);
    let size = nix::sys::statvfs::statvfs(&target).unwrap();
    assert!(size.blocks() * size.fragment_size() > 320 << 20, "the file system has grown too");
    assert_eq!(std::fs::read_to_string(target.join("kept")).unwrap(), "yes");
    let target = target.to_str().unwrap().to_owned();
    serving.ok(serving
        .node()
        .node_unpublish_volume(NodeUnpublishVolumeRequest { volume_id: id.clone(), target_path: target }));
    let staging_target_path = staging.to_str().unwrap().to_owned();
    serving.ok(serving
        .node()
        .node_unstage_volume(NodeUnstageVolumeRequest { volume_id: id.clone(), staging_target_path }));
    serving.ok(serving.controller().delete_volume(DeleteVolumeRequest { volume_id: id, ..Default::default() }));
    assert_eq!(std::fs::read_dir(place.join("pool")).unwrap().count(), 0);
}
