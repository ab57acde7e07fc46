//! Threat: an image or a disk whose bytes were made to harm: superblocks with sizes that no machine has, checksums that fit lies, fields at
//! their limits. csictl reads superblocks itself; whatever stands in them it neither panics, nor asks for memory without end, nor formats.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use csictl::host::linux::probe::{filesystem_size, probe};
use csictl::model::FsType;
use proptest::prelude::*;

use super::machine::ONE_VOLUME;
use crate::support::Place;

/// The start of a file system of each type, made by the real tools.
fn begun(fs: FsType) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    let size = if fs == FsType::Xfs { 300 << 20 } else { 128 << 20 };
    fs::File::create(&image).unwrap().set_len(size).unwrap();
    let (tool, quiet): (&str, &[&str]) = match fs {
        FsType::Ext4 => ("mkfs.ext4", &["-q", "-F"]),
        FsType::Xfs => ("mkfs.xfs", &["-q"]),
        FsType::Btrfs => ("mkfs.btrfs", &["-q"]),
    };
    let output = Command::new(tool).args(quiet).arg(&image).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut bytes = vec![0; 1 << 20];
    fs::File::open(&image).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Where each type's superblock lies, and how long it is.
fn superblock(fs: FsType) -> std::ops::Range<usize> {
    match fs {
        FsType::Ext4 => 1024..2048,
        FsType::Xfs => 0..512,
        FsType::Btrfs => 65_536..69_632,
    }
}

#[test]
fn no_bytes_in_a_superblock_are_too_strange_to_be_read() {
    for fs in FsType::ALL {
        let good = begun(fs);
        let place = superblock(fs);
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::write(&image, &good).unwrap();
        let file = fs::File::options().read(true).write(true).open(&image).unwrap();
        // Every field of four bytes at its limits, and around every power of two that a shift could take too far.
        for at in place.clone().step_by(4) {
            for value in [0, 1, 31, 32, 63, 64, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                for bytes in [u32::to_le_bytes(value), u32::to_be_bytes(value)] {
                    file.write_all_at(&bytes, at as u64).unwrap();
                    let _ = probe(&file);
                    let _ = filesystem_size(&file, fs);
                }
            }
            file.write_all_at(&good[at..at + 4], at as u64).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_at_all_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..5000), at in 0_u64..70_000) {
        let file = tempfile::tempfile().unwrap();
        file.set_len(200_000).unwrap();
        file.write_all_at(&bytes, at).unwrap();
        // A magic each, so that the readers go on.
        file.write_all_at(&[0x53, 0xef], 1024 + 0x38).unwrap();
        file.write_all_at(b"XFSB", 0).unwrap();
        file.write_all_at(b"_BHRfS_M", 65_536 + 64).unwrap();

        let _ = probe(&file);
        for fs in FsType::ALL {
            let _ = filesystem_size(&file, fs);
        }
    }
}

/// A superblock that claims 2^64 groups, with a feature set that has no checksum over it.
fn lie(image: &Path) {
    let file = fs::File::options().read(true).write(true).open(image).unwrap();
    let at = |field: u64| 1024 + field;
    let read = |field: u64| {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, at(field)).unwrap();
        u32::from_le_bytes(word)
    };
    let (incompat, ro_compat) = (read(0x60), read(0x64));
    // Without metadata_csum (0x400) and sparse_super (0x1), with 64bit (0x80).
    file.write_all_at(&(ro_compat & !0x401).to_le_bytes(), at(0x64)).unwrap();
    file.write_all_at(&(incompat | 0x80).to_le_bytes(), at(0x60)).unwrap();
    file.write_all_at(&u32::MAX.to_le_bytes(), at(0x04)).unwrap();
    file.write_all_at(&u32::MAX.to_le_bytes(), at(0x150)).unwrap();
    file.write_all_at(&1_u32.to_le_bytes(), at(0x20)).unwrap();
}

#[test]
fn a_file_system_that_claims_more_groups_than_there_is_memory_is_copied_or_refused_in_bounded_memory() {
    let place = Place::new();
    let clone = format!(
        "{ONE_VOLUME}[volumes.copy]\ncapacity = \"16MiB\"\nimage = {{ allocate = \"sparse\" }}\nsource = {{ volume = \"data\" }}\n"
    );
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    lie(&place.join("pool/p.data.img"));
    place.write("m.toml", &clone);
    let csictl = place.csictl();
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--as={}", 2_u64 << 30)).arg("--").arg(csictl.get_program()).args(["apply", "m.toml", "--yes"]);
    limited.current_dir(place.path()).env_clear();
    limited.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));

    let output = limited.output().unwrap();

    // Whether the kernel then takes it is the kernel's to say.
    assert!(matches!(output.status.code(), Some(0 | 1 | 5 | 6)), "{output:?}");
    let said = crate::support::place::said(&output);
    assert!(!said.contains("a defect in csictl"), "{said}");
    let _ = place.exit(&["destroy", "m.toml", "--yes"]);
}

/// An image with csictl's own attribute whose file system is another's, damaged or too large for it: never mounted, never made anew.
#[test]
fn an_adopted_image_that_lies_about_itself_is_refused_and_kept() {
    for spoil in [
        // Larger than its file.
        "debugfs -w -R 'set_super_value blocks_count 999999999' $I 2>/dev/null",
        // No magic.
        "printf '\\0\\0' | dd of=$I bs=1 seek=1080 conv=notrunc status=none",
        // Another file system's.
        "wipefs -q -a $I; mkfs.ext4 -q -F $I",
        "wipefs -q -a $I; mkfs.btrfs -q -f -m single $I 2>/dev/null || mkfs.ext2 -q -F $I",
        "truncate -s 4M $I",
    ] {
        let place = Place::new();
        place.write("m.toml", ONE_VOLUME);
        place.ok(&["apply", "m.toml", "--yes"]);
        place.ok(&["destroy", "m.toml", "--yes"]);
        fs::remove_dir_all(place.state()).unwrap();
        let output =
            Command::new("/bin/bash").args(["-c", spoil]).env("I", place.join("pool/p.data.img")).output().unwrap();
        assert!(output.status.success(), "{spoil}: {output:?}");
        let before = fs::read(place.join("pool/p.data.img")).unwrap();

        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

        assert!([1, 5, 6].contains(&code), "{spoil}: {code} {said}");
        assert!(fs::read(place.join("pool/p.data.img")).unwrap() == before, "{spoil}: it was written to: {said}");
        assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new(), "{spoil}");
        let _ = place.exit(&["destroy", "m.toml", "--yes"]);
    }
}
