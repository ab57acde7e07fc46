//! ControllerPublishVolume and ControllerUnpublishVolume: where a volume is published, how many a node takes, and what of it lasts.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::process::Command;

use csictl::csi::proto::volume_capability::access_mode::Mode;
use csictl::csi::proto::{
    ControllerGetCapabilitiesRequest, ControllerGetVolumeRequest, ControllerPublishVolumeResponse,
};
use tonic::{Code, Status};

use super::Rig;
use crate::csi::calls::{self, block, controller_publish, controller_unpublish, mounted, with_mode};
use crate::support::serving::Serving;

fn publish(serving: &Serving, id: &str, readonly: bool) -> Result<ControllerPublishVolumeResponse, Status> {
    serving.call(serving.controller().controller_publish_volume(controller_publish(id, "node-1", &block(), readonly)))
}

fn unpublish(serving: &Serving, id: &str, node: &str) {
    serving.ok(serving.controller().controller_unpublish_volume(controller_unpublish(id, node)));
}

fn nodes(serving: &Serving, id: &str) -> Vec<String> {
    let request = ControllerGetVolumeRequest { volume_id: id.into() };
    serving.ok(serving.controller().controller_get_volume(request)).status.unwrap().published_node_ids
}

#[test]
fn a_published_volume_has_a_device_until_it_is_unpublished() {
    let rig = Rig::new();
    for capability in [block(), mounted("", &[])] {
        let id = rig.volume("one", &capability, 16);
        let call = || controller_publish(&id, "node-1", &capability, false);
        let mut controller = rig.serving.controller();

        let first = rig.serving.ok(controller.controller_publish_volume(call())).publish_context;
        let again = rig.serving.ok(controller.controller_publish_volume(call())).publish_context;

        assert_eq!(first, again);
        let device = &first["devicePath"];
        assert!(fs::metadata(device).unwrap().file_type().is_block_device());
        assert_eq!(rig.place.loops()[0].0.to_str(), Some(device.as_str()));
        assert_eq!(nodes(&rig.serving, &id), ["node-1"]);
        let listed = rig.serving.ok(controller.list_volumes(calls::list(0, ""))).entries;
        assert_eq!(listed[0].status.as_ref().unwrap().published_node_ids, ["node-1"]);

        unpublish(&rig.serving, &id, "node-2");
        assert_eq!(nodes(&rig.serving, &id), ["node-1"], "another node is not this one");
        for node in ["node-1", "", "node-1"] {
            unpublish(&rig.serving, &id, node);
            assert_eq!((rig.place.loops(), nodes(&rig.serving, &id)), (vec![], vec![]));
        }
        rig.delete(&id);
    }
    for id in ["vol-9", "../x"] {
        unpublish(&rig.serving, id, "node-1");
    }
}

#[test]
fn what_is_published_otherwise_or_elsewhere_is_refused() {
    let rig = Rig::new();
    let id = rig.volume("one", &block(), 4);
    publish(&rig.serving, &id, false).unwrap();
    let other = with_mode(block(), Mode::SingleNodeMultiWriter);
    for (code, request) in [
        (Code::AlreadyExists, controller_publish(&id, "node-1", &block(), true)),
        (Code::AlreadyExists, controller_publish(&id, "node-1", &other, false)),
        (Code::FailedPrecondition, controller_publish(&id, "node-1", &mounted("", &[]), false)),
        (Code::NotFound, controller_publish(&id, "node-9", &block(), false)),
        (Code::NotFound, controller_publish("vol-9", "node-1", &block(), false)),
        (Code::NotFound, controller_publish("../x", "node-1", &block(), false)),
        (Code::InvalidArgument, controller_publish("", "node-1", &block(), false)),
        (Code::InvalidArgument, controller_publish(&id, "", &block(), false)),
        (Code::InvalidArgument, controller_publish(&id, &"n".repeat(257), &block(), false)),
        (
            Code::InvalidArgument,
            controller_publish(&id, "node-1", &with_mode(block(), Mode::MultiNodeMultiWriter), false),
        ),
    ] {
        rig.serving.refused(code, rig.serving.controller().controller_publish_volume(request));
    }

    // The node got another name, and the orchestrator has not yet taken the volume from the old one.
    let rig = rig.restarted(&["--node-id", "node-2"]);
    let request = controller_publish(&id, "node-2", &block(), false);
    let message = rig
        .serving
        .refused(Code::FailedPrecondition, rig.serving.controller().controller_publish_volume(request.clone()));
    assert!(message.contains("'node-1'"), "{message}");
    unpublish(&rig.serving, &id, "node-1");
    rig.serving.ok(rig.serving.controller().controller_publish_volume(request));
    unpublish(&rig.serving, &id, "");
}

#[test]
fn a_volume_stays_published_over_a_restart_and_a_reboot() {
    let rig = Rig::new();
    let id = rig.volume("one", &block(), 4);
    publish(&rig.serving, &id, false).unwrap();
    let rig = rig.restarted(&[]);
    assert_eq!(nodes(&rig.serving, &id), ["node-1"]);

    // What a reboot does: no loop devices, an empty run directory.
    for (node, _) in rig.place.loops() {
        assert!(Command::new("losetup").arg("-d").arg(node).status().unwrap().success());
    }
    fs::remove_dir_all(rig.place.run()).unwrap();
    let rig = rig.restarted(&[]);

    assert_eq!(nodes(&rig.serving, &id), ["node-1"]);
    rig.serving.refused(Code::FailedPrecondition, rig.serving.controller().delete_volume(calls::delete(&id)));
    let again = publish(&rig.serving, &id, false).unwrap();
    assert_eq!(rig.place.loops()[0].0.to_str(), Some(again.publish_context["devicePath"].as_str()));
    unpublish(&rig.serving, &id, "node-1");
    rig.delete(&id);
}

#[test]
fn read_only_raw_block_cannot_be_written() {
    let rig = Rig::new();
    let id = rig.volume("one", &block(), 4);

    let device = publish(&rig.serving, &id, true).unwrap().publish_context["devicePath"].clone();

    let opened =
        fs::OpenOptions::new().write(true).open(&device).and_then(|mut file| std::io::Write::write(&mut file, b"x"));
    assert!(opened.is_err(), "{device} takes writes");
    unpublish(&rig.serving, &id, "node-1");
}

#[test]
fn a_node_takes_so_many_and_no_more_however_many_ask_at_once() {
    let rig = Rig::with(&["--max-volumes-per-node", "3"]);
    let ids: Vec<String> = (0..8).map(|number| rig.volume(&format!("v{number}"), &block(), 1)).collect();
    let results: Vec<Code> = rig.serving.block_on(async {
        let calls = ids.iter().map(|id| {
            let (mut controller, request) =
                (rig.serving.controller(), controller_publish(id, "node-1", &block(), false));
            tokio::spawn(async move {
                controller.controller_publish_volume(request).await.map_or_else(|s| s.code(), |_| Code::Ok)
            })
        });
        let calls: Vec<_> = calls.collect();
        let mut codes = Vec::new();
        for call in calls {
            codes.push(call.await.unwrap());
        }
        codes
    });

    assert_eq!(results.iter().filter(|code| **code == Code::Ok).count(), 3, "{results:?}");
    assert_eq!(results.iter().filter(|code| **code == Code::ResourceExhausted).count(), 5, "{results:?}");
    for (id, _) in ids.iter().zip(&results).filter(|(_, code)| **code == Code::Ok) {
        publish(&rig.serving, id, false).expect("one that has its place needs no other");
        unpublish(&rig.serving, id, "node-1");
    }
    let refused = ids.iter().zip(&results).find(|(_, code)| **code != Code::Ok).unwrap().0;
    publish(&rig.serving, refused, false).unwrap();
    unpublish(&rig.serving, refused, "");
}

#[test]
fn a_node_local_server_offers_no_attach_and_says_so() {
    let rig = Rig::with(&["--node-local"]);
    let id = rig.volume("one", &block(), 1);
    let mut controller = rig.serving.controller();

    let answer = rig.serving.ok(controller.controller_get_capabilities(ControllerGetCapabilitiesRequest {}));

    let said = format!("{:?}", answer.capabilities);
    for announced in ["CreateDeleteVolume", "CreateDeleteSnapshot", "CloneVolume", "ListVolumes"] {
        assert!(said.contains(announced), "{said}");
    }
    for central in ["PublishUnpublish", "PublishReadonly", "PublishedNodes", "ExpandVolume", "ModifyVolume"] {
        assert!(!said.contains(central), "{central}: {said}");
    }
    let publish = controller_publish(&id, "node-1", &block(), false);
    rig.serving.refused(Code::Unimplemented, controller.controller_publish_volume(publish));
    let unpublish = controller_unpublish(&id, "node-1");
    rig.serving.refused(Code::Unimplemented, controller.controller_unpublish_volume(unpublish));
    let modify = calls::modify(&id, &[("allocate", "full")]);
    rig.serving.refused(Code::Unimplemented, controller.controller_modify_volume(modify));
}
