//! The file system of a pool on its worst day: without a byte left, and read-only. What is up comes down, nothing is left half made, and with
//! the pool in order again one apply finishes.

use std::fs;
use std::process::Command;

use super::disks::{let_go, manifest, mount, run};
use super::figures::Verdict;
use super::oracle::{intact, write_canaries};
use super::programs::Disk;
use crate::support::Place;

const SPARSE: &str = "capacity = \"16MiB\"\nimage = { allocate = \"sparse\" }";
const FULL: &str = "capacity = \"16MiB\"\nimage = { allocate = \"full\" }";

/// A disk for the pool, with one volume up in it that holds data.
fn prepared() -> (Place, Disk, super::oracle::Canaries) {
    let place = Place::new();
    let disk = Disk::new(&place, "pool.raw", 96);
    run(&["mkfs.ext4", "-q"], &disk.node);
    mount(&disk.node, &place.join("disk"));
    place.write("m.toml", &manifest(&place.join("disk/pool"), &[("one", SPARSE)]));
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/one"]);
    run(&["sync", "-f"], &place.join("a/one"));
    (place, disk, canaries)
}

fn wanting_more(place: &Place) {
    let more = [("one", SPARSE), ("two", FULL), ("three", SPARSE)];
    place.write("more.toml", &manifest(&place.join("disk/pool"), &more));
}

/// Nothing of a volume that could not be made is left, under its name or a temporary one.
fn nothing_half_made(place: &Place, context: &str) {
    let names: Vec<_> =
        fs::read_dir(place.join("disk/pool")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let half =
        |name: &&std::ffi::OsString| name.to_string_lossy().starts_with('.') || name.to_string_lossy().contains("two");
    assert_eq!(names.iter().find(half), None, "{context}: {names:?}");
}

fn ends_well(place: &Place, canaries: &super::oracle::Canaries) {
    place.ok(&["apply", "more.toml", "--yes"]);
    place.ok(&["plan", "more.toml", "--detailed-exitcode"]);
    let mut verdict = Verdict::default();
    intact(place, canaries, &mut verdict);
    assert_eq!(verdict.wrong, Vec::<String>::new());
    place.ok(&["destroy", "more.toml", "--yes"]);
    assert_eq!(place.mounts(), [place.join("disk")]);
    let_go(&place.join("disk"));
}

#[test]
fn a_full_pool_is_told_leaves_nothing_half_made_and_lets_everything_come_down() {
    let (place, _disk, canaries) = prepared();
    wanting_more(&place);
    let junk = place.join("disk/junk");
    // All but less than the new volume needs.
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=64K", "conv=fsync"])
        .arg(format!("of={}", junk.display()))
        .output();
    assert!(!filled.unwrap().status.success(), "the disk is larger than thought");
    let (code, words) = place.exit(&["apply", "more.toml", "--yes"]);
    assert!([1, 5, 6].contains(&code) && !words.contains("panicked"), "{code}: {words}");
    assert!(words.contains("pool.main") && words.contains("free"), "neither pool nor reason: {words}");
    // What promises no bytes is let through, and meets the end of the disk on its way.
    let many: Vec<String> = (0..9).map(|n| format!("s{n}")).collect();
    let sparse: Vec<_> = many.iter().map(|name| (name.as_str(), SPARSE)).chain([("one", SPARSE)]).collect();
    place.write("sparse.toml", &manifest(&place.join("disk/pool"), &sparse));
    let (code, words) = place.exit(&["apply", "sparse.toml", "--yes"]);
    // 1 where mke2fs met it, 5 where csictl's own write did.
    assert!([1, 5].contains(&code) && words.contains("No space left"), "{code}: {words}");
    assert!(!words.contains("panicked"), "{words}");
    place.ok(&["destroy", "sparse.toml", "--yes"]);
    nothing_half_made(&place, "full");
    place.ok(&["destroy", "more.toml", "--yes"]);
    assert_eq!(place.mounts(), [place.join("disk")], "a full pool keeps nothing mounted");
    fs::remove_file(&junk).unwrap();
    ends_well(&place, &canaries);
}

#[test]
fn a_growth_for_which_the_pool_has_no_room_keeps_nobody_from_the_data() {
    for fs_type in ["ext4", "xfs", "btrfs"] {
        let place = Place::new();
        let disk = Disk::new(&place, "pool.raw", 160);
        run(&["mkfs.ext4", "-q", "-m", "0"], &disk.node);
        mount(&disk.node, &place.join("disk"));
        let sized = |capacity: &str| {
            let volume = format!(
                "capacity = \"{capacity}\"\nfs = {{ type = \"{fs_type}\" }}\nimage = {{ allocate = \"sparse\" }}"
            );
            place.write("m.toml", &manifest(&place.join("disk/pool"), &[("one", &volume)]));
        };
        sized("320MiB");
        place.ok(&["apply", "m.toml", "--yes"]);
        let canaries = write_canaries(&place, &["a/one"]);
        run(&["sync", "-f"], &place.join("a/one"));
        let junk = place.join("disk/junk");
        let filled = Command::new("dd").args(["if=/dev/zero", "bs=64K"]).arg(format!("of={}", junk.display())).output();
        assert!(!filled.unwrap().status.success(), "the disk is larger than thought");
        sized("20GiB");
        let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);
        assert!([1, 5, 6].contains(&code) && !words.contains("panicked"), "{fs_type} {code}: {words}");
        place.ok(&["destroy", "m.toml", "--yes"]);

        let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);

        let mut verdict = Verdict::default();
        intact(&place, &canaries, &mut verdict);
        assert_eq!(verdict.wrong, Vec::<String>::new(), "{fs_type}: {words}");
        // btrfs may find the few blocks that it takes among those its image has.
        let plan = place.exit(&["plan", "m.toml", "--detailed-exitcode"]).0;
        assert!(plan == 2 || (plan, fs_type) == (0, "btrfs"), "{fs_type} {plan}: it is not grown");
        assert_eq!(code != 0, plan == 2, "{fs_type}: {words}");
        fs::remove_file(&junk).unwrap();
        place.ok(&["apply", "m.toml", "--yes"]);
        place.ok(&["plan", "m.toml", "--detailed-exitcode"]);
        intact(&place, &canaries, &mut verdict);
        assert_eq!(verdict.wrong, Vec::<String>::new(), "{fs_type}");
        place.ok(&["destroy", "m.toml", "--yes"]);
        let_go(&place.join("disk"));
    }
}

#[test]
fn a_read_only_pool_is_told_and_nothing_is_made_or_lost() {
    let (place, _disk, canaries) = prepared();
    wanting_more(&place);
    // The kernel lets nobody write-protect a file system while a loop writes to it.
    place.ok(&["destroy", "m.toml", "--yes"]);
    run(&["mount", "-o", "remount,ro"], &place.join("disk"));
    let before = fs::read(place.join("disk/pool/p.one.img")).unwrap();
    let (code, words) = place.exit(&["apply", "more.toml", "--yes"]);
    assert!([1, 5, 6].contains(&code) && !words.contains("panicked"), "{code}: {words}");
    assert!(words.contains("read-only") || words.contains("Read-only"), "no reason: {words}");
    nothing_half_made(&place, "read-only");
    place.ok(&["destroy", "more.toml", "--yes"]);
    assert_eq!(place.mounts(), [place.join("disk")]);
    assert!(fs::read(place.join("disk/pool/p.one.img")).unwrap() == before, "the image changed on a read-only disk");
    run(&["mount", "-o", "remount,rw"], &place.join("disk"));
    ends_well(&place, &canaries);
}
