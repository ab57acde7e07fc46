//! exFAT: a boot sector with a name in it; the label is an entry of the root directory. Layout: Microsoft exFAT specification.

use super::view::{View, le32, le64, utf16};
use super::{Finding, Found, ReadFailure};

const MAGIC: &[u8] = b"EXFAT   ";
const MAGIC_AT: u64 = 3;
const ENTRY: usize = 32;
const ENTRY_LABEL: u8 = 0x83;
/// How much of a root directory is searched for a label.
const ROOT_SEARCH: u64 = 16 * 1024;

pub(super) fn find(view: &View<'_>) -> Found {
    if !view.has(MAGIC_AT, MAGIC)? {
        return Ok(None);
    }
    let finding = Finding::new("exfat", MAGIC_AT, MAGIC);
    let Some(boot) = view.bytes(0, 512)? else { return Ok(Some(finding.sound(false))) };
    let serial = format!("{:02X}{:02X}-{:02X}{:02X}", boot[103], boot[102], boot[101], boot[100]);
    let (sector_shift, cluster_shift) = (u32::from(boot[108]), u32::from(boot[109]));
    let sound = (9..=12).contains(&sector_shift) && sector_shift + cluster_shift <= 25 && le64(&boot, 72) != 0;
    let finding = finding.uuid(Some(serial)).sound(sound);
    if !sound {
        return Ok(Some(finding));
    }
    let heap = u64::from(le32(&boot, 88)) << sector_shift;
    let cluster = 1_u64 << (sector_shift + cluster_shift);
    let root = heap.saturating_add(u64::from(le32(&boot, 96).saturating_sub(2)).saturating_mul(cluster));
    Ok(Some(finding.label(label(view, root, cluster)?)))
}

fn label(view: &View<'_>, root: u64, cluster: u64) -> Result<Option<String>, ReadFailure> {
    let len = usize::try_from(cluster.min(ROOT_SEARCH)).unwrap_or(ENTRY);
    let Some(entries) = view.elsewhere(root, len)? else { return Ok(None) };
    let mut entries = entries.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0);
    Ok(entries.find(|entry| entry[0] == ENTRY_LABEL).and_then(|entry| {
        let units = usize::from(entry[1]).min(11);
        utf16(&entry[2..2 + units * 2])
    }))
}
