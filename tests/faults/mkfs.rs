//! The programs that make file systems are killed, lie, or outlive csictl; never are two at work on one volume.

use std::process::Stdio;

use nix::errno::Errno;

use super::figures::{Figures, Verdict, sample};
use super::oracle::judge;
use super::programs::{Disk, Instead, Named};
use super::tracer::{self, Aim, Blow, Seen};
use crate::support::Place;
use crate::support::place::said;

/// Each file system, its program, and the size of its volume.
const MAKERS: [(&str, &str, &str); 3] =
    [("ext4", "mke2fs", "16MiB"), ("xfs", "mkfs.xfs", "300MiB"), ("btrfs", "mkfs.btrfs", "128MiB")];

fn manifest(fs: &str, backing: &str) -> String {
    format!(
        "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.{fs}]\n{backing}\nfs = {{ type = \"{fs}\" }}\n\
         [pods.a]\nroot = \"a\"\n[[pods.a.mounts]]\nvolume = \"{fs}\"\npath = \"/data\"\n"
    )
}

fn image(fs: &str, size: &str) -> String {
    manifest(fs, &format!("capacity = \"{size}\"\nimage = {{ allocate = \"sparse\" }}"))
}

fn text(fs: &str, size: &str, disk: Option<&Named>) -> String {
    let Some(disk) = disk else { return image(fs, size) };
    manifest(fs, &format!("device = {{ path = \"{}\", expect = {{ size = \"320MiB\" }} }}", disk.path().display()))
}

/// The maker meets the blow at its calls of some name, and the oracle looks at what apply made of it.
fn at_each_call(row: &str, blow: Blow, usual: usize, devices: bool, only: &str) {
    let mut points = Vec::new();
    for maker @ (fs, program, size) in MAKERS {
        let place = Place::new();
        let disk = devices.then(|| Disk::new(&place, "disk.raw", 320));
        let named = disk.as_ref().map(Named::of);
        place.write("m.toml", &text(fs, size, named.as_ref()));
        let (trace, status, said) = tracer::run(place.csictl().args(["apply", "m.toml", "--yes"]), None);
        assert!(status.success(), "{said}");
        place.ok(&["destroy", "m.toml", "--yes"]);
        // mke2fs is named for the file system it makes.
        let makers = |seen: &&Seen| seen.spot.helper.as_ref().is_some_and(|name| name.starts_with("mk"));
        let mut calls: Vec<_> = trace.seen.into_iter().filter(|seen| makers(&seen)).collect();
        calls.retain(|seen| seen.spot.passive.is_none() && (only.is_empty() || seen.call == only));
        assert!(calls.len() > 3, "{program} was seen to do nothing: {calls:?}");
        points.extend(sample(calls, usual).into_iter().map(|seen| (maker, Aim { seen, blow })));
    }
    let figures = Figures::of(row).over(&points, |((fs, program, size), aim)| {
        let place = Place::new();
        let disk = devices.then(|| Disk::new(&place, "disk.raw", 320));
        let named = disk.as_ref().map(Named::of);
        place.write("m.toml", &text(fs, size, named.as_ref()));
        let (trace, status, words) = tracer::run(place.csictl().args(["apply", "m.toml", "--yes"]), Some(aim));
        let code = status.code();
        trace.struck.then(|| (format!("{program}, {aim}"), judged(&place, disk.is_some(), code, &words)))
    });
    figures.end();
}

/// What apply answered has to be typed; the disk is the test's own, the oracle counts csictl's loops.
fn judged(place: &Place, disk: bool, code: Option<i32>, words: &str) -> Verdict {
    let mut after = judge(place, "m.toml", &Default::default());
    if disk && after.leaked_loops == 1 {
        after.leaked_loops = 0;
        after.wrong.retain(|reason| !reason.starts_with("loops leaked"));
    }
    after.expect([Some(0), Some(1), Some(6)].contains(&code), || format!("exit code {code:?}: {words}"));
    after.expect(!words.contains("panicked"), || words.to_owned());
    after
}

#[test]
fn mkfs_killed_alone_at_any_call_is_made_again() {
    at_each_call("mkfs of an image killed alone", Blow::KillOne, 4, false, "");
    at_each_call("mkfs of a device killed alone", Blow::KillOne, 4, true, "");
}

#[test]
fn a_mkfs_that_lies_is_caught_by_the_look_at_what_it_made() {
    at_each_call("mkfs whose write fails, whatever it says", Blow::Fail(Errno::EIO), 4, false, "pwrite64");
    let figures = Figures::of("mkfs does nothing and says 0").over(&MAKERS, |(fs, program, size)| {
        let place = Place::new();
        place.write("m.toml", &image(fs, size));
        let idle = Instead::of(&place, program, "exit 0");
        let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);
        drop(idle);
        Some(((*program).to_owned(), judged(&place, false, Some(code), &words)))
    });
    figures.end();
}

#[test]
fn a_mkfs_that_outlives_its_killed_parent_is_waited_for() {
    for (fs, program, size) in MAKERS {
        let place = Place::new();
        place.write("m.toml", &image(fs, size));
        let slow = Instead::slow(&place, program, 1.5);
        let mut first = place
            .csictl()
            .args(["apply", "m.toml", "--yes"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        slow.until(1);
        first.kill().unwrap();
        first.wait().unwrap();
        let (code, words) = place.exit(&["--lock-timeout", "100ms", "apply", "m.toml", "--yes"]);
        assert_ne!(code, 0, "the volume is still locked: {words}");
        assert_eq!(slow.said(), ["begin"], "a second mkfs was begun beside the first");
        let second = place.csictl().args(["--lock-timeout", "60s", "apply", "m.toml", "--yes"]).output().unwrap();
        assert!(second.status.success(), "{}", said(&second));
        for pair in slow.said().chunks(2) {
            assert_eq!(pair, ["begin", "end"], "two mkfs at once");
        }
        drop(slow);
        let verdict = judge(&place, "m.toml", &Default::default());
        assert!(verdict.wrong.is_empty(), "{program}: {:?}", verdict.wrong);
    }
}

/// Whether a process is there and is no zombie.
fn lives(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(status.rsplit(") ").next().and_then(|rest| rest.chars().next()), None | Some('Z' | 'X'))
}

/// A program that never ends is ended with all it started, the rest of the plan is done, and the next apply converges.
#[test]
fn a_mkfs_that_hangs_is_ended_with_step_timeout_and_leaves_nothing() {
    for (fs, program, size) in MAKERS {
        for on_device in [false, true] {
            let place = Place::new();
            let disk = on_device.then(|| Disk::new(&place, "disk.raw", 320));
            let named = disk.as_ref().map(Named::of);
            let own = usize::from(on_device);
            let text = match &named {
                None => image(fs, size),
                Some(disk) => manifest(
                    fs,
                    &format!("device = {{ path = \"{}\", expect = {{ size = \"320MiB\" }} }}", disk.path().display()),
                ),
            };
            place.write("m.toml", &format!("{text}[volumes.other]\ntmpfs = {{ size = \"1MiB\" }}\n"));
            let hung = Instead::of(&place, program, "echo $$ >>$LOG; sleep 20 & echo $! >>$LOG; wait");
            let begun = std::time::Instant::now();
            let (code, words) = place.exit(&["--step-timeout", "1s", "apply", "m.toml", "--yes"]);
            let what = format!("{program}, device {on_device}: {words}");
            assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}: {what}", begun.elapsed());
            assert_eq!(code, 6, "{what}");
            assert!(words.contains("ended after 1s (--step-timeout)") && words.contains(program), "{what}");
            let pids = hung.said();
            assert_eq!(pids.len(), 2, "it was tried once: {what}");
            assert!(!pids.iter().any(|pid| lives(pid)), "{pids:?} live on: {what}");
            drop(hung);
            assert_eq!(place.loops().len(), own, "{what}");
            let left: Vec<_> = std::fs::read_dir(place.join("pool")).into_iter().flatten().collect();
            assert!(left.is_empty(), "{left:?}: {what}");

            place.ok(&["apply", "m.toml", "--yes"]);
            assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"), "{what}");
            place.ok(&["destroy", "m.toml", "--yes"]);
        }
    }
}

/// A child that another thread forks has, until its exec, a copy of the descriptor with which the device was held for the look at it.
#[test]
fn a_device_that_is_held_for_a_moment_when_mkfs_opens_it_is_waited_for() {
    for (fs, program, size) in MAKERS {
        let place = Place::new();
        place.write("m.toml", &image(fs, size));
        let words = if fs == "ext4" { "is apparently in use by the system" } else { "Device or resource busy" };
        let body = format!(
            "echo run >>$LOG; [ $(wc -l <$LOG) -gt 2 ] && exec \"$REAL\" \"$@\"; echo \"cannot open: {words}\" >&2; exit 1"
        );
        let busy = Instead::of(&place, program, &body);
        place.ok(&["apply", "m.toml", "--yes"]);
        assert_eq!(busy.said().len(), 3, "{program}");
        drop(busy);
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}
