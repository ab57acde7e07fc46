//! How an XFS is laid out, and whether anything was ever written to its log: mkfs.xfs fills the log with zeros and puts one record at its start, that
//! it was unmounted; whatever a mounted file system commits comes after it. Layout: XFS Algorithms & Data Structures, "Superblocks", "Journaling Log".

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::zeros::is_zero;

const MAGIC: &[u8] = b"XFSB";
const FIELDS_LEN: usize = 264;
const RECORD_MAGIC: u32 = 0xfeed_babe;
/// The unit of a log.
const BASIC_BLOCK: u64 = 512;
/// A larger record is none of mkfs's.
const RECORD_MAX: u64 = 512 << 10;
/// What is looked at behind the record: the first commit lands right there.
const BEHIND: u64 = 1 << 20;

/// What its superblock says of where things are, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    group: u64,
    groups: u64,
    log: Option<(u64, u64)>,
    /// mkfs.xfs has not come to its end: no kernel mounts it.
    pub in_progress: bool,
    /// At which place of the log the superblock was last written (`sb_lsn`); mkfs leaves it zero.
    written_at: u64,
}

impl Geometry {
    /// As its superblock has it; `None` where that is none.
    ///
    /// # Errors
    /// It could not be read.
    pub fn read(file: &File) -> io::Result<Option<Self>> {
        let mut superblock = [0; FIELDS_LEN];
        file.read_exact_at(&mut superblock, 0)?;
        let long = |at: usize| u64::from_be_bytes(superblock[at..at + 8].try_into().unwrap_or_default());
        let int = |at: usize| u64::from(u32::from_be_bytes(superblock[at..at + 4].try_into().unwrap_or_default()));
        let (block, blocks, groups, group_bits) = (int(4), int(84), int(88), u32::from(superblock[124]));
        if !superblock.starts_with(MAGIC) || block == 0 || blocks == 0 || group_bits >= 64 {
            return Ok(None);
        }
        let start = long(48);
        let (in_group, group) = (start & ((1 << group_bits) - 1), start >> group_bits);
        let log_at = group.saturating_mul(blocks).saturating_add(in_group).saturating_mul(block);
        Ok(Some(Self {
            group: blocks.saturating_mul(block),
            groups,
            log: (start != 0).then_some((log_at, int(96).saturating_mul(block))),
            in_progress: superblock[126] != 0,
            written_at: long(240),
        }))
    }

    /// Whether a place is among the first bytes of an allocation group: so many of the first one, so many of each other.
    pub const fn is_header(&self, at: u64, first: u64, each: u64) -> bool {
        if at < self.group {
            return at < first;
        }
        at / self.group < self.groups && at % self.group < each
    }

    /// Whether a place is where mkfs.xfs puts its one record into the log.
    pub fn is_log_start(&self, at: u64) -> bool {
        self.log.is_some_and(|(start, length)| at >= start && at - start < length.min(RECORD_MAX))
    }

    /// Whether it is certain that it was never mounted for writing: a mount writes to the log before anything else.
    ///
    /// # Errors
    /// The log could not be read.
    pub fn was_never_written(&self, file: &File) -> io::Result<bool> {
        if self.in_progress {
            return Ok(true);
        }
        let Some((start, length)) = self.log.filter(|_| self.written_at == 0) else { return Ok(false) };
        let mut header = [0; 16];
        file.read_exact_at(&mut header, start)?;
        let int = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap_or_default());
        let record = match (int(0), int(4), u64::from(int(12))) {
            (0, 0, 0) => 0,
            (RECORD_MAGIC, 1, bytes) if bytes <= RECORD_MAX => BASIC_BLOCK + bytes.next_multiple_of(BASIC_BLOCK),
            _ => return Ok(false),
        };
        let behind = record.min(length)..(record + BEHIND).min(length);
        let mut bytes = vec![0; usize::try_from(behind.end - behind.start).unwrap_or_default()];
        file.read_exact_at(&mut bytes, start + behind.start)?;
        Ok(is_zero(&bytes))
    }
}
