//! ISO 9660 (ECMA-119) and UDF: volume descriptors from 32 KiB on.

use super::view::{View, text};
use super::{Finding, Found};

const DESCRIPTOR: u64 = 32_768;
const LEN: usize = 2048;
const MAGIC: &[u8] = b"CD001";
/// Descriptors of ECMA-167, UDF's base.
const UDF: [&[u8]; 6] = [b"BEA01", b"BOOT2", b"CDW02", b"NSR02", b"NSR03", b"TEA01"];
const PRIMARY: u8 = 1;

pub(super) fn find(view: &View<'_>) -> Found {
    let Some(magic) = view.bytes(DESCRIPTOR + 1, 5)? else { return Ok(None) };
    if UDF.contains(&&*magic) {
        return Ok(Some(Finding::new("udf", DESCRIPTOR + 1, &magic)));
    }
    if *magic != *MAGIC {
        return Ok(None);
    }
    let finding = Finding::new("iso9660", DESCRIPTOR + 1, MAGIC);
    let Some(descriptor) = view.bytes(DESCRIPTOR, LEN)? else { return Ok(Some(finding.sound(false))) };
    // The date of the last change stands in for a UUID, as blkid has it; else that of creation.
    let date = [830, 813].into_iter().find_map(|at| date(&descriptor[at..at + 16]));
    Ok(Some(finding.uuid(date).label(text(&descriptor, 40, 32)).sound(descriptor[0] == PRIMARY)))
}

/// `YYYYMMDDhhmmsscc` with hyphens; `None` when it is not set.
fn date(digits: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    if text.bytes().all(|byte| byte == b'0') {
        return None;
    }
    let parts = [&text[..4], &text[4..6], &text[6..8], &text[8..10], &text[10..12], &text[12..14], &text[14..16]];
    Some(parts.join("-"))
}
