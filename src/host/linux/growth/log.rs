//! The log of a growth: every block that has to change, with its new bytes and checksums of what was there. It is worth nothing until
//! its last bytes say that it is whole, and then it is carried out until it is done: the superblock last, so that there is always a
//! sound one.
//!
//! Before a byte is written, each sector it touches has to be what it was or what it will be. So a log never gets at a file system
//! that has been used, restored or made anew since.
//!
//! Layout, little-endian: the mark, the file system's UUID; for each block its offset (u64), its length (u32), 1 if it has bytes and
//! 0 if they are zeros (u32), a CRC-32C of each old sector, the new bytes; then an offset of all ones, the CRC-32C of everything before
//! it, and the mark again.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::scratch::each_chunk;
use super::{ACT, forget};
use crate::host::linux::crc32c::crc32c;
use crate::host::linux::ext_superblock::{self, PRIMARY};
use crate::host::linux::files;
use crate::host::linux::format::open;
use crate::host::linux::parts;
use crate::host::linux::probe::view::ReadAt;
use crate::host::linux::small;
use crate::host::linux::zeros::is_zero;
use crate::host::{ErrorKind, GrowthFiles, HostError, Result};
use crate::model::Done;

const MARK: &[u8; 16] = b"csictl growth 1\n";
const END: u64 = u64::MAX;
/// The largest block there may be.
const LARGEST: usize = 64 << 10;
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A block that has to change.
struct Change {
    offset: u64,
    old: Vec<u32>,
    new: Vec<u8>,
}

fn sums(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks(SECTOR).map(|sector| crc32c(!0, sector)).collect()
}

/// What is compared: a copy that was grown, and the volume.
pub struct Grown<'a> {
    /// The copy.
    pub scratch: &'a File,
    /// The volume.
    pub target: &'a File,
    /// Where it is.
    pub device: &'a Path,
    /// The UUID of its file system.
    pub uuid: [u8; 16],
    /// The size of its file system's blocks, in which it is compared.
    pub block: usize,
    /// Up to which byte a block of zeros in the copy may be one that was never copied: then it tells nothing.
    pub in_doubt: u64,
}

/// Writes what differs between the grown copy and the volume, durably. The copy goes before the log is whole, so that no crash leaves
/// both. `false`, and no log, when it cannot be told whether a block was made zeros.
pub fn write(grown: &Grown<'_>, files: &GrowthFiles) -> Result<bool> {
    let failed = |error: io::Error| HostError::io(ACT, &files.log, &error);
    let file = parts::create(ACT, &files.log)?;
    let mut log = Summed { inner: BufWriter::new(&file), sum: !0 };
    log.write_all(MARK).and_then(|()| log.write_all(&grown.uuid)).map_err(failed)?;
    let mut certain = true;
    each_chunk(grown.scratch, &files.scratch, |at, bytes| {
        let mut there = vec![0; bytes.len()];
        let read = ReadAt::read_exact_at(grown.target, &mut there, at);
        read.map_err(|error| HostError::io(ACT, grown.device, &error))?;
        for (number, (new, old)) in bytes.chunks(grown.block).zip(there.chunks(grown.block)).enumerate() {
            let offset = at + (number * grown.block) as u64;
            if new != old {
                certain &= offset >= grown.in_doubt || !is_zero(new);
                log.change(offset, old, new).map_err(failed)?;
            }
        }
        Ok(())
    })?;
    if !certain {
        std::fs::remove_file(&files.log).map_err(failed)?;
        return Ok(false);
    }
    std::fs::remove_file(&files.scratch).map_err(|error| HostError::io(ACT, &files.scratch, &error))?;
    log.write_all(&END.to_le_bytes()).map_err(failed)?;
    let sum = log.sum;
    let mut inner = log.inner;
    inner.write_all(&sum.to_le_bytes()).and_then(|()| inner.write_all(MARK)).map_err(failed)?;
    inner.flush().and_then(|()| file.sync_all()).map_err(failed)?;
    let (directory, _) = small::open_directory_of(ACT, &files.log)?;
    rustix::fs::fsync(directory).map_err(|errno| failed(errno.into()))?;
    Ok(true)
}

/// Carries out what a growth that was cut short has left to do. Nothing happens if there is none.
///
/// # Errors
/// The volume is in use, can't be written, or is not any more what the log was made for.
pub fn finish(device: &Path, log: &Path) -> Result<Done> {
    if !super::is_pending(log)? {
        return Ok(Done::Already);
    }
    carry_out(device, &open(device, true)?, log)
}

/// Carries a log out and removes it; one that is not whole, or of another file system, is only removed.
pub fn carry_out(device: &Path, target: &File, log: &Path) -> Result<Done> {
    let failed = |error: io::Error| HostError::io(ACT, device, &error);
    let superblock = ext_superblock::read(target, PRIMARY).map_err(failed)?;
    let uuid = superblock.as_ref().map(ext_superblock::uuid);
    // Looked at as a whole before the first byte is written.
    let mut size = 0;
    let whole = read(log, uuid, |change| {
        size = size.max(change.offset.saturating_add(change.new.len() as u64));
        is_expected(target, &change, device, log)
    })?;
    if !whole {
        return forget(log).map(|_| Done::Already);
    }
    if target.size().map_err(failed)? < size {
        let cause = format!("it was cut since it was to grow: {} tells of {size} bytes", log.display());
        return Err(HostError::new(ErrorKind::Verify, ACT, device, cause));
    }
    let mut last = None;
    read(log, uuid, |change| {
        if change.offset <= PRIMARY && PRIMARY < change.offset.saturating_add(change.new.len() as u64) {
            last = Some(change);
            return Ok(());
        }
        target.write_all_at(&change.new, change.offset).map_err(failed)
    })?;
    target.sync_all().map_err(failed)?;
    if let Some(change) = last {
        target.write_all_at(&change.new, change.offset).map_err(failed)?;
        target.sync_all().map_err(failed)?;
    }
    forget(log).map(|_| Done::Changed)
}

/// Refuses a block of which a sector is neither what it was nor what it will be.
fn is_expected(target: &File, change: &Change, device: &Path, log: &Path) -> Result<()> {
    let mut there = vec![0; change.new.len()];
    ReadAt::read_exact_at(target, &mut there, change.offset).map_err(|error| HostError::io(ACT, device, &error))?;
    let sectors = there.chunks(SECTOR).zip(change.new.chunks(SECTOR)).zip(&change.old);
    for ((there, new), old) in sectors {
        if there != new && crc32c(!0, there) != *old {
            let cause = format!(
                "it was changed since its growth was cut short (near byte {}; {} tells of it): nothing was written",
                change.offset,
                log.display()
            );
            return Err(HostError::new(ErrorKind::Verify, ACT, device, cause));
        }
    }
    Ok(())
}

/// Reads a log and calls for every change; `false` if it is not whole (then there were perhaps some calls) or not of this file system.
fn read(path: &Path, uuid: Option<[u8; 16]>, mut look: impl FnMut(Change) -> Result<()>) -> Result<bool> {
    let failed = |error: io::Error| HostError::io(ACT, path, &error);
    let file = files::open_regular(ACT, path, false)?;
    if !is_whole(&file, uuid).map_err(failed)? {
        return Ok(false);
    }
    let mut log = BufReader::new(&file);
    let mut head = [0; 32];
    log.read_exact(&mut head).map_err(failed)?;
    while let Some(change) = next(&mut log).map_err(failed)? {
        look(change)?;
    }
    Ok(true)
}

/// Whether its beginning, its checksum and its end are there, and it is of the file system with this UUID.
fn is_whole(file: &File, uuid: Option<[u8; 16]>) -> io::Result<bool> {
    const TAIL: usize = 4 + MARK.len();
    let length = file.metadata()?.len();
    let mut head = [0; 32];
    let mut tail = [0; TAIL];
    if length < (head.len() + 8 + TAIL) as u64 {
        return Ok(false);
    }
    ReadAt::read_exact_at(file, &mut head, 0)?;
    ReadAt::read_exact_at(file, &mut tail, length - TAIL as u64)?;
    let (sum, mark) = tail.split_at(4);
    if head[..16] != MARK[..] || mark != MARK || uuid.is_some_and(|uuid| head[16..] != uuid) {
        return Ok(false);
    }
    let mut found = !0;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length - TAIL as u64 {
        let share = usize::try_from(length - TAIL as u64 - at).unwrap_or(usize::MAX).min(buffer.len());
        ReadAt::read_exact_at(file, &mut buffer[..share], at)?;
        found = crc32c(found, &buffer[..share]);
        at += share as u64;
    }
    Ok(sum == found.to_le_bytes())
}

fn next(log: &mut impl Read) -> io::Result<Option<Change>> {
    let mut number = [0; 8];
    log.read_exact(&mut number)?;
    let offset = u64::from_le_bytes(number);
    if offset == END {
        return Ok(None);
    }
    let (length, bytes) = (word(log)? as usize, word(log)?);
    let old = (0..length.min(LARGEST).div_ceil(SECTOR)).map(|_| word(log)).collect::<io::Result<_>>()?;
    let mut new = vec![0; length.min(LARGEST)];
    if bytes == 1 {
        log.read_exact(&mut new)?;
    }
    Ok(Some(Change { offset, old, new }))
}

fn word(log: &mut impl Read) -> io::Result<u32> {
    let mut number = [0; 4];
    log.read_exact(&mut number)?;
    Ok(u32::from_le_bytes(number))
}

/// Sums up what is written.
struct Summed<W> {
    inner: W,
    sum: u32,
}

impl<W: Write> Summed<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum = crc32c(self.sum, bytes);
        self.inner.write_all(bytes)
    }

    fn change(&mut self, offset: u64, old: &[u8], new: &[u8]) -> io::Result<()> {
        let bytes = u32::from(!is_zero(new));
        let length = u32::try_from(new.len()).map_err(io::Error::other)?;
        self.write_all(&offset.to_le_bytes())?;
        self.write_all(&length.to_le_bytes())?;
        self.write_all(&bytes.to_le_bytes())?;
        for sum in sums(old) {
            self.write_all(&sum.to_le_bytes())?;
        }
        if bytes == 1 { self.write_all(new) } else { Ok(()) }
    }
}
