//! ext2, ext3, ext4 and their external journals: one superblock at 1 KiB, told apart by feature flags as libblkid does.
//! Layout: kernel documentation, filesystems/ext4/super.

use super::view::{View, le16, le32, text, uuid};
use super::{Finding, Found};
use crate::host::linux::crc32c::crc32c;

pub(crate) const SUPERBLOCK: u64 = 1024;
pub(crate) const SUPERBLOCK_LEN: usize = 1024;
pub(crate) const MAGIC: [u8; 2] = [0x53, 0xef];
pub(crate) const MAGIC_AT: usize = 0x38;
pub(crate) const CHECKSUM_AT: usize = 0x3fc;
pub(crate) const RO_COMPAT_METADATA_CSUM: u32 = 0x400;

const COMPAT_HAS_JOURNAL: u32 = 0x4;
const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
const INCOMPAT_64BIT: u32 = 0x80;
/// sparse_super, large_file, btree_dir: what ext2 and ext3 know.
const OLD_RO_COMPAT: u32 = 0x7;
/// filetype, meta_bg.
const EXT2_INCOMPAT: u32 = 0x12;
/// filetype, recover, meta_bg.
const EXT3_INCOMPAT: u32 = 0x16;
const FLAG_TEST_FILESYSTEM: u32 = 0x4;

pub(super) fn find(view: &View<'_>) -> Found {
    if !view.has(SUPERBLOCK + MAGIC_AT as u64, &MAGIC)? {
        return Ok(None);
    }
    let Some(superblock) = view.bytes(SUPERBLOCK, SUPERBLOCK_LEN)? else {
        return Ok(Some(Finding::new("ext4", SUPERBLOCK + MAGIC_AT as u64, &MAGIC).sound(false)));
    };
    let finding = Finding::new(kind(&superblock), SUPERBLOCK + MAGIC_AT as u64, &MAGIC)
        .uuid(uuid(&superblock, 0x68))
        .label(text(&superblock, 0x78, 16))
        .sound(is_sound(&superblock));
    Ok(Some(finding.owns(size(&superblock))))
}

fn kind(superblock: &[u8]) -> &'static str {
    let (compat, incompat, ro_compat) = (le32(superblock, 0x5c), le32(superblock, 0x60), le32(superblock, 0x64));
    if incompat & INCOMPAT_JOURNAL_DEV != 0 {
        return "jbd";
    }
    let journal = compat & COMPAT_HAS_JOURNAL != 0;
    if ro_compat & !OLD_RO_COMPAT == 0 && !journal && incompat & !EXT2_INCOMPAT == 0 {
        "ext2"
    } else if ro_compat & !OLD_RO_COMPAT == 0 && journal && incompat & !EXT3_INCOMPAT == 0 {
        "ext3"
    } else if le32(superblock, 0x160) & FLAG_TEST_FILESYSTEM != 0 {
        "ext4dev"
    } else {
        "ext4"
    }
}

/// Its size in bytes: block count times block size.
fn size(superblock: &[u8]) -> u64 {
    let high = if le32(superblock, 0x60) & INCOMPAT_64BIT != 0 { le32(superblock, 0x150) } else { 0 };
    let blocks = (u64::from(high) << 32) | u64::from(le32(superblock, 0x04));
    blocks.saturating_mul(1024_u64.checked_shl(le32(superblock, 0x18)).unwrap_or(0))
}

pub(crate) fn is_sound(superblock: &[u8]) -> bool {
    // Revision, inode size and groups are beyond doubt once the checksum agrees.
    if le32(superblock, 0x64) & RO_COMPAT_METADATA_CSUM != 0 {
        return crc32c(!0, &superblock[..CHECKSUM_AT]) == le32(superblock, CHECKSUM_AT);
    }
    // log of the block size, inodes, blocks in a group, inodes in a group, blocks; a journal device has no inodes.
    let journal_device = le32(superblock, 0x60) & INCOMPAT_JOURNAL_DEV != 0;
    le32(superblock, 0x18) <= 6
        && le32(superblock, 0x04) != 0
        && le16(superblock, MAGIC_AT) == 0xef53
        && (journal_device || (le32(superblock, 0) != 0 && le32(superblock, 0x20) != 0 && le32(superblock, 0x28) != 0))
}
