//! What the sweeps do before the fault, and the command that meets it: one manifest with every file system, a raw volume and two pods.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::figures::Verdict;
use super::oracle::{Canaries, judge_by, write_canaries};
use super::tracer::{self, Trace};
use crate::support::Place;

const MANIFEST: &str = r#"
version = 1
project = "sweep"
[pools.main]
path = "pool"
[volumes.ext4]
capacity = "16MiB"
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

/// Where its volumes show their files, and the raw one its bytes.
const CANARIES: [&str; 4] = ["one/data", "one/data/xfs", "one/dev/raw", "two/btrfs"];

/// What is done before the fault, and the command that meets it.
pub struct Scenario {
    pub name: &'static str,
    /// Whether the volumes are up and hold data before.
    applied: bool,
    /// Whether the ext4 volume has a snapshot, and newer data than that.
    snapped: bool,
    /// What the manifest says otherwise once the command runs.
    asks: &'static [(&'static str, &'static str)],
    /// What it says then at its end.
    adds: &'static str,
    command: &'static [&'static str],
    /// Pod paths whose data the command is meant to lose.
    lost: &'static [&'static str],
    /// Where the ext4 volume's data are to be a second time.
    copied: Option<&'static str>,
}

const YES: &[&str] = &["apply", "m.toml", "--yes"];
const SNAP: &[&str] = &["snapshot", "create", "ext4", "before", "--yes"];

const CLONED: &str = r#"
[volumes.copy]
capacity = "16MiB"
source = { volume = "ext4" }
[[pods.two.mounts]]
volume = "copy"
path = "/copy"
"#;
const RESTORED: &str = r#"
[volumes.copy]
capacity = "16MiB"
source = { snapshot = "before" }
[[pods.two.mounts]]
volume = "copy"
path = "/copy"
"#;

const PLAIN: Scenario =
    Scenario { name: "", applied: true, snapped: false, asks: &[], adds: "", command: YES, lost: &[], copied: None };

pub const APPLY: Scenario = Scenario { name: "apply", applied: false, ..PLAIN };
pub const DESTROY: Scenario = Scenario { name: "destroy", command: &["destroy", "m.toml", "--yes"], ..PLAIN };
pub const EXPAND: Scenario = Scenario { name: "expand", asks: &[("\"16MiB\"", "\"24MiB\"")], ..PLAIN };
pub const SNAPSHOT: Scenario = Scenario { name: "snapshot", command: SNAP, ..PLAIN };
pub const DELETE: Scenario = Scenario {
    name: "delete",
    command: &["destroy", "m.toml", "--yes", "--delete-data", "btrfs"],
    lost: &["two/btrfs"],
    ..PLAIN
};
pub const CLONE: Scenario = Scenario { name: "clone", adds: CLONED, copied: Some("two/copy"), ..PLAIN };
pub const RESTORE: Scenario =
    Scenario { name: "restore", snapped: true, adds: RESTORED, copied: Some("two/copy"), ..PLAIN };
pub const REPLACE: Scenario = Scenario {
    name: "replacement",
    asks: &[("type = \"btrfs\"", "type = \"ext4\"")],
    command: &["apply", "m.toml", "--yes", "--approve", "volume.btrfs=wipe"],
    lost: &["two/btrfs"],
    ..PLAIN
};

impl Scenario {
    /// A fresh place in the state before the command, and the data that has to survive it or to come of it.
    pub fn prepared(&self) -> (Place, Canaries) {
        let place = Place::new();
        place.write("m.toml", MANIFEST);
        let mut canaries = BTreeMap::new();
        if self.applied {
            place.ok(YES);
            canaries = write_canaries(&place, &CANARIES);
            canaries.retain(|path, _| !self.lost.iter().any(|lost| path.parent() == Some(Path::new(lost))));
        }
        let data = PathBuf::from("one/data/canary");
        if let Some(copied) = self.copied {
            canaries.insert(Path::new(copied).join("canary"), canaries[&data].clone());
        }
        if self.snapped {
            place.ok(SNAP);
            let newer = "what the snapshot has not\n".repeat(64);
            fs::write(place.join(&data), &newer).unwrap();
            canaries.insert(data, newer);
        }
        let manifest = self.asks.iter().fold(MANIFEST.to_owned(), |text, (was, now)| text.replace(was, now));
        assert!(self.asks.is_empty() || manifest != MANIFEST, "{} asks for nothing else", self.name);
        place.write("m.toml", &(manifest + self.adds));
        (place, canaries)
    }

    /// Judges what the fault left. What was approved may have to be again, and a snapshot that was not made is made now.
    pub fn judged(&self, place: &Place, canaries: &Canaries) -> Verdict {
        let apply = if self.command[0] == "apply" { self.command } else { YES };
        judge_by(place, "m.toml", canaries, apply, |verdict| {
            if self.command == SNAP {
                let (code, said) = place.exit(SNAP);
                verdict.expect(code == 0, || format!("the next snapshot fails:\n{said}"));
            }
            if self.command == SNAP || self.snapped {
                let held = Self::snapped_text(place);
                let text = format!("the canary of {}, not to be lost\n", CANARIES[0]).repeat(64);
                verdict.lost_bytes += if held == text { 0 } else { text.len() };
                verdict.expect(held == text, || format!("the snapshot's canary is '{held}'"));
            }
        })
    }

    /// The canary in the ext4 volume's snapshot.
    fn snapped_text(place: &Place) -> String {
        let mut look = Command::new("debugfs");
        let output = look.args(["-R", "cat /canary"]).arg(place.join("pool/sweep.before.snap")).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What the command does when nothing befalls it. Others on the machine take loop devices at the same time, so that some are asked for twice: of
    /// several runs the one with the fewest calls has only those that every run comes to.
    pub fn traced(&self) -> Trace {
        let runs = (0..3).map(|_| {
            let (place, _) = self.prepared();
            let (trace, status, said) = tracer::run(&self.command(&place, 1), None);
            assert!(status.success(), "{said}");
            place.ok(&["destroy", "m.toml", "--yes"]);
            trace
        });
        let effects = |trace: &Trace| trace.seen.iter().filter(|seen| seen.spot.passive.is_none()).count();
        runs.min_by_key(effects).expect("there were three")
    }

    /// The command, with as many workers.
    pub fn command(&self, place: &Place, workers: usize) -> Command {
        let mut command = place.csictl();
        command.args(["--parallelism", &workers.to_string()]).args(self.command);
        command
    }
}
