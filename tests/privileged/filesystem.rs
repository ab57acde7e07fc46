//! Checking, growing, renaming and erasing real file systems. What is asserted is read with other tools than those used.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use csictl::host::linux::erase::erase_signatures;
use csictl::host::linux::format::size;
use csictl::host::linux::fs_uuid::change_uuid;
use csictl::host::linux::fsck::check_filesystem;
use csictl::host::linux::grow::grow_filesystem;
use csictl::host::linux::probe::probe_path;
use csictl::host::{AttachedLoop, ErrorKind, GrowRequest, Lock, LoopHold, Result};
use csictl::model::{BlockId, Capacity, Done, FileId, FsType, FsUuid, LoopDevice, Probe};

use crate::support::Place;
use crate::support::place::detach;

fn sh(place: &Place, line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).current_dir(place.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}");
    text
}

fn no_lock() -> Lock {
    Lock::of(())
}

const MIB: u64 = 1 << 20;

/// A formatted image of 320 MiB with one file in it.
fn image(place: &Place, make: &str) -> PathBuf {
    let path = place.join("image");
    File::create(&path).unwrap().set_len(320 * MIB).unwrap();
    sh(place, &format!("{make} image; mkdir -p m; mount -o loop image m; echo canary >m/canary; umount m"));
    path
}

fn blkid_uuid(path: &Path) -> String {
    let output = Command::new("blkid").args(["-p", "-o", "value", "-s", "UUID"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn fsck(fs: FsType) -> &'static str {
    match fs {
        FsType::Ext4 => "e2fsck -fn",
        FsType::Xfs => "xfs_repair -n",
        FsType::Btrfs => "btrfs check --readonly",
    }
}

/// Attaches as the host does, with losetup.
fn attach(path: &Path) -> Result<AttachedLoop> {
    struct Detach(PathBuf, PathBuf);
    impl Drop for Detach {
        fn drop(&mut self) {
            detach(&self.0, &self.1);
        }
    }
    let output = Command::new("losetup").args(["-f", "--show"]).arg(path).output().unwrap();
    let node = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    let index = node.trim_start_matches("/dev/loop").parse().unwrap();
    let block = BlockId { major: 7, minor: index };
    let backing = FileId { device: block, inode: 0 };
    let device = LoopDevice {
        index,
        block,
        backing,
        offset: 0,
        size_limit: 0,
        size: 0,
        read_only: false,
        autoclear: false,
        direct_io: false,
        sector_size: 512,
    };
    Ok(AttachedLoop {
        device,
        adopted: false,
        hold: LoopHold::new(Detach(PathBuf::from(node), path.parent().unwrap().to_owned())),
    })
}

const PLAIN: [(FsType, &str); 3] =
    [(FsType::Ext4, "mkfs.ext4 -q -b 4096"), (FsType::Xfs, "mkfs.xfs -q"), (FsType::Btrfs, "mkfs.btrfs -q")];

#[test]
fn a_copy_gets_a_uuid_of_its_own_and_keeps_its_files() {
    let others = [
        (FsType::Ext4, "mkfs.ext4 -q -b 4096 -O metadata_csum_seed"),
        (FsType::Ext4, "mkfs.ext4 -q -b 4096 -O ^metadata_csum,uninit_bg"),
        (FsType::Ext4, "mkfs.ext4 -q -b 4096 -O ^metadata_csum,^uninit_bg,^sparse_super,^resize_inode"),
        (FsType::Ext4, "mkfs.ext4 -q -b 1024 -O sparse_super2"),
        (FsType::Btrfs, "mkfs.btrfs -q --csum sha256"),
    ];
    for (fs, make) in PLAIN.into_iter().chain(others) {
        let place = Place::new();
        let path = image(&place, make);
        let uuid = FsUuid::random();

        change_uuid(&path, fs, uuid, &no_lock(), &attach).unwrap_or_else(|error| panic!("{make}: {error:?}"));
        change_uuid(&path, fs, uuid, &no_lock(), &attach).unwrap();

        assert_eq!(blkid_uuid(&path), uuid.to_string(), "{make}");
        sh(&place, &format!("{} image", fsck(fs)));
        assert_eq!(sh(&place, "mount -o loop image m; cat m/canary; umount m"), "canary\n", "{make}");
        if fs == FsType::Ext4 && !make.contains("sparse_super2") {
            let shown = sh(&place, "dumpe2fs -h -o superblock=32768 -o blocksize=4096 image");
            assert!(shown.contains(&uuid.to_string()), "a backup: {shown}");
        }
    }
}

#[test]
fn a_copy_taken_of_a_mounted_file_system_gets_its_uuid_too() {
    for (fs, make) in PLAIN {
        for freeze in [false, true] {
            let place = Place::new();
            image(&place, make);
            let (before, after) = if freeze { ("fsfreeze -f m", "fsfreeze -u m") } else { ("sync -f m", "true") };
            sh(
                &place,
                &format!(
                    "mount -o loop image m; for i in $(seq 200); do echo $i >m/f$i; done; rm m/f7; {before}; \
                     cp --sparse=always image copy; {after}; umount m"
                ),
            );
            let copy = place.join("copy");
            let uuid = FsUuid::random();

            change_uuid(&copy, fs, uuid, &no_lock(), &attach).unwrap_or_else(|error| panic!("{make}: {error:?}"));

            assert_eq!(blkid_uuid(&copy), uuid.to_string(), "{make}");
            sh(&place, &format!("{} copy", fsck(fs)));
            assert_eq!(
                sh(&place, "mount -o loop copy m; cat m/canary m/f200; ls m/f7 || true; umount m").lines().next(),
                Some("canary")
            );
            assert_eq!(blkid_uuid(&copy), uuid.to_string(), "{make}: a replay would bring the old one back");
        }
    }
}

#[test]
fn ext4_with_errors_is_repaired_and_a_clean_or_other_one_left_alone() {
    let place = Place::new();
    let path = image(&place, "mkfs.ext4 -q");
    assert_eq!(check_filesystem(&path, FsType::Ext4, &no_lock()).unwrap(), Done::Already);

    sh(&place, "debugfs -w -R 'ssv state 2' image");
    assert_eq!(check_filesystem(&path, FsType::Ext4, &no_lock()).unwrap(), Done::Changed);
    assert_eq!(check_filesystem(&path, FsType::Ext4, &no_lock()).unwrap(), Done::Already);

    // Broken beyond what may be repaired without asking.
    sh(&place, "debugfs -w -R 'ssv state 2' image; debugfs -w -R 'clri <2>' image");
    let error = check_filesystem(&path, FsType::Ext4, &no_lock()).unwrap_err();
    assert!(error.to_string().contains("run 'e2fsck -f "), "{error}");

    let missing = check_filesystem(&place.join("missing"), FsType::Ext4, &no_lock()).unwrap_err();
    assert_eq!(missing.kind, ErrorKind::NotFound);
}

#[test]
fn an_ext4_image_grows_offline_and_once() {
    for make in ["mkfs.ext4 -q", "mkfs.ext4 -q -b 4096 -O metadata_csum_seed"] {
        let place = Place::new();
        let path = image(&place, make);
        let request = GrowRequest { device: path.clone(), fs: FsType::Ext4, mount_point: None, files: None };
        assert_eq!(grow_filesystem(&request, &no_lock(), &attach).unwrap(), Done::Already);

        File::options().write(true).open(&path).unwrap().set_len(700 * MIB).unwrap();
        assert_eq!(grow_filesystem(&request, &no_lock(), &attach).unwrap(), Done::Changed);
        assert_eq!(grow_filesystem(&request, &no_lock(), &attach).unwrap(), Done::Already);

        assert_eq!(size(&path, FsType::Ext4).unwrap(), Capacity::mib(700));
        sh(&place, "e2fsck -fn image");
        assert_eq!(sh(&place, "mount -o loop image m; cat m/canary; umount m"), "canary\n");
    }
}

#[test]
fn mounted_file_systems_grow_or_say_which_privilege_is_missing() {
    for (fs, make) in PLAIN {
        let place = Place::new();
        image(&place, make);
        let node = sh(&place, "losetup -f --show image").trim().to_owned();
        sh(&place, &format!("mount {node} m; truncate -s 700M image; losetup -c {node}"));
        let mount_point = place.join("m");
        let request =
            GrowRequest { device: node.clone().into(), fs, mount_point: Some(mount_point.clone()), files: None };
        let blocks = || -> u64 { sh(&place, "stat -f -c '%b' m").trim().parse().unwrap() };
        let before = blocks();

        match grow_filesystem(&request, &no_lock(), &attach) {
            Ok(done) => {
                assert_eq!(done, Done::Changed, "{fs}");
                assert_eq!(grow_filesystem(&request, &no_lock(), &attach).unwrap(), Done::Already, "{fs}");
                assert!(blocks() > before * 3 / 2, "{fs}");
            }
            // Here CAP_SYS_RESOURCE may be missing; then nothing has changed.
            Err(error) => {
                assert_eq!((fs, error.kind), (FsType::Ext4, ErrorKind::Permission), "{error}");
                assert_eq!(blocks(), before);
            }
        }
        sh(&place, &format!("umount m; losetup -d {node}"));
        sh(&place, &format!("{} image", fsck(fs)));
    }
}

#[test]
fn erasing_leaves_a_blank_device_and_touches_no_other_and_none_in_use() {
    for make in ["mkfs.ext4 -q", "mkfs.xfs -q", "mkfs.btrfs -q", "sgdisk -n 1", "mkswap -q"] {
        let place = Place::new();
        let path = place.join("image");
        File::create(&path).unwrap().set_len(320 * MIB).unwrap();
        sh(&place, &format!("{make} image"));
        let attached = attach(&path).unwrap();
        let node = attached.device.node();

        let wrong = erase_signatures(&node, BlockId { major: 7, minor: 4095 }).unwrap_err();
        assert_eq!(wrong.kind, ErrorKind::Foreign);
        assert!(matches!(probe_path(&node), Probe::Known(_)), "{make}");

        if make.contains("ext4") {
            sh(&place, &format!("mkdir m; mount {} m", node.display()));
            assert_eq!(erase_signatures(&node, attached.device.block).unwrap_err().kind, ErrorKind::Busy);
            sh(&place, "umount m");
        }

        assert_eq!(erase_signatures(&node, attached.device.block).unwrap(), Done::Changed, "{make}");
        assert_eq!(erase_signatures(&node, attached.device.block).unwrap(), Done::Already, "{make}");
        assert!(probe_path(&node).is_blank());
        let told = Command::new("blkid").arg("-p").arg(&node).output().unwrap();
        assert_eq!(told.status.code(), Some(2), "{make}: blkid finds nothing either");
    }
}
