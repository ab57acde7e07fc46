//! btrfs: a superblock of 4 KiB at 64 KiB, with copies at 64 MiB and 256 GiB. Layout: btrfs documentation, "On-disk format".

use super::view::{View, le16, le32, le64, text, uuid};
use super::{Finding, Found, ReadFailure};
use crate::host::linux::crc32c::crc32c;

const MAGIC: &[u8] = b"_BHRfS_M";
const MAGIC_AT: u64 = 64;
const LEN: usize = 4096;
/// The superblock and its copies; a copy exists where the device is large enough.
const PLACES: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const CSUM_CRC32C: u16 = 0;

pub(super) fn find(view: &View<'_>) -> Found {
    if let Some(primary) = at(view, PLACES[0])? {
        return Ok(Some(primary));
    }
    for place in &PLACES[1..] {
        if let Some(copy) = at(view, *place)? {
            return Ok(Some(copy.sound(false)));
        }
    }
    Ok(None)
}

/// The superblock, sound only if every copy that fits on the device is sound and of the same file system: `mkfs.btrfs`
/// exits 0 when it could not write one.
pub(super) fn find_all(view: &View<'_>) -> Found {
    let Some(primary) = at(view, PLACES[0])? else { return Ok(None) };
    let mut sound = primary.sound;
    for place in PLACES[1..].iter().filter(|place| **place + LEN as u64 <= primary.owns.unwrap_or(0)) {
        let copy = at(view, *place)?;
        sound &= copy.is_some_and(|copy| copy.sound && copy.signature.uuid == primary.signature.uuid);
    }
    Ok(Some(primary.sound(sound)))
}

fn at(view: &View<'_>, offset: u64) -> Result<Option<Finding>, ReadFailure> {
    if !view.has(offset + MAGIC_AT, MAGIC)? {
        return Ok(None);
    }
    let Some(superblock) = view.bytes(offset, LEN)? else {
        return Ok(Some(Finding::new("btrfs", offset + MAGIC_AT, MAGIC).sound(false)));
    };
    // The other three kinds of checksum are left to the kernel; a superblock still has to say where it lies.
    let intact = le16(&superblock, 196) != CSUM_CRC32C || !crc32c(!0, &superblock[32..]) == le32(&superblock, 0);
    let finding = Finding::new("btrfs", offset + MAGIC_AT, MAGIC)
        .uuid(uuid(&superblock, 32))
        .label(text(&superblock, 299, 256))
        .sound(intact && le64(&superblock, 48) == offset && le64(&superblock, 112) != 0);
    Ok(Some(finding.owns(le64(&superblock, 112))))
}
