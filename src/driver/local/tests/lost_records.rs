//! Records that are lost, corrupt, too new, or edited by somebody.

use crate::driver::local::tests::world::*;
use crate::driver::{Driver, Refusal};
use crate::host::{Host, Observe};
use crate::model::action::{DeleteGroupRequest, DeleteSnapshotRequest};
use crate::model::{
    Approval, Done, FsType, GroupMember, GroupSpec, Loss, ObjectRef, Owner, SnapshotId, SnapshotSpec, VolumeId,
    VolumeSpec,
};
use crate::state::Reader;
use crate::state::record::encode;

fn damage(world: &World, spec: &VolumeSpec, bytes: &[u8]) {
    world.sim.plant_file(layout().volume_record(&spec.id), bytes);
}

fn with_data(spec: &VolumeSpec) -> World {
    let world = World::new();
    world.up(spec).unwrap();
    world.sim.write_canary(publish(spec).target.join("canary"), b"precious");
    world
}

#[test]
fn a_corrupt_record_never_blocks_taking_down_and_is_rebuilt_as_protected() {
    let spec = image("db", FsType::Ext4);
    for bytes in [&b""[..], b"{\"half", b"garbage"] {
        let world = with_data(&spec);
        // The default pool is where an image is looked for when nothing else tells.
        world.down(&spec).unwrap();
        world.up(&spec).unwrap();
        damage(&world, &spec, bytes);

        world.down(&spec).unwrap();

        assert!(world.sim.mounts_at(&layout().staging_path(&spec.id)).unwrap().is_empty());
        assert_eq!(world.sim.check(), Vec::<String>::new());
        assert_eq!(refusal(world.driver.run(&delete(&spec))).0, Refusal::Protected);
        world.up(&spec).unwrap();
        assert_eq!(world.sim.read(publish(&spec).target.join("canary")).as_deref(), Some(&b"precious"[..]));
        let record = Reader::new(&world.sim, &layout()).volume(&spec.id).present().cloned().unwrap();
        assert!(!record.rebuilt, "its manifest was applied again");
        assert_eq!(world.sim.list(&layout().set_aside()).unwrap().len(), 1);
    }
}

#[test]
fn a_record_whose_checksum_fails_still_tells_where_its_image_lies() {
    let spec = image("db", FsType::Ext4);
    let world = with_data(&spec);
    world.down(&spec).unwrap();
    let mut bytes = world.sim.read(layout().volume_record(&spec.id)).unwrap();
    // Lines that were appended are gone with the end of the first.
    let first = bytes.iter().position(|byte| *byte == b'\n').unwrap();
    bytes.truncate(first - 30);
    damage(&world, &spec, &bytes);

    assert_eq!(refusal(world.driver.run(&delete(&spec))).0, Refusal::Protected);

    let record = Reader::new(&world.sim, &layout()).volume(&spec.id).present().cloned().unwrap();
    assert!(record.rebuilt);
    assert_eq!(world.sim.check(), Vec::<String>::new());
}

#[test]
fn a_newer_record_is_refused_untouched_and_taking_down_works() {
    let spec = image("db", FsType::Ext4);
    let world = with_data(&spec);
    let newer = br#"{"schema":"csictl.volume/9","version":9,"record":{}}"#;
    damage(&world, &spec, newer);

    for action in up(&spec).into_iter().chain([delete(&spec), expand(&spec, 1024)]) {
        assert_eq!(refusal(world.driver.run(&action)).0, Refusal::NewerRecord, "{}", action.verb());
    }
    world.down(&spec).unwrap();

    assert!(world.sim.mounts_at(&publish(&spec).target).unwrap().is_empty());
    assert!(world.sim.mounts_at(&layout().staging_path(&spec.id)).unwrap().is_empty());
    assert_eq!(world.sim.read(layout().volume_record(&spec.id)).as_deref(), Some(&newer[..]));
}

#[test]
fn with_the_state_directory_lost_images_are_adopted_and_none_is_overwritten() {
    for spec in every_sort().into_iter().filter(|spec| spec.backing.as_image().is_some() && !spec.is_raw()) {
        let world = with_data(&spec);
        world.down(&spec).unwrap();
        world.sim.remove_all("/var/lib/csictl");
        let world = World::on(world.sim);

        assert_eq!(world.create(&spec).unwrap().done, Done::Changed);
        world.up(&spec).unwrap();

        assert_eq!(world.sim.check(), Vec::<String>::new());
        assert_eq!(world.sim.read(publish(&spec).target.join("canary")).as_deref(), Some(&b"precious"[..]));
    }
}

#[test]
fn an_edited_record_leads_nobody_to_other_files() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    world.down(&spec).unwrap();
    world.sim.plant_image("/etc/shop.db.img", 4096, crate::host::sim::Content::Blank);
    world.sim.plant_file("/etc/passwd", b"root");
    let mut record = Reader::new(&world.sim, &layout()).volume(&spec.id).present().cloned().unwrap();
    if let crate::model::Backing::Image(image) = &mut record.spec.backing {
        image.pool_path = "/etc".into();
    }
    record.made_targets.insert("/etc".into(), crate::model::PublishKind::Mount);
    record.made_targets.insert("/etc/passwd".into(), crate::model::PublishKind::Mount);
    damage(&world, &spec, &encode(&record));
    let before: Vec<_> = world.sim.listing().into_iter().filter(|line| line.starts_with("/etc")).collect();

    assert_eq!(refusal(world.driver.run(&delete(&spec))).0, Refusal::WrongIdentity);
    let _ = world.down(&spec);
    let _ = world.driver.release(&spec.id);

    let after: Vec<_> = world.sim.listing().into_iter().filter(|line| line.starts_with("/etc")).collect();
    assert_eq!(after, before);
}

#[test]
fn after_a_reboot_everything_comes_back() {
    for spec in every_sort() {
        let world = World::new();
        world.up(&spec).unwrap();
        let rebooted = World::on(world.sim.reboot());
        assert!(rebooted.sim.loops().unwrap().is_empty());

        rebooted.up(&spec).unwrap();

        assert_eq!(rebooted.sim.check_settled(&["/pool".as_ref()]), Vec::<String>::new(), "{}", spec.id);
        assert!(rebooted.up(&spec).unwrap().iter().all(|outcome| outcome.done == Done::Already), "{}", spec.id);
    }
}

#[test]
fn a_power_cut_leaves_what_was_acknowledged() {
    for spec in every_sort() {
        let world = World::new();
        world.up(&spec).unwrap();
        let dark = World::on(world.sim.power_cut());

        dark.up(&spec).unwrap();

        assert_eq!(dark.sim.check_settled(&["/pool".as_ref()]), Vec::<String>::new(), "{}", spec.id);
    }
}

/// The pool and the records lie on two file systems, each with a journal of its own.
#[test]
fn what_was_deleted_does_not_come_back_after_a_power_cut() {
    let spec = image("db", FsType::Ext4);
    let world = World::new();
    world.sim.add_filesystem("/pool", "xfs", 1 << 40, false);
    world.up(&spec).unwrap();
    let (volume, one, group) = (&spec.id, "one", "nightly");
    let (snapshot, members) = snapshots_of(volume, one, group);
    world.driver.snapshot(&snapshot).unwrap();
    world.driver.snapshot_group(&members).unwrap();
    world.down(&spec).unwrap();
    world.sim.sync("/pool".as_ref()).unwrap();
    assert_eq!(world.sim.list("/pool".as_ref()).unwrap().len(), 3);

    let approved = |object: ObjectRef| Some(Approval { object, loss: Loss::Delete });
    let deletion =
        DeleteSnapshotRequest { approval: approved(ObjectRef::Snapshot(snapshot.id.clone())), id: snapshot.id };
    world.driver.delete_snapshot(&deletion).unwrap();
    let deletion = DeleteGroupRequest { approval: approved(ObjectRef::Group(members.id.clone())), id: members.id };
    world.driver.delete_group(&deletion).unwrap();
    world.driver.run(&delete(&spec)).unwrap();
    let dark = world.sim.power_cut();

    assert_eq!(dark.list("/pool".as_ref()).unwrap(), Vec::<std::ffi::OsString>::new());
    assert_eq!(Reader::new(&dark, &layout()).volume_ids().unwrap(), []);
}

fn snapshots_of(volume: &VolumeId, one: &str, group: &str) -> (SnapshotSpec, GroupSpec) {
    let snapshot = |name: &str| -> SnapshotId { format!("snap-{name}").parse().unwrap() };
    let member = GroupMember { volume: volume.clone(), snapshot: snapshot(group) };
    let id = format!("group-{group}").parse().unwrap();
    (
        SnapshotSpec { id: snapshot(one), owner: Owner::Csi, name: one.into(), volume: volume.clone() },
        GroupSpec { id, owner: Owner::Csi, name: group.into(), members: vec![member] },
    )
}

#[test]
fn others_can_write_into_the_state_directory_nothing_is_done() {
    let world = World::new();
    world.sim.plant_directory("/var/lib/csictl");
    let mode = crate::model::Ownership { owner: None, mode: Some(0o777) };
    crate::host::Host::set_ownership(&world.sim, "/var/lib/csictl".as_ref(), mode).unwrap();

    let (refused, message) = refusal(world.create(&image("db", FsType::Ext4)));

    assert_eq!(refused, Refusal::UnsafePath);
    assert!(message.contains("/var/lib/csictl has mode 0777"), "{message}");
    assert!(world.sim.stat("/pool/shop.db.img".as_ref()).unwrap().is_none());
}

/// Taking down needs no room: what could not be written down is told, and found out by looking.
#[test]
fn a_full_state_directory_keeps_nobody_from_taking_down() {
    for spec in every_sort() {
        let world = World::new();
        world.up(&spec).unwrap();
        let path = layout().volume_record(&spec.id);
        world.sim.set_root_size(1);

        let outcomes = world.down(&spec).unwrap_or_else(|error| panic!("{}: {error}", spec.id));

        let told = outcomes.iter().flat_map(|outcome| &outcome.notes).any(|note| note.contains("not written down"));
        // A record that has room in the block it has already is still appended to.
        let record = Reader::new(&world.sim, &layout()).volume(&spec.id).present().cloned().unwrap();
        assert!(told || record.made_targets.is_empty(), "{}: {outcomes:?}", spec.id);
        assert!(world.sim.mounts_at(TARGET.as_ref()).unwrap().is_empty(), "{}", spec.id);
        assert!(world.sim.read_small(&path).unwrap().is_some_and(|bytes| !bytes.is_empty()), "{}", spec.id);
        world.sim.set_root_size(1 << 40);
        let world = World::on(world.sim);
        world.up(&spec).unwrap_or_else(|error| panic!("{}: {error}", spec.id));
    }
}

#[test]
fn a_power_cut_that_takes_the_word_of_a_finished_image_never_has_it_formatted_again() {
    for fs in FsType::ALL {
        let spec = image("db", fs);
        let world = with_data(&spec);

        let dark = World::on(world.sim.power_cut());
        // As an orchestrator comes back: it stages what it has, without creating it once more.
        dark.driver.run(&stage(&spec)).unwrap();

        let kept = dark.sim.read(layout().staging_path(&spec.id).join("canary"));
        assert_eq!(kept.as_deref(), Some(&b"precious"[..]), "{fs}");
        assert_eq!(dark.sim.check(), Vec::<String>::new());
    }
}
