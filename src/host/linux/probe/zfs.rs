//! Members of ZFS pools: four labels of 256 KiB, two at the start and two at the end, each with a ring of uberblocks in its
//! second half and an XDR name-value list at 16 KiB. Layout: ZFS On-Disk Specification, chapter 1.

use super::view::{View, be32, be64};
use super::{Finding, Found, ReadFailure};

const LABEL: u64 = 256 * 1024;
const RING: u64 = 128 * 1024;
const RING_LEN: usize = 128 * 1024;
/// The least size of an uberblock; larger ones begin at a multiple of it.
const UBERBLOCK: usize = 1024;
const MAGIC: u64 = 0x00ba_b10c;
/// As many uberblocks as libblkid wants to see before it is sure.
const SURE: usize = 4;
const LIST: u64 = 16 * 1024;
const LIST_LEN: usize = 112 * 1024;
const TYPE_NUMBER: u32 = 8;
const TYPE_TEXT: u32 = 9;

pub(super) fn find(view: &View<'_>) -> Found {
    let end = view.size() / LABEL * LABEL;
    let mut labels = vec![0, LABEL];
    labels.extend([end.checked_sub(2 * LABEL), end.checked_sub(LABEL)].into_iter().flatten());
    labels.sort_unstable();
    labels.dedup();
    let mut first = None;
    let mut count = 0;
    for label in labels {
        let Some(ring) = view.bytes(label + RING, RING_LEN)? else { continue };
        for (index, uberblock) in ring.chunks_exact(UBERBLOCK).enumerate() {
            let magic = be64(uberblock, 0);
            if magic == MAGIC || magic.swap_bytes() == MAGIC {
                count += 1;
                let offset = label + RING + (index * UBERBLOCK) as u64;
                first.get_or_insert((label, offset, magic));
            }
        }
    }
    let Some((label, offset, magic)) = first else { return Ok(None) };
    let (name, guid) = list(view, label + LIST)?;
    let finding = Finding::new("zfs_member", offset, &magic.to_be_bytes());
    Ok(Some(finding.label(name).uuid(guid.map(|guid| guid.to_string())).sound(count >= SURE)))
}

/// The pool's name and number from the outermost pairs of the list.
fn list(view: &View<'_>, offset: u64) -> Result<(Option<String>, Option<u64>), ReadFailure> {
    let (mut name, mut guid) = (None, None);
    let Some(bytes) = view.bytes(offset, LIST_LEN)? else { return Ok((None, None)) };
    let mut at = 12;
    while let Some(pair) = bytes.get(at..) {
        let size = be32(pair, 0) as usize;
        if size < 20 || pair.len() < size {
            break;
        }
        let key_len = be32(pair, 8) as usize;
        let key = pair.get(12..12 + key_len).unwrap_or_default();
        let value_at = 12 + key_len.next_multiple_of(4);
        let value = pair.get(value_at..size).unwrap_or_default();
        match (key, be32(value, 0)) {
            (b"name", TYPE_TEXT) => {
                let len = be32(value, 8) as usize;
                name = value.get(12..12 + len).map(|text| String::from_utf8_lossy(text).into_owned());
            }
            (b"pool_guid", TYPE_NUMBER) => guid = Some(be64(value, 8)),
            _ => {}
        }
        at += size;
    }
    Ok((name, guid))
}
