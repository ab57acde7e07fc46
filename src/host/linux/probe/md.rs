//! Members of Linux software RAID: version 1 at the start (1.1), at 4 KiB (1.2) or near the end (1.0), version 0.90 near the
//! end in either byte order. Layout: kernel, include/uapi/linux/raid/md_p.h.

use super::view::{View, be32, le32, le64, text, uuid};
use super::{Finding, ReadFailure};

const MAGIC: u32 = 0xa92b_4efc;
const SECTOR: u64 = 512;
const OLD_ALIGNMENT: u64 = 65_536;
/// Version 1 without its list of devices, of which there are two bytes each.
const HEADER_LEN: usize = 256;
const MOST_DEVICES: u32 = 1920;

/// Unlike other families there may be several: an array made again with another version leaves the old superblock.
pub(super) fn find(view: &View<'_>) -> Result<Vec<Finding>, ReadFailure> {
    let sectors = view.size() / SECTOR;
    let mut findings = Vec::new();
    let near_end = sectors.checked_sub(16).map(|sector| (sector & !7) * SECTOR);
    let mut places = vec![0, 4096];
    places.extend(near_end.filter(|place| !places.contains(place)));
    for place in places {
        findings.extend(version_1(view, place)?);
    }
    if let Some(place) = (view.size() / OLD_ALIGNMENT * OLD_ALIGNMENT).checked_sub(OLD_ALIGNMENT) {
        findings.extend(version_0(view, place)?);
    }
    Ok(findings)
}

fn version_1(view: &View<'_>, place: u64) -> Result<Option<Finding>, ReadFailure> {
    let Some(header) = view.bytes(place, HEADER_LEN)? else { return Ok(None) };
    if le32(&header, 0) != MAGIC || le32(&header, 4) != 1 {
        return Ok(None);
    }
    let finding =
        Finding::new("linux_raid_member", place, &header[..4]).uuid(uuid(&header, 16)).label(text(&header, 32, 32));
    let devices = le32(&header, 220);
    if devices > MOST_DEVICES || le64(&header, 144) != place / SECTOR {
        return Ok(Some(finding.sound(false)));
    }
    let len = HEADER_LEN + devices as usize * 2;
    let whole = view.bytes(place, len)?;
    let sound = whole.is_some_and(|whole| checksum(&whole) == le32(&header, 216));
    Ok(Some(finding.sound(sound)))
}

/// The sum of all words, folded once, the checksum itself counting as zero.
fn checksum(superblock: &[u8]) -> u32 {
    let mut sum = 0_u64;
    for (index, chunk) in superblock.chunks(4).enumerate() {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        sum += if index * 4 == 216 { 0 } else { u64::from(u32::from_le_bytes(word)) };
    }
    let [.., a, b, c, d] = ((sum & 0xffff_ffff) + (sum >> 32)).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn version_0(view: &View<'_>, place: u64) -> Result<Option<Finding>, ReadFailure> {
    let Some(header) = view.bytes(place, 64)? else { return Ok(None) };
    let word: fn(&[u8], usize) -> u32 = if le32(&header, 0) == MAGIC {
        le32
    } else if be32(&header, 0) == MAGIC {
        be32
    } else {
        return Ok(None);
    };
    // The magic of version 1 is the same; its place is never this one.
    if word(&header, 4) != 0 {
        return Ok(None);
    }
    let mut raw = [0; 16];
    for (index, at) in [20, 52, 56, 60].into_iter().enumerate() {
        raw[index * 4..][..4].copy_from_slice(&word(&header, at).to_be_bytes());
    }
    Ok(Some(Finding::new("linux_raid_member", place, &header[..4]).uuid(uuid(&raw, 0)).sound(word(&header, 8) == 90)))
}
