//! FAT 12, 16 and 32: a boot sector that is known by its fields, since it has no magic of its own that is always there.
//! Layout: Microsoft FAT specification (ECMA-107).

use super::view::{View, le16, le32, text};
use super::{Finding, Found, ReadFailure};

const SECTOR: usize = 512;
const ENTRY: usize = 32;
const ATTRIBUTE_LABEL: u8 = 0x08;
/// Read-only, hidden, system, label: an entry of a long file name.
const ATTRIBUTE_LONG_NAME: u8 = 0x0f;
/// More clusters than these need entries of 32 bits.
const FAT16_MOST: u64 = 65_524;
/// How much of a root directory is searched for a label.
const ROOT_SEARCH: usize = 16 * 1024;

pub(super) fn find(view: &View<'_>) -> Found {
    let Some(boot) = view.bytes(0, SECTOR)? else { return Ok(None) };
    let named =
        boot[54..].starts_with(b"FAT1") || boot[82..].starts_with(b"FAT32   ") || boot[54..].starts_with(b"MSDOS");
    let signed = boot[510..] == [0x55, 0xaa];
    let jump = matches!(boot[0], 0xeb | 0xe9);
    if !(named || signed && jump) {
        return Ok(None);
    }
    let Some(geometry) = Geometry::read(&boot) else {
        // Without its name such a sector is any boot loader's.
        return Ok(named.then(|| Finding::new("vfat", 0, &boot[54..59]).sound(false)));
    };
    let at = if geometry.fat32 { 67 } else { 39 };
    let serial = format!("{:02X}{:02X}-{:02X}{:02X}", boot[at + 3], boot[at + 2], boot[at + 1], boot[at]);
    let (offset, magic) = if geometry.fat32 { (82, &boot[82..87]) } else { (54, &boot[54..59]) };
    let serial = (le32(&boot, at) != 0).then_some(serial);
    Ok(Some(Finding::new("vfat", offset, magic).uuid(serial).label(label(view, &geometry)?)))
}

struct Geometry {
    fat32: bool,
    root: u64,
    root_len: usize,
}

impl Geometry {
    /// The shape the fields give, if they can be those of a FAT at all.
    fn read(boot: &[u8]) -> Option<Self> {
        let sector = le16(boot, 11);
        let per_cluster = boot[13];
        let reserved = le16(boot, 14);
        let fats = boot[16];
        let root_entries = le16(boot, 17);
        let sectors = if le16(boot, 19) == 0 { le32(boot, 32) } else { u32::from(le16(boot, 19)) };
        let media = boot[21];
        let fat_len = if le16(boot, 22) == 0 { le32(boot, 36) } else { u32::from(le16(boot, 22)) };
        let shape = sector.is_power_of_two()
            && (512..=4096).contains(&sector)
            && per_cluster.is_power_of_two()
            && reserved != 0
            && fats != 0
            && (media == 0xf0 || media >= 0xf8)
            && fat_len != 0;
        if !shape {
            return None;
        }
        let root_sectors = (u64::from(root_entries) * ENTRY as u64).div_ceil(u64::from(sector));
        let root_at = u64::from(reserved) + u64::from(fats) * u64::from(fat_len);
        let data = u64::from(sectors).checked_sub(root_at + root_sectors)?;
        let clusters = data / u64::from(per_cluster);
        let fat32 = le16(boot, 22) == 0;
        if clusters == 0 || (fat32 && root_entries != 0) || (!fat32 && clusters > FAT16_MOST) {
            return None;
        }
        let (root, root_len) = if fat32 {
            let cluster = u64::from(le32(boot, 44)).checked_sub(2)?;
            (root_at + cluster * u64::from(per_cluster), usize::from(per_cluster) * usize::from(sector))
        } else {
            (root_at, usize::from(root_entries) * ENTRY)
        };
        Some(Self { fat32, root: root * u64::from(sector), root_len: root_len.min(ROOT_SEARCH) })
    }
}

/// The label is an entry of the root directory; the boot sector's copy of it may be stale.
fn label(view: &View<'_>, geometry: &Geometry) -> Result<Option<String>, ReadFailure> {
    let Some(root) = view.elsewhere(geometry.root, geometry.root_len)? else { return Ok(None) };
    for entry in root.chunks_exact(ENTRY).take_while(|entry| entry[0] != 0) {
        let attributes = entry[11];
        let deleted = entry[0] == 0xe5;
        if !deleted && attributes != ATTRIBUTE_LONG_NAME && attributes & ATTRIBUTE_LABEL != 0 {
            return Ok(text(entry, 0, 11));
        }
    }
    Ok(None)
}
