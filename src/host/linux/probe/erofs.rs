//! EROFS: a superblock at 1 KiB, with a CRC-32C where a feature flag says so. Layout: kernel documentation, filesystems/erofs.

use super::view::{View, le32, text, uuid};
use super::{Finding, Found};
use crate::host::linux::crc32c::crc32c;

const SUPERBLOCK: u64 = 1024;
const MAGIC: [u8; 4] = 0xe0f5_e1e2_u32.to_le_bytes();
const FEATURE_CHECKSUM: u32 = 1;

pub(super) fn find(view: &View<'_>) -> Found {
    if !view.has(SUPERBLOCK, &MAGIC)? {
        return Ok(None);
    }
    let finding = Finding::new("erofs", SUPERBLOCK, &MAGIC);
    let Some(superblock) = view.bytes(SUPERBLOCK, 128)? else { return Ok(Some(finding.sound(false))) };
    let finding = finding.uuid(uuid(&superblock, 48)).label(text(&superblock, 64, 16));
    let block_bits = superblock[12];
    if !(9..=16).contains(&block_bits) {
        return Ok(Some(finding.sound(false)));
    }
    if le32(&superblock, 8) & FEATURE_CHECKSUM == 0 {
        return Ok(Some(finding));
    }
    // The checksum reaches to the end of the block the superblock lies in.
    let block = 1_usize << block_bits;
    let len = if block > 1024 { block - 1024 } else { block };
    let Some(covered) = view.bytes(SUPERBLOCK, len)? else { return Ok(Some(finding.sound(false))) };
    let crc = crc32c(crc32c(crc32c(!0, &covered[..4]), &[0; 4]), &covered[8..]);
    Ok(Some(finding.sound(crc == le32(&superblock, 4))))
}
