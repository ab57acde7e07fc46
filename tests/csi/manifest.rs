//! One volume of two masters: a manifest declares it, an orchestrator uses it.

use csictl::csi::proto::volume_capability::access_mode::Mode;
use csictl::csi::proto::{ControllerGetVolumeRequest, NodeGetInfoRequest};

use tonic::Code;

use super::calls::{self, mounted, with_mode};
use crate::support::Place;
use crate::support::serving::Serving;

#[test]
fn apply_and_destroy_leave_a_volume_that_an_orchestrator_published() {
    let place = Place::new();
    let pool = place.join("pool");
    std::fs::create_dir_all(&pool).unwrap();
    let manifest = |more: &str| {
        let text = format!(
            "version = 1\nproject = \"shop\"\n[pools.main]\npath = \"{}\"\n[volumes.shared]\ncapacity = \"32MiB\"\naccess_mode = \"single-node-multi-writer\"\nimage = {{ allocate = \"sparse\" }}\n{more}",
            pool.display()
        );
        place.write("shop.toml", &text);
    };
    manifest("");
    place.ok(&["apply", "shop.toml", "--yes"]);
    let serving = Serving::start(&place, &[]);
    let capability = with_mode(mounted("", &[]), Mode::SingleNodeMultiWriter);
    let (id, stage, target) = ("shop.shared", place.join("stage"), place.join("target"));
    std::fs::create_dir_all(&stage).unwrap();
    let publish = calls::controller_publish(id, "node-1", &capability, false);
    serving.ok(serving.controller().controller_publish_volume(publish));
    serving.ok(serving.node().node_stage_volume(calls::stage(id, &stage, &capability)));
    serving.ok(serving.node().node_publish_volume(calls::publish(id, &stage, &target, &capability, false)));
    std::fs::write(target.join("f"), "theirs").unwrap();
    let still = || {
        assert_eq!(std::fs::read_to_string(target.join("f")).unwrap(), "theirs");
        let request = ControllerGetVolumeRequest { volume_id: id.into() };
        let status = serving.ok(serving.controller().controller_get_volume(request)).status.unwrap();
        assert_eq!(status.published_node_ids, ["node-1"]);
    };

    manifest("description = \"for all\"\n");
    for _ in 0..2 {
        place.ok(&["apply", "shop.toml", "--yes"]);
        let (code, plan) = place.exit(&["plan", "shop.toml"]);
        assert!(code == 0 && plan.contains("left alone"), "{code}: {plan}");
        still();
    }
    let (code, said) = place.exit(&["destroy", "shop.toml", "--yes"]);
    assert_ne!(code, 0, "{said}");
    for part in ["shared", target.to_str().unwrap(), "node-1", "NodeUnpublishVolume", "ControllerUnpublishVolume"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    still();

    serving.ok(serving.node().node_unpublish_volume(calls::unpublish(id, &target)));
    serving.ok(serving.node().node_unstage_volume(calls::unstage(id, &stage)));
    serving.ok(serving.controller().controller_unpublish_volume(calls::controller_unpublish(id, "node-1")));
    place.ok(&["destroy", "shop.toml", "--yes"]);
    assert_eq!(place.loops(), vec![]);
}

#[test]
fn a_torn_record_is_made_anew_from_an_image_in_a_pool_of_the_configuration_and_the_volume_deleted() {
    let place = Place::new();
    let pool = place.join("pool");
    std::fs::create_dir_all(&pool).unwrap();
    place.write("serve.toml", &format!("version = 1\n[pools.a]\npath = \"{}\"\n", pool.display()));
    let config = place.join("serve.toml");
    let serving = Serving::start(&place, &["--config", config.to_str().unwrap()]);
    let mut request = calls::create("one", &mounted("", &[]), 16 << 20);
    request.parameters.insert("allocate".into(), "sparse".into());
    let id = serving.ok(serving.controller().create_volume(request)).volume.unwrap().volume_id;
    let image = pool.join(format!("{id}.img"));
    let record = place.state().join("volumes").join(format!("{id}.json"));
    assert!(image.exists());
    // Torn before anything in it says where the image is.
    let tear = || std::fs::write(&record, &std::fs::read(&record).unwrap()[..20]).unwrap();

    tear();
    let stats = calls::stats(&id, &place.join("nowhere"));
    let message = serving.refused(Code::NotFound, serving.node().node_get_volume_stats(stats));
    assert!(message.contains("neither staged"), "{message}");
    tear();
    serving.ok(serving.controller().delete_volume(calls::delete(&id)));

    assert!(!image.exists());
    assert!(!record.exists());
    let stage = calls::stage(&id, &place.join("stage"), &mounted("", &[]));
    let unknown = serving.refused(Code::NotFound, serving.node().node_stage_volume(stage));
    assert!(!unknown.contains("manifest"), "{unknown}");
}

#[test]
fn what_a_server_does_not_offer_is_unimplemented_and_says_why() {
    let place = Place::new();
    let mut said = Vec::new();
    for flags in [&["--mode", "controller"][..], &["--mode", "node"], &["--node-local"]] {
        let serving = Serving::start(&place, flags);
        said.push(if flags.contains(&"controller") {
            serving.refused(Code::Unimplemented, serving.node().node_get_info(NodeGetInfoRequest {}))
        } else {
            let expand = calls::expand("vol-1", calls::range(1 << 30, 0));
            serving.refused(Code::Unimplemented, serving.controller().controller_expand_volume(expand))
        });
    }
    for (message, flag) in said.iter().zip(["--mode controller", "--mode node", "--node-local"]) {
        assert!(message.contains(flag), "{message}");
    }
}

#[test]
fn a_default_written_out_a_target_below_a_file_and_too_large_a_size() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let mut request = calls::create("one", &mounted("", &[]), 16 << 20);
    request.parameters.clear();
    let first = serving.ok(serving.controller().create_volume(request.clone())).volume.unwrap();
    request.parameters.insert("allocate".into(), "full".into());
    assert_eq!(serving.ok(serving.controller().create_volume(request.clone())).volume.unwrap(), first);
    request.parameters.insert("allocate".into(), "sparse".into());
    serving.refused(Code::AlreadyExists, serving.controller().create_volume(request));

    let (id, stage, file) = (first.volume_id, place.join("stage"), place.join("file"));
    let expand = calls::expand(&id, calls::range(i64::MAX, 0));
    serving.refused(Code::OutOfRange, serving.controller().controller_expand_volume(expand));
    std::fs::create_dir_all(&stage).unwrap();
    std::fs::write(&file, "").unwrap();
    let capability = mounted("", &[]);
    serving.ok(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
    let publish = calls::publish(&id, &stage, &file.join("target"), &capability, false);
    let message = serving.refused(Code::InvalidArgument, serving.node().node_publish_volume(publish));
    assert!(message.contains(file.to_str().unwrap()), "{message}");
    serving.ok(serving.node().node_unstage_volume(calls::unstage(&id, &stage)));
    serving.ok(serving.controller().delete_volume(calls::delete(&id)));
}
