//! Images and snapshots that bear csictl's mark and have no record: shown as what they are, removed only by name, never taken for a new volume.

use std::fs;
use std::path::{Path, PathBuf};

use csictl::csi::proto::DeleteSnapshotRequest;
use tonic::Code;

use super::calls::{self, mounted};
use super::shop::snapshot;
use crate::support::Place;
use crate::support::place::said;
use crate::support::serving::Serving;

const MIB: i64 = 1 << 20;

/// A place with a pool of `storage.toml`, and a server of it.
fn rig() -> (Place, Serving, PathBuf) {
    let place = Place::new();
    let pool = place.join("main");
    place.write("storage.toml", "[pools.main]\npath = \"main\"\n");
    let serving = Serving::start(&place, &["--config", "storage.toml"]);
    (place, serving, pool)
}

fn make(serving: &Serving, name: &str) -> String {
    let request = calls::create(name, &mounted("", &[]), 16 * MIB);
    serving.ok(serving.controller().create_volume(request)).volume.unwrap().volume_id
}

/// Does something while a file is elsewhere, as a disk that comes back from a backup would have it.
fn while_moved(file: &Path, work: impl FnOnce()) {
    let aside = file.with_extension("aside");
    fs::rename(file, &aside).unwrap();
    work();
    fs::rename(aside, file).unwrap();
}

fn gc(place: &Place, words: &[&str]) -> (i32, String) {
    let output = place.csictl().arg("gc").args(words).args(["--config", "storage.toml"]).output().unwrap();
    (output.status.code().unwrap(), said(&output))
}

#[test]
fn an_image_of_a_deleted_volume_is_shown_kept_without_approval_and_never_taken_over() {
    let (place, serving, pool) = rig();
    let id = make(&serving, "db");
    let image = pool.join(format!("{id}.img"));
    while_moved(&image, || {
        serving.ok(serving.controller().delete_volume(calls::delete(&id)));
    });
    let old = fs::read(&image).unwrap();

    let again = calls::create("db", &mounted("", &[]), 16 * MIB);
    let message = serving.refused(Code::FailedPrecondition, serving.controller().create_volume(again.clone()));
    assert!(message.contains(image.to_str().unwrap()) && message.contains("deleted"), "{message}");

    let (code, shown) = gc(&place, &["--dry-run"]);
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains(&format!("image {}", image.display())) && shown.contains("--approve"), "{shown}");
    let (code, shown) = gc(&place, &["--yes"]);
    assert_eq!(code, 0, "{shown}");
    assert_eq!(fs::read(&image).unwrap(), old, "--yes never covers data");

    let approval = format!("volume.{id}=delete");
    let (code, shown) = gc(&place, &["--yes", "--approve", &approval]);
    assert_eq!(code, 0, "{shown}");
    assert!(!image.exists(), "{shown}");
    assert!(gc(&place, &["--dry-run"]).1.contains("nothing is left over"));
    serving.ok(serving.controller().create_volume(again));
}

#[test]
fn a_snapshot_without_a_record_is_shown_kept_without_approval_and_never_taken_over() {
    let (place, serving, pool) = rig();
    let volume = make(&serving, "db");
    let id = snapshot(&serving, &volume, "nightly").unwrap().snapshot_id;
    let file = pool.join(format!("{id}.snap"));
    let delete = DeleteSnapshotRequest { snapshot_id: id.clone(), ..DeleteSnapshotRequest::default() };
    while_moved(&file, || {
        serving.ok(serving.controller().delete_snapshot(delete));
    });

    let refused = snapshot(&serving, &volume, "nightly").unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{}", refused.message());
    let (_, shown) = gc(&place, &["--dry-run"]);
    assert!(shown.contains(&format!("snapshot {}", file.display())), "{shown}");
    gc(&place, &["--yes"]);
    assert!(file.exists(), "--yes never covers data");

    let (code, shown) = gc(&place, &["--yes", "--approve", &format!("snapshot.{id}=delete")]);
    assert_eq!((code, file.exists()), (0, false), "{shown}");
    assert!(snapshot(&serving, &volume, "nightly").is_ok());
}

#[test]
fn an_image_whose_record_is_lost_is_adopted_and_not_gcs_to_remove() {
    let (place, serving, pool) = rig();
    let id = make(&serving, "db");
    fs::remove_file(place.state().join("volumes").join(format!("{id}.json"))).unwrap();
    let (_, shown) = gc(&place, &["--dry-run"]);
    assert!(shown.contains(&format!("image {}", pool.join(format!("{id}.img")).display())), "{shown}");

    assert_eq!(make(&serving, "db"), id);

    assert!(gc(&place, &["--dry-run"]).1.contains("nothing is left over"));
}
