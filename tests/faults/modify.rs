//! A change of everything that changes in place (owner, mode, the pods' group, mount options, a tmpfs's size, sparse to full), killed or
//! failing at its calls: the next apply brings it about, wherever it stopped, and the record never tells of more than there is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nix::errno::Errno;

use super::figures::{Figures, Verdict, sample};
use super::oracle::{Canaries, judge, write_canaries};
use super::tracer::{self, Aim, Blow, Seen, kills, refusals};
use crate::support::Place;

/// What is changed stands in angle brackets: as it was, a bar, as it is asked for.
const MANIFEST: &str = r#"
version = 1
project = "sweep"
[pools.main]
path = "pool"
[volumes.ext4]
capacity = "16MiB"
image = { allocate = "<sparse|full>" }
owner = "<1:1|2:2>"
mode = "<0700|0711>"
mount_options = [<|"noexec", "commit=30">]
[volumes.xfs]
capacity = "300MiB"
image = { allocate = "sparse" }
fs = { type = "xfs" }
mount_options = [<"allocsize=1m"|"noatime">]
[volumes.memory]
tmpfs = { size = "<1MiB|2MiB>" }
[pods.one]
root = "one"
<|fs_group = 88>
[[pods.one.mounts]]
volume = "ext4"
path = "/data"
[[pods.one.mounts]]
volume = "memory"
path = "/memory"
[pods.two]
root = "two"
[[pods.two.mounts]]
volume = "xfs"
path = "/data"
read_only = true
"#;

/// The calls by which the changes are made.
const MADE_BY: [&str; 6] = ["fchown", "fchmod", "fchownat", "fallocate", "mount", "mount_setattr"];

const SAMPLE: usize = 24;

fn manifest(asked: bool) -> String {
    let pick = |part: &str| match part.split_once('|') {
        Some((was, now)) => (if asked { now } else { was }).to_owned(),
        None => part.to_owned(),
    };
    MANIFEST.split(['<', '>']).map(pick).collect()
}

const YES: [&str; 3] = ["apply", "m.toml", "--yes"];

/// A fresh place with the manifest as it was applied, data written, and the changed one lying there.
fn prepared() -> (Place, Canaries) {
    let place = Place::new();
    place.write("m.toml", &manifest(false));
    place.ok(&YES);
    let canaries = write_canaries(&place, &["one/data"]);
    place.write("m.toml", &manifest(true));
    (place, canaries)
}

fn command(place: &Place) -> Command {
    let mut command = place.csictl();
    command.args(["--parallelism", "1"]).args(YES);
    command
}

/// What a user can see of everything that was asked for.
fn in_force(place: &Place, verdict: &mut Verdict) {
    let root = fs::metadata(place.join("one/data")).unwrap();
    let is = (root.uid(), root.gid(), root.mode() & 0o7777);
    verdict.expect(is == (2, 88, 0o2771), || format!("owner, group and mode are {is:?}"));
    let image = fs::metadata(place.join("pool/sweep.ext4.img")).unwrap();
    verdict.expect(image.blocks() * 512 >= image.len(), || format!("{} blocks are not full", image.blocks()));
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    for (path, there, gone) in [
        ("one/data", &["noexec", "commit=30", "nosuid", "nodev"][..], &[][..]),
        ("run/staging/sweep.ext4", &["noexec", "commit=30", "nosuid", "nodev"], &[]),
        ("two/data", &["ro", "noatime"], &["allocsize"]),
        ("run/staging/sweep.xfs", &["rw", "noatime"], &["allocsize"]),
        ("one/memory", &["size=2048k"], &[]),
    ] {
        let path = place.join(path);
        let line = table.lines().find(|line| line.contains(&format!(" {} ", path.display()))).unwrap_or("");
        for option in there {
            verdict.expect(line.contains(option), || format!("{option} is not in force: '{line}'"));
        }
        for option in gone {
            verdict.expect(!line.contains(option), || format!("{option} is still in force: '{line}'"));
        }
    }
}

fn finished(place: &Place, canaries: &Canaries) -> Verdict {
    let mut verdict = Verdict::default();
    let (code, said) = place.exit(&YES);
    verdict.expect(code == 0, || format!("the next apply fails:\n{said}"));
    in_force(place, &mut verdict);
    let mut judged = judge(place, "m.toml", canaries);
    judged.wrong.append(&mut verdict.wrong);
    judged
}

/// What a change does, and where.
fn trace() -> Vec<Seen> {
    let (place, _) = prepared();
    let (trace, status, said) = tracer::run(&command(&place), None);
    assert!(status.success(), "{said}");
    let mut verdict = Verdict::default();
    in_force(&place, &mut verdict);
    assert!(verdict.wrong.is_empty(), "{:#?}", verdict.wrong);
    place.ok(&["destroy", "m.toml", "--yes"]);
    for call in MADE_BY {
        assert!(trace.seen.iter().any(|seen| seen.call == call), "{call} was not called");
    }
    trace.seen
}

/// The calls by which the changes are made, and a sample of all others.
fn chosen(aims: Vec<Aim>) -> Vec<Aim> {
    let (made, others): (Vec<_>, Vec<_>) = aims.into_iter().partition(|aim| MADE_BY.contains(&aim.seen.call));
    made.into_iter().chain(sample(others, SAMPLE)).collect()
}

#[test]
fn modify_killed_anywhere_is_finished_by_the_next_apply() {
    let figures = Figures::of("SIGKILL at every call of modify");
    let figures = figures.over(&chosen(kills(&trace())), |aim| {
        let (place, canaries) = prepared();
        let (trace, ..) = tracer::run(&command(&place), Some(aim));
        trace.struck.then(|| (format!("modify, {aim}"), finished(&place, &canaries)))
    });
    figures.end();
}

#[test]
fn an_error_at_any_call_of_modify_is_told_and_the_next_apply_finishes() {
    const ERRORS: [Errno; 3] = [Errno::EIO, Errno::EPERM, Errno::ENOSPC];
    let refused = refusals(&trace()).into_iter().enumerate();
    let aims = refused.map(|(turn, seen)| Aim { seen, blow: Blow::Fail(ERRORS[turn % ERRORS.len()]) }).collect();
    let figures = Figures::of("3 errors at every call of modify");
    let figures = figures.over(&chosen(aims), |aim| {
        let (place, canaries) = prepared();
        let (trace, _, said) = tracer::run(&command(&place), Some(aim));
        if !trace.struck {
            return None;
        }
        let mut verdict = finished(&place, &canaries);
        verdict.expect(!said.contains("panicked at"), || format!("it panicked:\n{said}"));
        Some((format!("modify, {aim}"), verdict))
    });
    figures.end();
}
