//! XFS: one superblock a sector long at the very start, big-endian. Layout: XFS Algorithms & Data Structures, "Superblocks".

use super::view::{View, be16, be32, be64, le32, text, uuid};
use super::{Finding, Found};
use crate::host::linux::crc32c::crc32c;

const MAGIC: &[u8] = b"XFSB";
/// The part of it that has fields; the checksum covers the whole sector.
const FIELDS_LEN: usize = 264;
const CRC_AT: usize = 224;

pub(super) fn find(view: &View<'_>) -> Found {
    if !view.has(0, MAGIC)? {
        return Ok(None);
    }
    let Some(superblock) = view.bytes(0, FIELDS_LEN)? else {
        return Ok(Some(Finding::new("xfs", 0, MAGIC).sound(false)));
    };
    let finding = Finding::new("xfs", 0, MAGIC)
        .uuid(uuid(&superblock, 32))
        .label(text(&superblock, 108, 12))
        .sound(is_sound(view, &superblock)?);
    Ok(Some(finding.owns(be64(&superblock, 8).saturating_mul(u64::from(be32(&superblock, 4))))))
}

fn is_sound(view: &View<'_>, superblock: &[u8]) -> Result<bool, super::ReadFailure> {
    let (block, sector, version) = (be32(superblock, 4), be16(superblock, 102), be16(superblock, 100) & 0xf);
    let shape = block.is_power_of_two()
        && (512..=65_536).contains(&block)
        && sector.is_power_of_two()
        && (512..=32_768).contains(&sector)
        && be64(superblock, 8) != 0
        && be32(superblock, 88) != 0;
    if !shape || version < 5 {
        return Ok(shape && version == 4);
    }
    // mkfs.xfs writes its magic first and clears this flag last: with it, nothing can be mounted.
    if superblock[126] != 0 {
        return Ok(false);
    }
    let Some(bytes) = view.bytes(0, usize::from(sector))? else { return Ok(false) };
    let before = crc32c(!0, &bytes[..CRC_AT]);
    let crc = crc32c(crc32c(before, &[0; 4]), &bytes[CRC_AT + 4..]);
    Ok(!crc == le32(superblock, CRC_AT))
}
