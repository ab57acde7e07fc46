//! The probe against what the real tools write, with blkid as the judge of kind, UUID and label.
//! What no tool here can make (md without its driver, ZFS) is made by hand and judged by blkid all the same.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use csictl::host::linux::probe::view::ranges;
use csictl::host::linux::probe::{ReadAt, probe, probe_path};
use csictl::model::Probe;

use crate::support::Place;

const MIB: u64 = 1 << 20;

/// Name, size in MiB, and the command that writes it to `$I` (`$L` is a loop device on it).
const MADE: &[(&str, u64, &str)] = &[
    ("ext2", 16, "mkfs.ext2 -q -L 'two words' $I"),
    ("ext3", 16, "mkfs.ext3 -q $I"),
    ("ext4", 64, "mkfs.ext4 -q -L dätä $I"),
    ("ext4 without checksums", 64, "mkfs.ext4 -q -O ^metadata_csum,^64bit $I"),
    ("ext4 without journal", 64, "mkfs.ext4 -q -O ^has_journal $I"),
    ("ext4 for 4096", 64, "mkfs.ext4 -q -b 4096 $I"),
    ("jbd", 64, "mkfs.ext4 -q -O journal_dev $I"),
    ("xfs", 300, "mkfs.xfs -q -L label $I"),
    ("xfs for 4096", 300, "mkfs.xfs -q -s size=4096 $I"),
    ("xfs version 4", 300, "mkfs.xfs -q -m crc=0 $I"),
    ("btrfs", 150, "mkfs.btrfs -q -L 'a label' $I"),
    ("btrfs with xxhash", 150, "mkfs.btrfs -q --csum xxhash $I"),
    ("btrfs without mirror", 40, "mkfs.btrfs -q -M $I"),
    ("swap", 16, "mkswap -q -L swap $I"),
    ("swap of 64k pages", 16, "mkswap -q -p 65536 $I"),
    ("swap of 16k pages", 16, "mkswap -q -p 16384 $I"),
    ("LVM2", 32, "pvcreate -q --devices $L $L"),
    ("LUKS1", 32, "echo x | cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 $I -"),
    (
        "LUKS2",
        32,
        "echo x | cryptsetup -q luksFormat --type luks2 --label mine --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $I -",
    ),
    ("gpt", 32, "sgdisk -n 1 $I"),
    (
        "gpt on 4096",
        32,
        "losetup -d $L; L=$(losetup -b 4096 -f --show $I); echo label: gpt | sfdisk -q $L; losetup -d $L",
    ),
    ("dos", 32, "echo '2048,,L' | sfdisk -q --label dos $I"),
    ("dos without partitions", 32, "echo label: dos | sfdisk -q $I"),
    ("squashfs", 0, "mkdir d; echo x >d/f; rm $I; mksquashfs d $I -quiet -no-progress"),
    ("iso", 0, "mkdir -p d; echo x >d/f; genisoimage -quiet -V TITLE -o $I d"),
    ("vfat 12", 4, "mkfs.vfat -F 12 -n TWELVE $I"),
    ("vfat 16", 64, "mkfs.vfat -F 16 $I"),
    ("vfat 32", 128, "mkfs.vfat -F 32 -n 'THIRTY TWO' $I"),
    ("vfat on 4096", 300, "mkfs.vfat -S 4096 -n BIG $I"),
    ("ntfs", 32, "mkfs.ntfs -q -F -Q -L Größe $I"),
    ("exfat", 32, "mkfs.exfat -L Übung $I"),
    ("erofs", 0, "mkdir -p d; echo x >d/f; mkfs.erofs $I d"),
    ("f2fs", 64, "mkfs.f2fs -q -l flash $I"),
];

/// What blkid says: kind, UUID, label.
type Said = (String, Option<String>, Option<String>);

fn blkid(image: &Path) -> Said {
    // One value at a time, since the form with keys escapes what is not ASCII.
    let value = |key: &str| {
        let output = Command::new("blkid").args(["-p", "-o", "value", "-s", key]).arg(image).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        Some(text.trim_end_matches('\n').to_owned()).filter(|text| !text.is_empty())
    };
    let kind = value("TYPE").or_else(|| value("PTTYPE"));
    let uuid = value("UUID").or_else(|| value("PTUUID"));
    (kind.unwrap_or_else(|| panic!("blkid knows nothing in {}", image.display())), uuid, value("LABEL"))
}

fn known(image: &Path, name: &str) -> Said {
    match probe_path(image) {
        Probe::Known(found) => (found.kind, found.uuid, found.label),
        other => panic!("{name}: {other}"),
    }
}

/// Makes an image and answers its path.
fn make(place: &Place, name: &str, mib: u64, command: &str) -> std::path::PathBuf {
    let image = place.join("image");
    File::create(&image).unwrap().set_len(mib * MIB).unwrap();
    let script = if command.contains("$L") {
        format!("L=$(losetup -f --show $I) && {command}; status=$?; losetup -d $L 2>/dev/null; exit $status")
    } else {
        command.to_owned()
    };
    let tool = Command::new("sh").args(["-c", &script]).current_dir(place.path()).env("I", &image).output().unwrap();
    let gone = script.contains("losetup -b");
    assert!(tool.status.success() || gone, "{name}: {}", String::from_utf8_lossy(&tool.stderr));
    image
}

#[test]
fn every_tool_s_image_is_known_as_blkid_knows_it() {
    for (name, mib, command) in MADE {
        let place = Place::new();
        let image = make(&place, name, *mib, command);
        // blkid knows a table of 4096-byte sectors only through a device that has them.
        if *name == "gpt on 4096" {
            assert_eq!(known(&image, name).0, "gpt");
            continue;
        }
        assert_eq!(known(&image, name), blkid(&image), "{name}");
    }
}

#[test]
fn no_image_ever_looks_blank_because_something_could_not_be_read_or_is_missing() {
    for (name, mib, command) in MADE {
        let place = Place::new();
        let image = make(&place, name, *mib, command);
        let file = File::options().read(true).write(true).open(&image).unwrap();
        let Probe::Known(found) = probe(&file) else { panic!("{name}") };
        let reads = count(&file);
        for fail in 0..reads {
            let probe = probe(&Failing { file: &file, fail, read: std::cell::Cell::new(0) });
            assert!(matches!(probe, Probe::Unreadable { .. }), "{name}, read {fail}: {probe}");
        }
        // The telling bytes alone are erased, as wipefs does; for FAT, which has none, its whole sector.
        let (offset, len) = if found.kind == "vfat" { (0, 512) } else { (found.offset, found.magic.len()) };
        file.write_all_at(&vec![0; len], offset).unwrap();
        let erased = probe(&file);
        assert!(erased.known().is_none_or(|left| left.kind != found.kind), "{name}: {erased}");
        assert!(!erased.is_blank(), "{name}: its other bytes are still there");
        file.write_all_at(&found.magic, found.offset).unwrap();
        for divisor in [2, 3, 7] {
            file.set_len(file.metadata().unwrap().len() / divisor).unwrap();
            let left = file.metadata().unwrap().len();
            let data = std::fs::read(&image).unwrap().iter().any(|byte| *byte != 0);
            assert_eq!(probe(&file).is_blank(), !data, "{name}, cut to {left} bytes");
        }
    }
}

#[test]
fn no_flipped_byte_makes_an_image_blank_or_something_else() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for (name, mib, command) in MADE {
        let place = Place::new();
        let image = make(&place, name, *mib, command);
        let file = File::options().read(true).write(true).open(&image).unwrap();
        let Probe::Known(found) = probe(&file) else { panic!("{name}") };
        // Around the signature, where the fields are that every parser follows.
        let start = found.offset / 4096 * 4096;
        for _ in 0..60 {
            let at = start + next(4096.min(file.metadata().unwrap().len() - start));
            let mut byte = [0];
            FileExt::read_exact_at(&file, &mut byte, at).unwrap();
            let flipped = byte[0] ^ u8::try_from(1 + next(255)).unwrap();
            file.write_all_at(&[flipped], at).unwrap();

            let probe = probe(&file);

            assert!(!probe.is_blank(), "{name}, byte {at}: {probe}");
            if let Probe::Known(left) = &probe {
                let family = |kind: &str| kind.trim_end_matches(['2', '3', '4']).to_owned();
                assert_eq!(family(&left.kind), family(&found.kind), "{name}, byte {at} made {flipped:#x}: {probe}");
            }
            file.write_all_at(&byte, at).unwrap();
        }
    }
}

/// How many reads a whole probe of this file takes.
fn count(file: &File) -> usize {
    let reader = Failing { file, fail: usize::MAX, read: std::cell::Cell::new(0) };
    probe(&reader);
    let planned = ranges(file.metadata().unwrap().len()).len();
    assert!(reader.read.get() >= planned, "every planned range is read");
    reader.read.get()
}

struct Failing<'a> {
    file: &'a File,
    fail: usize,
    read: std::cell::Cell<usize>,
}

impl ReadAt for Failing<'_> {
    fn size(&self) -> io::Result<u64> {
        ReadAt::size(self.file)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.read.replace(self.read.get() + 1);
        if read == self.fail {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        FileExt::read_exact_at(self.file, buffer, offset)
    }
}

/// Writes patches to a new image.
fn craft(place: &Place, mib: u64, patches: &[(u64, Vec<u8>)]) -> std::path::PathBuf {
    let image = place.join("crafted");
    let file = File::create(&image).unwrap();
    file.set_len(mib * MIB).unwrap();
    for (at, bytes) in patches {
        file.write_all_at(bytes, *at).unwrap();
    }
    image
}

fn md_version_1(offset: u64, size: u64) -> Vec<u8> {
    let mut block = vec![0_u8; 256 + 2];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &0xa92b_4efc_u32.to_le_bytes());
    put(4, &1_u32.to_le_bytes());
    put(16, &std::array::from_fn::<u8, 16, _>(|i| u8::try_from(i).unwrap() + 1));
    put(32, b"host:array");
    put(80, &(size / 512).to_le_bytes());
    put(144, &(offset / 512).to_le_bytes());
    put(220, &1_u32.to_le_bytes());
    let mut sum = 0_u64;
    for chunk in block.chunks(4) {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum += u64::from(u32::from_le_bytes(word));
    }
    let folded = u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap();
    block[216..220].copy_from_slice(&folded.to_le_bytes());
    block
}

#[test]
fn raid_members_are_known_as_blkid_knows_them_in_every_version() {
    let size = 32 * MIB;
    for offset in [0, 4096, size - 8192] {
        let place = Place::new();
        let image = craft(&place, 32, &[(offset, md_version_1(offset, size))]);
        assert_eq!(known(&image, &format!("md at {offset}")), blkid(&image));
    }
    for big in [false, true] {
        let place = Place::new();
        let mut block = vec![0; 4096];
        for (at, word) in [(0, 0xa92b_4efc_u32), (8, 90), (20, 0x0102_0304), (52, 0x0506_0708), (56, 9), (60, 10)] {
            block[at..at + 4].copy_from_slice(&if big { word.to_be_bytes() } else { word.to_le_bytes() });
        }
        let image = craft(&place, 32, &[(size - 65_536, block)]);
        let (kind, uuid, label) = known(&image, "md 0.90");
        let (wanted, wanted_uuid, _) = blkid(&image);
        assert_eq!((kind, label), (wanted, None));
        // blkid shows the words of a big-endian one as they lie; the words of the same array are the same.
        if !big {
            assert_eq!(uuid, wanted_uuid);
        }
    }
}

#[test]
fn pools_of_zfs_are_known_as_blkid_knows_them_in_both_byte_orders() {
    let size = 64 * MIB;
    for big in [false, true] {
        let place = Place::new();
        let mut list: Vec<u8> = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        let mut pair = |key: &[u8], kind: u32, value: &[u8]| {
            let mut body = Vec::new();
            body.extend(u32::try_from(key.len()).unwrap().to_be_bytes());
            body.extend(key);
            body.resize(body.len().next_multiple_of(4), 0);
            body.extend(kind.to_be_bytes());
            body.extend(1_u32.to_be_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
            list.extend(u32::try_from(body.len() + 8).unwrap().to_be_bytes());
            list.extend([0; 4]);
            list.extend(body);
        };
        pair(b"version", 8, &5000_u64.to_be_bytes());
        pair(b"name", 9, b"\0\0\0\x04tank");
        pair(b"pool_guid", 8, &1_234_567_890_123_u64.to_be_bytes());
        pair(b"guid", 8, &77_u64.to_be_bytes());
        list.extend([0; 8]);
        let mut patches = Vec::new();
        for label in [0, 256 << 10, size - (512 << 10), size - (256 << 10)] {
            patches.push((label + (16 << 10), list.clone()));
            for slot in 0..4 {
                let mut uberblock = vec![0; 40];
                for (index, word) in [0x00ba_b10c_u64, 5000, 4 + slot, 1, 1].into_iter().enumerate() {
                    let bytes = if big { word.to_be_bytes() } else { word.to_le_bytes() };
                    uberblock[index * 8..][..8].copy_from_slice(&bytes);
                }
                patches.push((label + (128 << 10) + slot * 1024, uberblock));
            }
        }
        let image = craft(&place, 64, &patches);
        assert_eq!(known(&image, "zfs"), blkid(&image), "big endian: {big}");
    }
}

#[test]
fn what_blkid_takes_for_nothing_is_not_blank() {
    let place = Place::new();
    let damaged = make(&place, "xfs", 300, "mkfs.xfs -q $I");
    File::options().write(true).open(&damaged).unwrap().write_all_at(b"\0", 0).unwrap();
    assert!(matches!(probe_path(&damaged), Probe::Ambiguous(_)));

    let directory = probe_path(place.path());
    let missing = probe_path(&place.join("missing"));
    assert!(matches!(directory, Probe::Unreadable { .. }), "{directory}");
    assert!(matches!(missing, Probe::Unreadable { .. }), "{missing}");
}

#[test]
fn a_file_system_over_remains_of_another_is_for_a_person_to_decide() {
    for (name, mib, command) in [
        (
            "LUKS over swap",
            32,
            "mkswap -q $I; echo x | cryptsetup -q luksFormat --type luks1 --pbkdf-force-iterations 1000 $I -; printf SWAPSPACE2 | dd of=$I bs=1 seek=4086 conv=notrunc status=none; printf '\\1\\0\\0\\0' | dd of=$I bs=1 seek=1024 conv=notrunc status=none",
        ),
        (
            "gpt without its first header",
            32,
            "sgdisk -n 1 $I; dd if=/dev/zero of=$I bs=512 count=34 conv=notrunc status=none",
        ),
        (
            "LUKS2 without its first header",
            32,
            "echo x | cryptsetup -q luksFormat --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $I -; dd if=/dev/zero of=$I bs=4096 count=4 conv=notrunc status=none",
        ),
        (
            "btrfs without its first superblock",
            150,
            "mkfs.btrfs -q $I; dd if=/dev/zero of=$I bs=4096 count=1 seek=16 conv=notrunc status=none",
        ),
    ] {
        let place = Place::new();
        let image = make(&place, name, mib, command);
        let probe = probe_path(&image);
        assert!(matches!(probe, Probe::Ambiguous(_)), "{name}: {probe}");
    }
}
