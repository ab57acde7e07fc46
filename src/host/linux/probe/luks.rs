//! LUKS 1 and 2: a header at the start; version 2 keeps a second one at a power of two from 16 KiB to 4 MiB.
//! Layout: LUKS2 On-Disk Format Specification, "Binary header".

use super::view::{View, be16, be64, text};
use super::{Finding, Found};

const MAGIC: &[u8] = b"LUKS\xba\xbe";
const SECOND_MAGIC: &[u8] = b"SKUL\xba\xbe";
const SECOND_PLACES: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];
const LEN: usize = 512;

pub(super) fn find(view: &View<'_>) -> Found {
    if view.has(0, MAGIC)? {
        return header(view, 0, MAGIC);
    }
    for place in SECOND_PLACES {
        if view.has(place, SECOND_MAGIC)? {
            // Without the first header it is a remainder: a person has to say of what.
            return Ok(header(view, place, SECOND_MAGIC)?.map(|finding| finding.sound(false)));
        }
    }
    Ok(None)
}

fn header(view: &View<'_>, offset: u64, magic: &[u8]) -> Found {
    let finding = Finding::new("crypto_LUKS", offset, magic);
    let Some(bytes) = view.bytes(offset, LEN)? else { return Ok(Some(finding.sound(false))) };
    let version = be16(&bytes, 6);
    let finding = finding.uuid(text(&bytes, 168, 40));
    Ok(Some(match version {
        1 => finding,
        2 => finding.label(text(&bytes, 24, 48)).sound(be64(&bytes, 256) == offset),
        _ => finding.sound(false),
    }))
}
