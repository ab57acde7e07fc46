//! What must hold for every family: a place that cannot be read never looks blank, garbage never panics, a magic is never
//! overlooked. `tests/privileged/probe.rs` compares with blkid on what the real tools write.

use std::cell::Cell;
use std::io;

use super::*;
use crate::host::linux::crc32c::crc32c;

/// An image of zeros but for a few patches, some of whose reads fail.
struct Patchy {
    size: u64,
    patches: Vec<(u64, Vec<u8>)>,
    reads: Cell<usize>,
    fail: Option<usize>,
}

impl Patchy {
    fn new(size: u64, patches: &[(u64, &[u8])]) -> Self {
        let patches = patches.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect();
        Self { size, patches, reads: Cell::new(0), fail: None }
    }
}

impl ReadAt for Patchy {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let read = self.reads.replace(self.reads.get() + 1);
        if self.fail == Some(read) {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        if offset + buffer.len() as u64 > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        for (at, bytes) in &self.patches {
            for (index, byte) in bytes.iter().enumerate() {
                if let Some(place) = (at + index as u64).checked_sub(offset)
                    && let Some(slot) = buffer.get_mut(usize::try_from(place).unwrap())
                {
                    *slot = *byte;
                }
            }
        }
        Ok(())
    }
}

const GIB: u64 = 1 << 30;

/// A place and the bytes that lie there.
type Patch = (u64, &'static [u8]);

/// One bare magic a family, at each place it may have on a device of 300 GiB.
fn magics() -> Vec<(&'static str, Patch)> {
    let size = 300 * GIB;
    let mut magics: Vec<(&'static str, Patch)> = vec![
        ("ext2", (1080, b"\x53\xef")),
        ("xfs", (0, b"XFSB")),
        ("btrfs", (65_536 + 64, b"_BHRfS_M")),
        ("btrfs", ((64 << 20) + 64, b"_BHRfS_M")),
        ("btrfs", ((256 << 30) + 64, b"_BHRfS_M")),
        ("linux_raid_member", (0, b"\xfc\x4e\x2b\xa9\x01")),
        ("linux_raid_member", (4096, b"\xfc\x4e\x2b\xa9\x01")),
        ("linux_raid_member", (size - 8192, b"\xfc\x4e\x2b\xa9\x01")),
        ("linux_raid_member", (size - 65_536, b"\xfc\x4e\x2b\xa9\0\0\0\0\x5b")),
        ("crypto_LUKS", (0, b"LUKS\xba\xbe")),
        ("gpt", (512, b"EFI PART")),
        ("gpt", (4096, b"EFI PART")),
        ("gpt", (size - 512, b"EFI PART")),
        ("gpt", (size - 4096, b"EFI PART")),
        ("dos", (510, b"\x55\xaa")),
        ("squashfs3", (0, b"hsqs")),
        ("iso9660", (32_769, b"CD001")),
        ("ntfs", (3, b"NTFS    ")),
        ("exfat", (3, b"EXFAT   ")),
        ("vfat", (82, b"FAT32   ")),
        ("vfat", (54, b"FAT16   ")),
        ("erofs", (1024, b"\xe2\xe1\xf5\xe0\0\0\0\0\0\0\0\0\x00")),
        ("f2fs", (4096 + 1024, b"\x10\x20\xf5\xf2")),
        ("zfs_member", (128 << 10, b"\0\0\0\0\0\xba\xb1\x0c")),
        ("zfs_member", (384 << 10, b"\x0c\xb1\xba\0\0\0\0\0")),
        ("zfs_member", (size - (128 << 10), b"\x0c\xb1\xba\0\0\0\0\0")),
        ("zfs_member", (size - (384 << 10), b"\x0c\xb1\xba\0\0\0\0\0")),
    ];
    for page in [4096, 8192, 16_384, 32_768, 65_536] {
        magics.push(("swap", (page - 10, b"SWAPSPACE2")));
        magics.push(("swsuspend", (page - 10, b"S1SUSPEND\0")));
    }
    for sector in 0..4 {
        magics.push(("LVM2_member", (sector * 512, b"LABELONE")));
    }
    for power in 14..=22 {
        magics.push(("crypto_LUKS", (1 << power, b"SKUL\xba\xbe")));
    }
    magics
}

fn kinds(probe: &Probe) -> Vec<&str> {
    match probe {
        Probe::Known(signature) => vec![&signature.kind],
        Probe::Ambiguous(signatures) => signatures.iter().map(|signature| signature.kind.as_str()).collect(),
        Probe::Blank | Probe::Unreadable { .. } => vec![],
    }
}

#[test]
fn a_bare_magic_is_ambiguous_and_named() {
    for (kind, patch) in magics() {
        let probe = probe(&Patchy::new(300 * GIB, &[patch]));
        assert!(matches!(probe, Probe::Ambiguous(_)), "{kind} at {}: {probe}", patch.0);
        assert_eq!(kinds(&probe), [kind], "at {}", patch.0);
    }
}

#[test]
fn zeros_are_blank_whatever_the_size() {
    for size in
        [1, 511, 512, 513, 1500, 4096, 65_535, 65_537, 300_000, 1 << 20, 1_234_567, (64 << 20) + 100, GIB, 300 * GIB]
    {
        assert_eq!(probe(&Patchy::new(size, &[])), Probe::Blank, "{size}");
    }
}

#[test]
fn nothing_at_all_is_not_blank() {
    assert!(matches!(probe(&Patchy::new(0, &[])), Probe::Unreadable { .. }));
}

#[test]
fn every_failing_read_makes_it_unreadable() {
    for size in [512, 100_000, 1 << 20, 10 << 20, GIB, 300 * GIB] {
        let blank = Patchy::new(size, &[]);
        probe(&blank);
        let reads = blank.reads.get();
        let (ranges, samples) = (view::ranges(size).len(), view::samples(size).len());
        assert!(ranges <= 8 && reads == ranges + samples, "{reads} reads of {size} bytes");
        // What a signature keeps from being blank needs no samples.
        for (patches, reads) in [(&[][..], reads), (&[(1080, &b"\x53\xef"[..])], ranges)] {
            for fail in (0..ranges).chain((ranges..reads).step_by(17)) {
                let reader = Patchy { fail: Some(fail), ..Patchy::new(size, patches) };
                let probe = probe(&reader);
                assert!(matches!(probe, Probe::Unreadable { .. }), "read {fail} of {size} bytes: {probe}");
            }
        }
    }
}

#[test]
fn a_device_that_is_shorter_than_it_says_is_unreadable() {
    struct Short(Patchy);
    impl ReadAt for Short {
        fn size(&self) -> io::Result<u64> {
            Ok(self.0.size + 4096)
        }
        fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            self.0.read_exact_at(buffer, offset)
        }
    }
    let probe = probe(&Short(Patchy::new(GIB, &[])));
    assert!(matches!(probe, Probe::Unreadable { .. }), "{probe}");
}

#[test]
fn data_nobody_knows_is_not_blank() {
    for at in [0, 1, 700, 70_000, 500_000, (64 << 20) + 5, GIB - 1, GIB - 300_000] {
        let probe = probe(&Patchy::new(GIB, &[(at, b"x")]));
        let Probe::Ambiguous(evidence) = &probe else { panic!("{at}: {probe}") };
        assert_eq!((evidence[0].kind.as_str(), evidence[0].offset), (UNRECOGNISED, at));
    }
}

/// A sound ext4 superblock of 1 GiB with metadata_csum.
fn ext4() -> Vec<u8> {
    let mut block = vec![0; 1024];
    for (at, word) in [(0, 65_536_u32), (4, 262_144), (0x18, 2), (0x20, 32_768), (0x28, 8192), (0x4c, 1)] {
        block[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    block[0x38..0x3a].copy_from_slice(&ext::MAGIC);
    block[0x60..0x64].copy_from_slice(&0x40_u32.to_le_bytes());
    block[0x64..0x68].copy_from_slice(&ext::RO_COMPAT_METADATA_CSUM.to_le_bytes());
    block[0x68..0x78].fill(0x11);
    let crc = crc32c(!0, &block[..0x3fc]);
    block[0x3fc..].copy_from_slice(&crc.to_le_bytes());
    block
}

#[test]
fn a_sound_file_system_owns_what_lies_inside_it_and_nothing_before_or_after() {
    let superblock = ext4();
    let swap: &[u8] = b"SWAPSPACE2";
    let version: &[u8] = &[1, 0, 0, 0];
    let raid: &[u8] = b"\xfc\x4e\x2b\xa9\0\0\0\0\x5a";
    // What a user can write into files of the volume decides nothing.
    for size in [GIB, GIB + (1 << 20)] {
        let inside = [(1024, superblock.as_slice()), (GIB - 65_536, raid), (32_769, b"CD001"), (64 << 20, b"x")];
        let probe = probe(&Patchy::new(size, &inside));
        assert!(matches!(&probe, Probe::Known(found) if found.kind == "ext4"), "{probe}");
    }
    // Beyond its end a RAID superblock owns the file system, not the reverse.
    let end = GIB + (1 << 20) - 65_536;
    let beyond = probe(&Patchy::new(GIB + (1 << 20), &[(1024, &superblock), (end, raid)]));
    assert_eq!(kinds(&beyond), ["ext4", "linux_raid_member"]);
    // Nor can what lies before it be its content.
    let mut with_swap = superblock.clone();
    with_swap[..4].copy_from_slice(version);
    let crc = crc32c(!0, &with_swap[..0x3fc]);
    with_swap[0x3fc..].copy_from_slice(&crc.to_le_bytes());
    let before = probe(&Patchy::new(GIB, &[(1024, &with_swap), (4086, swap)]));
    assert!(matches!(before, Probe::Ambiguous(_)), "{before}");
}

#[test]
fn a_damaged_superblock_is_neither_blank_nor_known() {
    let sound = ext4();
    for at in (0..1024).filter(|at| !(0x38..0x3a).contains(at) && !(0x60..0x68).contains(at)) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x40;
        let probe = probe(&Patchy::new(GIB, &[(1024, &damaged)]));
        assert!(matches!(probe, Probe::Ambiguous(_)), "byte {at}: {probe}");
    }
}

#[test]
fn garbage_is_never_blank_and_never_panics() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..60_u64 {
        let size = 512 + next() % 200_000;
        let mut bytes: Vec<u8> = (0..size).map(|_| next().to_le_bytes()[3]).collect();
        // Every second round a magic sits in the middle of the garbage, so that the parsers behind it see it too.
        if round % 2 == 1 {
            for (_, (at, magic)) in magics().into_iter().filter(|_| next() % 4 == 0) {
                let at = usize::try_from(at).unwrap();
                if let Some(slot) = bytes.get_mut(at..at + magic.len()) {
                    slot.copy_from_slice(magic);
                }
            }
        }
        let probe = probe(&bytes.as_slice());
        assert!(!probe.is_blank(), "round {round}");
    }
}

/// Found by fuzzing: cluster sizes that no volume has must not overflow.
#[test]
fn an_ntfs_boot_sector_with_impossible_clusters_is_survived() {
    for (per_cluster, record) in [(0xC1_u8, 0xF6_u8), (0x80, 0x7F), (0xFF, 0x7F)] {
        let mut device = vec![0; 4096];
        device[3..11].copy_from_slice(b"NTFS    ");
        device[11..13].copy_from_slice(&4096_u16.to_le_bytes());
        device[13] = per_cluster;
        device[40..56].fill(0xFF);
        device[64] = record;
        assert!(!probe(&device.as_slice()).is_blank(), "{per_cluster:#x} {record:#x}");
    }
}

#[test]
fn what_lies_behind_an_erased_head_keeps_a_disk_from_being_blank() {
    for (what, size, at) in [
        ("a copy of a superblock, blocks of 1 KiB", GIB, 8193 << 10),
        ("a copy of a superblock, blocks of 4 KiB", 300 * GIB, 32768 << 12),
        ("data in the middle", GIB, 150 << 20),
    ] {
        // A megabyte of data cannot lie between two of the pages of a disk of a GiB; a superblock is but a kilobyte.
        let bytes = vec![0x5a; if what.starts_with("data") { 4 << 20 } else { 1024 }];
        let disk = Patchy::new(size, &[(at, &bytes)]);

        let Probe::Ambiguous(found) = probe(&disk) else { panic!("{what}: {}", probe(&disk)) };

        assert_eq!(found[0].kind, UNRECOGNISED, "{what}");
        assert!(found[0].offset >= at && found[0].offset < at + bytes.len() as u64, "{what}: {}", found[0].offset);
    }
}

#[test]
fn a_page_in_the_middle_that_cannot_be_read_does_not_look_blank() {
    let disk = Patchy { fail: Some(view::ranges(GIB).len() + 100), ..Patchy::new(GIB, &[]) };

    assert!(matches!(probe(&disk), Probe::Unreadable { .. }));
}
