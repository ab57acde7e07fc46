//! Laws of apply and destroy on the whole of a manifest.

use std::collections::BTreeSet;
use std::path::Path;

use csictl::host::sim::Content;
use csictl::host::{Host, Observe};
use csictl::model::{Approval, Loss, ObjectRef};
use csictl::plan::Intent;

use super::samples::{RICH, RICH_CANARIES, small};
use super::sweep::rich_world;
use crate::support::world::{DISK, Order, POOL, World};

/// Targets, and parents of targets, that are there.
fn made(world: &World) -> Vec<String> {
    world.files().into_iter().filter(|line| line.starts_with("/srv/pods") || line.starts_with("/srv/jails")).collect()
}

fn destroy() -> Intent {
    Intent::Destroy { delete_data: BTreeSet::new() }
}

#[test]
fn a_second_apply_does_nothing() {
    let world = rich_world();
    world.settled(RICH);
    world.host.clear_effects();
    let ran = world.apply(RICH);
    assert!(ran.plan.is_empty());
    assert!(world.host.effects().is_empty(), "{:#?}", world.host.effects());
}

#[test]
fn an_apply_run_twice_from_one_plan_finds_everything_done() {
    let world = World::new();
    let approved = world.plan(RICH).approve(&BTreeSet::new()).unwrap();
    world.run(&approved, Order::Listed).ok();
    let before = (world.seen(), world.files());
    let again = world.run(&approved, Order::Listed).ok();
    let redone: Vec<_> = again.changed.iter().map(|index| &again.plan.steps[*index].action).collect();
    assert!(redone.is_empty(), "{redone:#?}");
    assert_eq!((world.seen(), world.files()), before);
}

#[test]
fn a_destroy_leads_back_to_the_beginning() {
    let world = World::new();
    let nothing = world.seen();
    world.apply(RICH);
    for path in RICH_CANARIES {
        world.host.write_canary(path, b"kept");
    }
    world.destroy(RICH);
    assert_eq!(world.seen(), nothing);
    assert_eq!(made(&world), Vec::<String>::new());
    world.sound();
    assert!(world.plan_for(RICH, &destroy()).is_empty());
    world.apply(RICH);
    world.settled(RICH);
    assert_eq!(world.host.read(RICH_CANARIES[0]).unwrap(), b"kept");
}

#[test]
fn the_order_of_steps_does_not_matter() {
    let expected = World::new();
    expected.apply(RICH);
    for seed in 0..40 {
        let world = World::new();
        world.run_for(RICH, &Intent::Apply, Order::Random(seed)).ok();
        world.settled(RICH);
        assert_eq!(without_order(&world), without_order(&expected), "seed {seed}");
        world.run_for(RICH, &destroy(), Order::Random(seed)).ok();
        world.sound();
        assert_eq!(made(&world), Vec::<String>::new(), "seed {seed}");
        assert!(world.plan_for(RICH, &destroy()).is_empty());
    }
}

/// What is seen, without the records: which of several volumes made a directory that they share is a matter of who came first.
fn without_order(world: &World) -> (std::collections::BTreeMap<String, String>, Vec<String>) {
    let records = ["/var/lib/csictl/volumes/", "/run/csictl/volumes/"];
    let files = world.files().into_iter().filter(|line| !records.iter().any(|records| line.starts_with(records)));
    (world.seen(), files.collect())
}

#[test]
fn a_parallel_run_comes_to_the_same() {
    let expected = World::new();
    expected.apply(RICH);
    for _ in 0..10 {
        let world = World::new();
        world.run_for(RICH, &Intent::Apply, Order::Parallel(8)).ok();
        world.settled(RICH);
        assert_eq!(without_order(&world), without_order(&expected));
        world.run_for(RICH, &destroy(), Order::Parallel(8)).ok();
        assert!(world.plan_for(RICH, &destroy()).is_empty());
        world.sound();
    }
}

#[test]
fn after_a_boot_one_apply_brings_everything_back() {
    let world = rich_world();
    let before = world.seen();
    let world = world.reboot();
    world.apply(RICH);
    world.settled(RICH);
    assert_eq!(world.seen(), before);
}

#[test]
fn after_a_power_cut_everything_that_was_acknowledged_is_there() {
    let world = rich_world().power_cut();
    world.apply(RICH);
    world.settled(RICH);
}

#[test]
fn with_the_state_directory_lost_images_are_adopted_and_none_is_overwritten() {
    for reboot in [false, true] {
        let world = rich_world();
        let before = world.seen();
        for directory in ["volumes", "snapshots", "locks"] {
            world.host.remove_all(Path::new("/var/lib/csictl").join(directory));
        }
        let world = if reboot { world.reboot() } else { world.revive() };
        // A disk does not say whose it is: it is used again only where the manifest says that it is never formatted.
        if reboot {
            assert!(world.plan(RICH).refused.iter().all(|refused| refused.code == "not-blank"));
        }
        let never = RICH.replace(
            "{ type = \"xfs\" }\n\n[volumes.uploads]",
            "{ type = \"xfs\", format = \"never\" }\n\n[volumes.uploads]",
        );
        assert_ne!(never, RICH);
        world.apply(&never);
        world.settled(&never);
        assert_eq!(world.seen(), before, "reboot {reboot}");
    }
}

#[test]
fn a_corrupt_record_is_set_aside_and_blocks_nothing() {
    for bytes in [b"".as_slice(), b"{\"version\":1", b"\xff\xfe\x00", b"[]"] {
        for id in ["shop.assets", "shop.logs", "shop.rawdisk", "shop.scratch", "shop.uploads", "shop.archive"] {
            let world = rich_world();
            world.host.plant_file(format!("/var/lib/csictl/volumes/{id}.json"), bytes);
            world.apply(RICH);
            world.settled(RICH);
            let aside = world.host.list(&world.layout.set_aside()).unwrap();
            assert_eq!(aside.len(), 1, "{id}: {aside:?}");
        }
    }
}

#[test]
fn a_corrupt_record_never_blocks_taking_down() {
    for id in ["shop.assets", "shop.logs", "shop.scratch", "shop.uploads", "shop.archive"] {
        let world = rich_world();
        let nothing = World::new().seen();
        world.host.plant_file(format!("/var/lib/csictl/volumes/{id}.json"), b"{");
        world.destroy(RICH);
        assert_eq!(world.seen(), nothing, "{id}");
        world.sound();
    }
}

#[test]
fn a_volume_whose_record_was_rebuilt_is_not_deleted() {
    let world = rich_world();
    world.host.plant_file("/var/lib/csictl/volumes/shop.assets.json", b"{");
    let intent = Intent::Destroy { delete_data: ["shop.assets".parse().unwrap()].into() };
    let plan = world.plan_for(RICH, &intent);
    if plan.refused.is_empty() {
        let approvals =
            plan.losses().into_iter().map(|loss| Approval { object: loss.object, loss: loss.loss }).collect();
        let ran = world.run(&plan.approve(&approvals).unwrap(), Order::Listed);
        assert!(!ran.failed.is_empty());
    }
    assert_eq!(world.host.check(), Vec::<String>::new());
}

#[test]
fn a_record_of_a_newer_csictl_is_left_alone_and_can_be_taken_down() {
    let world = rich_world();
    let path = "/var/lib/csictl/volumes/shop.media.json";
    let text = String::from_utf8(world.host.read(path).unwrap()).unwrap();
    let newer = text.replacen("\"version\":1", "\"version\":999", 1);
    assert_ne!(newer, text, "{text}");
    world.host.plant_file(path, newer.as_bytes());
    let plan = world.plan(&RICH.replace("128MiB", "256MiB"));
    assert!(!plan.refused.is_empty(), "{:#?}", plan.steps);
    let plan = world.plan_for(RICH, &destroy());
    assert!(plan.refused.is_empty(), "{:#?}", plan.refused);
    world.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed).ok();
    assert_eq!(world.host.read(path).unwrap(), newer.as_bytes());
    assert_eq!(world.seen(), World::new().seen());
}

#[test]
fn two_projects_do_not_touch_each_other() {
    let more = "capacity = \"64MiB\"\nimage = { allocate = \"sparse\" }";
    let (one, two) = (small("one", "data", more), small("two", "data", more));
    let world = World::new();
    world.apply(&one);
    world.host.write_canary("/srv/pods/one/data/x", b"1");
    let only_one = world.seen();
    world.apply(&two);
    world.host.write_canary("/srv/pods/two/data/x", b"2");
    world.settled(&one);
    world.settled(&two);
    world.destroy(&two);
    assert_eq!(world.seen(), only_one);
    world.settled(&one);

    // A path that another project has published at is refused by name.
    let thief = small("two", "data", more).replace("/srv/pods/two/data", "/srv/pods/one/data");
    let plan = world.plan(&thief);
    assert!(plan.refused.iter().any(|refused| refused.message.contains("one")), "{:#?}", plan.refused);
}

#[test]
fn a_project_of_the_same_name_never_takes_a_strangers_image() {
    let more = "capacity = \"64MiB\"\nimage = { allocate = \"sparse\" }";
    for content in [Content::Blank, Content::Unreadable("medium error".into()), Content::Data(b"mine".to_vec())] {
        let world = World::new();
        world.host.plant_image(format!("{POOL}/one.data.img"), 64 << 20, content.clone());
        let plan = world.plan(&small("one", "data", more));
        assert!(!plan.refused.is_empty() || !run_fails_not(&world, plan), "{content:?}");
        assert_eq!(world.host.content(format!("{POOL}/one.data.img")), Some(content));
    }
}

/// Whether a plan runs without a failure.
fn run_fails_not(world: &World, plan: csictl::plan::Plan) -> bool {
    world.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed).failed.is_empty()
}

#[test]
fn a_disk_that_is_not_blank_is_never_formatted() {
    let text = small("shop", "disk", &format!("device = {{ path = \"{DISK}\" }}\nfs = {{ type = \"xfs\" }}"));
    let signature =
        |kind: &str| csictl::model::Signature { kind: kind.into(), uuid: None, label: None, offset: 0, magic: vec![1] };
    let fs = |fs_type| {
        let uuid = csictl::model::FsUuid::random();
        Content::Fs(Box::new(csictl::host::sim::FsImage::new(fs_type, uuid, 1 << 30)))
    };
    let contents = [
        fs(csictl::model::FsType::Ext4),
        Content::Other(signature("crypto_LUKS")),
        Content::Ambiguous(vec![signature("xfs"), signature("ext4")]),
        Content::Unreadable("medium error".into()),
    ];
    for content in contents {
        let world = World::new();
        let block = world.host.device(Path::new(DISK)).unwrap().unwrap().block;
        world.host.set_disk_content(block, content.clone());
        let plan = world.plan(&text);
        assert!(!plan.refused.is_empty() || !plan.unknown.is_empty(), "{content:?}: {:#?}", plan.steps);
        assert_eq!(world.host.content(DISK), Some(content.clone()));

        // Seen blank when it was planned, no longer when it is run.
        let world = World::new();
        let plan = world.plan(&text);
        world.host.set_disk_content(block, content.clone());
        let ran = world.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed);
        assert!(!ran.failed.is_empty());
        assert_eq!(world.host.content(DISK), Some(content));
    }
}

#[test]
fn a_disk_that_was_formatted_once_and_looks_blank_is_never_formatted_again() {
    let text = small("shop", "disk", &format!("device = {{ path = \"{DISK}\" }}\nfs = {{ type = \"xfs\" }}"));
    let world = World::new();
    world.apply(&text);
    world.destroy(&text);
    let block = world.host.device(Path::new(DISK)).unwrap().unwrap().block;
    world.host.set_disk_content(block, Content::Blank);
    let plan = world.plan(&text);
    if plan.refused.is_empty() {
        let ran = world.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed);
        assert!(!ran.failed.is_empty());
    }
    assert_eq!(world.host.content(DISK), Some(Content::Blank));
}

#[test]
fn nothing_is_lost_without_its_own_approval() {
    let replaced = RICH.replace(r#"fs = { type = "btrfs" }"#, r#"fs = { type = "ext4" }"#);
    let without = RICH.replace("reclaim = \"delete\"\nimage", "reclaim = \"delete\"\nprevent_destroy = false\nimage");
    let gone = {
        let cut = without.find("[volumes.assets-test]").unwrap();
        let end = without.find("[volumes.logs-restored]").unwrap();
        let text = format!("{}{}", &without[..cut], &without[end..]);
        text.replace("[[pods.worker.mounts]]\nvolume = \"assets-test\"\npath = \"/srv/pods/worker/test\"\n", "")
    };
    let deleting = Intent::Destroy { delete_data: ["shop.assets".parse().unwrap()].into() };
    let cases =
        [(replaced, Intent::Apply, "media"), (gone, Intent::Apply, "assets-test"), (RICH.into(), deleting, "assets")];
    for (text, intent, name) in cases {
        let world = rich_world();
        world.host.write_canary("/srv/pods/worker/test/x", b"1");
        let before = (world.seen(), world.files());
        let plan = world.plan_for(&text, &intent);
        assert!(plan.refused.is_empty(), "{:#?}", plan.refused);
        let missing = plan.clone().approve(&BTreeSet::new()).unwrap_err();
        assert_eq!(missing.len(), 1, "{name}: {missing:?}");
        assert_eq!(missing[0].object.to_string(), format!("volume.{name}"));
        // The approval of another object, or of another loss, is none.
        let other = if missing[0].loss == Loss::Wipe { Loss::Delete } else { Loss::Wipe };
        let wrong = [
            Approval { object: missing[0].object.clone(), loss: other },
            Approval { object: ObjectRef::Volume("shop.pgdata".parse().unwrap()), loss: missing[0].loss },
        ];
        assert!(plan.clone().approve(&wrong.into()).is_err());
        assert_eq!((world.seen(), world.files()), before);
        assert_eq!(world.host.check(), Vec::<String>::new());

        // The driver holds the same guard, whatever calls it.
        use csictl::driver::Driver;
        let driver = world.driver();
        for step in plan.steps.iter().filter(|step| step.risk == csictl::plan::Risk::DataLoss) {
            driver.run(&step.action).unwrap_err();
        }
        assert_eq!(world.host.check(), Vec::<String>::new());
    }
}

#[test]
fn what_is_protected_is_lost_with_no_approval_at_all() {
    let world = rich_world();
    let replaced = RICH.replace(r#"fs = { type = "ext4", label = "pgdata" }"#, r#"fs = { type = "btrfs" }"#);
    assert!(world.plan(&replaced).refused.iter().any(|refused| refused.code == "protected"));
    let intent = Intent::Destroy { delete_data: ["shop.pgdata".parse().unwrap()].into() };
    assert!(world.plan_for(RICH, &intent).refused.iter().any(|refused| refused.code == "protected"));
    let approval = Approval { object: ObjectRef::Volume("shop.pgdata".parse().unwrap()), loss: Loss::Delete };
    let request = csictl::model::action::DeleteRequest { id: "shop.pgdata".parse().unwrap(), approval: Some(approval) };
    world.destroy(RICH);
    csictl::driver::Driver::delete(&world.driver(), &request).unwrap_err();
    assert_eq!(world.host.check(), Vec::<String>::new());
}

#[test]
fn a_strangers_mount_on_a_target_stays() {
    let world = World::new();
    world.host.mount_foreign("/srv/pods/worker/logs");
    let before = world.host.mounts_at(Path::new("/srv/pods/worker/logs")).unwrap();
    let plan = world.plan(RICH);
    assert!(plan.refused.iter().any(|refused| refused.code == "foreign"), "{:#?}", plan.refused);
    assert_eq!(world.host.mounts_at(Path::new("/srv/pods/worker/logs")).unwrap(), before);

    // It came between plan and run.
    let world = World::new();
    let plan = world.plan(RICH);
    world.host.mount_foreign("/srv/pods/worker/logs");
    let ran = world.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed);
    assert!(!ran.failed.is_empty());
    assert_eq!(world.host.mounts_at(Path::new("/srv/pods/worker/logs")).unwrap().len(), 1);
}

#[test]
fn a_busy_mount_is_an_error_that_names_its_holder_and_the_rest_goes_on() {
    let world = rich_world();
    world.host.hold_mount("/srv/jails/web/media", 4711);
    let plan = world.plan_for(RICH, &destroy());
    let ran = world.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed);
    let told: Vec<_> = ran.failed.iter().map(|(_, error)| error.to_string()).collect();
    assert!(told.iter().any(|text| text.contains("4711")), "{told:?}");
    assert!(world.host.mounts_at(Path::new("/srv/pods/worker/logs")).unwrap().is_empty());
    world.host.release_all();
    world.destroy(RICH);
    assert_eq!(world.seen(), World::new().seen());
}

#[test]
fn a_mount_that_was_lost_or_stacked_is_put_right() {
    for target in ["/srv/pods/worker/logs", "/srv/jails/web/uploads", "/srv/pods/db/raw", "/srv/pods/db/data/tmp"] {
        let world = rich_world();
        let before = world.seen();
        world.host.pull_mount(target);
        world.apply(RICH);
        world.settled(RICH);
        assert_eq!(world.seen(), before, "{target}");
    }
}

#[test]
fn a_file_system_left_frozen_is_thawed() {
    let world = rich_world();
    world.host.leave_frozen("/srv/pods/worker/logs");
    let desired = world.desired(RICH);
    let spec = &desired.volumes["shop.logs"];
    let request = csictl::model::action::StageRequest {
        id: spec.id.clone(),
        staging_path: world.staging("shop.logs"),
        mount_options: spec.mount_options.clone(),
        capability: None,
    };
    csictl::driver::Driver::stage(&world.driver(), &request).unwrap();
    world.sound();
}

#[test]
fn an_image_that_was_replaced_under_its_record_is_told_and_not_formatted() {
    let world = rich_world();
    world.destroy(RICH);
    let path = format!("{POOL}/shop.media.img");
    world.host.forgive(&path);
    world.host.remove_all(&path);
    world.host.plant_image(&path, 128 << 20, Content::Blank);
    let plan = world.plan(RICH);
    if plan.refused.is_empty() {
        let ran = world.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed);
        assert!(ran.failed.iter().any(|(_, error)| error.to_string().contains("media")), "{:?}", ran.failed);
    }
    assert_eq!(world.host.content(&path), Some(Content::Blank));
}

#[test]
fn loops_of_others_are_never_touched() {
    let world = World::new();
    world.host.take_loops([0, 1, 3]);
    world.apply(RICH);
    world.settled(RICH);
    let indices: Vec<_> = world.host.loops().unwrap().into_iter().map(|device| device.index).collect();
    assert!(indices.iter().all(|index| ![0, 1, 3].contains(index)), "{indices:?}");
}

#[test]
fn a_pool_without_space_is_refused_before_anything_is_done() {
    let world = World::new();
    world.host.set_root_size(40 << 20);
    let plan = world.plan(RICH);
    assert!(plan.refused.iter().any(|refused| refused.code == "no-space"), "{:#?}", plan.refused);
}

#[test]
fn another_csictl_on_the_same_volume_is_waited_for_and_then_told() {
    let world = rich_world();
    let lock = world.layout.volume_lock(&"shop.media".parse().unwrap());
    let other = world.host.spawn();
    let held = other.lock(&lock, csictl::host::LockMode::Exclusive, std::time::Duration::ZERO).unwrap();
    let plan = world.plan_for(RICH, &destroy());
    let ran = world.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed);
    assert!(ran.failed.iter().all(|(_, error)| matches!(error, csictl::driver::DriverError::LockHeld { .. })));
    assert!(!ran.failed.is_empty());
    drop(held);
    world.destroy(RICH);
    world.sound();
}
