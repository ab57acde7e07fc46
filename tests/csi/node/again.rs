//! What holds over a server's restart, a reboot, and from another mount namespace.

use std::fs;
use std::process::Command;

use csictl::csi::proto::volume_capability::access_mode::Mode;
use csictl::model::FsType;
use nix::mount::MsFlags;
use rustix::mount::{UnmountFlags, unmount};
use tonic::Code;

use super::{Rig, mounted_at};
use crate::csi::calls;
use crate::csi::calls::{block, mounted};
use crate::csi::shop::run;
use crate::support::Place;
use crate::support::serving::Serving;

#[test]
fn a_new_server_knows_what_the_old_one_did() {
    let rig = Rig::new();
    let (id, raw) = (rig.volume("vol-1", Some(FsType::Ext4), 16), rig.volume("vol-raw", None, 4));
    let staged = rig.stage(&id, &mounted("", &["noatime"]));
    rig.publish(&id, &mounted("", &["noatime"]), false);
    rig.stage(&raw, &block());
    let rig = rig.restarted();
    rig.stage(&id, &mounted("", &["noatime"]));
    rig.publish(&id, &mounted("", &["noatime"]), false);
    let other = calls::stage(&id, &staged, &mounted("", &[]));
    rig.serving.refused(Code::AlreadyExists, rig.serving.node().node_stage_volume(other));
    rig.down(&id);
    rig.down(&raw);
    assert_eq!(rig.place.loops(), vec![]);
}

#[test]
fn after_a_reboot_a_stage_attaches_again_what_was_lost() {
    let rig = Rig::new();
    let (id, raw) = (rig.volume("vol-1", Some(FsType::Ext4), 16), rig.volume("vol-raw", None, 4));
    rig.stage(&id, &mounted("", &[]));
    let target = rig.publish(&id, &mounted("", &[]), false);
    fs::write(target.join("kept"), "yes").unwrap();
    rig.stage(&raw, &block());
    let device = rig.publish(&raw, &block(), false);

    // What a reboot does: no mounts, no loop devices, an empty run directory.
    unmount(&target, UnmountFlags::empty()).unwrap();
    unmount(&device, UnmountFlags::empty()).unwrap();
    unmount(rig.staging(&id), UnmountFlags::empty()).unwrap();
    for (node, _) in rig.place.loops() {
        assert!(Command::new("losetup").arg("-d").arg(node).status().unwrap().success());
    }
    fs::remove_dir_all(rig.place.run()).unwrap();
    let rig = rig.restarted();

    let early = calls::publish(&id, &rig.staging(&id), &target, &mounted("", &[]), false);
    rig.serving.refused(Code::FailedPrecondition, rig.serving.node().node_publish_volume(early));
    rig.stage(&id, &mounted("", &[]));
    rig.publish(&id, &mounted("", &[]), false);
    assert_eq!(fs::read_to_string(target.join("kept")).unwrap(), "yes");
    rig.stage(&raw, &block());
    rig.publish(&raw, &block(), false);
    rig.down(&id);
    rig.down(&raw);
    assert!(!target.exists() && !device.exists());
    assert_eq!(rig.place.loops(), vec![]);
}

#[test]
fn with_all_records_lost_only_what_is_the_volumes_own_is_taken_away() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    rig.stage(&id, &mounted("", &[]));
    let target = rig.publish(&id, &mounted("", &[]), false);
    let (foreign, image) = (rig.target("foreign"), rig.path("foreign.img"));
    fs::create_dir_all(&foreign).unwrap();
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    run(Command::new("mkfs.ext4").arg("-q").arg(&image));
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&foreign));
    for records in [rig.place.state().join("volumes"), rig.place.run().join("volumes")] {
        fs::remove_file(records.join("vol-1.json")).unwrap();
    }
    let rig = rig.restarted();
    let empty = rig.target("empty");
    fs::write(&empty, "").unwrap();
    for (id, target) in [("vol-2", &target), ("vol-1", &foreign), ("vol-2", &empty)] {
        rig.serving.ok(rig.serving.node().node_unpublish_volume(calls::unpublish(id, target)));
    }
    assert!(mounted_at(&foreign).is_some() && mounted_at(&target).is_some() && empty.exists());
    rig.unpublish(&id);
    assert!(mounted_at(&target).is_none() && !target.exists());
}

/// The container of a driver has a mount namespace of its own, in which what it mounts is shared with the machine's (`mountPropagation:
/// Bidirectional`). A new one comes with every upgrade, and sees the mounts of the one before.
#[test]
fn a_server_whose_container_was_replaced_goes_on_with_the_mounts_that_are_there() {
    let place = Place::new();
    let shared =
        |flags| nix::mount::mount(Some(place.path()), place.path(), None::<&str>, flags, None::<&str>).unwrap();
    shared(MsFlags::MS_BIND);
    shared(MsFlags::MS_SHARED);
    let contained = || {
        let wrap = |server: Command| {
            let mut unshare = Command::new("unshare");
            unshare.args(["--mount", "--propagation", "unchanged"]).arg(server.get_program()).args(server.get_args());
            unshare.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?)))).current_dir(place.path());
            unshare
        };
        Serving::start_under(&place, wrap).unwrap()
    };
    let one_writer = calls::with_mode(mounted("xfs", &[]), Mode::SingleNodeSingleWriter);
    let stage = place.join("stage");
    fs::create_dir(&stage).unwrap();
    let (target, second) = (place.join("target"), place.join("second"));
    let serving = contained();
    let create = calls::create("pvc-1", &one_writer, 300 << 20);
    let id = serving.ok(serving.controller().create_volume(create)).volume.unwrap().volume_id;
    serving.ok(serving.node().node_stage_volume(calls::stage(&id, &stage, &one_writer)));
    serving.ok(serving.node().node_publish_volume(calls::publish(&id, &stage, &target, &one_writer, false)));
    fs::write(target.join("file"), "kept").unwrap();
    drop(serving);

    let serving = contained();
    let node = || serving.node();
    let stats = serving.ok(node().node_get_volume_stats(calls::stats(&id, &target)));
    assert!(!stats.volume_condition.unwrap().abnormal);
    let expand = calls::expand(&id, calls::range(400 << 20, 0));
    serving.ok(serving.controller().controller_expand_volume(expand));
    serving.ok(node().node_stage_volume(calls::stage(&id, &stage, &one_writer)));
    let twice = calls::publish(&id, &stage, &second, &one_writer, false);
    serving.refused(Code::FailedPrecondition, node().node_publish_volume(twice));
    serving.ok(node().node_publish_volume(calls::publish(&id, &stage, &target, &one_writer, false)));
    serving.refused(Code::FailedPrecondition, node().node_unstage_volume(calls::unstage(&id, &stage)));
    assert_eq!(fs::read_to_string(target.join("file")).unwrap(), "kept");

    serving.ok(node().node_unpublish_volume(calls::unpublish(&id, &target)));
    serving.ok(node().node_unstage_volume(calls::unstage(&id, &stage)));
    assert!(mounted_at(&stage).is_none() && mounted_at(&target).is_none());
    drop(serving);
    nix::mount::umount2(place.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

#[test]
fn a_server_in_another_mount_namespace_touches_nothing() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let staged = rig.stage(&id, &mounted("", &[]));
    let target = rig.publish(&id, &mounted("", &[]), false);
    let Rig { serving, place } = rig;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let elsewhere = Serving::start_at(&place, "csi/other.sock", &[]);
            let node = || elsewhere.node();
            let refused = Code::FailedPrecondition;
            elsewhere.refused(refused, node().node_unpublish_volume(calls::unpublish(&id, &target)));
            elsewhere.refused(refused, node().node_unstage_volume(calls::unstage(&id, &staged)));
            elsewhere.refused(refused, node().node_stage_volume(calls::stage(&id, &staged, &mounted("", &[]))));
            elsewhere.refused(refused, node().node_get_volume_stats(calls::stats(&id, &target)));
        });
    });
    assert!(mounted_at(&staged).is_some() && mounted_at(&target).is_some());
    Rig { serving, place }.down(&id);
}
