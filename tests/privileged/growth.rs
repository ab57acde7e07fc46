//! Growing unmounted ext4: what may be cut short is cut short everywhere, and the file system is as it was or as it will be.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use csictl::host::linux::grow::grow_filesystem;
use csictl::host::linux::growth::{finish, grow, settle};
use csictl::host::{AttachedLoop, ErrorKind, GrowRequest, GrowthFiles, HostError, Lock, Result};
use csictl::model::{Done, FsType};

use crate::support::Place;

const MIB: u64 = 1 << 20;

fn sh(place: &Place, line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).current_dir(place.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}");
    text
}

fn no_lock() -> Lock {
    Lock::of(())
}

/// For what has no journal to replay.
fn not_needed(path: &Path) -> Result<AttachedLoop> {
    Err(HostError::new(ErrorKind::Other, "attach", path, "this one needs no loop device"))
}

/// An image of some files that has been given more bytes than its file system has.
fn short(place: &Place, make: &str, from: u64, to: u64) -> PathBuf {
    let path = place.join("image");
    File::create(&path).unwrap().set_len(from * MIB).unwrap();
    sh(
        place,
        &format!(
            "{make} image; mkdir -p m; mount -o loop image m; for i in $(seq 200); do echo canary $i >m/f$i; done; \
             head -c 3000000 /dev/urandom >m/random; mkdir m/d; ln -s /etc m/link; umount m"
        ),
    );
    File::options().write(true).open(&path).unwrap().set_len(to * MIB).unwrap();
    path
}

fn files(place: &Place) -> GrowthFiles {
    GrowthFiles { scratch: place.join(".image.part"), log: place.join(".image.grow") }
}

/// Every file's name and bytes as one sum, read through a mount of a copy.
fn content(place: &Place, image: &Path) -> String {
    fs::copy(image, place.join("seen")).unwrap();
    sh(
        place,
        "mount -o loop,ro seen m; (cd m; (find . -type f | sort | xargs sha256sum; ls -R .) | sha256sum); umount m; rm seen",
    )
}

#[track_caller]
fn grown(place: &Place, image: &Path, mib: u64, before: &str, context: &str) {
    sh(place, "e2fsck -fn image");
    assert_eq!(csictl::host::linux::format::size(image, FsType::Ext4).unwrap().get(), mib * MIB, "{context}");
    assert_eq!(content(place, image), before, "{context}");
    for left in [".image.part", ".image.grow"] {
        assert!(!place.join(left).exists(), "{context}: {left} is left");
    }
}

/// What an ext4 may look like, with the sizes before and after in MiB.
const KINDS: [(&str, u64, u64); 9] = [
    ("mkfs.ext4 -q -b 4096", 16, 24),
    ("mkfs.ext4 -q -b 4096 -O metadata_csum_seed", 160, 1000),
    ("mkfs.ext4 -q -b 4096 -O ^metadata_csum,^64bit", 160, 400),
    ("mkfs.ext4 -q", 40, 300),
    ("mkfs.ext4 -q -O ^metadata_csum,^64bit", 40, 300),
    ("mkfs.ext4 -q -O ^has_journal", 40, 300),
    // Descriptors need room that files have now.
    ("mkfs.ext4 -q -b 1024 -O ^resize_inode", 100, 400),
    ("mkfs.ext4 -q -b 4096 -O ^resize_inode -g 1024", 100, 500),
    ("mkfs.ext4 -q -O meta_bg,^resize_inode", 40, 300),
];

#[test]
fn every_kind_of_ext4_grows_unmounted_with_its_files_as_they_were() {
    for (make, from, to) in KINDS {
        let place = Place::new();
        let image = short(&place, make, from, to);
        let before = content(&place, &image);

        grow(&image, &files(&place), &no_lock(), &not_needed).unwrap();

        grown(&place, &image, to, &before, make);
    }
}

#[test]
fn up_to_the_log_nothing_of_the_volume_has_changed_and_from_there_any_part_of_it_may_have() {
    // What is larger would only take longer.
    for (make, from, to) in KINDS.into_iter().filter(|(_, _, to)| *to <= 300) {
        let place = Place::new();
        let image = short(&place, make, from, to);
        let (content, files) = (content(&place, &image), files(&place));
        let old = fs::read(&image).unwrap();

        drop(settle(&image, &files, &no_lock(), &not_needed).unwrap());

        assert!(fs::read(&image).unwrap() == old, "{make}: settled, it is as it was");
        assert!(!files.scratch.exists());
        let log = fs::read(&files.log).unwrap();
        assert_eq!(finish(&image, &files.log).unwrap(), Done::Changed);
        grown(&place, &image, to, &content, make);
        let new = fs::read(&image).unwrap();
        // A power cut lets any sectors get through and any not.
        let sectors: Vec<usize> =
            (0..new.len() / 512).filter(|sector| new[sector * 512..][..512] != old[sector * 512..][..512]).collect();
        assert!(sectors.len() > 1, "{make}: {}", sectors.len());
        for round in 0..4_usize {
            let mut mixed = old.clone();
            for (number, sector) in sectors.iter().enumerate() {
                if (number * 2_654_435_761 + round * 40_503) % 4 < round {
                    mixed[sector * 512..][..512].copy_from_slice(&new[sector * 512..][..512]);
                }
            }
            fs::write(&image, &mixed).unwrap();
            fs::write(&files.log, &log).unwrap();
            assert_eq!(finish(&image, &files.log).unwrap(), Done::Changed, "{make}, round {round}");
            assert!(fs::read(&image).unwrap() == new, "{make}, round {round}");
            assert!(!files.log.exists());
        }
        assert_eq!(finish(&image, &files.log).unwrap(), Done::Already);
    }
}

#[test]
fn a_log_that_is_not_whole_or_of_another_file_system_is_forgotten_and_changes_nothing() {
    let place = Place::new();
    let (image, files) = (short(&place, "mkfs.ext4 -q", 16, 24), files(&place));
    drop(settle(&image, &files, &no_lock(), &not_needed).unwrap());
    let (old, log) = (fs::read(&image).unwrap(), fs::read(&files.log).unwrap());
    let mut flipped = log.clone();
    flipped[log.len() / 2] ^= 1;
    for (name, bytes) in
        [("empty", &[][..]), ("cut", &log[..log.len() - 1]), ("half", &log[..log.len() / 2]), ("flipped", &flipped)]
    {
        fs::write(&files.log, bytes).unwrap();
        assert_eq!(finish(&image, &files.log).unwrap(), Done::Already, "{name}");
        assert!(!files.log.exists() && fs::read(&image).unwrap() == old, "{name}");
    }
    sh(&place, "mkfs.ext4 -q -F image 16M");
    let other = fs::read(&image).unwrap();
    fs::write(&files.log, &log).unwrap();
    assert_eq!(finish(&image, &files.log).unwrap(), Done::Already);
    assert!(!files.log.exists() && fs::read(&image).unwrap() == other);
}

#[test]
fn a_file_system_that_was_used_since_is_not_touched_by_its_old_log() {
    let place = Place::new();
    let (image, files) = (short(&place, "mkfs.ext4 -q", 16, 24), files(&place));
    drop(settle(&image, &files, &no_lock(), &not_needed).unwrap());
    sh(&place, "mount -o loop image m; echo more >m/more; umount m");
    let used = fs::read(&image).unwrap();

    let error = finish(&image, &files.log).unwrap_err();

    assert_eq!(error.kind, ErrorKind::Verify, "{error}");
    assert!(error.to_string().contains("changed since"), "{error}");
    assert!(fs::read(&image).unwrap() == used && files.log.exists());
}

/// As a power cut leaves it: mounted, written, and never unmounted.
#[test]
fn a_journal_that_waits_to_be_replayed_is_replayed_by_the_kernel_first() {
    let place = Place::new();
    short(&place, "mkfs.ext4 -q", 64, 300);
    sh(
        &place,
        "cp image was; mount -o loop was m; for i in $(seq 50); do echo late $i >m/late$i; done; sync -f m; cp was image; umount m",
    );
    let node = sh(&place, "losetup -f --show image").trim().to_owned();
    let request =
        GrowRequest { device: node.clone().into(), fs: FsType::Ext4, mount_point: None, files: Some(files(&place)) };

    let done = grow_filesystem(&request, &no_lock(), &not_needed);

    sh(&place, &format!("losetup -d {node}"));
    assert_eq!(done.unwrap(), Done::Changed);
    sh(&place, "e2fsck -fn image; mount -o loop image m; grep -q 'late 50' m/late50; umount m");
}

#[test]
fn a_pool_without_room_for_the_try_is_an_error_and_changes_nothing() {
    let place = Place::new();
    let image = short(&place, "mkfs.ext4 -q", 160, 900);
    sh(&place, "mkdir small; mount -t tmpfs -o size=32k none small");
    let files = GrowthFiles { scratch: place.join("small/part"), log: place.join("small/log") };
    let old = fs::read(&image).unwrap();

    let error = grow(&image, &files, &no_lock(), &not_needed).unwrap_err();

    assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
    assert!(fs::read(&image).unwrap() == old);
    assert!(!files.scratch.exists() && !files.log.exists());
    sh(&place, "umount small");
}

#[test]
fn a_btrfs_is_not_cloned_to_a_size_the_kernel_cannot_grow_it_to() {
    let place = Place::new();
    let manifest = |clone: &str| {
        let clone = if clone.is_empty() {
            String::new()
        } else {
            format!(
                "[volumes.b]\ncapacity = \"{clone}\"\nimage = {{ allocate = \"sparse\" }}\nfs = {{ type = \"btrfs\" }}\nsource = {{ volume = \"a\" }}\n\
                 [[pods.p.mounts]]\nvolume = \"b\"\npath = \"/b\"\n"
            )
        };
        place.write(
            "m.toml",
            &format!(
                "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[pods.p]\nroot = \"p\"\n[volumes.a]\ncapacity = \"128MiB\"\n\
                 image = {{ allocate = \"sparse\" }}\nfs = {{ type = \"btrfs\" }}\n[[pods.p.mounts]]\nvolume = \"a\"\npath = \"/a\"\n{clone}"
            ),
        );
    };
    manifest("");
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("p/a/canary"), "canary").unwrap();

    manifest("200MiB");
    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert!(code != 0 && said.contains("resizes no btrfs to less than 256"), "{code}: {said}");
    assert!(!place.join("pool/p.b.img").exists(), "nothing was made");
    for (size, mib) in [("128MiB", 128), ("256MiB", 256)] {
        manifest(size);
        place.ok(&["apply", "m.toml", "--yes"]);
        assert_eq!(fs::read_to_string(place.join("p/b/canary")).unwrap(), "canary");
        let number = |format: &str| sh(&place, &format!("stat -f -c %{format} p/b")).trim().parse::<u64>().unwrap();
        let bytes = number("b") * number("S");
        assert_eq!(bytes, mib * MIB, "{size}");
        place.ok(&["plan", "m.toml", "--detailed-exitcode"]);
        place.ok(&["destroy", "m.toml", "--yes", "--delete-data", "b"]);
    }
}
