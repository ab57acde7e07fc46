//! SIGKILL at the effects of a group snapshot: the server, or the child that holds a freeze, dies before a call it was about to make.
//! Afterwards nobody is frozen, and there is a whole group or none.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use csictl::csi::proto::{
    CreateVolumeGroupSnapshotRequest, DeleteVolumeGroupSnapshotRequest, ListSnapshotsRequest, VolumeGroupSnapshot,
};
use tonic::Status;

use super::strace::{Point, points_in, strace};
use crate::support::Place;
use crate::support::serving::Serving;

/// Points tried in an ordinary run.
const SAMPLE: usize = 16;
/// What a group snapshot does and a server's start hardly does.
const CALLS: [&str; 12] = [
    "ioctl",
    "copy_file_range",
    "ftruncate",
    "fsetxattr",
    "fsync",
    "syncfs",
    "rename",
    "renameat2",
    "unlinkat",
    "mkdir",
    "clone3",
    "write",
];
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

fn converges(place: &Place, context: &str) {
    for name in NAMES {
        writes_pass(place, name, context);
    }
    let serving = Serving::start(place, &[]);
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

/// What the server does from its start to the group's answer.
fn all_points() -> Vec<Point> {
    let place = prepared();
    let log = place.join("strace.log");
    let serving = Serving::start_under(&place, |command| strace(&command, &[], &log)).expect("nobody kills it");
    take(&serving).unwrap();
    assert_eq!(serving.end(), Some(0));
    place.ok(&["destroy", "m.toml", "--yes"]);
    points_in(&log).into_iter().filter(|point| CALLS.contains(&point.call.as_str())).collect()
}

#[test]
fn a_group_snapshot_killed_anywhere_is_whole_or_none_and_leaves_nobody_frozen() {
    let full = std::env::var("CSICTL_SWEEP").is_ok_and(|sweep| sweep == "full");
    let all = all_points();
    let every = if full { 1 } else { all.len().div_ceil(SAMPLE).max(1) };
    let (mut tried, mut in_the_call, mut behind, mut survived) = (0, 0, 0, 0);
    for point in all.into_iter().step_by(every) {
        let place = prepared();
        let inject = format!("inject={}:signal=SIGKILL:when={}", point.call, point.number);
        let wrap = |command: Command| strace(&command, &["-e", &inject], Path::new("/dev/null"));
        // Some points are those of its start, which others sweep.
        let Some(serving) = Serving::start_under(&place, wrap) else { continue };
        tried += 1;
        let answered = take(&serving).is_ok();
        // A server that ends as it is told to was not killed: its child was, or the point is not on this way.
        match serving.end() {
            Some(_) => survived += 1,
            None if !answered => in_the_call += 1,
            None => behind += 1,
        }
        converges(&place, &format!("group snapshot killed before {} number {}", point.call, point.number));
    }
    assert!(in_the_call > 3, "only {in_the_call} of {tried} points killed the server in the call");
    report(tried, in_the_call, behind, survived);
}

/// A line of the table that the long form prints.
#[expect(clippy::print_stderr, reason = "the figures are what the long form is run for")]
fn report(tried: usize, killed: usize, behind: usize, survived: usize) {
    eprintln!(
        "kill sweep: group snapshot: {tried} points tried, {killed} killed in the call, {behind} behind it, {survived} not, {tried} converged"
    );
}
