//! One volume of two masters: a manifest declares it, an orchestrator uses it.

use csictl::csi::proto::ControllerGetVolumeRequest;
use csictl::csi::proto::volume_capability::access_mode::Mode;

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
