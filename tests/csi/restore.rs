//! Volumes made from snapshots, all over gRPC: the bytes of that moment, in a volume of equal or larger size.

use std::path::{Path, PathBuf};

use csictl::csi::proto::volume_content_source::{SnapshotSource, Type};
use csictl::csi::proto::{
    CreateVolumeGroupSnapshotRequest, CreateVolumeRequest, DeleteVolumeRequest, VolumeCapability, VolumeContentSource,
};
use tonic::{Code, Status};

use super::calls::{block, mounted, publish, range, stage, unpublish, unstage};
use super::shop::{code, snapshot};
use crate::support::Place;
use crate::support::serving::Serving;

const MIB: i64 = 1 << 20;

fn request(name: &str, size: i64, capability: &VolumeCapability, snapshot: Option<&str>) -> CreateVolumeRequest {
    let source =
        |id: &str| VolumeContentSource { r#type: Some(Type::Snapshot(SnapshotSource { snapshot_id: id.to_owned() })) };
    CreateVolumeRequest {
        name: name.into(),
        capacity_range: Some(range(size, 0)),
        volume_capabilities: vec![capability.clone()],
        parameters: [("allocate".to_owned(), "sparse".to_owned())].into(),
        volume_content_source: snapshot.map(source),
        ..Default::default()
    }
}

fn create(
    serving: &Serving,
    name: &str,
    size: i64,
    capability: &VolumeCapability,
    snapshot: Option<&str>,
) -> Result<String, Status> {
    let call = request(name, size, capability, snapshot);
    serving.call(serving.controller().create_volume(call)).map(|answer| answer.volume.unwrap().volume_id)
}

/// Stages and publishes a volume, and answers where.
fn up(serving: &Serving, place: &Place, id: &str, capability: &VolumeCapability) -> PathBuf {
    let (staging, target) = (place.join("stage").join(id), place.join("pods").join(id));
    std::fs::create_dir_all(&staging).unwrap();
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    serving.ok(serving.node().node_stage_volume(stage(id, &staging, capability)));
    serving.ok(serving.node().node_publish_volume(publish(id, &staging, &target, capability, false)));
    target
}

fn down(serving: &Serving, place: &Place, id: &str) {
    let (staging, target) = (place.join("stage").join(id), place.join("pods").join(id));
    serving.ok(serving.node().node_unpublish_volume(unpublish(id, &target)));
    serving.ok(serving.node().node_unstage_volume(unstage(id, &staging)));
    serving.ok(serving.controller().delete_volume(DeleteVolumeRequest { volume_id: id.into(), ..Default::default() }));
}

/// Bytes of the file system seen there.
fn size_at(path: &Path) -> u64 {
    let facts = nix::sys::statvfs::statvfs(path).unwrap();
    facts.blocks() * facts.fragment_size()
}

#[test]
fn a_snapshot_of_a_volume_in_use_becomes_volumes_of_equal_and_larger_size() {
    for (fs, size) in [("ext4", 64 * MIB), ("xfs", 320 * MIB), ("btrfs", 160 * MIB)] {
        let place = Place::new();
        let serving = Serving::start(&place, &[]);
        let capability = mounted(fs, &[]);
        let origin = create(&serving, "origin", size, &capability, None).unwrap();
        let at = up(&serving, &place, &origin, &capability);
        std::fs::write(at.join("file"), "before").unwrap();
        let taken = snapshot(&serving, &origin, "nightly").unwrap();
        std::fs::write(at.join("file"), "after").unwrap();
        assert_eq!(taken.size_bytes, size, "{fs}");
        assert_eq!(std::fs::read_dir(place.join("run/frozen")).unwrap().count(), 0, "{fs}: nothing is left frozen");

        let smaller = create(&serving, "smaller", size / 2, &capability, Some(&taken.snapshot_id));
        assert_eq!(code(smaller), Code::OutOfRange, "{fs}");
        assert_eq!(code(create(&serving, "none", size, &capability, Some("none"))), Code::NotFound, "{fs}");
        let mut sizes = Vec::new();
        for (name, wanted) in [("equal", size), ("larger", 2 * size)] {
            let id = create(&serving, name, wanted, &capability, Some(&taken.snapshot_id)).unwrap();
            assert_eq!(create(&serving, name, wanted, &capability, Some(&taken.snapshot_id)).unwrap(), id);
            let copy = up(&serving, &place, &id, &capability);
            assert_eq!(std::fs::read_to_string(copy.join("file")).unwrap(), "before", "{fs} {name}");
            sizes.push(size_at(&copy));
            std::fs::write(copy.join("own"), "x").unwrap();
            down(&serving, &place, &id);
        }
        assert!(sizes[1] > sizes[0] + u64::try_from(size).unwrap() / 2, "{fs}: the file system grew too: {sizes:?}");
        assert_eq!(std::fs::read_to_string(at.join("file")).unwrap(), "after", "{fs}");
        down(&serving, &place, &origin);
    }
}

#[test]
fn a_snapshot_outlives_its_volume_and_a_raw_one_is_restored_to_the_byte() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let origin = create(&serving, "origin", 16 * MIB, &block(), None).unwrap();
    let at = up(&serving, &place, &origin, &block());
    std::fs::OpenOptions::new()
        .write(true)
        .open(&at)
        .and_then(|mut device| std::io::Write::write_all(&mut device, b"raw"))
        .unwrap();
    let taken = snapshot(&serving, &origin, "nightly").unwrap();
    let group = CreateVolumeGroupSnapshotRequest {
        name: "group".into(),
        source_volume_ids: vec![origin.clone()],
        ..Default::default()
    };
    let refused = serving.refused(Code::FailedPrecondition, serving.group().create_volume_group_snapshot(group));
    assert!(refused.contains("raw device"), "{refused}");
    down(&serving, &place, &origin);
    assert_eq!(snapshot(&serving, &origin, "nightly").unwrap(), taken, "a retry finds it though its volume is gone");
    let copy = create(&serving, "copy", 32 * MIB, &block(), Some(&taken.snapshot_id)).unwrap();
    let at = up(&serving, &place, &copy, &block());
    assert_eq!(&std::fs::read(&at).unwrap()[..4], b"raw\0");
    down(&serving, &place, &copy);
}

#[test]
fn many_volumes_are_made_from_one_snapshot_at_once() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let origin = create(&serving, "origin", 16 * MIB, &block(), None).unwrap();
    let taken = snapshot(&serving, &origin, "nightly").unwrap();
    let calls = (0..8).map(|n| {
        let mut controller = serving.controller();
        let request = request(&format!("copy-{n}"), 16 * MIB, &block(), Some(&taken.snapshot_id));
        async move { controller.create_volume(request).await }
    });
    serving.block_on(async {
        let calls: Vec<_> = calls.map(tokio::spawn).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    });
}
