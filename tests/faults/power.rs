//! The power cut while a command works on what is there already: a snapshot, growth, a replacement, a deletion. What was synced before and is
//! not the command's to change is as it was, and one apply brings order.

use std::fs;
use std::process::Command;
use std::time::Duration;

use super::disks::{let_go, manifest, mount, run};
use super::figures::{Figures, Verdict, rounds};
use super::oracle::{intact, write_canaries};
use super::programs::Disk;
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

fn cut_short(work: &Work, after: Duration) -> Verdict {
    let place = Place::new();
    let outer = Disk::new(&place, "outer.raw", 3072);
    run(&["mkfs.xfs", "-q", "-m", "reflink=1"], &outer.node);
    let outside = place.join("outer");
    mount(&outer.node, &outside);
    let inner = Disk::new(&place, "outer/inner.raw", 1024);
    run(&["mkfs.ext4", "-q"], &inner.node);
    mount(&inner.node, &place.join("disk"));
    let csictl = |words: &[&str]| {
        let mut command = place.csictl();
        let output = command.env("CSICTL_STATE_DIR", place.join("disk/state")).args(words).output().unwrap();
        (output.status.code().unwrap_or(-1), said(&output))
    };
    let pool = place.join("disk/pool");
    place.write("m.toml", &manifest(&pool, &volumes(SMALL)));
    let (code, words) = csictl(&["apply", "m.toml", "--yes"]);
    assert_eq!(code, 0, "{words}");
    let mut canaries = write_canaries(&place, &["a/v0", "a/v1", "a/v2"]);
    for path in canaries.keys() {
        fs::File::open(place.join(path)).unwrap().sync_all().unwrap();
    }
    place.write("m.toml", &manifest(&pool, &volumes(work.first)));
    let cut = place.join("outer/cut.raw");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(after);
            run(&["cp", "--reflink=always", inner.file.to_str().unwrap()], &cut);
        });
        let (code, words) = csictl(work.words);
        assert_eq!(code, 0, "{words}");
    });
    // The machine goes down; what comes up again is the copy.
    let mut mounted = place.mounts();
    mounted.retain(|target| *target != outside && *target != place.join("disk"));
    mounted.iter().rev().for_each(|target| run(&["umount"], target));
    let_go(&place.join("disk"));
    drop(inner);
    fs::remove_dir_all(place.run()).unwrap();
    let inner = Disk::over(cut);
    mount(&inner.node, &place.join("disk"));
    let mut verdict = Verdict::default();
    // It was approved once, and may have to be again.
    let again: &[&str] = if work.words[0] == "apply" { work.words } else { &["apply", "m.toml", "--yes"] };
    let (code, words) = csictl(again);
    verdict.expect(code == 0, || words);
    if work.loses_first {
        canaries.remove(std::path::Path::new("a/v0/canary"));
    }
    intact(&place, &canaries, &mut verdict);
    let (code, words) = csictl(&["plan", "m.toml", "--detailed-exitcode"]);
    verdict.expect(code == 0, || words);
    let (code, words) = csictl(&["destroy", "m.toml", "--yes"]);
    verdict.expect(code == 0, || words);
    for entry in fs::read_dir(&pool).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        verdict.expect(!name.ends_with(".part"), || format!("{name} is left"));
        let is_xfs = fs::read(&path).unwrap().starts_with(b"XFSB");
        let check: &[&str] = if is_xfs { &["xfs_repair", "-n"] } else { &["e2fsck", "-fn"] };
        let output = Command::new(check[0]).args(&check[1..]).arg(&path).output().unwrap();
        verdict.expect(output.status.success(), || format!("{name}: {}", said(&output)));
    }
    let_go(&place.join("disk"));
    drop(inner);
    let_go(&outside);
    verdict
}

#[test]
fn a_power_cut_in_a_snapshot_growth_replacement_or_deletion_leaves_what_was_synced() {
    let mut figures = Figures::of("power cut while something changes");
    for work in &WORKS {
        for round in 0..rounds(2, 20) {
            let after = Duration::from_millis(40 + 190 * u64::try_from(round).unwrap() % 1500);
            figures.add(&format!("{} after {after:?}", work.name), &cut_short(work, after));
        }
    }
    figures.end();
}
