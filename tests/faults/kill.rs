//! SIGKILL at the effects of each command. The ordinary run takes a sample of the points, spread over all of them; with
//! `CSICTL_SWEEP=full` (`make faults`) every point is tried.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::oracle::{converges, write_canaries};
use super::strace::{Point, kill_at, points};
use crate::support::Place;

/// Points tried a scenario in an ordinary run.
const SAMPLE: usize = 24;

const MANIFEST: &str = r#"
version = 1
project = "sweep"
[pools.main]
path = "pool"
[volumes.ext4]
capacity = "EXT4_SIZE"
access_mode = "single-node-multi-writer"
[volumes.xfs]
capacity = "300MiB"
image = { allocate = "sparse" }
fs = { type = "xfs" }
[volumes.btrfs]
capacity = "128MiB"
image = { allocate = "sparse" }
fs = { type = "btrfs" }
[volumes.raw]
volume_mode = "block"
capacity = "8MiB"
[pods.one]
root = "one"
[[pods.one.mounts]]
volume = "ext4"
path = "/data"
[[pods.one.mounts]]
volume = "xfs"
path = "/data/xfs"
[[pods.one.devices]]
volume = "raw"
path = "/dev/raw"
[pods.two]
root = "two"
[[pods.two.mounts]]
volume = "ext4"
path = "/data"
read_only = true
[[pods.two.mounts]]
volume = "btrfs"
path = "/btrfs"
"#;

const CANARIES: [&str; 3] = ["one/data", "one/data/xfs", "two/btrfs"];

/// What is done before the kill, and the command that is killed.
struct Scenario {
    name: &'static str,
    /// Whether the volumes are up and hold data before.
    applied: bool,
    /// The ext4 volume's size in the manifest once it is killed.
    size: &'static str,
    command: &'static [&'static str],
    /// Pod paths whose data the command is meant to lose.
    lost: &'static [&'static str],
}

/// A fresh place in the state before the command.
fn prepared(scenario: &Scenario) -> (Place, BTreeMap<PathBuf, String>) {
    let place = Place::new();
    let manifest = |size: &str| place.write("m.toml", &MANIFEST.replace("EXT4_SIZE", size));
    let mut canaries = BTreeMap::new();
    if scenario.applied {
        manifest("16MiB");
        place.ok(&["apply", "m.toml", "--yes"]);
        canaries = write_canaries(&place, &CANARIES);
        canaries.retain(|path, _| !scenario.lost.iter().any(|lost| path.parent() == Some(Path::new(lost))));
    }
    manifest(scenario.size);
    (place, canaries)
}

fn sample(points: Vec<Point>) -> Vec<Point> {
    if std::env::var("CSICTL_SWEEP").is_ok_and(|sweep| sweep == "full") {
        return points;
    }
    let every = points.len().div_ceil(SAMPLE).max(1);
    points.into_iter().step_by(every).collect()
}

fn sweep(scenario: &Scenario) {
    let (place, _) = prepared(scenario);
    let command = |place: &Place| {
        let mut command = place.csictl();
        command.args(["--parallelism", "1"]).args(scenario.command);
        command
    };
    let all = points(&command(&place), &place.join("strace.log"));
    assert!(all.len() > SAMPLE, "strace saw only {} effects of {}", all.len(), scenario.name);
    place.ok(&["destroy", "m.toml", "--yes"]);
    let (tried, mut killed) = (sample(all), 0);
    for point in &tried {
        let (place, canaries) = prepared(scenario);
        killed += usize::from(kill_at(&command(&place), point));
        let context = format!("{} killed before {} number {}", scenario.name, point.call, point.number);
        converges(&place, "m.toml", &canaries, &context);
    }
    assert!(killed * 2 > tried.len(), "{}: only {killed} of {} points killed anything", scenario.name, tried.len());
    report(scenario.name, tried.len(), killed);
}

/// A line of the table that the long form prints.
#[expect(clippy::print_stderr, reason = "the figures are what the long form is run for")]
fn report(name: &str, tried: usize, killed: usize) {
    eprintln!("kill sweep: {name}: {tried} points tried, {killed} killed, {tried} converged");
}

const APPLY: &[&str] = &["apply", "m.toml", "--yes"];

#[test]
fn apply_killed_anywhere_is_finished_by_the_next_apply() {
    sweep(&Scenario { name: "apply", applied: false, size: "16MiB", command: APPLY, lost: &[] });
}

#[test]
fn destroy_killed_anywhere_loses_nothing() {
    let command = &["destroy", "m.toml", "--yes"];
    sweep(&Scenario { name: "destroy", applied: true, size: "16MiB", command, lost: &[] });
}

#[test]
fn expand_killed_anywhere_is_finished_by_the_next_apply() {
    sweep(&Scenario { name: "expand", applied: true, size: "24MiB", command: APPLY, lost: &[] });
}

#[test]
fn snapshot_killed_anywhere_leaves_the_volume_writable() {
    let command = &["snapshot", "create", "ext4", "before", "--yes"];
    sweep(&Scenario { name: "snapshot", applied: true, size: "16MiB", command, lost: &[] });
}

#[test]
fn delete_killed_anywhere_loses_only_what_was_named() {
    let command = &["destroy", "m.toml", "--yes", "--delete-data", "btrfs"];
    sweep(&Scenario { name: "delete", applied: true, size: "16MiB", command, lost: &["two/btrfs"] });
}
