//! Growing ext4 that is not mounted, with the programs that do it killed or failing at any of their calls: the volume grows at last, or stays as
//! it was, and no byte of it is lost.

use std::collections::BTreeMap;

use super::figures::{Figures, Verdict, sample};
use super::oracle::{Canaries, judge, write_canaries};
use super::programs::{Disk, Instead, Named};
use super::tracer::{self, kills};
use crate::support::Place;

const PROGRAMS: [&str; 3] = ["e2image", "e2fsck", "resize2fs"];
const CALLS: &str = "pwrite64,write,fsync,fdatasync,ftruncate,fallocate,ioctl,openat,close,exit_group";
const FAULTS: [&str; 5] = ["signal=SIGKILL", "error=EIO", "error=ENOSPC", "error=EROFS", "error=EINTR"];

fn manifest(backing: &str) -> String {
    format!(
        "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.ext4]\n{backing}\nfs = {{ type = \"ext4\" }}\n\
         [pods.a]\nroot = \"a\"\n[[pods.a.mounts]]\nvolume = \"ext4\"\npath = \"/data\"\n"
    )
}

/// A volume with a canary, and a manifest that asks for more.
fn prepared() -> (Place, Canaries) {
    let place = Place::new();
    let sized = |size: &str| place.write("m.toml", &manifest(&format!("capacity = \"{size}\"")));
    sized("16MiB");
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/data"]);
    sized("24MiB");
    (place, canaries)
}

/// Each program's own calls with an effect: which, and how many in one run.
fn calls_of(program: &str) -> Vec<(String, usize)> {
    let (place, _) = prepared();
    let watched = Instead::of(&place, program, &format!("exec strace -f -o $LOG.$$ -e trace={CALLS} \"$REAL\" \"$@\""));
    place.ok(&["apply", "m.toml", "--yes"]);
    drop(watched);
    let mut most = BTreeMap::<String, usize>::new();
    for entry in std::fs::read_dir(place.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{program}.log.")) {
            continue;
        }
        let mut calls = BTreeMap::<String, usize>::new();
        for line in std::fs::read_to_string(path).unwrap().lines() {
            let call = line.split_once(char::is_whitespace).and_then(|(_, rest)| rest.trim_start().split_once('('));
            if let Some((call, _)) = call.filter(|(call, _)| CALLS.split(',').any(|known| known == *call)) {
                *calls.entry(call.to_owned()).or_default() += 1;
            }
        }
        for (call, count) in calls {
            let entry = most.entry(call).or_default();
            *entry = (*entry).max(count);
        }
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
    most.into_iter().collect()
}

#[test]
fn a_program_that_grows_ext4_killed_or_failing_at_any_call_loses_nothing() {
    let figures = Figures::of("e2image, e2fsck, resize2fs killed or failing at every call");
    let mut points = Vec::new();
    for program in PROGRAMS {
        let calls = calls_of(program);
        assert!(calls.iter().any(|(call, _)| call == "close"), "{program} was not run: {calls:?}");
        for (call, count) in calls {
            for number in 1..=count {
                points.extend(FAULTS.map(|fault| (program, call.clone(), number, fault)));
            }
        }
    }
    points.retain(|(_, call, _, fault)| *fault == FAULTS[0] || !["close", "exit_group"].contains(&call.as_str()));
    let figures = figures.over(&sample(points, 24), |(program, call, number, fault)| {
        let (place, canaries) = prepared();
        let body = format!(
            "exec strace -f -o /dev/null -e trace={call} -e inject={call}:{fault}:when={number} \"$REAL\" \"$@\""
        );
        let bad = Instead::of(&place, program, &body);
        let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);
        drop(bad);
        let mut verdict = Verdict::default();
        verdict.expect([0, 1, 5, 6].contains(&code), || format!("exit code {code}: {words}"));
        verdict.expect(!words.contains("panicked"), || words.clone());
        let mut after = judge(&place, "m.toml", &canaries);
        after.wrong.append(&mut verdict.wrong);
        Some((format!("{program}, {fault} at {call} number {number}"), after))
    });
    figures.end();
}

/// A disk has no second name to grow under: what is done to it is the same.
#[test]
fn a_disk_that_has_grown_is_grown_into_whatever_is_killed() {
    let figures = Figures::of("csictl killed while it grows into a disk");
    let prepared = || {
        let place = Place::new();
        let disk = Disk::new(&place, "disk.raw", 64);
        let named = Named::of(&disk);
        place.write("m.toml", &manifest(&format!("device = {{ path = \"{}\" }}", named.path().display())));
        place.ok(&["apply", "m.toml", "--yes"]);
        let canaries = write_canaries(&place, &["a/data"]);
        place.ok(&["destroy", "m.toml", "--yes"]);
        std::fs::File::options().write(true).open(&disk.file).unwrap().set_len(300 << 20).unwrap();
        let grown = std::process::Command::new("losetup").arg("-c").arg(&disk.node).status().unwrap();
        assert!(grown.success());
        (place, disk, named, canaries)
    };
    let apply = |place: &Place| {
        let mut command = place.csictl();
        command.args(["--parallelism", "1", "apply", "m.toml", "--yes"]);
        command
    };
    let points = {
        let (place, _disk, _named, _) = prepared();
        let (trace, status, said) = tracer::run(&apply(&place), None);
        assert!(status.success(), "{said}");
        place.ok(&["destroy", "m.toml", "--yes"]);
        kills(&trace.seen)
    };
    let figures = figures.over(&sample(points, 12), |aim| {
        let (place, disk, _named, canaries) = prepared();
        let (trace, ..) = tracer::run(&apply(&place), Some(aim));
        let mut verdict = judge(&place, "m.toml", &canaries);
        // The disk is the test's own; the oracle counts csictl's.
        if verdict.leaked_loops == 1 {
            verdict.leaked_loops = 0;
            verdict.wrong.retain(|reason| !reason.starts_with("loops leaked"));
        }
        let check = std::process::Command::new("e2fsck").arg("-fn").arg(&disk.file).output().unwrap();
        verdict.expect(check.status.success(), || String::from_utf8_lossy(&check.stdout).into_owned());
        let size = csictl::host::linux::format::size(&disk.file, csictl::model::FsType::Ext4)
            .map(csictl::model::Capacity::get);
        verdict.expect(size.as_ref().is_ok_and(|size| *size == 300 << 20), || format!("it did not grow: {size:?}"));
        let left: Vec<_> = std::fs::read_dir(place.state().join("growth")).into_iter().flatten().flatten().collect();
        verdict.expect(left.is_empty(), || format!("left: {left:?}"));
        trace.struck.then(|| (aim.to_string(), verdict))
    });
    figures.end();
}
