//! Publishing: from where it is staged, to one target, to many only for many writers.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, symlink};

use csictl::csi::proto::volume_capability::access_mode::Mode;
use csictl::model::FsType;
use nix::mount::{MsFlags, mount};
use tonic::Code;

use super::{Rig, mounted_at};
use crate::csi::calls;
use crate::csi::calls::{block, mounted, with_group, with_mode};

#[test]
fn a_target_shows_the_volume_until_it_is_unpublished_and_is_removed_then() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let staged = rig.stage(&id, &mounted("", &[]));
    let target = rig.publish(&id, &mounted("", &[]), false);
    rig.publish(&id, &mounted("", &[]), false);
    fs::write(target.join("file"), "kept").unwrap();
    assert_eq!(fs::read_to_string(staged.join("file")).unwrap(), "kept");
    let unstage = calls::unstage(&id, &staged);
    rig.serving.refused(Code::FailedPrecondition, rig.serving.node().node_unstage_volume(unstage));
    rig.unpublish(&id);
    rig.unpublish(&id);
    assert!(!target.exists() && target.parent().unwrap().is_dir());
    assert_eq!(fs::read_to_string(staged.join("file")).unwrap(), "kept");
    rig.unstage(&id);
}

#[test]
fn a_volume_holds_no_more_than_its_capacity() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    rig.stage(&id, &mounted("", &[]));
    let target = rig.publish(&id, &mounted("", &[]), false);
    let written = fs::write(target.join("much"), vec![7; 50 << 20]);
    assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    fs::remove_file(target.join("much")).unwrap();
    rig.down(&id);
}

#[test]
fn what_is_not_staged_there_is_not_published() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let (staging, target) = (rig.staging(&id), rig.target("t"));
    let refused = |staging: &std::path::Path| {
        let publish = calls::publish(&id, staging, &target, &mounted("", &[]), false);
        rig.serving.refused(Code::FailedPrecondition, rig.serving.node().node_publish_volume(publish));
        assert!(!target.exists());
    };
    refused(&staging);
    rig.stage(&id, &mounted("", &[]));
    refused(&rig.staging("elsewhere"));
    let mut without = calls::publish(&id, &staging, &target, &mounted("", &[]), false);
    without.staging_target_path.clear();
    rig.serving.refused(Code::FailedPrecondition, rig.serving.node().node_publish_volume(without));
    // The plain directory below a mount that somebody took away is never shown.
    rustix::mount::unmount(&staging, rustix::mount::UnmountFlags::empty()).unwrap();
    refused(&staging);
}

#[test]
fn a_target_keeps_its_arguments_and_others_are_for_many_writers() {
    let rig = Rig::new();
    let one = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let many = rig.volume("vol-2", Some(FsType::Ext4), 16);
    let capability = mounted("ext4", &[]);
    let shared = with_mode(capability.clone(), Mode::SingleNodeMultiWriter);
    let node = || rig.serving.node();
    let staged = rig.stage(&one, &capability);
    let target = rig.publish(&one, &capability, false);
    for (capability, readonly) in [
        (&capability, true),
        (&mounted("ext4", &["noatime"]), false),
        (&mounted("xfs", &[]), false),
        (&block(), false),
        (&shared, false),
    ] {
        let other = calls::publish(&one, &staged, &target, capability, readonly);
        rig.serving.refused(Code::AlreadyExists, node().node_publish_volume(other));
    }
    let second = rig.target("second");
    for capability in [&capability, &shared, &with_mode(capability.clone(), Mode::SingleNodeSingleWriter)] {
        let second = calls::publish(&one, &staged, &second, capability, false);
        let message = rig.serving.refused(Code::FailedPrecondition, node().node_publish_volume(second));
        assert!(message.contains(target.to_str().unwrap()), "{message}");
    }
    let staged = rig.stage(&many, &shared);
    for name in ["a", "b", "c"] {
        let publish = calls::publish(&many, &staged, &rig.target(name), &shared, name == "c");
        rig.serving.ok(node().node_publish_volume(publish));
    }
    fs::write(rig.target("a").join("x"), "1").unwrap();
    assert_eq!(fs::read_to_string(rig.target("b").join("x")).unwrap(), "1");
    assert_eq!(fs::write(rig.target("c").join("x"), "2").unwrap_err().raw_os_error(), Some(libc::EROFS));
    for name in ["a", "b", "c"] {
        rig.serving.ok(node().node_unpublish_volume(calls::unpublish(&many, &rig.target(name))));
    }
    rig.unstage(&many);
    rig.down(&one);
}

#[test]
fn read_only_means_that_nobody_writes_a_raw_device_too() {
    let rig = Rig::new();
    let (id, raw) = (rig.volume("vol-1", Some(FsType::Ext4), 16), rig.volume("vol-raw", None, 4));
    rig.stage(&id, &mounted("", &[]));
    let target = rig.publish(&id, &mounted("", &[]), true);
    assert_eq!(fs::write(target.join("x"), "").unwrap_err().raw_os_error(), Some(libc::EROFS));
    rig.stage(&raw, &block());
    let node = rig.publish(&raw, &block(), true);
    rig.publish(&raw, &block(), true);
    assert!(fs::metadata(&node).unwrap().file_type().is_block_device());
    let written = fs::OpenOptions::new().write(true).open(&node).and_then(|mut d| {
        d.write_all(&[1; 512])?;
        d.sync_all()
    });
    assert!(written.is_err(), "a read-only device took a write");
    let mut byte = [9];
    fs::File::open(&node).unwrap().read_exact(&mut byte).unwrap();
    assert_eq!(byte, [0]);
    rig.unpublish(&raw);
    assert!(!node.exists());
    let node = rig.publish(&raw, &block(), false);
    let mut device = fs::OpenOptions::new().read(true).write(true).open(&node).unwrap();
    device.write_all(&[5; 512]).unwrap();
    device.sync_all().unwrap();
    device.seek(SeekFrom::Start(0)).unwrap();
    device.read_exact(&mut byte).unwrap();
    assert_eq!(byte, [5]);
    drop(device);
    rig.down(&raw);
    rig.down(&id);
    assert_eq!(rig.place.loops(), vec![]);
}

#[test]
fn links_strangers_and_csictls_own_directories_are_no_targets() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let staged = rig.stage(&id, &mounted("", &[]));
    let (victim, link, own) = (rig.path("victim"), rig.target("link"), rig.place.run().join("staging/x"));
    fs::create_dir_all(victim.join("below")).unwrap();
    symlink(&victim, &link).unwrap();
    let node = || rig.serving.node();
    for target in [&link, &link.join("below"), &own] {
        let publish = calls::publish(&id, &staged, target, &mounted("", &[]), false);
        rig.serving.refused(Code::InvalidArgument, node().node_publish_volume(publish));
    }
    assert!(mounted_at(&victim).is_none() && mounted_at(&victim.join("below")).is_none());
    let foreign = rig.target("foreign");
    fs::create_dir_all(&foreign).unwrap();
    super::super::shop::run(std::process::Command::new("mount").args(["-t", "tmpfs", "none"]).arg(&foreign));
    let publish = calls::publish(&id, &staged, &foreign, &mounted("", &[]), false);
    rig.serving.refused(Code::FailedPrecondition, node().node_publish_volume(publish));
    rig.serving.refused(Code::FailedPrecondition, node().node_unpublish_volume(calls::unpublish(&id, &foreign)));
    assert_eq!(mounted_at(&foreign).unwrap().0, "tmpfs");
    let full = rig.target("full");
    fs::create_dir_all(full.join("precious")).unwrap();
    rig.serving.ok(node().node_unpublish_volume(calls::unpublish(&id, &full)));
    assert!(full.join("precious").is_dir(), "never a recursive delete");
    rig.unstage(&id);
}

#[test]
fn a_parent_that_is_missing_is_made_and_a_group_given() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let capability = with_group(&mounted("", &[]), "4711");
    let staged = rig.stage(&id, &capability);
    let deep = rig.path("pods/uid/volumes/csi/mount");
    let mut request = calls::publish(&id, &staged, &deep, &capability, false);
    request.secrets.insert("token".into(), "hunter2-secret".into());
    request.volume_context.insert("csi.storage.k8s.io/pod.name".into(), "web-0".into());
    request.volume_context.insert("csi.storage.k8s.io/serviceAccount.tokens".into(), "hunter2-token".into());
    rig.serving.ok(rig.serving.node().node_publish_volume(request));
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&fs::metadata(&deep).unwrap()), 4711);
    let mut kept = rig.serving.log();
    for record in [rig.place.state().join("volumes/vol-1.json"), rig.place.run().join("volumes/vol-1.json")] {
        kept.push_str(&fs::read_to_string(record).unwrap());
    }
    assert!(kept.contains("web-0") && !kept.contains("hunter2"), "{kept}");
    rig.serving.ok(rig.serving.node().node_unpublish_volume(calls::unpublish(&id, &deep)));
    assert!(!rig.path("pods").exists(), "what was made for it goes with it");
    rig.unstage(&id);
}

/// A mount that the orchestrator does not see is none for it: it is told where the directory should have been shared and is not.
#[test]
fn a_target_whose_mount_nobody_outside_sees_is_warned_of() {
    for (flags, warned) in [(MsFlags::MS_PRIVATE, true), (MsFlags::MS_SHARED, false)] {
        let rig = Rig::new();
        let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
        let capability = mounted("", &[]);
        let staged = rig.stage(&id, &capability);
        let pods = rig.path("pods");
        fs::create_dir_all(&pods).unwrap();
        mount(Some(&pods), &pods, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        mount(None::<&str>, &pods, None::<&str>, flags, None::<&str>).unwrap();
        let target = pods.join("web");

        rig.serving.ok(rig.serving.node().node_publish_volume(calls::publish(
            &id,
            &staged,
            &target,
            &capability,
            false,
        )));

        let log = rig.serving.log();
        assert_eq!(log.contains("without shared propagation"), warned, "{log}");
        rig.serving.ok(rig.serving.node().node_unpublish_volume(calls::unpublish(&id, &target)));
        rig.unstage(&id);
        nix::mount::umount(&pods).unwrap();
    }
}
