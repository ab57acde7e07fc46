//! Inline ephemeral volumes: they come with their publish and go with its end, whatever happens in between.

use std::fs;
use std::path::Path;

use csictl::csi::proto::{ListVolumesRequest, NodePublishVolumeRequest};
use csictl::model::FsType;
use rustix::mount::{UnmountFlags, unmount};
use tonic::Code;

use super::{Rig, fs_size, mounted_at};
use crate::csi::calls;
use crate::csi::calls::{mounted, with_group};

pub fn inline(id: &str, target: &Path, attributes: &[(&str, &str)]) -> NodePublishVolumeRequest {
    let mut request = calls::publish(id, Path::new(""), target, &mounted("", &[]), false);
    let own = [("csi.storage.k8s.io/ephemeral", "true"), ("csi.storage.k8s.io/pod.name", "web-0")];
    let context = own.iter().chain(attributes).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    request.volume_context = context.collect();
    request
}

/// Nothing of a volume is left on the machine.
fn is_gone(rig: &Rig, id: &str) {
    for path in [
        rig.place.state().join("volumes").join(format!("{id}.json")),
        rig.place.state().join("pool").join(format!("{id}.img")),
        rig.place.run().join("volumes").join(format!("{id}.json")),
        rig.place.run().join("staging").join(id),
        rig.target(id),
    ] {
        assert!(!path.exists(), "{} is left", path.display());
    }
    assert_eq!(rig.place.loops(), vec![]);
}

#[test]
fn it_comes_with_its_publish_and_goes_with_its_unpublish() {
    let rig = Rig::new();
    let node = || rig.serving.node();
    for (id, fs, size) in
        [("inline-1", "ext4", "16Mi"), ("inline-2", "xfs", "320MiB"), ("inline-3", "ext4", "33554432")]
    {
        let target = rig.target(id);
        let request = inline(id, &target, &[("size", size), ("allocate", "sparse"), ("csi.storage.k8s.io/fstype", fs)]);
        rig.serving.ok(node().node_publish_volume(request.clone()));
        rig.serving.ok(node().node_publish_volume(request.clone()));
        assert_eq!(mounted_at(&target).unwrap().0, fs);
        assert!(fs_size(&target) <= 320 << 20);
        fs::write(target.join("scratch"), "data").unwrap();
        let larger = inline(id, &target, &[("size", "400Mi"), ("allocate", "sparse")]);
        rig.serving.refused(Code::AlreadyExists, node().node_publish_volume(larger));
        let listed = rig.serving.ok(rig.serving.controller().list_volumes(ListVolumesRequest::default()));
        assert_eq!(listed.entries.len(), 0, "it is its pod's, not the orchestrator's to list");
        rig.serving.ok(node().node_get_volume_stats(calls::stats(id, &target)));
        rig.serving.ok(node().node_unpublish_volume(calls::unpublish(id, &rig.target("another"))));
        assert!(mounted_at(&target).is_some());
        rig.unpublish(id);
        rig.unpublish(id);
        is_gone(&rig, id);
    }
}

#[test]
fn what_cannot_be_made_leaves_nothing() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let target = rig.target("inline");
    for (id, attributes, code) in [
        ("inline", &[("size", "16M")][..], Code::InvalidArgument),
        ("inline", &[("colour", "blue")], Code::InvalidArgument),
        ("inline", &[("csi.storage.k8s.io/ephemeral", "maybe")], Code::InvalidArgument),
        ("inline", &[("size", "4096Gi")], Code::ResourceExhausted),
        ("../inline", &[("size", "16Mi")], Code::NotFound),
        (&id, &[("size", "16Mi")], Code::AlreadyExists),
    ] {
        rig.serving.refused(code, rig.serving.node().node_publish_volume(inline(id, &target, attributes)));
    }
    let foreign = rig.target("foreign");
    fs::write(&foreign, "a file").unwrap();
    assert!(
        rig.serving
            .call(rig.serving.node().node_publish_volume(inline("inline", &foreign, &[("size", "16Mi")])))
            .is_err()
    );
    is_gone(&rig, "inline");
    let mut token =
        inline("inline", &target, &[("size", "16Mi"), ("csi.storage.k8s.io/serviceAccount.tokens", "hunter2")]);
    token.volume_capability = Some(with_group(&mounted("", &[]), "4711"));
    rig.serving.ok(rig.serving.node().node_publish_volume(token));
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&fs::metadata(&target).unwrap()), 4711);
    let record = fs::read_to_string(rig.place.state().join("volumes/inline.json")).unwrap();
    assert!(!record.contains("hunter2") && !rig.serving.log().contains("hunter2"));
    rig.serving.ok(rig.serving.node().node_unpublish_volume(calls::unpublish("inline", &target)));
    is_gone(&rig, "inline");
}

#[test]
fn killed_at_any_moment_the_next_call_finishes_it() {
    let mut rig = Rig::new();
    let (id, target) = ("inline", rig.target("inline"));
    let publish = || inline(id, &target, &[("size", "16Mi")]);
    let unpublish = || calls::unpublish(id, &target);
    // Delays that fall before, into and behind the work.
    for delay in [0, 2, 5, 10, 15, 20, 30, 50] {
        for ends in [false, true] {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(rig.serving.pid()).unwrap());
            let killer = std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(delay));
                nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            });
            // Whether it was answered in time is not the question.
            let _ = if ends {
                rig.serving.call(rig.serving.node().node_unpublish_volume(unpublish())).map(drop)
            } else {
                rig.serving.call(rig.serving.node().node_publish_volume(publish())).map(drop)
            };
            killer.join().unwrap();
            rig = rig.revived();
            if ends {
                rig.serving.ok(rig.serving.node().node_unpublish_volume(unpublish()));
                is_gone(&rig, id);
            } else {
                rig.serving.ok(rig.serving.node().node_publish_volume(publish()));
                fs::write(target.join("x"), "y").unwrap();
            }
        }
    }
}

#[test]
fn after_a_reboot_the_unpublish_still_deletes_it() {
    let rig = Rig::new();
    let target = rig.target("inline");
    rig.serving.ok(rig.serving.node().node_publish_volume(inline("inline", &target, &[("size", "16Mi")])));
    unmount(&target, UnmountFlags::empty()).unwrap();
    unmount(rig.place.run().join("staging/inline"), UnmountFlags::empty()).unwrap();
    fs::remove_dir_all(rig.place.run()).unwrap();
    let rig = rig.restarted();
    rig.unpublish("inline");
    is_gone(&rig, "inline");
}

#[test]
fn one_whose_record_is_lost_still_goes_with_its_unpublish() {
    let rig = Rig::new();
    let record = rig.place.state().join("volumes/inline.json");
    for (lost, reboots) in [("torn", false), ("torn", true), ("gone", false), ("gone", true)] {
        let target = rig.target("inline");
        rig.serving.ok(rig.serving.node().node_publish_volume(inline("inline", &target, &[("size", "16Mi")])));
        if lost == "torn" {
            fs::write(&record, &fs::read(&record).unwrap()[..100]).unwrap();
        } else {
            fs::remove_file(&record).unwrap();
        }
        if reboots {
            unmount(&target, UnmountFlags::empty()).unwrap();
            unmount(rig.place.run().join("staging/inline"), UnmountFlags::empty()).unwrap();
            fs::remove_file(rig.place.run().join("volumes/inline.json")).unwrap();
        }

        rig.unpublish("inline");

        for path in [&target, &record, &rig.place.state().join("pool/inline.img")] {
            assert!(!path.exists(), "{lost}, reboots: {reboots}: {} is left", path.display());
        }
        assert_eq!(rig.place.loops(), vec![]);
        let _ = fs::remove_dir_all(rig.place.run().join("staging/inline"));
    }
}

#[test]
fn no_controller_attaches_one_and_no_group_number_is_out_of_range() {
    let rig = Rig::new();
    let target = rig.target("inline-1");
    let request = inline("inline-1", &target, &[("size", "16Mi"), ("allocate", "sparse")]);
    let mut refused = request.clone();
    refused.volume_capability = Some(with_group(&mounted("", &[]), "4294967295"));

    let error = rig.serving.call(rig.serving.node().node_publish_volume(refused)).unwrap_err();

    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    is_gone(&rig, "inline-1");
    rig.serving.ok(rig.serving.node().node_publish_volume(request));
    let attach = calls::controller_publish("inline-1", "node-1", &mounted("", &[]), false);
    let error = rig.serving.call(rig.serving.controller().controller_publish_volume(attach)).unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition, "{error}");
    rig.serving.ok(rig.serving.node().node_unpublish_volume(calls::unpublish("inline-1", &target)));
    is_gone(&rig, "inline-1");
}
