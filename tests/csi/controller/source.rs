//! Clones and restores: the same call again, larger ones, and sources that do not fit.

use std::fs;

use csictl::csi::proto::{CreateSnapshotRequest, CreateVolumeRequest};
use rustix::fs::statvfs;
use tonic::Code;

use super::{MIB, Rig};
use crate::csi::calls::{self, block, create, mounted, range};

fn copy(name: &str, source: &str, required: i64) -> CreateVolumeRequest {
    CreateVolumeRequest { volume_content_source: calls::of_volume(source), ..create(name, &mounted("", &[]), required) }
}

/// An ext4 volume of 32 MiB with a file in it.
fn filled(rig: &Rig, name: &str) -> String {
    let id = rig.volume(name, &mounted("", &[]), 32);
    let target = rig.up(&id, &mounted("", &[]));
    fs::write(target.join("kept"), "yes").unwrap();
    rig.down(&id);
    id
}

#[test]
fn the_same_clone_again_is_the_same_volume_even_when_its_source_is_gone() {
    let rig = Rig::new();
    let source = filled(&rig, "source");
    let request = copy("clone", &source, 32 * MIB);
    let made = rig.make(request.clone());
    assert_eq!(rig.make(request.clone()), made);
    rig.delete(&source);

    let again = rig.make(request);

    assert_eq!(again, made);
    assert_eq!(again.content_source, calls::of_volume(&source));
}

#[test]
fn a_larger_copy_is_really_larger_file_system_and_all() {
    let rig = Rig::new();
    let source = filled(&rig, "source");
    let snapshot = CreateSnapshotRequest {
        source_volume_id: source.clone(),
        name: "snap".into(),
        ..CreateSnapshotRequest::default()
    };
    let snapshot = rig.serving.ok(rig.serving.controller().create_snapshot(snapshot)).snapshot.unwrap();
    let restore = CreateVolumeRequest {
        volume_content_source: calls::of_snapshot(&snapshot.snapshot_id),
        ..copy("restore", &source, 96 * MIB)
    };

    for request in [copy("clone", &source, 96 * MIB), restore] {
        let made = rig.make(request);
        assert_eq!(made.capacity_bytes, 96 * MIB);
        let target = rig.up(&made.volume_id, &mounted("", &[]));
        let seen = statvfs(&target).unwrap();
        assert!(seen.f_blocks * seen.f_frsize > 80 << 20, "{} blocks", seen.f_blocks);
        assert_eq!(fs::read_to_string(target.join("kept")).unwrap(), "yes");
        rig.down(&made.volume_id);
    }
}

#[test]
fn without_a_size_a_copy_has_its_sources() {
    let rig = Rig::new();
    let source = filled(&rig, "source");
    let request = CreateVolumeRequest { capacity_range: None, ..copy("clone", &source, 0) };

    assert_eq!(rig.make(request).capacity_bytes, 32 * MIB);
}

#[test]
fn what_does_not_fit_its_source_is_refused() {
    let rig = Rig::new();
    let source = filled(&rig, "source");
    let clone = |request: CreateVolumeRequest| CreateVolumeRequest {
        volume_content_source: calls::of_volume(&source),
        ..request
    };
    let limited = CreateVolumeRequest { capacity_range: Some(range(0, 31 * MIB)), ..copy("clone", &source, 0) };
    for (code, request) in [
        (Code::OutOfRange, copy("clone", &source, 31 * MIB)),
        (Code::OutOfRange, limited),
        (Code::InvalidArgument, clone(create("clone", &block(), 32 * MIB))),
        (Code::InvalidArgument, clone(create("clone", &mounted("xfs", &[]), 400 * MIB))),
    ] {
        rig.refused(code, request);
    }
    assert_eq!(rig.records().len(), 1);
}

#[test]
fn a_projects_volume_can_be_cloned() {
    let rig = Rig::new();
    let manifest = "project = \"shop\"\n[volumes.db]\ncapacity = \"32MiB\"\nimage = { allocate = \"sparse\" }\n";
    rig.place.write("m.toml", manifest);
    rig.place.ok(&["apply", "m.toml", "--yes"]);

    let made = rig.make(copy("clone", "shop.db", 32 * MIB));

    assert_eq!(made.capacity_bytes, 32 * MIB);
    rig.delete(&made.volume_id);
    assert_eq!(rig.listed(), ["shop.db"]);
}
