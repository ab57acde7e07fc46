//! DeleteVolume: what is not there, what is in use, and what is not the orchestrator's.

use std::fs;

use tonic::Code;

use super::Rig;
use crate::csi::calls::{self, block, mounted};
use crate::csi::shop::{mount_pool, run};

#[test]
fn what_is_not_there_is_deleted_and_nothing_outside_is_touched() {
    let rig = Rig::new();
    let victim = rig.place.write("state/victim.img", "precious");
    for id in ["vol-9", "../victim", "../../state/victim", "..", "a/b", "UPPER", &"x".repeat(128)] {
        rig.delete(id);
    }
    rig.serving.refused(Code::InvalidArgument, rig.serving.controller().delete_volume(calls::delete("")));
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
    let locks = super::names(&rig.place.state().join("locks"));
    assert!(locks.iter().all(|name| name.starts_with('@')), "nothing stays of what never was: {locks:?}");
}

#[test]
fn a_volume_in_use_is_not_deleted() {
    let rig = Rig::new();
    for (capability, name) in [(mounted("", &[]), "fs"), (block(), "raw")] {
        let id = rig.volume(name, &capability, 16);
        let mut controller = rig.serving.controller();
        let refused = || {
            let message = rig
                .serving
                .refused(Code::FailedPrecondition, rig.serving.controller().delete_volume(calls::delete(&id)));
            assert!(rig.pool().contains(&format!("{id}.img")), "{message}");
        };
        rig.serving.ok(controller.controller_publish_volume(calls::controller_publish(
            &id,
            "node-1",
            &capability,
            false,
        )));
        refused();
        let target = rig.up(&id, &capability);
        refused();
        rig.serving.ok(rig.serving.node().node_unpublish_volume(calls::unpublish(&id, &target)));
        refused();
        rig.down(&id);
        refused();
        rig.serving.ok(controller.controller_unpublish_volume(calls::controller_unpublish(&id, "node-1")));
        rig.delete(&id);
        assert_eq!(rig.pool(), Vec::<String>::new());
        assert_eq!(rig.records(), Vec::<String>::new());
    }
}

#[test]
fn a_projects_volume_is_its_projects_to_delete_and_to_change() {
    let rig = Rig::new();
    let manifest = "project = \"shop\"\n[volumes.db]\ncapacity = \"16MiB\"\nimage = { allocate = \"sparse\" }\n";
    rig.place.write("m.toml", manifest);
    rig.place.ok(&["apply", "m.toml", "--yes"]);
    let mut controller = rig.serving.controller();
    let refused = Code::FailedPrecondition;

    let deleted = rig.serving.refused(refused, controller.delete_volume(calls::delete("shop.db")));
    let modify = calls::modify("shop.db", &[("allocate", "full")]);
    let modified = rig.serving.refused(refused, controller.controller_modify_volume(modify));

    for message in [deleted, modified] {
        assert!(message.contains("project shop"), "{message}");
    }
    assert_eq!(rig.listed(), ["shop.db"]);
}

#[test]
fn a_class_that_protects_keeps_its_volumes() {
    let rig = Rig::configured("[classes.safe]\nprevent_destroy = true\nimage = { allocate = \"sparse\" }\n");
    let mut request = calls::create("kept", &mounted("", &[]), 16 << 20);
    request.parameters = calls::words(&[("class", "safe")]);
    let id = rig.make(request).volume_id;

    let controller = rig.serving.controller();
    let message = rig.serving.refused(Code::FailedPrecondition, { controller }.delete_volume(calls::delete(&id)));

    assert!(message.contains("protected"), "{message}");
}

#[test]
fn a_volume_whose_pool_is_not_there_is_not_deleted_and_does_not_come_back() {
    let place = crate::support::Place::new();
    let pool = mount_pool(&place, "disk", &["mkfs.ext4", "-q"], 64);
    let config = format!("[pools.disk]\npath = \"{}\"\n", pool.display());
    place.write("storage.toml", &config);
    let serving = crate::support::serving::Serving::start(&place, &["--config", "storage.toml"]);
    let rig = Rig { serving, place };
    let (id, lost) = (rig.volume("kept", &mounted("", &[]), 16), rig.volume("lost", &mounted("", &[]), 16));
    let away = rig.place.join("away");
    fs::create_dir(&away).unwrap();
    let run = |words: &[&str]| run(std::process::Command::new(words[0]).args(&words[1..]));
    let (at, to) = (pool.to_str().unwrap(), away.to_str().unwrap());
    let refused = || {
        let controller = rig.serving.controller();
        let message = rig.serving.refused(Code::FailedPrecondition, { controller }.delete_volume(calls::delete(&id)));
        assert!(message.contains(at) && message.contains("mount the pool"), "{message}");
        assert!(rig.records().contains(&format!("{id}.json")));
    };

    // Another directory in its place, then none.
    run(&["mount", "--move", at, to]);
    refused();
    fs::remove_dir(&pool).unwrap();
    refused();
    fs::create_dir(&pool).unwrap();
    run(&["mount", "--move", to, at]);

    // The pool is there, and what is missing is gone.
    fs::remove_file(pool.join(format!("{lost}.img"))).unwrap();
    rig.delete(&lost);
    rig.delete(&id);
    assert_eq!(rig.records(), Vec::<String>::new());
    assert!(!pool.join(format!("{id}.img")).exists());
}
