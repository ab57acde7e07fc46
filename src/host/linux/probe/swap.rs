//! Swap areas and hibernation images: ten bytes at the end of the first page, whatever the machine's page size was.

use super::view::{View, text, uuid};
use super::{Finding, Found};

const PAGE_SIZES: [u64; 5] = [4096, 8192, 16_384, 32_768, 65_536];
const AREAS: [&[u8]; 2] = [b"SWAPSPACE2", b"SWAP-SPACE"];
const HIBERNATED: [&[u8]; 4] = [b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001"];
/// Version 1 in either byte order.
const VERSIONS: [[u8; 4]; 2] = [[1, 0, 0, 0], [0, 0, 0, 1]];

pub(super) fn find(view: &View<'_>) -> Found {
    for page in PAGE_SIZES {
        let at = page - 10;
        let Some(magic) = view.bytes(at, 10)? else { continue };
        let area = AREAS.contains(&&*magic);
        if !area && !HIBERNATED.contains(&&*magic) {
            continue;
        }
        let finding = Finding::new(if area { "swap" } else { "swsuspend" }, at, &magic);
        let Some(header) = view.bytes(1024, 44)? else { return Ok(Some(finding.sound(false))) };
        // The oldest form has no header and therefore no name.
        if *magic == *b"SWAP-SPACE" {
            return Ok(Some(finding));
        }
        let known = VERSIONS.iter().any(|version| header.starts_with(version));
        return Ok(Some(finding.uuid(uuid(&header, 12)).label(text(&header, 28, 16)).sound(known)));
    }
    Ok(None)
}
