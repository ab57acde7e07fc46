//! A pool without a byte left, or write-protected, under every work that wants room in it: growth, snapshot, restore, clone and replacement. Each is
//! told or is done, nothing is left half made, nothing that was there changes, and with the pool in order again each of them succeeds.

use std::fs;

use super::checker::{fault, kind};
use super::disks::{let_go, manifest, mount, run};
use super::figures::Verdict;
use super::oracle::{Canaries, intact, write_canaries};
use super::programs::Disk;
use crate::support::Place;
use crate::support::place::checksum;

/// A file system in the pool, its smallest volume, twice that, and a disk with room for what all works need.
const SORTS: [(&str, u64, u64, u64); 2] = [("ext4", 16, 32, 200), ("xfs", 300, 600, 1500)];
/// Data in the volume, of which no second copy has room in the full pool.
const BULK: u32 = 8 << 20;

const DELETE_SNAPSHOT: &[&str] = &["snapshot", "delete", "p.before", "--yes", "--approve", "snapshot.before=delete"];

struct Pool {
    place: Place,
    disk: Disk,
    fs: &'static str,
    canaries: Canaries,
    bulk: String,
}

fn volume(fs: &str, mib: u64) -> String {
    format!("capacity = \"{mib}MiB\"\nimage = {{ allocate = \"sparse\" }}\nfs = {{ type = \"{fs}\" }}")
}

impl Pool {
    /// A volume with data and one to be replaced, both up, and a snapshot.
    fn with_volumes((fs, least, twice, disk): (&'static str, u64, u64, u64)) -> Self {
        let place = Place::new();
        let disk = Disk::new(&place, "pool.raw", disk);
        run(&["mkfs.ext4", "-q"], &disk.node);
        mount(&disk.node, &place.join("disk"));
        let pool = place.join("disk/pool");
        let other = if fs == "ext4" { "xfs" } else { "ext4" };
        let write = |name: &str, volumes: &[(&str, &str)]| place.write(name, &manifest(&pool, volumes));
        let (small, large) = (volume(fs, least), volume(fs, twice));
        let (scratch, replaced) = (volume(fs, 300), volume(other, 300));
        let copy = format!("{small}\nsource = {{ volume = \"one\" }}");
        write("m.toml", &[("one", &small), ("scratch", &scratch)]);
        write("grown.toml", &[("one", &large), ("scratch", &scratch)]);
        write("cloned.toml", &[("one", &small), ("scratch", &scratch), ("copy", &copy)]);
        write("replaced.toml", &[("one", &small), ("scratch", &replaced)]);
        place.ok(&["apply", "m.toml", "--yes"]);
        let canaries = write_canaries(&place, &["a/one"]);
        let bytes: Vec<u8> = (0..BULK / 4).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        fs::write(place.join("a/one/bulk"), bytes).unwrap();
        run(&["sync", "-f"], &place.join("a/one"));
        place.ok(&["snapshot", "create", "p.one", "before", "--yes"]);
        let bulk = checksum(&place.join("a/one/bulk"));
        Self { place, disk, fs, canaries, bulk }
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.place.join("disk/pool")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// What a command answers: a success or one of the failures it documents, and never a file that is half of one.
    fn tried(&self, words: &[&str]) -> bool {
        let (code, said) = self.place.exit(words);
        assert!([0, 1, 5, 6].contains(&code) && !said.contains("panicked"), "{} {words:?}: {code}: {said}", self.fs);
        let files = self.files();
        let half = files.iter().find(|name| name.starts_with('.') || name.ends_with(".part"));
        assert_eq!(half, None, "{} {words:?}: {said}", self.fs);
        code == 0
    }

    /// What needs room, or has to write, and cannot: an error, and no file of it.
    fn refused(&self, words: &[&str]) {
        let before = self.files();
        assert!(!self.tried(words), "{} {words:?}: there was no room for it", self.fs);
        assert_eq!(self.files(), before, "{} {words:?}", self.fs);
    }

    /// The works, one after the other, on a pool that has no room for a copy. A growth of a sparse image and a replacement may have.
    fn works(&self) {
        self.refused(&["snapshot", "create", "p.one", "after", "--yes"]);
        self.refused(&["snapshot", "restore", "p.before", "restored", "--yes"]);
        self.tried(&["apply", "cloned.toml", "--yes"]);
        assert!(!self.files().contains(&"p.copy.img".to_owned()), "{}: a clone without room", self.fs);
        self.tried(&["apply", "grown.toml", "--yes"]);
        self.tried(&["apply", "replaced.toml", "--yes", "--approve", "volume.scratch=wipe"]);
        self.tried(&["gc", "--yes"]);
    }

    /// With the pool in order, each of them.
    fn ends_well(self) {
        let place = &self.place;
        let twice = SORTS.iter().find(|sort| sort.0 == self.fs).unwrap().2;
        place.ok(&["apply", "grown.toml", "--yes", "--approve", "volume.scratch=wipe"]);
        place.ok(&["plan", "grown.toml", "--detailed-exitcode"]);
        let mut verdict = Verdict::default();
        intact(place, &self.canaries, &mut verdict);
        assert_eq!(verdict.wrong, Vec::<String>::new(), "{}", self.fs);
        assert_eq!(checksum(&place.join("a/one/bulk")), self.bulk, "{}", self.fs);
        assert_eq!(fs::metadata(place.join("disk/pool/p.one.img")).unwrap().len(), twice << 20, "{}", self.fs);
        place.ok(&["snapshot", "create", "p.one", "after", "--yes"]);
        place.ok(&["snapshot", "restore", "p.before", "restored", "--yes"]);
        let copied = fs::read_to_string(place.join("cloned.toml")).unwrap();
        let grown = copied.replace(&volume(self.fs, twice / 2), &volume(self.fs, twice));
        place.write("cloned.toml", &grown);
        place.ok(&["apply", "cloned.toml", "--yes"]);
        assert_eq!(checksum(&place.join("a/copy/bulk")), self.bulk, "{}", self.fs);
        place.ok(&["destroy", "cloned.toml", "--yes"]);
        for name in ["p.one.img", "p.after.snap", "p.restored.img", "p.before.snap"] {
            let image = place.join("disk/pool").join(name);
            assert_eq!(kind(&image).as_deref(), Some(self.fs), "{name}");
            // One that was restored and never mounted is as its snapshot is.
            assert_eq!(fault(place, &image, true), None);
        }
        assert_eq!(place.mounts(), [place.join("disk")], "{}", self.fs);
        let_go(&place.join("disk"));
        assert!(self.disk.node.exists());
    }
}

#[test]
fn every_work_on_a_full_pool_is_told_or_done_and_loses_nothing() {
    for sort in SORTS {
        let pool = Pool::with_volumes(sort);
        let junk = pool.place.join("disk/junk");
        let file = fs::File::create(&junk).unwrap();
        // In ever smaller parts at once, down to a block.
        let (mut end, mut part) = (0, 1_u64 << 30);
        while part >= 4096 {
            match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), end, part) {
                Ok(()) => end += part,
                Err(_) => part /= 2,
            }
        }
        drop(file);
        run(&["sync", "-f"], &pool.place.join("disk"));

        pool.works();
        assert!(pool.tried(DELETE_SNAPSHOT), "{}: a full pool keeps what could go", sort.0);
        fs::remove_file(&junk).unwrap();
        pool.place.ok(&["apply", "m.toml", "--yes", "--approve", "volume.scratch=wipe"]);
        pool.place.ok(&["snapshot", "create", "p.one", "before", "--yes"]);
        pool.ends_well();
    }
}

#[test]
fn every_work_on_a_write_protected_pool_is_told_and_changes_nothing() {
    for sort in SORTS {
        let pool = Pool::with_volumes(sort);
        // The kernel lets nobody write-protect a file system while a loop writes to it.
        pool.place.ok(&["destroy", "m.toml", "--yes"]);
        run(&["mount", "-o", "remount,ro"], &pool.place.join("disk"));
        let sums = |pool: &Pool| -> Vec<_> {
            pool.files().iter().map(|name| checksum(&pool.place.join("disk/pool").join(name))).collect()
        };
        let before = (pool.files(), sums(&pool));

        pool.works();
        pool.refused(&["apply", "grown.toml", "--yes"]);
        pool.refused(&["expand", "p.one", &format!("{}MiB", sort.2), "--yes"]);
        pool.refused(DELETE_SNAPSHOT);
        pool.place.ok(&["destroy", "m.toml", "--yes"]);

        assert_eq!((pool.files(), sums(&pool)), before, "{}", sort.0);
        run(&["mount", "-o", "remount,rw"], &pool.place.join("disk"));
        pool.ends_well();
    }
}
