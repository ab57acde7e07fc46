//! GUID partition tables: a header in the second sector and a copy in the last, for sectors of 512 and 4096 bytes.
//! Layout: UEFI specification, 5.3.

use super::view::{View, le32, le64};
use super::{Finding, Found, ReadFailure};

const MAGIC: &[u8] = b"EFI PART";
const SECTORS: [u64; 2] = [512, 4096];
const LEAST_HEADER: usize = 92;

pub(super) fn find(view: &View<'_>) -> Found {
    let mut damaged = None;
    for sector in SECTORS {
        if let Some(primary) = header(view, sector, 1)? {
            // Without a protective MBR it is what a careless formatting left, and no partition of it is in use.
            let protected = super::mbr::is_protective(view)?;
            let sound = primary.sound && protected;
            if sound {
                return Ok(Some(primary));
            }
            damaged.get_or_insert(primary.sound(false));
        }
        if let Some(last) = (view.size() / sector).checked_sub(1).filter(|last| *last > 1)
            && let Some(copy) = header(view, sector, last)?
        {
            damaged.get_or_insert(copy.sound(false));
        }
    }
    Ok(damaged)
}

fn header(view: &View<'_>, sector: u64, block: u64) -> Result<Option<Finding>, ReadFailure> {
    let offset = block * sector;
    if !view.has(offset, MAGIC)? {
        return Ok(None);
    }
    let finding = Finding::new("gpt", offset, MAGIC);
    let Some(bytes) = view.bytes(offset, 512)? else { return Ok(Some(finding.sound(false))) };
    let len = le32(&bytes, 12) as usize;
    let intact = (LEAST_HEADER..=512).contains(&len) && {
        let mut covered = bytes[..len].to_vec();
        covered[16..20].fill(0);
        crc32fast::hash(&covered) == le32(&bytes, 16)
    };
    Ok(Some(finding.uuid(Some(guid(&bytes[56..72]))).sound(intact && le64(&bytes, 24) == block)))
}

/// The first three groups are little-endian.
fn guid(raw: &[u8]) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(raw);
    uuid::Uuid::from_bytes_le(bytes).hyphenated().to_string()
}
