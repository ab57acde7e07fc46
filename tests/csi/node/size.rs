//! How large, how full, how well: expansion, statistics, condition.

use std::fs;
use std::process::Command;

use csictl::csi::proto::volume_usage::Unit;
use csictl::csi::proto::{
    ControllerExpandVolumeRequest, ControllerExpandVolumeResponse, ControllerGetVolumeRequest, NodeGetInfoRequest,
};
use csictl::model::FsType;
use tonic::{Code, Response, Status};

use super::{MIB, Rig, device_size, fs_size};
use crate::csi::calls;
use crate::csi::calls::{block, mounted};

type Answer<T> = Result<Response<T>, Status>;

async fn controller_expand(
    rig: &Rig,
    request: ControllerExpandVolumeRequest,
) -> Answer<ControllerExpandVolumeResponse> {
    rig.serving.controller().controller_expand_volume(request).await
}

#[test]
fn a_published_device_and_mounted_file_systems_grow_while_used() {
    let rig = Rig::new();
    let raw = rig.volume("vol-raw", None, 4);
    rig.stage(&raw, &block());
    let device = rig.publish(&raw, &block(), false);
    let grown = rig
        .serving
        .ok(rig.serving.controller().controller_expand_volume(calls::expand(&raw, calls::range(9 * MIB, 0))));
    assert_eq!((grown.capacity_bytes, grown.node_expansion_required), (9 * MIB, false));
    assert_eq!(device_size(&device), 9 * MIB);
    let more = calls::node_expand(&raw, &device, Some(calls::range(12 * MIB, 0)));
    assert_eq!(rig.serving.ok(rig.serving.node().node_expand_volume(more)).capacity_bytes, 12 * MIB);
    assert_eq!(device_size(&device), 12 * MIB);
    for fs in [FsType::Xfs, FsType::Btrfs] {
        let id = rig.volume(&format!("vol-{fs}"), Some(fs), 320);
        rig.stage(&id, &mounted("", &[]));
        let target = rig.publish(&id, &mounted("", &[]), false);
        let before = fs_size(&target);
        let expand = calls::expand(&id, calls::range(400 * MIB, 0));
        assert_eq!(rig.serving.ok(rig.serving.controller().controller_expand_volume(expand)).capacity_bytes, 400 * MIB);
        assert!(fs_size(&target) >= before + 79 * MIB, "{fs}");
        let none = calls::node_expand(&id, &target, None);
        assert_eq!(rig.serving.ok(rig.serving.node().node_expand_volume(none)).capacity_bytes, 400 * MIB);
        rig.down(&id);
    }
    rig.down(&raw);
}

#[test]
fn ext4_grows_unstaged_and_where_it_cannot_grow_mounted_nothing_changes() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let staged = rig.stage(&id, &mounted("", &[]));
    let before = fs_size(&staged);
    let image = rig.place.state().join("pool/vol-1.img");
    let expand = || controller_expand(&rig, calls::expand(&id, calls::range(64 * MIB, 0)));
    let facts = csictl::host::Observe::facts(&csictl::host::linux::LinuxObserve::new()).unwrap();
    if facts.can_grow_ext4_online {
        rig.serving.ok(expand());
    } else {
        let message = rig.serving.refused(Code::FailedPrecondition, expand());
        assert!(message.contains("CAP_SYS_RESOURCE"), "{message}");
        let node = calls::node_expand(&id, &staged, Some(calls::range(64 * MIB, 0)));
        rig.serving.refused(Code::FailedPrecondition, rig.serving.node().node_expand_volume(node));
        assert_eq!((fs_size(&staged), fs::metadata(&image).unwrap().len()), (before, 16 << 20));
        rig.unstage(&id);
        assert_eq!(rig.serving.ok(expand()).capacity_bytes, 64 * MIB);
        rig.stage(&id, &mounted("", &[]));
    }
    assert!(fs_size(&staged) > before + 40 * MIB);
    rig.unstage(&id);
}

#[test]
fn a_node_local_server_grows_all_of_it_with_the_nodes_call() {
    let rig = Rig::with(&["--node-local"]);
    for (id, fs) in [("vol-raw", None), ("vol-xfs", Some(FsType::Xfs))] {
        let id = rig.volume(id, fs, 320);
        let capability = if fs.is_some() { mounted("", &[]) } else { block() };
        rig.stage(&id, &capability);
        let target = rig.publish(&id, &capability, false);
        let size = || if fs.is_some() { fs_size(&target) } else { device_size(&target) };
        let before = size();
        let grow = calls::node_expand(&id, &target, Some(calls::range(400 * MIB, 500 * MIB)));
        assert_eq!(rig.serving.ok(rig.serving.node().node_expand_volume(grow)).capacity_bytes, 400 * MIB);
        assert!(size() >= before + 79 * MIB, "{id}");
        let image = rig.place.state().join("pool").join(format!("{id}.img"));
        assert_eq!(fs::metadata(image).unwrap().len(), 400 << 20);
        rig.down(&id);
    }
    assert_eq!(rig.place.loops(), vec![], "nobody else would take them away");
}

#[test]
fn expansion_keeps_its_bounds() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Xfs), 320);
    let staged = rig.stage(&id, &mounted("", &[]));
    let controller = |required, limit| controller_expand(&rig, calls::expand(&id, calls::range(required, limit)));
    for (required, limit, code) in [
        (-1, 0, Code::InvalidArgument),
        (0, 0, Code::InvalidArgument),
        (400 * MIB, 330 * MIB, Code::InvalidArgument),
        (1, 100 * MIB, Code::OutOfRange),
        (0, 100 * MIB, Code::OutOfRange),
        (400 * MIB - 1, 400 * MIB - 1, Code::OutOfRange),
    ] {
        rig.serving.refused(code, controller(required, limit));
    }
    assert_eq!(rig.serving.ok(controller(10 * MIB, 0)).capacity_bytes, 320 * MIB);
    assert_eq!(rig.serving.ok(controller(320 * MIB, 320 * MIB)).capacity_bytes, 320 * MIB);
    let mut without = calls::expand(&id, calls::range(0, 0));
    without.capacity_range = None;
    rig.serving.refused(Code::InvalidArgument, rig.serving.controller().controller_expand_volume(without));
    for id in ["none", "../x"] {
        let expand = calls::expand(id, calls::range(MIB, 0));
        rig.serving.refused(Code::NotFound, rig.serving.controller().controller_expand_volume(expand));
    }
    let node = |path: &std::path::Path, range| {
        let (mut client, request) = (rig.serving.node(), calls::node_expand(&id, path, range));
        async move { client.node_expand_volume(request).await }
    };
    rig.serving.refused(Code::NotFound, node(&rig.path("nowhere"), None));
    rig.serving.refused(Code::OutOfRange, node(&staged, Some(calls::range(0, MIB))));
    rig.unstage(&id);
    rig.serving.refused(Code::NotFound, node(&staged, None));
}

#[test]
fn statistics_are_of_the_volume_where_it_is_shown() {
    let rig = Rig::new();
    let (id, raw) = (rig.volume("vol-1", Some(FsType::Ext4), 32), rig.volume("vol-raw", None, 4));
    let staged = rig.stage(&id, &mounted("", &[]));
    let target = rig.publish(&id, &mounted("", &[]), false);
    fs::write(target.join("file"), vec![1; 4 << 20]).unwrap();
    let stats = |id: &str, path: &std::path::Path| {
        let (mut client, request) = (rig.serving.node(), calls::stats(id, path));
        async move { client.node_get_volume_stats(request).await }
    };
    for path in [&staged, &target] {
        let answer = rig.serving.ok(stats(&id, path));
        let bytes = &answer.usage[0];
        assert_eq!((bytes.unit(), bytes.total), (Unit::Bytes, fs_size(path)));
        assert!(bytes.used >= 4 * MIB && bytes.available > 0 && bytes.used + bytes.available <= bytes.total);
        let inodes = &answer.usage[1];
        assert_eq!((inodes.unit(), inodes.total), (Unit::Inodes, inodes.used + inodes.available));
        let condition = answer.volume_condition.unwrap();
        assert!(!condition.abnormal && !condition.message.is_empty(), "{}", condition.message);
    }
    rig.stage(&raw, &block());
    let device = rig.publish(&raw, &block(), false);
    let answer = rig.serving.ok(stats(&raw, &device));
    assert_eq!((answer.usage.len(), answer.usage[0].total), (1, 4 * MIB));
    rig.serving.refused(Code::NotFound, stats(&id, &device));
    rig.serving.refused(Code::NotFound, stats(&id, &rig.path("nowhere")));
    rig.serving.refused(Code::InvalidArgument, stats(&id, std::path::Path::new("")));
    rig.down(&raw);
    rig.down(&id);
    rig.serving.refused(Code::NotFound, stats(&id, &staged));
}

#[test]
fn a_condition_tells_what_is_wrong() {
    let rig = Rig::new();
    let shutdown = |path: &std::path::Path| {
        let done = Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(path).status().unwrap();
        assert!(done.success());
    };
    let pool = rig.place.state().join("pool");
    for (name, fs, says) in [
        ("dead-ext4", Some(FsType::Ext4), "read-only"),
        ("dead-xfs", Some(FsType::Xfs), "does not answer"),
        ("gone", Some(FsType::Ext4), "is gone"),
        ("other", None, "not its image"),
        ("cut", None, "was cut to"),
        ("unmounted", Some(FsType::Ext4), "no longer mounted"),
    ] {
        let id = rig.volume(name, fs, 320);
        let capability = if fs.is_some() { mounted("", &[]) } else { block() };
        let staged = rig.stage(&id, &capability);
        let target = rig.publish(&id, &capability, false);
        let image = pool.join(format!("{name}.img"));
        let path = match name {
            "unmounted" => staged.clone(),
            _ => target.clone(),
        };
        match name {
            "dead-ext4" | "dead-xfs" => shutdown(&staged),
            "gone" => fs::rename(&image, pool.join("away")).unwrap(),
            "other" => {
                fs::rename(&image, pool.join("kept")).unwrap();
                fs::write(&image, vec![0; 4096]).unwrap();
            }
            "cut" => fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(1 << 20).unwrap(),
            _ => rustix::mount::unmount(&target, rustix::mount::UnmountFlags::empty()).unwrap(),
        }
        let answer = rig.serving.ok(rig.serving.node().node_get_volume_stats(calls::stats(&id, &path)));
        let condition = answer.volume_condition.unwrap();
        assert!(condition.abnormal && condition.message.contains(says), "{name}: {}", condition.message);
        let get = ControllerGetVolumeRequest { volume_id: id.clone() };
        let status = rig.serving.ok(rig.serving.controller().controller_get_volume(get)).status.unwrap();
        assert_eq!(status.volume_condition.unwrap(), condition, "{name}");
        match name {
            "gone" => fs::rename(pool.join("away"), &image).unwrap(),
            "other" => fs::rename(pool.join("kept"), &image).unwrap(),
            _ => {}
        }
        rig.down(&id);
    }
    assert_eq!(rig.place.loops(), vec![]);
}

#[test]
fn a_node_says_who_and_where_it_is() {
    let rig = Rig::with(&["--max-volumes-per-node", "7", "--topology", "zone=a"]);
    let info = rig.serving.ok(rig.serving.node().node_get_info(NodeGetInfoRequest {}));
    assert_eq!((info.node_id.as_str(), info.max_volumes_per_node), ("node-1", 7));
    let segments = info.accessible_topology.unwrap().segments;
    assert_eq!((segments["zone"].as_str(), segments["topology.csi.csictl.io/node"].as_str()), ("a", "node-1"));
}
