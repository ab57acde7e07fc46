//! DOS partition tables: the four entries at the end of the first sector. Its two-byte mark ends every PC boot sector, so the
//! entries have to look like entries, and it is not asked where FAT, NTFS, exFAT or GPT were found.

use super::view::{View, le32};
use super::{Finding, Found, ReadFailure};

const MARK: &[u8] = &[0x55, 0xaa];
const MARK_AT: usize = 510;
const ENTRIES_AT: usize = 446;
const ENTRY: usize = 16;
const TYPE_PROTECTIVE: u8 = 0xee;

/// Kinds whose first sector carries the same mark.
pub(super) const BOOT_SECTOR_KINDS: [&str; 4] = ["vfat", "ntfs", "exfat", "gpt"];

pub(super) fn find(view: &View<'_>) -> Found {
    if !view.has(MARK_AT as u64, MARK)? {
        return Ok(None);
    }
    let Some(sector) = view.bytes(0, 512)? else { return Ok(None) };
    if is_protective(view)? {
        return Ok(Some(Finding::new("PMBR", MARK_AT as u64, MARK).sound(false)));
    }
    let id = le32(&sector, 440);
    let entries = sector[ENTRIES_AT..MARK_AT].chunks_exact(ENTRY);
    let plausible = entries.clone().all(|entry| entry[0] & 0x7f == 0);
    let used = entries.clone().any(|entry| entry[4] != 0 && le32(entry, 12) != 0);
    let finding = Finding::new("dos", MARK_AT as u64, MARK).uuid((id != 0).then(|| format!("{id:08x}")));
    Ok(Some(finding.sound(plausible && (used || id != 0))))
}

/// Whether the first sector is the one that keeps a GPT from old programs.
pub(super) fn is_protective(view: &View<'_>) -> Result<bool, ReadFailure> {
    let Some(sector) = view.bytes(0, 512)? else { return Ok(false) };
    let mut entries = sector[ENTRIES_AT..MARK_AT].chunks_exact(ENTRY);
    Ok(sector.ends_with(MARK) && entries.any(|entry| entry[4] == TYPE_PROTECTIVE))
}
