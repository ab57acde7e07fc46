//! ext4 superblocks as csictl itself changes them: the primary and every backup, each with its checksum.
//!
//! Used to give a copy of a file system a UUID of its own. With the feature metadata_csum_seed no other checksum depends on
//! the UUID; without it, the seed is written down first (as `tune2fs -O metadata_csum_seed` does). Backups are written
//! before the primary, so that the primary's UUID says that all are done.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::host::linux::crc32c::crc32c;
use crate::host::linux::probe::ext;
use crate::host::linux::probe::view::{ReadAt, le16, le32};

/// The bytes of one superblock.
pub type Superblock = [u8; ext::SUPERBLOCK_LEN];

/// Where the primary lies, in bytes.
pub const PRIMARY: u64 = ext::SUPERBLOCK;

const COMPAT_SPARSE_SUPER2: u32 = 0x200;
const COMPAT_HAS_JOURNAL: u32 = 0x4;
const COMPAT_RESIZE_INODE: u32 = 0x10;
const INCOMPAT_RECOVER: u32 = 0x4;
const INCOMPAT_META_BG: u32 = 0x10;
const INCOMPAT_64BIT: u32 = 0x80;
const RO_COMPAT_BIGALLOC: u32 = 0x200;
const INCOMPAT_CSUM_SEED: u32 = 0x2000;
const RO_COMPAT_SPARSE_SUPER: u32 = 0x1;
const RO_COMPAT_GDT_CSUM: u32 = 0x10;
/// mke2fs(8), `-g`: no group has fewer blocks.
const FEWEST_PER_GROUP: u64 = 256;
const MOUNTED_AT: usize = 0x2c;
const MOUNTS_AT: usize = 0x34;
const STATE_AT: usize = 0x3a;
const STATE_ERRORS: u16 = 0x2;
const ERRORS_AT: usize = 0x3c;
const ERRORS_REMOUNT_READ_ONLY: u16 = 2;
pub(super) const UUID_AT: usize = 0x68;
const LABEL_AT: usize = 0x78;
const HASH_SEED_AT: usize = 0xec;
const CHECKSUM_SEED_AT: usize = 0x270;

/// What is changed; the rest stays.
#[derive(Debug, Clone)]
pub struct Change {
    /// The new UUID.
    pub uuid: [u8; 16],
    /// A new label, padded with zeros.
    pub label: Option<[u8; 16]>,
    /// A new secret of the directory index: only while no directory is indexed yet.
    pub hash_seed: Option<[u8; 16]>,
}

/// Reads the superblock at `offset`; `None` where there is no sound one.
///
/// # Errors
/// It could not be read.
pub fn read(file: &File, offset: u64) -> io::Result<Option<Superblock>> {
    let mut superblock = [0; ext::SUPERBLOCK_LEN];
    FileExt::read_exact_at(file, &mut superblock, offset)?;
    let magic = superblock[ext::MAGIC_AT..].starts_with(&ext::MAGIC);
    Ok((magic && ext::is_sound(&superblock)).then_some(superblock))
}

/// Whether the kernel has ever mounted it: it writes down how often and when.
pub fn was_mounted(superblock: &Superblock) -> bool {
    le32(superblock, MOUNTED_AT) != 0 || le16(superblock, MOUNTS_AT) != 0
}

/// Where the backups of this file system lie, in bytes, as far as a file of `size` bytes holds them. The superblock is the image's word:
/// it may claim more groups than there is memory to list.
pub fn backups(superblock: &Superblock, size: u64) -> Vec<u64> {
    let block = 1024_u64 << le32(superblock, 0x18).min(6);
    let first = u64::from(le32(superblock, 0x14));
    let per_group = u64::from(le32(superblock, 0x20)).max(FEWEST_PER_GROUP);
    let wide = le32(superblock, 0x60) & 0x80 != 0;
    let high = if wide { u64::from(le32(superblock, 0x150)) << 32 } else { 0 };
    let blocks = high | u64::from(le32(superblock, 0x04));
    let groups = blocks.saturating_sub(first).div_ceil(per_group).min(size.div_ceil(per_group * block));
    let sparse = le32(superblock, 0x64) & RO_COMPAT_SPARSE_SUPER != 0;
    let holders: Vec<u64> = if le32(superblock, 0x5c) & COMPAT_SPARSE_SUPER2 != 0 {
        [0x24c, 0x250].map(|at| u64::from(le32(superblock, at))).into_iter().filter(|group| *group != 0).collect()
    } else if sparse {
        sparse_groups(groups)
    } else {
        (1..groups).collect()
    };
    holders.into_iter().filter(|group| *group < groups).map(|group| (first + group * per_group) * block).collect()
}

/// Group 1 and the powers of 3, 5 and 7.
fn sparse_groups(groups: u64) -> Vec<u64> {
    let mut holders = vec![1];
    for base in [3_u64, 5, 7] {
        holders.extend(std::iter::successors(Some(base), |group| group.checked_mul(base)).take_while(|g| *g < groups));
    }
    holders.sort_unstable();
    holders
}

/// Whether the UUID can be changed here: not while group checksums of the older kind are made from it.
pub fn can_change(superblock: &Superblock) -> bool {
    let ro_compat = le32(superblock, 0x64);
    ro_compat & ext::RO_COMPAT_METADATA_CSUM != 0 || ro_compat & RO_COMPAT_GDT_CSUM == 0
}

/// Whether its checksum seed is written down, so that no checksum but the superblocks' own depends on the UUID.
pub fn keeps_checksum_seed(superblock: &Superblock) -> bool {
    le32(superblock, 0x60) & INCOMPAT_CSUM_SEED != 0
}

/// Whether it has a journal.
pub fn has_journal(superblock: &Superblock) -> bool {
    le32(superblock, 0x5c) & COMPAT_HAS_JOURNAL != 0
}

/// Whether a journal waits to be replayed, which would bring an older superblock back.
pub fn needs_recovery(superblock: &Superblock) -> bool {
    le32(superblock, 0x60) & INCOMPAT_RECOVER != 0
}

/// Whether the kernel has found errors in it.
pub fn has_errors(superblock: &Superblock) -> bool {
    le16(superblock, STATE_AT) & STATE_ERRORS != 0
}

/// The size of its blocks in bytes: 1024 to 65536.
pub fn block_size(superblock: &Superblock) -> usize {
    1024 << le32(superblock, 0x18).min(6)
}

/// Its size in bytes.
pub fn size(superblock: &Superblock) -> u64 {
    let high = if le32(superblock, 0x60) & INCOMPAT_64BIT != 0 { u64::from(le32(superblock, 0x150)) << 32 } else { 0 };
    (high | u64::from(le32(superblock, 0x04))).saturating_mul(block_size(superblock) as u64)
}

/// Whether blocks have to make room for group descriptors if it grows to that many bytes, or may have to: then a growth needs the
/// bytes of files too.
pub fn blocks_move(superblock: &Superblock, size: u64) -> bool {
    let block = 1024_u64 << le32(superblock, 0x18).min(6);
    let first = u64::from(le32(superblock, 0x14));
    let per_group = u64::from(le32(superblock, 0x20)).max(1);
    let incompat = le32(superblock, 0x60);
    let wide = incompat & INCOMPAT_64BIT != 0;
    let descriptor = if wide { u64::from(le16(superblock, 0xfe)).max(32) } else { 32 };
    let descriptor_blocks =
        |blocks: u64| blocks.saturating_sub(first).div_ceil(per_group).div_ceil((block / descriptor).max(1));
    let reserved = le32(superblock, 0x5c) & COMPAT_RESIZE_INODE != 0;
    let room = if reserved { u64::from(le16(superblock, 0xce)) } else { 0 };
    let now = descriptor_blocks(self::size(superblock) / block);
    let odd = incompat & INCOMPAT_META_BG != 0 || le32(superblock, 0x64) & RO_COMPAT_BIGALLOC != 0;
    odd || descriptor_blocks(size / block) > now + room
}

/// Whether it turns read-only at an error.
pub fn remounts_read_only(superblock: &Superblock) -> bool {
    le16(superblock, ERRORS_AT) == ERRORS_REMOUNT_READ_ONLY
}

/// Its UUID.
pub fn uuid(superblock: &Superblock) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&superblock[UUID_AT..UUID_AT + 16]);
    uuid
}

/// The superblock with the change made and its checksum right.
pub fn changed(superblock: &Superblock, change: &Change) -> Superblock {
    let mut new = *superblock;
    let checksums = le32(superblock, 0x64) & ext::RO_COMPAT_METADATA_CSUM != 0;
    let incompat = le32(superblock, 0x60);
    if checksums && incompat & INCOMPAT_CSUM_SEED == 0 {
        let seed = crc32c(!0, &superblock[UUID_AT..UUID_AT + 16]);
        new[CHECKSUM_SEED_AT..CHECKSUM_SEED_AT + 4].copy_from_slice(&seed.to_le_bytes());
        new[0x60..0x64].copy_from_slice(&(incompat | INCOMPAT_CSUM_SEED).to_le_bytes());
    }
    new[UUID_AT..UUID_AT + 16].copy_from_slice(&change.uuid);
    if let Some(label) = change.label {
        new[LABEL_AT..LABEL_AT + 16].copy_from_slice(&label);
    }
    if let Some(seed) = change.hash_seed {
        new[HASH_SEED_AT..HASH_SEED_AT + 16].copy_from_slice(&seed);
    }
    if checksums {
        let crc = crc32c(!0, &new[..ext::CHECKSUM_AT]);
        new[ext::CHECKSUM_AT..].copy_from_slice(&crc.to_le_bytes());
    }
    new
}

/// Makes the change in every superblock of a file system that is not mounted. A backup that is damaged, or of another file
/// system, is left as it is: the primary counts.
///
/// # Errors
/// A superblock could not be read or written; the change may be half made and can be made again.
pub fn change_all(file: &File, primary: &Superblock, change: &Change) -> io::Result<()> {
    let of_this = [uuid(primary), change.uuid];
    for offset in backups(primary, ReadAt::size(file)?) {
        if let Some(backup) = read(file, offset)?.filter(|backup| of_this.contains(&uuid(backup)))
            // One that a killed run has changed already has its seed written down.
            && uuid(&backup) != change.uuid
        {
            file.write_all_at(&changed(&backup, change), offset)?;
        }
    }
    file.sync_data()?;
    file.write_all_at(&changed(primary, change), PRIMARY)?;
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_lie_in_group_1_and_at_powers_of_3_5_and_7() {
        assert_eq!(sparse_groups(2), [1]);
        assert_eq!(sparse_groups(80), [1, 3, 5, 7, 9, 25, 27, 49]);
        assert_eq!(sparse_groups(82).last(), Some(&81));
    }
}
