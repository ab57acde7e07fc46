//! LVM2 physical volumes: a label in one of the first four sectors, with a CRC-32 of its own starting value.

use super::view::{View, le32, le64};
use super::{Finding, Found};

const MAGIC: &[u8] = b"LABELONE";
const SECTOR: usize = 512;
/// The starting value LVM2 gives its CRC-32.
const CRC_SEED: u32 = 0xf597_a6cf;
/// How LVM2 groups the 32 characters of a UUID.
const GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

pub(super) fn find(view: &View<'_>) -> Found {
    for sector in 0..4_u64 {
        let offset = sector * SECTOR as u64;
        if !view.has(offset, MAGIC)? {
            continue;
        }
        let finding = Finding::new("LVM2_member", offset, MAGIC);
        let Some(label) = view.bytes(offset, SECTOR)? else { return Ok(Some(finding.sound(false))) };
        let sound = le64(&label, 8) == sector
            && label[24..].starts_with(b"LVM2 001")
            && crc32(CRC_SEED, &label[20..]) == le32(&label, 16);
        let header = usize::try_from(le32(&label, 20)).unwrap_or(usize::MAX);
        let raw = label.get(header..).and_then(|rest| rest.get(..32)).unwrap_or_default();
        return Ok(Some(finding.uuid(grouped(raw)).sound(sound)));
    }
    Ok(None)
}

fn grouped(raw: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(raw).ok().filter(|text| text.len() == 32 && text.is_ascii())?;
    let mut rest = text;
    let groups = GROUPS.map(|len| {
        let (group, tail) = rest.split_at(len);
        rest = tail;
        group
    });
    Some(groups.join("-"))
}

/// CRC-32 (IEEE) without the inversions before and after.
pub(super) fn crc32(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(!seed);
    hasher.update(bytes);
    !hasher.finalize()
}
