//! NTFS: a boot sector with a name in it; the label is a file of its own, the fourth of the master file table.

use super::view::{View, le16, le32, le64, utf16};
use super::{Finding, Found, ReadFailure};

const MAGIC: &[u8] = b"NTFS    ";
const MAGIC_AT: u64 = 3;
const SECTOR: usize = 512;
const VOLUME_FILE: u64 = 3;
const ATTRIBUTE_VOLUME_NAME: u32 = 0x60;
const ATTRIBUTE_END: u32 = 0xffff_ffff;
/// File records are 1 KiB or 4 KiB.
const MOST_RECORD: u64 = 65_536;

pub(super) fn find(view: &View<'_>) -> Found {
    if !view.has(MAGIC_AT, MAGIC)? {
        return Ok(None);
    }
    let finding = Finding::new("ntfs", MAGIC_AT, MAGIC);
    let Some(boot) = view.bytes(0, SECTOR)? else { return Ok(Some(finding.sound(false))) };
    let finding = finding.uuid(Some(format!("{:016X}", le64(&boot, 72))));
    let sector = u64::from(le16(&boot, 11));
    let cluster = sector.saturating_mul(sectors_per_cluster(boot[13]));
    let sound = sector.is_power_of_two() && (256..=4096).contains(&sector) && cluster != 0 && le64(&boot, 40) != 0;
    if !sound {
        return Ok(Some(finding.sound(false)));
    }
    let record = record_len(boot[64], cluster);
    let place = le64(&boot, 48).checked_mul(cluster).and_then(|mft| mft.checked_add(VOLUME_FILE.checked_mul(record)?));
    let label = match (place, usize::try_from(record)) {
        (Some(place), Ok(len)) if (256..=MOST_RECORD).contains(&record) => label(view, place, len)?,
        _ => None,
    };
    Ok(Some(finding.label(label)))
}

/// Values above 0x80 are the negative logarithm.
fn sectors_per_cluster(raw: u8) -> u64 {
    if raw > 0x80 { 1_u64.checked_shl(u32::from(raw.wrapping_neg())).unwrap_or(0) } else { u64::from(raw) }
}

fn record_len(raw: u8, cluster: u64) -> u64 {
    if raw > 0x80 {
        1_u64.checked_shl(u32::from(raw.wrapping_neg())).unwrap_or(0)
    } else {
        u64::from(raw).saturating_mul(cluster)
    }
}

fn label(view: &View<'_>, place: u64, len: usize) -> Result<Option<String>, ReadFailure> {
    let Some(record) = view.elsewhere(place, len)? else { return Ok(None) };
    if !record.starts_with(b"FILE") {
        return Ok(None);
    }
    let mut at = usize::from(le16(&record, 20));
    while at + 24 <= record.len() {
        let (kind, len) = (le32(&record, at), le32(&record, at + 4) as usize);
        if kind == ATTRIBUTE_END || len < 24 {
            break;
        }
        if kind == ATTRIBUTE_VOLUME_NAME {
            let value = at + usize::from(le16(&record, at + 20));
            let end = value + le32(&record, at + 16) as usize;
            return Ok(record.get(value..end).and_then(utf16));
        }
        at += len;
    }
    Ok(None)
}
