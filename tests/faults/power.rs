//! The power cut while a command works on what is there already: a snapshot, growth, a replacement, a deletion. What was synced before and is
//! not the command's to change is as it was, and one apply brings order. Each cut is at an effect of the command, which is stopped there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::disks::{let_go, manifest, mount, run};
use super::figures::{Figures, Verdict, rounds};
use super::oracle::{Canaries, intact, write_canaries};
use super::programs::Disk;
use super::tracer::{self, Aim, Blow, Seen};
use crate::support::Place;
use crate::support::place::said;

/// What is cut short.
struct Work {
    name: &'static str,
    /// The manifest's first volume, as it is to be.
    first: &'static str,
    words: &'static [&'static str],
    /// Whether the first volume's bytes go with it.
    loses_first: bool,
}

const SMALL: &str = "capacity = \"32MiB\"\nimage = { allocate = \"sparse\" }";

const WORKS: [Work; 4] = [
    Work {
        name: "snapshot",
        first: SMALL,
        words: &["snapshot", "create", "p.v0", "then", "--yes"],
        loses_first: false,
    },
    Work {
        name: "offline growth",
        first: "capacity = \"64MiB\"\nimage = { allocate = \"sparse\" }",
        words: &["apply", "m.toml", "--yes"],
        loses_first: false,
    },
    Work {
        name: "replacement",
        first: "capacity = \"320MiB\"\nfs = { type = \"xfs\" }\nimage = { allocate = \"sparse\" }",
        words: &["apply", "m.toml", "--yes", "--approve", "volume.v0=wipe"],
        loses_first: true,
    },
    Work {
        name: "deletion",
        first: SMALL,
        words: &["destroy", "m.toml", "--yes", "--delete-data", "v0"],
        loses_first: true,
    },
];

fn volumes(first: &str) -> [(&'static str, &str); 3] {
    [("v0", first), ("v1", SMALL), ("v2", SMALL)]
}

/// A machine with a disk of its own, on which the work is to be done.
struct Machine {
    place: Place,
    outside: PathBuf,
    outer: Disk,
    inner: Disk,
    pool: PathBuf,
    canaries: Canaries,
}

impl Machine {
    fn ready_for(work: &Work) -> Self {
        let place = Place::new();
        let outer = Disk::new(&place, "outer.raw", 3072);
        run(&["mkfs.xfs", "-q", "-m", "reflink=1"], &outer.node);
        let outside = place.join("outer");
        mount(&outer.node, &outside);
        let inner = Disk::new(&place, "outer/inner.raw", 1024);
        run(&["mkfs.ext4", "-q"], &inner.node);
        mount(&inner.node, &place.join("disk"));
        let pool = place.join("disk/pool");
        place.write("m.toml", &manifest(&pool, &volumes(SMALL)));
        let mut machine = Self { place, outside, outer, inner, pool, canaries: Canaries::default() };
        let (code, words) = machine.exit(&["apply", "m.toml", "--yes"]);
        assert_eq!(code, 0, "{words}");
        machine.canaries = write_canaries(&machine.place, &["a/v0", "a/v1", "a/v2"]);
        for path in machine.canaries.keys() {
            fs::File::open(machine.place.join(path)).unwrap().sync_all().unwrap();
        }
        machine.place.write("m.toml", &manifest(&machine.pool, &volumes(work.first)));
        machine
    }

    fn csictl(&self, words: &[&str]) -> Command {
        let mut command = self.place.csictl();
        command.env("CSICTL_STATE_DIR", self.place.join("disk/state")).args(words);
        command
    }

    fn exit(&self, words: &[&str]) -> (i32, String) {
        let output = self.csictl(words).output().unwrap();
        (output.status.code().unwrap_or(-1), said(&output))
    }

    /// The power goes, now: what comes up again is the disk as it is at this moment.
    fn goes_down(&mut self) {
        let cut = self.place.join("outer/cut.raw");
        run(&["cp", "--reflink=always", self.inner.file.to_str().unwrap()], &cut);
        let mut mounted = self.place.mounts();
        mounted.retain(|target| *target != self.outside && *target != self.place.join("disk"));
        for target in mounted.iter().rev() {
            // Killed while it held writes still; one that is not frozen says so, and that is well.
            let _ = Command::new("fsfreeze").arg("--unfreeze").arg(target).output().unwrap();
            run(&["umount"], target);
        }
        let_go(&self.place.join("disk"));
        // The old disk goes as the new one takes its place.
        drop(std::mem::replace(&mut self.inner, Disk::over(cut)));
        fs::remove_dir_all(self.place.run()).unwrap();
        mount(&self.inner.node, &self.place.join("disk"));
    }

    fn judged(mut self, work: &Work) -> Verdict {
        let mut verdict = Verdict::default();
        // It was approved once, and may have to be again.
        let again: &[&str] = if work.words[0] == "apply" { work.words } else { &["apply", "m.toml", "--yes"] };
        let (code, words) = self.exit(again);
        verdict.expect(code == 0, || words);
        if work.loses_first {
            self.canaries.remove(Path::new("a/v0/canary"));
        }
        intact(&self.place, &self.canaries, &mut verdict);
        let (code, words) = self.exit(&["plan", "m.toml", "--detailed-exitcode"]);
        verdict.expect(code == 0, || words);
        let (code, words) = self.exit(&["destroy", "m.toml", "--yes"]);
        verdict.expect(code == 0, || words);
        for entry in fs::read_dir(&self.pool).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            verdict.expect(!name.ends_with(".part"), || format!("{name} is left"));
            let is_xfs = fs::read(&path).unwrap().starts_with(b"XFSB");
            let check: &[&str] = if is_xfs { &["xfs_repair", "-n"] } else { &["e2fsck", "-fn"] };
            let output = Command::new(check[0]).args(&check[1..]).arg(&path).output().unwrap();
            verdict.expect(output.status.success(), || format!("{name}: {}", said(&output)));
        }
        self.ends();
        verdict
    }

    fn ends(self) {
        let Self { place, outside, outer, inner, .. } = self;
        let_go(&place.join("disk"));
        drop(inner);
        let_go(&outside);
        drop(outer);
    }
}

/// Some of the effects of the work, spread over the whole of it.
fn moments(work: &Work) -> Vec<Seen> {
    let machine = Machine::ready_for(work);
    let (trace, status, words) = tracer::run(&machine.csictl(work.words), None);
    assert!(status.success(), "{words}");
    let (code, words) = machine.exit(&["destroy", "m.toml", "--yes"]);
    assert_eq!(code, 0, "{words}");
    machine.ends();
    let effects: Vec<_> = trace.seen.into_iter().filter(|seen| seen.spot.passive.is_none()).collect();
    let wanted = rounds(3, 30).min(effects.len());
    (0..wanted).map(|part| effects[(2 * part + 1) * effects.len() / (2 * wanted)].clone()).collect()
}

#[test]
fn a_power_cut_in_a_snapshot_growth_replacement_or_deletion_leaves_what_was_synced() {
    let points: Vec<_> =
        WORKS.iter().flat_map(|work| moments(work).into_iter().map(move |seen| (work, seen))).collect();
    let figures = Figures::of("power cut while something changes").over(&points, |(work, seen)| {
        let mut machine = Machine::ready_for(work);
        let aim = Aim { seen: seen.clone(), blow: Blow::KillAll };
        let (trace, ..) = tracer::run(&machine.csictl(work.words), Some(&aim));
        machine.goes_down();
        let verdict = machine.judged(work);
        trace.struck.then(|| (format!("{}, cut before {seen}", work.name), verdict))
    });
    figures.end();
}
