//! What holds over a server's restart, a reboot, and from another mount namespace.

use std::fs;
use std::process::Command;

use csictl::model::FsType;
use rustix::mount::{UnmountFlags, unmount};
use tonic::Code;

use super::{Rig, mounted_at};
use crate::csi::calls;
use crate::csi::calls::{block, mounted};
use crate::csi::shop::run;
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
