//! Every way in which csictl formats, deletes, truncates or unlinks, tried without the approval or the proof of blankness that it needs:
//! through the manifest, the command line and the record. `docs/safety.md` lists the ways with their guards.

use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use csictl::host::linux::LinuxHost;
use csictl::host::{GrowRequest, GrowthFiles, Host, LockMode, Observe};
use csictl::model::record::{FormatMark, Recorded, VolumeRecord};
use csictl::model::{Capacity, FsType};
use csictl::state::record::{decode, encode};
use nix::mount::{MsFlags, mount};

use super::machine::ONE_VOLUME;
use crate::support::Place;
use crate::support::place::checksum;

pub(super) fn shell(place: &Place, line: &str) {
    let output = Command::new("/bin/bash").args(["-ec", line]).current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
}

/// A disk of the test's own under a name that stays, with this on it; the file behind it.
pub(super) fn disk(place: &Place, content: &str) -> PathBuf {
    shell(place, &format!("truncate -s 64M disk; {content}"));
    let output = Command::new("losetup").args(["-f", "--show"]).arg(place.join("disk")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let node = String::from_utf8(output.stdout).unwrap();
    // Seen in this test's mount namespace only.
    mount(Some("names"), "/dev/disk", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    fs::create_dir("/dev/disk/by-id").unwrap();
    symlink(node.trim(), "/dev/disk/by-id/test").unwrap();
    place.join("disk")
}

pub(super) fn release_disk(place: &Place) {
    let _ = place.exit(&["destroy", "m.toml", "--yes"]);
    nix::mount::umount2("/dev/disk", nix::mount::MntFlags::UMOUNT_NOFOLLOW).unwrap();
    shell(place, "losetup -j disk | cut -d: -f1 | xargs -r -n1 losetup -d");
}

pub(super) const DEVICE: &str = "version = 1\nproject = \"p\"\n[volumes.data]\ndevice = { path = \"/dev/disk/by-id/test\" }\nfs = { type = \"ext4\" }\n\
                      [pods.web]\nroot = \"pods\"\n[[pods.web.mounts]]\nvolume = \"data\"\npath = \"/data\"\n";

/// Every approval there is.
const APPROVE_ALL: &[&str] =
    &["apply", "m.toml", "--yes", "--approve", "volume.data=wipe", "--approve", "volume.data=delete"];

#[test]
fn a_disk_that_is_not_blank_is_not_formatted_whatever_is_approved() {
    for content in [
        "truncate -s 320M disk; mkfs.xfs -q -f disk",
        "truncate -s 128M disk; mkfs.btrfs -q -f disk",
        "mkfs.ext2 -q -F disk",
        "mkfs.ext3 -q -F disk",
        "mkfs.vfat disk >/dev/null",
        "mkswap -q disk",
        "printf 'label: gpt\\n,,\\n' | sfdisk -q disk",
        "printf 'LUKS\\xba\\xbe\\x00\\x02' | dd of=disk conv=notrunc status=none",
        "printf 'just some words' | dd of=disk bs=1 seek=4096 conv=notrunc status=none",
        "printf 'and at the end' | dd of=disk bs=1 seek=67100000 conv=notrunc status=none",
        // A file system whose superblock was damaged is a file system still.
        "mkfs.ext4 -q -F disk; dd if=/dev/zero of=disk bs=1k seek=1 count=1 conv=notrunc status=none",
    ] {
        let place = Place::new();
        place.write("m.toml", DEVICE);
        let disk = disk(&place, content);
        let before = checksum(&disk);

        for words in [&["apply", "m.toml", "--yes"][..], APPROVE_ALL] {
            let (code, said) = place.exit(words);
            assert_eq!(code, 5, "{content}: {said}");
        }

        assert_eq!(checksum(&disk), before, "{content}");
        release_disk(&place);
    }
}

/// A record that says csictl was about to format is no proof that what lies there is csictl's.
#[test]
fn an_edited_record_does_not_get_a_disk_formatted() {
    for mark in [FormatMark::None, FormatMark::Begun] {
        for fs_uuid in [None, Some("11111111-2222-4333-8444-555555555555")] {
            let place = Place::new();
            place.write("m.toml", DEVICE);
            let disk = disk(&place, "true");
            place.ok(&["apply", "m.toml", "--yes"]);
            fs::write(place.join("pods/data/keep"), "precious").unwrap();
            place.ok(&["destroy", "m.toml", "--yes"]);
            let path = place.join("state/volumes/p.data.json");
            let Recorded::Present(mut record) = decode::<VolumeRecord>(&fs::read(&path).unwrap(), "p.data") else {
                panic!("no record")
            };
            record.format = mark;
            record.fs_uuid = fs_uuid.map(|uuid| uuid.parse().unwrap());
            fs::write(&path, encode(&record)).unwrap();

            let (code, said) = place.exit(APPROVE_ALL);

            // It may be used as what it is; it may not be made anew.
            if code == 0 {
                assert_eq!(fs::read_to_string(place.join("pods/data/keep")).unwrap(), "precious", "{mark:?}");
            } else {
                assert_eq!(code, 5, "{mark:?}: {said}");
                shell(&place, "mkdir look; mount -o ro,loop disk look; grep -q precious look/keep; umount look");
            }
            let _ = place.exit(&["destroy", "m.toml", "--yes"]);
            let _ = disk;
            release_disk(&place);
        }
    }
}

#[test]
fn a_disk_that_was_formatted_and_looks_blank_is_an_error() {
    let place = Place::new();
    place.write("m.toml", DEVICE);
    let disk = disk(&place, "true");
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
    for at in 0..64 {
        file.write_all_at(&[0; 1 << 20], at << 20).unwrap();
    }
    shell(&place, "blockdev --flushbufs $(losetup -j disk | cut -d: -f1)");
    let before = checksum(&disk);

    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

    assert_eq!(code, 5, "{said}");
    assert_eq!(checksum(&disk), before);
    release_disk(&place);
}

/// A place with the image volume made and a file in it, and the image's checksum.
fn with_data() -> (Place, PathBuf, String) {
    with_data_in(ONE_VOLUME)
}

fn with_data_in(manifest: &str) -> (Place, PathBuf, String) {
    let place = Place::new();
    place.write("m.toml", manifest);
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("pods/web/data/keep"), "precious").unwrap();
    place.ok(&["destroy", "m.toml", "--yes"]);
    let image = place.join("pool/p.data.img");
    let sum = checksum(&image);
    (place, image, sum)
}

#[test]
fn an_image_is_deleted_only_by_its_own_name() {
    let (place, image, sum) = with_data();
    let reclaimed = "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n";
    place.write("gone.toml", reclaimed);
    for words in [
        &["delete", "data", "--yes"][..],
        &["delete", "p.data", "--yes"],
        &["delete", "data", "--yes", "--approve", "volume.data=wipe"],
        &["delete", "data", "--yes", "--approve", "volume.other=delete"],
        &["delete", "data", "--yes", "--approve", "snapshot.data=delete"],
        &["destroy", "m.toml", "--yes"],
        &["destroy", "m.toml", "--yes", "--delete-data", "other"],
        &["destroy", "m.toml", "--yes", "--delete-data", "*"],
        &["apply", "gone.toml", "--yes"],
        &["gc", "--yes"],
        &["gc", "--yes", "--pool", "pool"],
    ] {
        let _ = place.exit(words);
        assert!(image.exists(), "{words:?}");
        assert_eq!(checksum(&image), sum, "{words:?}");
    }
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes", "--delete-data", "data"]);
    assert!(!image.exists(), "the right word has to work, or nothing was tried");
}

#[test]
fn what_prevent_destroy_protects_no_approval_deletes() {
    let (place, image, sum) = with_data();
    place.write("m.toml", &ONE_VOLUME.replace("[volumes.data]", "[volumes.data]\nprevent_destroy = true"));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    let sum = if checksum(&image) == sum { sum } else { checksum(&image) };
    for words in [
        &["destroy", "m.toml", "--yes", "--delete-data", "data"][..],
        &["delete", "data", "--yes", "--approve", "volume.data=delete"],
    ] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 5, "{words:?}: {said}");
        assert_eq!(checksum(&image), sum, "{words:?}");
    }
}

#[test]
fn an_image_is_replaced_only_with_an_approval_of_its_wipe() {
    let (place, image, sum) = with_data();
    let xfs = ONE_VOLUME.replace("16MiB", "300MiB").replace("[pods.web]", "fs = { type = \"xfs\" }\n[pods.web]");
    place.write("m.toml", &xfs);
    for words in [
        &["apply", "m.toml", "--yes"][..],
        &["apply", "m.toml", "--yes", "--approve", "volume.data=delete"],
        &["apply", "m.toml", "--yes", "--approve", "volume.other=wipe"],
    ] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 5, "{words:?}: {said}");
        assert_eq!(checksum(&image), sum, "{words:?}");
    }
    place.ok(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);
    shell(&place, "blkid -p pool/p.data.img | grep -q 'TYPE=\"xfs\"'");
    assert!(!place.join("pods/web/data/keep").exists(), "the right word has to work, or nothing was tried");
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_snapshot_is_deleted_only_by_its_own_name() {
    let (place, _, _) = with_data();
    place.ok(&["snapshot", "create", "data", "s", "--yes"]);
    let snapshot = place.join("pool/p.s.snap");
    let sum = checksum(&snapshot);
    for (words, expected) in [
        (&["snapshot", "delete", "s", "--yes"][..], 5),
        (&["snapshot", "delete", "s", "--yes", "--approve", "volume.s=delete"], 5),
        (&["snapshot", "delete", "s", "--yes", "--approve", "snapshot.other=delete"], 5),
        (&["snapshot", "delete", "s", "--yes", "--approve", "snapshot.s=wipe"], 64),
        (&["destroy", "m.toml", "--yes", "--delete-data", "data"], 0),
        (&["gc", "--yes"], 0),
    ] {
        let (code, said) = place.exit(words);
        assert_eq!(code, expected, "{words:?}: {said}");
        assert!(snapshot.exists(), "{words:?}");
        assert_eq!(checksum(&snapshot), sum, "{words:?}");
    }
    place.ok(&["snapshot", "delete", "s", "--yes", "--approve", "snapshot.s=delete"]);
    assert!(!snapshot.exists(), "the right word has to work, or nothing was tried");
}

/// From a size to one that is allowed as well, so that it is not the manifest that is refused.
#[test]
fn nothing_is_ever_cut() {
    let (place, image, sum) = with_data_in(&ONE_VOLUME.replace("16MiB", "32MiB"));
    place.write("m.toml", &ONE_VOLUME.replace("16MiB", "24MiB"));
    for words in [
        &["apply", "m.toml", "--yes"][..],
        APPROVE_ALL,
        &["expand", "data", "24MiB", "--yes"],
        &["expand", "data", "1", "--yes"],
    ] {
        let (code, said) = place.exit(words);
        assert!(code == 5 && said.contains("never shrinks"), "{words:?}: {code}: {said}");
        assert_eq!(checksum(&image), sum, "{words:?}");
    }
    place.ok(&["expand", "data", "40MiB", "--yes"]);
    assert_eq!(fs::metadata(&image).unwrap().len(), 40 << 20, "what is no cut has to work, or nothing was tried");
}

/// An error flag asks for a repair, which writes: not on a disk that a volume only reads.
#[test]
fn a_disk_that_is_only_read_is_not_repaired() {
    let place = Place::new();
    let reader = "device = { path = \"/dev/disk/by-id/test\" }\naccess_mode = \"single-node-reader-only\"";
    place.write("m.toml", &DEVICE.replace("device = { path = \"/dev/disk/by-id/test\" }", reader));
    let flagged = "mke2fs -q -t ext4 disk; echo precious > keep; debugfs -w -R 'write keep keep' disk 2>&1; debugfs -w -R 'ssv state 2' disk 2>&1";
    let file = disk(&place, flagged);
    let sum = checksum(&file);

    place.ok(&["apply", "m.toml", "--yes"]);

    assert_eq!(fs::read_to_string(place.join("pods/data/keep")).unwrap(), "precious\n");
    place.ok(&["destroy", "m.toml", "--yes"]);
    assert_eq!(checksum(&file), sum);
    release_disk(&place);
}

/// A loop device of somebody's shows half of the image: a file system that were "grown" to it would end there.
#[test]
fn no_growth_makes_a_file_system_smaller() {
    let (place, image, sum) = with_data();
    let output = Command::new("losetup").args(["-f", "--show", "--sizelimit", "8388608"]).arg(&image).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let device = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let host = LinuxHost::new();
    let lock = host.lock(&place.join("lock"), LockMode::Exclusive, Duration::ZERO).unwrap();

    for files in [None, Some(GrowthFiles { log: place.join("log"), scratch: place.join("scratch") })] {
        let request = GrowRequest { device: device.clone(), fs: FsType::Ext4, mount_point: None, files };
        let answer = host.grow_filesystem(&request, &lock);
        assert!(answer.is_err_and(|error| error.to_string().contains("nothing was done")));
    }

    shell(&place, &format!("losetup -d {}", device.display()));
    assert_eq!(checksum(&image), sum);
}

/// Whatever a caller asks for, the host itself cuts no image.
#[test]
fn the_host_gives_images_bytes_and_takes_none() {
    let (_place, image, sum) = with_data();
    let host = LinuxHost::new();
    let file = host.image(&image).unwrap().unwrap().file;

    for full in [false, true] {
        let error = host.resize_image(&image, file, Capacity::mib(1), full).unwrap_err();
        assert!(error.to_string().contains("never cut"), "{error}");
    }

    assert_eq!(checksum(&image), sum);
}

#[test]
fn a_foreign_file_in_an_images_place_is_neither_overwritten_nor_deleted() {
    for content in ["precious", ""] {
        let place = Place::new();
        place.write("m.toml", ONE_VOLUME);
        let image = place.write("pool/p.data.img", content);

        for words in
            [&["apply", "m.toml", "--yes"][..], APPROVE_ALL, &["destroy", "m.toml", "--yes", "--delete-data", "data"]]
        {
            let _ = place.exit(words);
            assert_eq!(fs::read_to_string(&image).unwrap(), content, "{words:?}");
        }
    }
}

/// `plan` writes one file, where it is told: not over an image, a disk or anything else that is no plan.
#[test]
fn a_plan_file_replaces_only_a_plan_file() {
    let (place, image, sum) = with_data();
    let (code, said) = place.exit(&["plan", "m.toml", "--out", "pool/p.data.img"]);
    assert_eq!(code, 5, "{said}");
    assert_eq!(checksum(&image), sum);
    let (code, said) = place.exit(&["plan", "m.toml", "--out", "m.toml"]);
    assert_eq!(code, 5, "{said}");
    assert_eq!(fs::read_to_string(place.join("m.toml")).unwrap(), ONE_VOLUME);

    place.ok(&["plan", "m.toml", "--out", "plan.json"]);
    place.ok(&["plan", "m.toml", "--out", "plan.json"]);
}
