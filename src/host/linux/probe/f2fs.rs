//! F2FS: a superblock at 1 KiB and its copy one block later. Layout: kernel, include/linux/f2fs_fs.h.

use super::lvm::crc32;
use super::view::{View, le32, utf16, uuid};
use super::{Finding, Found};

const MAGIC: u32 = 0xf2f5_2010;
const PLACES: [u64; 2] = [1024, 4096 + 1024];
const LEN: usize = 3072;

pub(super) fn find(view: &View<'_>) -> Found {
    let magic = MAGIC.to_le_bytes();
    for place in PLACES {
        if !view.has(place, &magic)? {
            continue;
        }
        let finding = Finding::new("f2fs", place, &magic);
        let Some(superblock) = view.bytes(place, LEN)? else { return Ok(Some(finding.sound(false))) };
        let checksum_at = le32(&superblock, 32) as usize;
        let sound = match superblock.get(..checksum_at) {
            _ if checksum_at == 0 => true,
            Some(covered) if checksum_at + 4 <= LEN => crc32(MAGIC, covered) == le32(&superblock, checksum_at),
            _ => false,
        };
        let finding = finding.uuid(uuid(&superblock, 108)).label(utf16(&superblock[124..124 + 1024]));
        return Ok(Some(finding.sound(sound && place == PLACES[0])));
    }
    Ok(None)
}
