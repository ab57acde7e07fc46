//! Formatting on real files and loop devices: what is made is what was asked for, nothing else is ever overwritten, and
//! copies of a template are whole file systems of their own.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use csictl::host::linux::format::{format as format_within, size};
use csictl::host::linux::probe::{probe_one, probe_path, view};
use csictl::host::{ErrorKind, FormatRequest, Formatted, Lock};
use csictl::model::{Capacity, FsType, FsUuid, Probe, SectorSize};

use crate::support::Place;

fn format(request: &FormatRequest, lock: &Lock) -> csictl::host::Result<Formatted> {
    format_within(request, lock, None)
}

fn sparse(place: &Place, name: &str, bytes: u64) -> PathBuf {
    let path = place.join(name);
    File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

fn request(path: &Path, fs: FsType) -> FormatRequest {
    FormatRequest {
        path: path.to_owned(),
        fs,
        uuid: FsUuid::random(),
        label: None,
        options: Vec::new(),
        sector_size: SectorSize::B512,
        fresh_image: true,
        discard: true,
        block: None,
        resume: false,
        template: false,
    }
}

fn run(line: &str, place: &Place) -> (i32, String) {
    let output = Command::new("sh").args(["-c", line]).current_dir(place.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

fn no_lock() -> Lock {
    Lock::of(())
}

/// When the file was last changed, and how much of it is allocated.
fn changed(path: &Path) -> (i64, i64, u64) {
    let facts = path.metadata().unwrap();
    (facts.ctime(), facts.ctime_nsec(), facts.blocks())
}

/// fsck of every kind, reading only.
fn assert_clean(path: &Path, fs: FsType, place: &Place) {
    let name = path.display();
    let line = match fs {
        FsType::Ext4 => format!("e2fsck -fn {name}"),
        FsType::Xfs => format!("xfs_repair -n {name}"),
        FsType::Btrfs => format!("btrfs check --readonly {name}"),
    };
    let (code, text) = run(&line, place);
    assert_eq!(code, 0, "{line}: {text}");
}

#[test]
fn every_file_system_is_made_as_asked_in_both_sector_sizes() {
    for fs in FsType::ALL {
        for (sector_size, label, discard) in
            [(SectorSize::B512, None, true), (SectorSize::B4096, Some("a label"), false)]
        {
            let place = Place::new();
            let path = sparse(&place, "image", Capacity::mib(320).get());
            let request = FormatRequest { sector_size, discard, label: label.map(str::to_owned), ..request(&path, fs) };

            assert_eq!(format(&request, &no_lock()).unwrap(), Formatted::Mkfs);

            let Probe::Known(found) = probe_path(&path) else { panic!("{fs}") };
            assert_eq!(
                (found.kind.as_str(), found.uuid, found.label.as_deref()),
                (fs.as_str(), Some(request.uuid.to_string()), label)
            );
            assert_clean(&path, fs, &place);
            assert_eq!(size(&path, fs).unwrap(), Capacity::mib(320));
            let bytes = sector_size.bytes();
            let mounted = run(
                &std::format!(
                    "L=$(losetup -b {bytes} -f --show image) && mkdir m && mount -t {fs} $L m && losetup -d $L && umount m"
                ),
                &place,
            );
            assert_eq!(mounted.0, 0, "{fs} {bytes}: {}", mounted.1);
        }
    }
}

#[test]
fn the_smallest_image_of_each_file_system_can_be_made() {
    for fs in FsType::ALL {
        let place = Place::new();
        let path = sparse(&place, "image", fs.min_capacity().get());
        format(&request(&path, fs), &no_lock()).unwrap();
        assert_clean(&path, fs, &place);
    }
}

#[test]
fn a_sparse_gibibyte_of_ext4_takes_less_than_a_mebibyte() {
    let place = Place::new();
    let path = sparse(&place, "image", Capacity::gib(1).get());
    format(&request(&path, FsType::Ext4), &no_lock()).unwrap();
    let allocated = path.metadata().unwrap().blocks() * 512;
    assert!(allocated < 1 << 20, "{allocated} bytes");
}

#[test]
fn full_images_stay_full() {
    for fs in FsType::ALL {
        let place = Place::new();
        let path = sparse(&place, "image", Capacity::mib(320).get());
        let (code, text) = run("fallocate -l 320M image", &place);
        assert_eq!(code, 0, "{text}");

        format(&FormatRequest { discard: false, ..request(&path, fs) }, &no_lock()).unwrap();

        assert!(path.metadata().unwrap().blocks() * 512 >= Capacity::mib(320).get(), "{fs}");
    }
}

#[test]
fn nothing_that_is_not_blank_is_ever_formatted() {
    for (name, write) in [
        ("another ext4", "mkfs.ext4 -q image"),
        ("a partition table", "sgdisk -n 1 image"),
        ("a plain file", "echo data | dd of=image conv=notrunc status=none"),
        ("data in the middle", "echo data | dd of=image bs=1M seek=64 conv=notrunc status=none"),
        ("a copy at the end", "sgdisk -n 1 image; dd if=/dev/zero of=image bs=512 count=34 conv=notrunc status=none"),
    ] {
        for fs in FsType::ALL {
            for resume in [false, true] {
                // Under a mark of our own, data without a signature is the remains of our own mkfs.
                if resume && ["a plain file", "data in the middle"].contains(&name) {
                    continue;
                }
                let place = Place::new();
                let path = sparse(&place, "image", Capacity::mib(320).get());
                run(write, &place);
                let before = changed(&path);

                let error = format(&FormatRequest { resume, ..request(&path, fs) }, &no_lock()).unwrap_err();

                assert_eq!(error.kind, ErrorKind::NotBlank, "{fs} over {name}: {error}");
                assert_eq!(changed(&path), before, "{fs} over {name} changed it");
            }
        }
    }
}

#[test]
fn a_half_made_file_system_of_ours_is_made_again_and_a_finished_one_of_another_is_not() {
    for fs in FsType::ALL {
        let place = Place::new();
        let path = sparse(&place, "image", Capacity::mib(320).get());
        let request = FormatRequest { fresh_image: false, ..request(&path, fs) };
        format(&request, &no_lock()).unwrap();
        // What a kill leaves of XFS: the magic, and the flag that it is not finished.
        if fs == FsType::Xfs {
            File::options().write(true).open(&path).unwrap().write_all_at(&[1], 126).unwrap();
        }

        assert_eq!(format(&request, &no_lock()).unwrap_err().kind, ErrorKind::NotBlank);
        format(&FormatRequest { resume: true, ..request.clone() }, &no_lock()).unwrap();
        assert_clean(&path, fs, &place);

        let other = FormatRequest { resume: true, uuid: FsUuid::random(), ..request };
        assert_eq!(format(&other, &no_lock()).unwrap_err().kind, ErrorKind::NotBlank);
    }
}

#[test]
fn copies_of_a_template_are_clean_file_systems_of_their_own() {
    for (bytes, sector_size, options) in [
        (Capacity::mib(16), SectorSize::B512, vec![]),
        (Capacity::mib(17), SectorSize::B4096, vec!["-m", "0"]),
        (Capacity::mib(200), SectorSize::B512, vec!["-b", "1024"]),
        (Capacity::mib(200), SectorSize::B512, vec!["-i", "65536", "-E", "stride=8"]),
        (Capacity::gib(1), SectorSize::B512, vec![]),
        (Capacity::gib(1), SectorSize::B4096, vec![]),
        (Capacity::bytes(Capacity::gib(1).get() + 4096 * 3), SectorSize::B512, vec![]),
        (Capacity::gib(10), SectorSize::B512, vec![]),
    ] {
        let place = Place::new();
        let mut made = Vec::new();
        let mut uuids = Vec::new();
        for index in 0..6 {
            let path = sparse(&place, &std::format!("image{index}"), bytes.get());
            let label = (index % 2 == 0).then(|| std::format!("label {index}"));
            let request = FormatRequest {
                sector_size,
                label,
                options: options.iter().map(|option| (*option).to_owned()).collect(),
                template: true,
                ..request(&path, FsType::Ext4)
            };

            made.push(format(&request, &no_lock()).unwrap());

            let Probe::Known(found) = probe_path(&path) else { panic!("{bytes}") };
            assert_eq!((found.uuid, found.label), (Some(request.uuid.to_string()), request.label));
            assert_clean(&path, FsType::Ext4, &place);
            let (_, told) = run(
                &std::format!(
                    "dumpe2fs -h image{index}; dumpe2fs -h -o superblock=32768 -o blocksize=4096 image{index}"
                ),
                &place,
            );
            let shown = told.matches(&std::format!("Filesystem UUID:          {}", request.uuid)).count();
            let backups = usize::from(bytes > Capacity::mib(128) && !options.contains(&"1024"));
            assert_eq!(shown, 1 + backups, "the new UUID in the primary and in a backup: {told}");
            let seeds = told.lines().find(|line| line.starts_with("Directory Hash Seed:")).unwrap().to_owned();
            assert!(!uuids.contains(&seeds), "a hash seed of its own");
            uuids.push(seeds);
        }
        // Templates live as long as the process: another test may have made that of a common sort before.
        if !options.is_empty() {
            assert_eq!(made[0], Formatted::Mkfs, "{bytes} {options:?}");
        }
        assert!(made[1..].iter().all(|how| *how == Formatted::Template), "{bytes} {options:?}: {made:?}");
        // It survives its use.
        let (code, text) = run(
            &std::format!(
                "L=$(losetup -b {} -f --show image5) && mkdir m && mount -t ext4 $L m && losetup -d $L && \
                 for i in $(seq 300); do echo $i >m/file$i; done && mkdir m/d && sync -f m && umount m && e2fsck -fn image5",
                sector_size.bytes()
            ),
            &place,
        );
        assert_eq!(code, 0, "{text}");
    }
}

#[test]
fn what_a_template_cannot_carry_is_made_by_mkfs() {
    let place = Place::new();
    for index in 0..3 {
        let path = sparse(&place, &std::format!("image{index}"), Capacity::mib(64).get());
        let request = FormatRequest {
            options: vec!["-O".to_owned(), "^metadata_csum".to_owned()],
            template: true,
            ..request(&path, FsType::Ext4)
        };
        assert_eq!(format(&request, &no_lock()).unwrap(), Formatted::Mkfs);
        assert_clean(&path, FsType::Ext4, &place);
    }
}

#[test]
fn a_file_that_is_not_as_fresh_as_its_caller_says_is_not_taken_for_zeros() {
    let place = Place::new();
    let path = sparse(&place, "image", Capacity::mib(320).get());
    // Old data where nobody looks, in the middle of what will be the journal or an inode table.
    let looked_at: Vec<u64> = view::samples(320 << 20).into_iter().map(|(start, _)| start).collect();
    let file = File::options().write(true).open(&path).unwrap();
    for at in (8 << 20..48 << 20).step_by(4096).filter(|at| !looked_at.contains(at)) {
        file.write_all_at(&[b'y'; 4096], at).unwrap();
    }
    file.sync_all().unwrap();
    let request = FormatRequest { template: true, ..request(&path, FsType::Ext4) };

    format(&request, &no_lock()).unwrap();

    assert_clean(&path, FsType::Ext4, &place);
    let (code, text) = run(
        "mkdir m && mount -o loop image m && for i in $(seq 2000); do : >m/$i; done && umount m && e2fsck -fn image",
        &place,
    );
    assert_eq!(code, 0, "{text}");
}

#[test]
fn what_a_killed_mkfs_leaves_is_made_again_under_its_mark_and_refused_without() {
    for fs in FsType::ALL {
        let mut killed = 0;
        for write in [1, 2, 3, 4, 5, 8, 12, 16, 24, 40, 80] {
            let place = Place::new();
            let path = sparse(&place, "image", Capacity::mib(320).get());
            let request = FormatRequest { fresh_image: false, resume: true, ..request(&path, fs) };
            let mkfs = match fs {
                FsType::Ext4 => std::format!("mke2fs -q -t ext4 -b 4096 -E nodiscard -U {}", request.uuid),
                FsType::Xfs => std::format!("mkfs.xfs -q -m uuid={}", request.uuid),
                FsType::Btrfs => std::format!("mkfs.btrfs -q -U {}", request.uuid),
            };
            let inject = std::format!("inject=pwrite64,write:signal=SIGKILL:when={write}");
            let (code, _) = run(&std::format!("strace -o /dev/null -e {inject} {mkfs} image"), &place);
            killed += usize::from(code != 0);
            let left = probe_path(&path);

            if !left.is_blank() {
                let unmarked = FormatRequest { resume: false, ..request.clone() };
                assert_eq!(format(&unmarked, &no_lock()).unwrap_err().kind, ErrorKind::NotBlank, "{fs} {write}");
            }
            format(&request, &no_lock())
                .unwrap_or_else(|error| panic!("{fs} killed at write {write}, {left}: {error}"));

            assert_clean(&path, fs, &place);
        }
        assert!(killed >= 6, "{fs}: only {killed} were killed");
    }
}

#[test]
fn a_template_is_copied_into_a_full_image_without_freeing_anything() {
    let place = Place::new();
    let made: Vec<_> = (0..3)
        .map(|index| {
            let path = place.join(std::format!("image{index}"));
            let (code, text) = run(&std::format!("fallocate -l 100M image{index}"), &place);
            assert_eq!(code, 0, "{text}");
            let request = FormatRequest {
                discard: false,
                options: vec!["-m".to_owned(), "3".to_owned()],
                template: true,
                ..request(&path, FsType::Ext4)
            };
            let how = format(&request, &no_lock()).unwrap();
            assert!(path.metadata().unwrap().blocks() * 512 >= Capacity::mib(100).get());
            assert_clean(&path, FsType::Ext4, &place);
            how
        })
        .collect();
    assert_eq!(made, [Formatted::Mkfs, Formatted::Template, Formatted::Template]);
}

#[test]
fn a_btrfs_whose_copy_of_the_superblock_is_missing_does_not_pass_for_made() {
    let place = Place::new();
    let path = sparse(&place, "image", Capacity::mib(320).get());
    format(&request(&path, FsType::Btrfs), &no_lock()).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    assert!(probe_one(&file, FsType::Btrfs).unwrap().is_some());

    file.write_all_at(&[0; 4096], 64 << 20).unwrap();

    assert!(probe_one(&file, FsType::Btrfs).unwrap().is_none());
    assert!(matches!(probe_path(&path), Probe::Known(_)), "it still is a btrfs to everybody else");
}
