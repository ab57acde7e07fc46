//! The ways to lose data once more, through the socket: an orchestrator's calls reach mkfs, delete, truncate and unlink with no approval to type, so
//! that what lies at a path has to say itself that it is the object meant. Each call may answer what it likes; the bytes stay.

use std::fs;
use std::path::{Path, PathBuf};

use csictl::csi::proto::{CreateSnapshotRequest, DeleteSnapshotRequest};
use csictl::model::Backing;
use csictl::model::record::{Recorded, VolumeRecord};
use csictl::state::record::{decode, encode};
use nix::mount::{MsFlags, mount};

use crate::csi::calls;
use crate::support::Place;
use crate::support::serving::Serving;

const MIB: i64 = 1 << 20;
const PRECIOUS: &str = "precious bytes of somebody else";

/// A server with one volume, its id and its image.
fn with_volume() -> (Serving, Place, String, PathBuf) {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let create = calls::create("pvc-1", &calls::mounted("ext4", &[]), 16 * MIB);
    let id = serving.ok(serving.controller().create_volume(create)).volume.unwrap().volume_id;
    let image = place.state().join(format!("pool/{id}.img"));
    assert!(image.exists(), "the tests look at the wrong place");
    (serving, place, id, image)
}

/// What lies at a path instead of what was there.
fn replace(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

#[test]
fn create_overwrites_no_file_that_lies_in_its_images_place() {
    for content in [PRECIOUS, ""] {
        let (serving, _place, id, image) = with_volume();
        serving.ok(serving.controller().delete_volume(calls::delete(&id)));
        fs::write(&image, content).unwrap();

        for fs_type in ["ext4", "xfs", "btrfs"] {
            let create = calls::create("pvc-1", &calls::mounted(fs_type, &[]), 300 * MIB);
            assert!(serving.call(serving.controller().create_volume(create)).is_err(), "{fs_type}");
        }
        let _ = serving.call(serving.controller().delete_volume(calls::delete(&id)));

        assert_eq!(fs::read_to_string(&image).unwrap(), content);
    }
}

#[test]
fn delete_removes_no_file_that_is_not_the_volumes() {
    let (serving, place, id, image) = with_volume();
    let kept = place.join("kept.img");
    fs::rename(&image, &kept).unwrap();
    fs::write(&image, PRECIOUS).unwrap();

    for _ in 0..2 {
        let _ = serving.call(serving.controller().delete_volume(calls::delete(&id)));
    }

    assert_eq!(fs::read_to_string(&image).unwrap(), PRECIOUS);
    assert!(kept.exists());
}

#[test]
fn a_record_edited_to_point_elsewhere_gets_nothing_there_deleted_or_made() {
    let (serving, place, id, _) = with_volume();
    let elsewhere = place.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let victim = elsewhere.join(format!("{id}.img"));
    fs::write(&victim, PRECIOUS).unwrap();
    let path = place.state().join(format!("volumes/{id}.json"));
    let Recorded::Present(mut record) = decode::<VolumeRecord>(&fs::read(&path).unwrap(), &id) else {
        panic!("no record")
    };
    let Backing::Image(backing) = &mut record.spec.backing else { panic!("no image") };
    backing.pool_path.clone_from(&elsewhere);
    fs::write(&path, encode(&record)).unwrap();

    let stage = place.join("stage");
    fs::create_dir_all(&stage).unwrap();
    let capability = calls::mounted("ext4", &[]);
    let _ = serving.call(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
    let _ = serving.call(serving.controller().controller_expand_volume(calls::expand(&id, calls::range(64 * MIB, 0))));
    let _ = serving.call(serving.controller().delete_volume(calls::delete(&id)));

    assert_eq!(fs::read_to_string(&victim).unwrap(), PRECIOUS);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
}

#[test]
fn delete_snapshot_removes_no_file_that_is_not_the_snapshot() {
    let (serving, place, id, _) = with_volume();
    let request = CreateSnapshotRequest { source_volume_id: id, name: "s".into(), ..Default::default() };
    let snapshot_id = serving.ok(serving.controller().create_snapshot(request)).snapshot.unwrap().snapshot_id;
    let file = place.state().join(format!("pool/{snapshot_id}.snap"));
    replace(&file, PRECIOUS.as_bytes());

    for _ in 0..2 {
        let request = DeleteSnapshotRequest { snapshot_id: snapshot_id.clone(), ..Default::default() };
        let _ = serving.call(serving.controller().delete_snapshot(request));
    }

    assert_eq!(fs::read_to_string(&file).unwrap(), PRECIOUS);
}

#[test]
fn no_expand_cuts_an_image() {
    let (serving, place, id, image) = with_volume();
    let (stage, target) = (place.join("stage"), place.join("target"));
    fs::create_dir_all(&stage).unwrap();
    let capability = calls::mounted("ext4", &[]);
    serving.ok(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
    serving.ok(serving.node().node_publish_volume(calls::publish(&id, &stage, &target, &capability, false)));

    for range in [calls::range(MIB, 0), calls::range(MIB, 2 * MIB), calls::range(0, MIB), calls::range(1, 1)] {
        let _ = serving.call(serving.controller().controller_expand_volume(calls::expand(&id, range)));
        let _ = serving.call(serving.node().node_expand_volume(calls::node_expand(&id, &target, Some(range))));
        assert_eq!(fs::metadata(&image).unwrap().len(), 16 << 20, "{range:?}");
    }

    serving.ok(serving.node().node_unpublish_volume(calls::unpublish(&id, &target)));
    serving.ok(serving.node().node_unstage_volume(calls::unstage(&id, &stage)));
}

/// Formatted once and blank now is damage, and no permission to format.
#[test]
fn stage_formats_no_image_that_looks_blank() {
    let (serving, place, id, image) = with_volume();
    let stage = place.join("stage");
    fs::create_dir_all(&stage).unwrap();
    fs::write(&image, vec![0; 16 << 20]).unwrap();

    for fs_type in ["ext4", "xfs", ""] {
        let request = calls::stage(&id, &stage, &calls::mounted(fs_type, &[]));
        assert!(serving.call(serving.node().node_stage_volume(request)).is_err(), "{fs_type}");
    }

    assert!(fs::read(&image).unwrap().iter().all(|byte| *byte == 0), "it was written to");
}

#[test]
fn unpublish_and_unstage_remove_nothing_that_somebody_put_there() {
    let (serving, place, id, _) = with_volume();
    let folder = place.join("target");
    let file = place.write("file", PRECIOUS);
    place.write("target/below/file", PRECIOUS);
    let strangers = place.join("strangers");
    fs::create_dir(&strangers).unwrap();
    mount(Some("strangers"), &strangers, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::write(strangers.join("file"), PRECIOUS).unwrap();

    for id in [id.as_str(), "pvc-unknown", "../../target"] {
        for path in [&folder, &file, &strangers] {
            let _ = serving.call(serving.node().node_unpublish_volume(calls::unpublish(id, path)));
            let _ = serving.call(serving.node().node_unstage_volume(calls::unstage(id, path)));
        }
    }

    for path in [folder.join("below/file"), file, strangers.join("file")] {
        assert_eq!(fs::read_to_string(&path).unwrap(), PRECIOUS, "{}", path.display());
    }
}
