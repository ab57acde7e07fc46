//! Staging: once, at one path, with one capability.

use csictl::csi::proto::volume_capability::access_mode::Mode;
use csictl::model::FsType;
use std::fs;
use std::os::unix::fs::MetadataExt;
use tonic::Code;

use super::{Rig, mounted_at};
use crate::csi::calls;
use crate::csi::calls::{block, mounted, with_group, with_mode};

#[test]
fn a_stage_is_mounted_once_with_its_flags_and_type_whatever_is_repeated() {
    let rig = Rig::new();
    for fs in FsType::ALL {
        let id = rig.volume(&format!("vol-{fs}"), Some(fs), 320);
        let capability = mounted(fs.as_str(), &["noatime"]);
        let path = rig.stage(&id, &capability);
        rig.stage(&id, &capability);
        let (kind, options, _) = mounted_at(&path).unwrap();
        assert_eq!(kind, fs.as_str());
        for option in ["noatime", "nosuid", "nodev", "rw"] {
            assert!(options.split(',').any(|o| o == option), "{fs}: {option} in {options}");
        }
        rig.unstage(&id);
        rig.unstage(&id);
        assert_eq!(mounted_at(&path), None);
        assert!(path.is_dir(), "the orchestrator's directory is the orchestrator's");
    }
    assert_eq!(rig.place.loops(), vec![]);
}

#[test]
fn the_same_path_with_another_capability_or_another_path_exists_already() {
    let rig = Rig::new();
    let (id, raw) = (rig.volume("vol-1", Some(FsType::Ext4), 16), rig.volume("vol-raw", None, 4));
    let capability = mounted("ext4", &["noatime", "nodiratime"]);
    let path = rig.stage(&id, &capability);
    let raw_path = rig.stage(&raw, &block());
    let node = || rig.serving.node();
    for other in [
        mounted("xfs", &["noatime", "nodiratime"]),
        mounted("ext4", &["noatime"]),
        mounted("ext4", &[]),
        block(),
        with_group(&capability, "77"),
        with_mode(capability.clone(), Mode::SingleNodeMultiWriter),
    ] {
        rig.serving.refused(Code::AlreadyExists, node().node_stage_volume(calls::stage(&id, &path, &other)));
    }
    for same in [mounted("", &["noatime", "nodiratime"]), mounted("ext4", &["nodiratime", "noatime"])] {
        rig.serving.ok(node().node_stage_volume(calls::stage(&id, &path, &same)));
    }
    let elsewhere = rig.staging("elsewhere");
    rig.serving.refused(Code::AlreadyExists, node().node_stage_volume(calls::stage(&id, &elsewhere, &capability)));
    rig.serving.refused(Code::AlreadyExists, node().node_stage_volume(calls::stage(&raw, &elsewhere, &block())));
    rig.serving
        .refused(Code::AlreadyExists, node().node_stage_volume(calls::stage(&raw, &raw_path, &mounted("", &[]))));
    // Where it is not staged there is nothing to unstage, and what is staged stays.
    rig.serving.ok(node().node_unstage_volume(calls::unstage(&id, &elsewhere)));
    assert!(mounted_at(&path).is_some());
    rig.unstage(&id);
    rig.unstage(&raw);
    assert_eq!(rig.place.loops(), vec![], "a loop device that stage attached goes with the unstage");
}

#[test]
fn what_the_volume_is_not_made_for_is_refused() {
    let rig = Rig::new();
    let (id, raw) = (rig.volume("vol-1", Some(FsType::Ext4), 16), rig.volume("vol-raw", None, 4));
    let stage = |id: &str, capability| calls::stage(id, &rig.staging(id), &capability);
    for (id, capability, code) in [
        (&id, mounted("xfs", &[]), Code::FailedPrecondition),
        (&id, block(), Code::FailedPrecondition),
        (&raw, mounted("", &[]), Code::FailedPrecondition),
        (&id, mounted("ntfs", &[]), Code::InvalidArgument),
        (&id, mounted("ext4", &["suid"]), Code::InvalidArgument),
        (&id, mounted("ext4", &["noatime,dev"]), Code::InvalidArgument),
        (&id, with_mode(mounted("", &[]), Mode::MultiNodeMultiWriter), Code::InvalidArgument),
    ] {
        rig.serving.refused(code, rig.serving.node().node_stage_volume(stage(id, capability)));
    }
    assert_eq!(rig.place.loops(), vec![]);
}

#[test]
fn missing_fields_unknown_volumes_and_hostile_ids_have_their_codes() {
    let rig = Rig::new();
    let path = rig.staging("x");
    let node = || rig.serving.node();
    let long = "x".repeat(129);
    for (id, code) in [
        ("", Code::InvalidArgument),
        (long.as_str(), Code::InvalidArgument),
        ("none", Code::NotFound),
        ("../../victim", Code::NotFound),
        ("A b", Code::NotFound),
    ] {
        rig.serving.refused(code, node().node_stage_volume(calls::stage(id, &path, &mounted("", &[]))));
        let publish = calls::publish(id, &path, &rig.target("x"), &mounted("", &[]), false);
        rig.serving.refused(code, node().node_publish_volume(publish));
        rig.serving.refused(code, node().node_get_volume_stats(calls::stats(id, &path)));
        rig.serving.refused(code, node().node_expand_volume(calls::node_expand(id, &path, None)));
        if code == Code::NotFound {
            rig.serving.ok(node().node_unstage_volume(calls::unstage(id, &path)));
            rig.serving.ok(node().node_unpublish_volume(calls::unpublish(id, &rig.target("x"))));
        }
    }
    let good = calls::stage("none", &path, &mounted("", &[]));
    for broken in [
        calls_with(&good, |r| r.staging_target_path.clear()),
        calls_with(&good, |r| r.staging_target_path = "relative".into()),
        calls_with(&good, |r| r.staging_target_path = "/a/../b".into()),
        calls_with(&good, |r| r.staging_target_path = "/".into()),
        calls_with(&good, |r| r.volume_capability = None),
        calls_with(&good, |r| r.volume_capability.as_mut().unwrap().access_type = None),
        calls_with(&good, |r| r.volume_capability.as_mut().unwrap().access_mode = None),
    ] {
        rig.serving.refused(Code::InvalidArgument, node().node_stage_volume(broken));
    }
}

fn calls_with<T: Clone>(good: &T, breaks: impl FnOnce(&mut T)) -> T {
    let mut broken = good.clone();
    breaks(&mut broken);
    broken
}

#[test]
fn a_mount_group_owns_the_files() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let path = rig.stage(&id, &with_group(&mounted("", &[]), "4711"));
    let root = fs::metadata(&path).unwrap();
    assert_eq!((root.gid(), root.mode() & 0o2070), (4711, 0o2070));
    rig.unstage(&id);
    let message = rig.serving.refused(
        Code::InvalidArgument,
        rig.serving.node().node_stage_volume(calls::stage(&id, &path, &with_group(&mounted("", &[]), "wheel"))),
    );
    assert!(message.contains("volume_mount_group"), "{message}");
}

#[test]
fn a_projects_volume_that_apply_has_staged_is_left_to_it() {
    let rig = Rig::new();
    rig.place.write(
        "shop.toml",
        &format!(
            "version = 1\nproject = \"shop\"\n[volumes.db]\ncapacity = \"32MiB\"\n[pods.app]\nroot = \"{}\"\n\
             [[pods.app.mounts]]\nvolume = \"db\"\npath = \"/db\"\n",
            rig.path("root").display()
        ),
    );
    rig.place.ok(&["apply", "shop.toml", "--yes"]);
    let (elsewhere, own) = (rig.staging("shop.db"), rig.place.run().join("staging/shop.db"));
    let node = || rig.serving.node();
    rig.serving
        .refused(Code::AlreadyExists, node().node_stage_volume(calls::stage("shop.db", &elsewhere, &mounted("", &[]))));
    rig.serving.refused(Code::InvalidArgument, node().node_unstage_volume(calls::unstage("shop.db", &own)));
    rig.serving.ok(node().node_unstage_volume(calls::unstage("shop.db", &elsewhere)));
    let shown = rig.path("root/db");
    rig.serving.refused(Code::FailedPrecondition, node().node_unpublish_volume(calls::unpublish("shop.db", &shown)));
    assert!(mounted_at(&shown).is_some() && mounted_at(&own).is_some());
    rig.serving.refused(
        Code::FailedPrecondition,
        rig.serving.controller().controller_expand_volume(calls::expand("shop.db", calls::range(64 << 20, 0))),
    );
    rig.place.ok(&["destroy", "shop.toml", "--yes"]);
}
