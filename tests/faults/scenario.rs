//! What the sweeps do before the fault, and the command that meets it: one manifest with every file system, a raw volume and two pods.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::oracle::{Canaries, write_canaries};
use super::tracer::{self, Trace};
use crate::support::Place;

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

/// Where its volumes show their files.
pub const CANARIES: [&str; 3] = ["one/data", "one/data/xfs", "two/btrfs"];

/// What is done before the fault, and the command that meets it.
pub struct Scenario {
    pub name: &'static str,
    /// Whether the volumes are up and hold data before.
    applied: bool,
    /// The ext4 volume's size in the manifest once the command runs.
    size: &'static str,
    command: &'static [&'static str],
    /// Pod paths whose data the command is meant to lose.
    lost: &'static [&'static str],
}

const YES: &[&str] = &["apply", "m.toml", "--yes"];

pub const APPLY: Scenario = Scenario { name: "apply", applied: false, size: "16MiB", command: YES, lost: &[] };
pub const DESTROY: Scenario =
    Scenario { name: "destroy", applied: true, size: "16MiB", command: &["destroy", "m.toml", "--yes"], lost: &[] };
pub const EXPAND: Scenario = Scenario { name: "expand", applied: true, size: "24MiB", command: YES, lost: &[] };
pub const SNAPSHOT: Scenario = Scenario {
    name: "snapshot",
    applied: true,
    size: "16MiB",
    command: &["snapshot", "create", "ext4", "before", "--yes"],
    lost: &[],
};
pub const DELETE: Scenario = Scenario {
    name: "delete",
    applied: true,
    size: "16MiB",
    command: &["destroy", "m.toml", "--yes", "--delete-data", "btrfs"],
    lost: &["two/btrfs"],
};

impl Scenario {
    /// A fresh place in the state before the command, and the data that has to survive it.
    pub fn prepared(&self) -> (Place, Canaries) {
        let place = Place::new();
        let manifest = |size: &str| place.write("m.toml", &MANIFEST.replace("EXT4_SIZE", size));
        let mut canaries = BTreeMap::new();
        if self.applied {
            manifest("16MiB");
            place.ok(&["apply", "m.toml", "--yes"]);
            canaries = write_canaries(&place, &CANARIES);
            canaries.retain(|path, _| !self.lost.iter().any(|lost| path.parent() == Some(Path::new(lost))));
        }
        manifest(self.size);
        (place, canaries)
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
