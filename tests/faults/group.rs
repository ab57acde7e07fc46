//! SIGKILL at the effects of a group snapshot: the server, or the child that holds a freeze, dies before a call it was about to make.
//! Afterwards nobody is frozen, and there is a whole group or none.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use csictl::csi::proto::{
    CreateVolumeGroupSnapshotRequest, DeleteVolumeGroupSnapshotRequest, ListSnapshotsRequest, VolumeGroupSnapshot,
};
use tonic::Status;

use super::figures::{Figures, Verdict, sample};
use super::tracer::{Blow, Watch, kills};
use crate::support::Place;
use crate::support::serving::Serving;

/// Points tried in an ordinary run.
const SAMPLE: usize = 16;
const NAMES: [&str; 2] = ["a", "b"];
const MANIFEST: &str = r#"
version = 1
project = "sweep"
[pools.main]
path = "pool"
[volumes.a]
capacity = "16MiB"
image = { allocate = "sparse" }
[volumes.b]
capacity = "16MiB"
image = { allocate = "sparse" }
[pods.one]
root = "one"
[[pods.one.mounts]]
volume = "a"
path = "/a"
[[pods.one.mounts]]
volume = "b"
path = "/b"
"#;

fn prepared() -> Place {
    let place = Place::new();
    place.write("m.toml", MANIFEST);
    place.ok(&["apply", "m.toml", "--yes"]);
    place
}

fn take(serving: &Serving) -> Result<VolumeGroupSnapshot, Status> {
    let request = CreateVolumeGroupSnapshotRequest {
        name: "nightly".into(),
        source_volume_ids: NAMES.map(|name| format!("sweep.{name}")).to_vec(),
        ..Default::default()
    };
    let answer = serving.call(serving.group().create_volume_group_snapshot(request));
    answer.map(|answer| answer.group_snapshot.unwrap())
}

/// A write that ends only where nothing is frozen.
fn writes_pass(place: &Place, name: &str, context: &str) {
    let file = place.join("one").join(name).join("file");
    let mut write = Command::new("sh")
        .args(["-c", "echo after > \"$0\" && sync \"$0\""])
        .arg(file)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while write.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{context}: {name} is still frozen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Names in a directory, with their dots.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// With the child that holds the freeze killed too, it is the next server that thaws.
fn converges(place: &Place, blow: Blow, context: &str) {
    let serving = (blow == Blow::KillAll).then(|| Serving::start(place, &[]));
    for name in NAMES {
        writes_pass(place, name, context);
    }
    let serving = serving.unwrap_or_else(|| Serving::start(place, &[]));
    let listed = serving.ok(serving.controller().list_snapshots(ListSnapshotsRequest::default())).entries.len();
    assert!(listed == 0 || listed == NAMES.len(), "{context}: {listed} snapshots of a group are seen");
    let group = take(&serving).unwrap_or_else(|status| panic!("{context}: {status:?}"));
    assert!(group.ready_to_use && group.snapshots.len() == NAMES.len(), "{context}: {group:?}");
    assert_eq!(names(&place.run().join("frozen")), Vec::<String>::new(), "{context}");
    let left: Vec<_> = names(&place.join("pool")).into_iter().filter(|name| name.starts_with('.')).collect();
    assert!(left.is_empty(), "{context}: {left:?}");
    let request = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: group.group_snapshot_id,
        snapshot_ids: group.snapshots.into_iter().map(|snapshot| snapshot.snapshot_id).collect(),
        ..Default::default()
    };
    serving.ok(serving.group().delete_volume_group_snapshot(request));
    drop(serving);
    assert!(place.ok(&["gc", "--dry-run"]).contains("nothing is left over"), "{context}");
    place.ok(&["destroy", "m.toml", "--yes"]);
    assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new(), "{context}: mounts leaked");
}

#[test]
fn a_group_snapshot_killed_anywhere_is_whole_or_none_and_leaves_nobody_frozen() {
    let place = prepared();
    let serving = Serving::start(&place, &[]);
    let watch = Watch::on(serving.pid(), None);
    watch.take();
    take(&serving).unwrap();
    let all = kills(&watch.end().seen);
    serving.seen_to_end();
    place.ok(&["destroy", "m.toml", "--yes"]);
    let figures = Figures::of("SIGKILL in a group snapshot of two volumes in use");
    let figures = figures.over(&sample(all, SAMPLE), |aim| {
        let place = prepared();
        let serving = Serving::start(&place, &[]);
        let watch = Watch::on(serving.pid(), Some(aim));
        // Whether it was answered in time is not the question.
        let _ = take(&serving);
        let struck = watch.end().struck;
        serving.seen_to_end();
        struck.then(|| {
            converges(&place, aim.blow, &format!("group snapshot, {aim}"));
            (aim.to_string(), Verdict::default())
        })
    });
    figures.end();
}
