//! The programs that make file systems are killed, lie, or outlive csictl; never are two at work on one volume.

use std::process::Stdio;

use super::figures::{Figures, Verdict, sample};
use super::oracle::judge;
use super::programs::{Disk, Instead, Named};
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

/// The program's own calls with an effect: name and how many.
fn calls_of(place: &Place, program: &str) -> Vec<(String, usize)> {
    let watched = Instead::of(
        place,
        program,
        "exec strace -f -o $LOG -e trace=pwrite64,write,fsync,fdatasync,ioctl,ftruncate,fallocate \"$REAL\" \"$@\"",
    );
    place.ok(&["apply", "m.toml", "--yes"]);
    let mut calls = std::collections::BTreeMap::<String, usize>::new();
    for line in watched.said() {
        let call = line.split_once(char::is_whitespace).and_then(|(_, rest)| rest.trim_start().split_once('('));
        if let Some((call, _)) = call.filter(|(call, _)| call.chars().all(|c| c.is_ascii_alphanumeric())) {
            *calls.entry(call.to_owned()).or_default() += 1;
        }
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
    calls.into_iter().collect()
}

/// Each maker meets the injection at its calls, and `judged` looks at what apply made of it.
fn at_each_call(row: &str, inject: &str, usual: usize, devices: bool, only: &str) {
    let mut figures = Figures::of(row);
    for (fs, program, size) in MAKERS {
        let text = |disk: Option<&Named>| match disk {
            None => image(fs, size),
            Some(disk) => manifest(
                fs,
                &format!("device = {{ path = \"{}\", expect = {{ size = \"320MiB\" }} }}", disk.path().display()),
            ),
        };
        let calls = {
            let place = Place::new();
            let disk = devices.then(|| Disk::new(&place, "disk.raw", 320));
            let named = disk.as_ref().map(Named::of);
            place.write("m.toml", &text(named.as_ref()));
            calls_of(&place, program)
        };
        let calls = calls.iter().filter(|(call, _)| only.is_empty() || call == only);
        let points: Vec<_> =
            calls.flat_map(|(call, count)| (1..=*count).map(|number| (call.clone(), number))).collect();
        assert!(points.len() > 3, "{program} was seen to do nothing: {points:?}");
        for (call, number) in sample(points, usual) {
            let place = Place::new();
            let disk = devices.then(|| Disk::new(&place, "disk.raw", 320));
            let named = disk.as_ref().map(Named::of);
            place.write("m.toml", &text(named.as_ref()));
            let body = inject.replace("CALL", &call).replace("NUMBER", &number.to_string());
            let bad = Instead::of(&place, program, &body);
            let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);
            drop(bad);
            let mut verdict = Verdict::default();
            verdict.expect([0, 1, 6].contains(&code), || format!("exit code {code}: {words}"));
            verdict.expect(!words.contains("panicked"), || words.clone());
            // The disk is the test's own; the oracle counts csictl's.
            let own = usize::from(disk.is_some());
            let mut after = judge(&place, "m.toml", &Default::default());
            if own == 1 && after.leaked_loops == 1 {
                after.leaked_loops = 0;
                after.wrong.retain(|reason| !reason.starts_with("loops leaked"));
            }
            after.wrong.append(&mut verdict.wrong);
            figures.add(&format!("{program} at {call} number {number}"), &after);
        }
    }
    figures.end();
}

#[test]
fn mkfs_killed_alone_at_any_call_is_made_again() {
    let inject = "exec strace -f -o /dev/null -e trace=CALL -e inject=CALL:signal=SIGKILL:when=NUMBER \"$REAL\" \"$@\"";
    at_each_call("mkfs of an image killed alone", inject, 4, false, "");
    at_each_call("mkfs of a device killed alone", inject, 4, true, "");
}

#[test]
fn a_mkfs_that_lies_is_caught_by_the_look_at_what_it_made() {
    let inject = "strace -f -o /dev/null -e trace=CALL -e inject=CALL:error=EIO:when=NUMBER \"$REAL\" \"$@\"";
    at_each_call("mkfs whose write fails, whatever it says", inject, 4, false, "pwrite64");
    // One that does nothing at all.
    at_each_call("mkfs does nothing and says 0", "exit 0", 1, false, "pwrite64");
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
