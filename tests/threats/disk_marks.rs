//! What a mark in a record is worth: that a mkfs was begun, that one was ended, that this was the disk. A mark is old the moment somebody uses the
//! disk, so what is on the disk decides, and what cannot be told apart from somebody's data is left alone.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use csictl::host::Observe;
use csictl::host::linux::LinuxHost;
use csictl::model::record::{FormatMark, VolumeRecord};
use csictl::model::{FsType, FsUuid};
use csictl::state::record::encode;

use super::data_loss::{DEVICE, disk, release_disk, shell};
use super::which_disk::{LINK, another_disk, record, record_path, release_both, used_disk};
use crate::faults::programs::Instead;
use crate::support::Place;
use crate::support::place::checksum;

const RAW: &str = "version = 1\nproject = \"p\"\n[volumes.data]\ndevice = { path = \"/dev/disk/by-id/test\" }\nvolume_mode = \"block\"\n";

fn node() -> PathBuf {
    fs::canonicalize(LINK).unwrap()
}

/// The mark of a mkfs that was begun on the disk to which the link leads; its UUID.
fn mark_begun(place: &Place, fs_type: FsType, uuid: FsUuid) {
    let disk = LinuxHost::new().device(Path::new(LINK)).unwrap().unwrap().disk;
    let mut begun = VolumeRecord { format: FormatMark::Begun, fs_uuid: Some(uuid), disk: Some(disk), ..record(place) };
    begun.spec.fs.as_mut().unwrap().fs_type = fs_type;
    fs::write(record_path(place), encode(&begun)).unwrap();
}

fn mkfs(fs_type: FsType, uuid: FsUuid) -> String {
    match fs_type {
        FsType::Ext4 => format!("mke2fs -q -t ext4 -b 4096 -e remount-ro -U {uuid}"),
        FsType::Xfs => format!("mkfs.xfs -q -m uuid={uuid}"),
        FsType::Btrfs => format!("mkfs.btrfs -q -U {uuid}"),
    }
}

/// A blank disk under a record that says that a mkfs was begun on it, and what is left of one that was killed at its nth write.
fn killed(place: &Place, fs_type: FsType, write: u32) -> PathBuf {
    place.write("m.toml", &DEVICE.replace("ext4", fs_type.as_str()));
    let file = disk(place, "truncate -s 320M disk");
    place.write("down.toml", fs::read_to_string(place.join("m.toml")).unwrap().split("[pods").next().unwrap());
    place.ok(&["apply", "down.toml", "--yes"]);
    let uuid = FsUuid::random();
    let line = format!(
        "strace -f -o /dev/null -e inject=pwrite64,write:signal=SIGKILL:when={write} {} {}; sync",
        mkfs(fs_type, uuid),
        node().display()
    );
    let output = Command::new("/bin/bash").args(["-c", &line]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    mark_begun(place, fs_type, uuid);
    file
}

#[test]
fn a_file_system_with_files_in_it_is_never_made_again_though_it_crashed() {
    for fs_type in FsType::ALL {
        let place = Place::new();
        place.write("m.toml", &DEVICE.replace("ext4", fs_type.as_str()));
        let file = disk(&place, "truncate -s 320M disk");
        place.write("down.toml", DEVICE.replace("ext4", fs_type.as_str()).split("[pods").next().unwrap());
        place.ok(&["apply", "down.toml", "--yes"]);
        let uuid = FsUuid::random();
        // Mounted by hand before the mark said that it is whole, written to, and cut off: its log is still to be replayed.
        shell(
            &place,
            &format!(
                "{} {node}; mkdir m; mount {node} m; mkdir m/d; for i in 1 2 3; do echo precious$i >m/d/f$i; sync m/d/f$i; done; sync m/d; \
                 dd if={node} of=cut bs=1M iflag=direct status=none; umount m; dd if=cut of={node} bs=1M oflag=direct conv=notrunc status=none; \
                 blockdev --flushbufs {node}",
                mkfs(fs_type, uuid),
                node = node().display()
            ),
        );
        mark_begun(&place, fs_type, uuid);
        let before = checksum(&file);

        let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);

        if code == 0 {
            assert_eq!(fs::read_to_string(place.join("pods/data/d/f2")).unwrap(), "precious2\n", "{fs_type}: {said}");
            assert_eq!(record(&place).format, FormatMark::Done);
        } else {
            assert_eq!(code, 5, "{fs_type}: {said}");
            assert_eq!(checksum(&file), before, "{fs_type}: {said}");
        }
        assert!(fs_type == FsType::Btrfs || code == 0, "{fs_type}: {said}");
        release_both(&place);
    }
}

#[test]
fn what_somebody_wrote_since_a_mkfs_was_killed_is_not_taken_for_its_remains() {
    let somewhere = "dd if=/dev/urandom of=$N bs=1M count=8 seek=100 conv=notrunc status=none";
    let everywhere = "dd if=/dev/urandom of=$N bs=1M conv=notrunc status=none || true";
    let header = "printf 'a database of its own' | dd of=$N bs=1 seek=40 conv=notrunc status=none";
    let near = "dd if=/dev/urandom of=$N bs=4k count=64 seek=3000 conv=notrunc status=none";
    for fs_type in FsType::ALL {
        for (write, data) in [(40, somewhere), (3, everywhere), (3, header), (8, near)] {
            let place = Place::new();
            let file = killed(&place, fs_type, write);
            shell(&place, &format!("N={}; {data}; sync; blockdev --flushbufs $N", node().display()));
            let before = checksum(&file);

            let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);

            assert_eq!(code, 5, "{fs_type} killed at {write}, {data}: {said}");
            assert_eq!(checksum(&file), before, "{fs_type} killed at {write}, {data}");
            release_both(&place);
        }
    }
}

#[test]
fn remains_of_a_mkfs_are_made_again_when_nobody_forbids_it_and_the_plan_says_so() {
    for fs_type in FsType::ALL {
        for (write, more, expected) in
            [(3, "", 0), (8, "", 0), (8, "prevent_destroy = true\n", 5), (8, "format = \"never\"", 5)]
        {
            let place = Place::new();
            let file = killed(&place, fs_type, write);
            let text = fs::read_to_string(place.join("m.toml")).unwrap();
            let text = if more.starts_with("format") {
                text.replace("\" }\n[pods", &format!("\", {more} }}\n[pods"))
            } else {
                text.replacen("[pods", &format!("{more}[pods"), 1)
            };
            place.write("m.toml", &text);
            let before = checksum(&file);
            let blank = LinuxHost::new().probe(Path::new(LINK)).is_blank();

            let (planned, shown) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
            let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

            let what = format!("{fs_type} killed at {write}, {more}");
            let expected = if blank && more.starts_with("prevent") { 0 } else { expected };
            assert_eq!(code, expected, "{what}: {said}");
            assert_eq!(planned, if expected == 0 { 2 } else { 5 }, "{what}: {shown}");
            assert!(blank || expected != 0 || shown.contains("formatted again"), "{what}: {shown}");
            assert_eq!(checksum(&file) == before, expected != 0, "{what}");
            release_both(&place);
        }
    }
}

#[test]
fn an_approval_to_wipe_a_volume_that_was_never_used_is_for_no_disk_it_was_not_made_for() {
    let plain = DEVICE.split("[pods").next().unwrap();
    for (first, then) in
        [(RAW, plain), (plain, RAW), (plain, &*plain.replace("ext4", "xfs"))].map(|(a, b)| (a.to_owned(), b.to_owned()))
    {
        for known in [true, false] {
            let place = Place::new();
            place.write("m.toml", &first);
            disk(&place, "truncate -s 320M disk");
            place.ok(&["apply", "m.toml", "--yes"]);
            if !known {
                // As a csictl wrote it that did not yet write disks down, and as an import leaves it.
                fs::write(record_path(&place), encode(&VolumeRecord { disk: None, ..record(&place) })).unwrap();
            }
            let file = another_disk(&place, "mkfs.ext4 -q -L VICTIM other; sync other");
            place.write("m.toml", &then);
            let before = checksum(&file);

            let (planned, shown) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
            let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);

            assert_eq!((planned, code), (5, 5), "{first} to {then}, known {known}: {shown}\n{said}");
            assert!(shown.contains("VICTIM"), "{shown}");
            assert_eq!(checksum(&file), before, "{first} to {then}");
            release_both(&place);
        }
    }
}

#[test]
fn an_imported_record_lets_a_foreign_file_system_neither_grow_nor_be_repaired_or_wiped() {
    let place = Place::new();
    used_disk(&place);
    let (_, document) = place.exit(&["state", "export"]);
    place.write("document.json", &document);
    fs::remove_dir_all(place.join("state")).unwrap();
    let uuid = record_uuid(&document);
    // Somebody's, with the UUID that the document names, and with the flag that has e2fsck -p run.
    shell(
        &place,
        &format!(
            "N={}; mkfs.ext4 -q -F -U {uuid} -L theirs $N 100M; debugfs -w -R 'set_super_value state 2' $N 2>/dev/null; sync; blockdev --flushbufs $N",
            node().display()
        ),
    );
    place.ok(&["state", "import", "document.json"]);
    let checked = "dumpe2fs -h $N 2>/dev/null | grep -E 'Block count|Last checked'";
    let told = || {
        let line = format!("N={}; {checked}", node().display());
        String::from_utf8(Command::new("/bin/bash").args(["-c", &line]).output().unwrap().stdout).unwrap()
    };
    let before = told();
    assert!(before.contains("Block count"), "{before}");
    let text = fs::read_to_string(place.join("m.toml")).unwrap();
    place.write("m.toml", &text.replace("ext4", "xfs"));
    let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.data=wipe"]);
    assert_eq!(code, 5, "{said}");
    place.write("m.toml", &text);

    let (_, said) = place.exit(&["apply", "m.toml", "--yes"]);
    place.exit(&["destroy", "m.toml", "--yes"]);

    assert_eq!(told(), before, "{said}");
    release_both(&place);
}

fn record_uuid(document: &str) -> String {
    let at = document.find("\"fs_uuid\"").unwrap() + "\"fs_uuid\"".len();
    document[at..].split('"').nth(1).unwrap().to_owned()
}

/// The disk that a raw volume has, and a partition of it that another project, or the same one, would format.
#[test]
fn a_partition_of_a_disk_that_is_another_volumes_is_no_disk_of_its_own() {
    let place = Place::new();
    place.write("m.toml", RAW);
    let file = disk(&place, "truncate -s 400M disk; printf 'label: gpt\\n,200M\\n,\\n' | sfdisk -q disk");
    let part = "/dev/disk/by-id/test-part1";
    shell(
        &place,
        &format!(
            "N={n}; partx -a $N; B=$(basename $N); IFS=: read a b </sys/block/$B/${{B}}p1/dev; mknod {part} b $a $b",
            n = node().display()
        ),
    );
    place.ok(&["apply", "m.toml", "--yes"]);
    let other = DEVICE.replace("/dev/disk/by-id/test", part);
    place.write("other.toml", &other.replace("project = \"p\"", "project = \"q\""));
    let both = RAW.replace("[volumes.data]", "[volumes.whole]");
    place.write(
        "both.toml",
        &format!("{both}{}", other.split("project = \"p\"\n").nth(1).unwrap()).replace("\"p\"", "\"r\""),
    );
    let before = checksum(&file);

    let (planned, shown) = place.exit(&["plan", "other.toml", "--detailed-exitcode"]);
    let (code, said) = place.exit(&["apply", "other.toml", "--yes"]);

    assert_eq!((planned, code), (5, 5), "{shown}\n{said}");
    assert!(shown.contains("is the device of volume p.data"), "{shown}");
    assert_eq!(checksum(&file), before);
    // And the other way round, and both in one manifest.
    place.ok(&["destroy", "m.toml", "--yes", "--delete-data", "data"]);
    let (code, said) = place.exit(&["apply", "both.toml", "--yes"]);
    assert_eq!(code, 5, "{said}");
    assert_eq!(checksum(&file), before, "{said}");
    place.exit(&["destroy", "both.toml", "--yes"]);
    shell(&place, &format!("partx -d {}", node().display()));
    release_disk(&place);
}

#[test]
fn a_raw_volume_is_not_given_another_disk_and_says_what_its_own_holds() {
    let place = Place::new();
    let pods = "[pods.web]\nroot = \"pods\"\n[[pods.web.devices]]\nvolume = \"data\"\npath = \"/dev/raw\"\n";
    place.write("m.toml", &format!("{RAW}{pods}"));
    disk(&place, "truncate -s 320M disk; mkfs.ext4 -q -L first disk; sync disk");
    let (_, first) = place.exit(&["plan", "m.toml"]);
    assert!(first.contains("it holds ext4 \"first\""), "{first}");
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    let one = node();
    for content in ["mkfs.ext4 -q -L theirs other; sync other", "truncate -s 128M other"] {
        let file = another_disk(&place, content);
        let before = checksum(&file);

        let (planned, shown) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

        assert_eq!((planned, code), (5, 5), "{content}: {shown}\n{said}");
        assert!(shown.contains("wrong-identity"), "{shown}");
        assert!(!place.join("pods/dev/raw").exists());
        assert_eq!(checksum(&file), before);
        shell(&place, "losetup -j other | cut -d: -f1 | xargs -r -n1 losetup -d; rm other");
    }
    fs::remove_file(LINK).unwrap();
    symlink(&one, LINK).unwrap();
    place.ok(&["apply", "m.toml", "--yes"]);
    assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"));
    release_both(&place);
}

/// The device is known by its number from the look at it to the last byte of mkfs.
#[test]
fn a_link_that_turns_while_csictl_runs_does_not_lead_its_mkfs_to_another_disk() {
    let place = Place::new();
    place.write("m.toml", DEVICE);
    let first = disk(&place, "truncate -s 320M disk");
    let one = node();
    let other = another_disk(&place, "mkfs.ext4 -q -L victim other; sync other");
    let two = node();
    fs::remove_file(LINK).unwrap();
    symlink(&one, LINK).unwrap();
    let (before, blank) = (checksum(&other), checksum(&first));
    let turns = Instead::of(&place, "mke2fs", &format!("ln -sfn {} {LINK}; exec \"$REAL\" \"$@\"", two.display()));

    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

    drop(turns);
    assert_eq!(checksum(&other), before, "{code}: {said}");
    assert_ne!(checksum(&first), blank, "{code}: {said}");
    fs::remove_file(LINK).unwrap();
    symlink(&one, LINK).unwrap();
    release_both(&place);
}
