//! The judge of the sweeps is judged: what a fault could leave is left by hand, and it has to say so; and it has nothing to say of what is whole.

use std::fs;
use std::os::unix::fs::FileExt;

use super::disks::run;
use super::scenario::SNAPSHOT;
use crate::support::Place;

/// A thing done by hand, and what is said of it.
type Damage = (fn(&Place), &'static str);

fn zeroed(place: &Place, name: &str, from: u64, length: usize) {
    let file = fs::OpenOptions::new().write(true).open(place.join(name)).unwrap();
    file.write_all_at(&vec![0; length], from).unwrap();
    file.sync_all().unwrap();
}

const DAMAGES: [Damage; 7] = [
    // Its superblock stays and tells what it is; its descriptors and bitmaps go.
    (|place| zeroed(place, "pool/sweep.before.snap", 4096, 1 << 18), "sweep.before.snap is not clean"),
    // The second allocation group's headers.
    (|place| zeroed(place, "pool/sweep.xfs.snap", 300 << 18, 16384), "sweep.xfs.snap is not clean"),
    (|place| zeroed(place, "pool/sweep.btrfs.snap", 0, 128 << 20), "sweep.btrfs.snap: None is no file system"),
    (|place| drop(place.write("pool/sweep.other.img", "nothing")), "sweep.other.img: None is no file system"),
    (|place| zeroed(place, "one/dev/raw", 7, 3), "one/dev/raw changed"),
    // Of btrfs nothing tells, so that no apply thaws it.
    (|place| run(&["fsfreeze", "--freeze"], &place.join("two/btrfs")), "two/btrfs takes no file"),
    (|place| fs::write(place.join("one/data/canary"), "").unwrap(), "one/data/canary changed"),
];

fn with_snapshots() -> (Place, super::oracle::Canaries) {
    let (place, canaries) = SNAPSHOT.prepared();
    assert!(SNAPSHOT.command(&place, 1).output().unwrap().status.success());
    for name in ["xfs", "btrfs"] {
        place.ok(&["snapshot", "create", name, name, "--yes"]);
    }
    (place, canaries)
}

#[test]
fn what_is_whole_has_nothing_said_of_it() {
    let (place, canaries) = with_snapshots();
    assert_eq!(SNAPSHOT.judged(&place, &canaries).wrong, Vec::<String>::new());
}

#[test]
fn what_a_fault_could_leave_is_seen() {
    for (damage, expected) in DAMAGES {
        let (place, canaries) = with_snapshots();
        damage(&place);
        let wrong = SNAPSHOT.judged(&place, &canaries).wrong;
        assert!(wrong.iter().any(|reason| reason.contains(expected)), "{expected}: {wrong:#?}");
    }
}
