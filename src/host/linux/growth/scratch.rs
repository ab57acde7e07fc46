//! The file on which a growth is tried out: a sparse copy of the metadata, or of everything.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::ACT;
use crate::host::linux::parts;
use crate::host::linux::probe::view::ReadAt;
use crate::host::linux::zeros::is_zero;
use crate::host::{HostError, Result};

/// What is read and compared at a time.
pub const CHUNK: u64 = 1 << 20;
/// Below this a stretch of zeros is written rather than left out.
const BLOCK: usize = 4096;
/// The largest block of ext4: stretches are aligned to it.
const LARGEST: u64 = 64 << 10;

/// Whether every block the copy holds is that of the original. One of zeros may be one that was not copied.
pub fn is_part_of(copy: &File, original: &File, block: usize, copy_at: &Path, original_at: &Path) -> Result<bool> {
    let mut same = true;
    each_chunk(copy, copy_at, |offset, bytes| {
        let mut there = vec![0; bytes.len()];
        ReadAt::read_exact_at(original, &mut there, offset).map_err(|error| HostError::io(ACT, original_at, &error))?;
        same &= bytes.chunks(block).zip(there.chunks(block)).all(|(copy, there)| copy == there || is_zero(copy));
        Ok(())
    })?;
    Ok(same)
}

/// Copies everything but zeros.
pub fn copy(original: &File, original_at: &Path, scratch: &Path, size: u64) -> Result<File> {
    let file = parts::create(ACT, scratch)?;
    let failed = |error: std::io::Error| HostError::io(ACT, scratch, &error);
    file.set_len(size).map_err(failed)?;
    each_chunk(original, original_at, |offset, bytes| {
        for (number, block) in bytes.chunks(BLOCK).enumerate() {
            if !is_zero(block) {
                file.write_all_at(block, offset + (number * BLOCK) as u64).map_err(failed)?;
            }
        }
        Ok(())
    })?;
    Ok(file)
}

/// Calls for every stretch that holds data and perhaps for some that do not, at most [`CHUNK`] at a time and aligned to blocks.
pub fn each_chunk(file: &File, path: &Path, mut look: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    let failed = |error: std::io::Error| HostError::io(ACT, path, &error);
    let length = ReadAt::size(file).map_err(failed)?;
    let device = !file.metadata().map_err(failed)?.is_file();
    let mut buffer = vec![0; usize::try_from(CHUNK).unwrap_or(BLOCK)];
    let mut at = 0;
    while at < length {
        let (data, end) = match seek(file, SeekFrom::Data(at)) {
            _ if device => (at, length),
            Ok(data) => (data, seek(file, SeekFrom::Hole(data)).map_err(|errno| failed(errno.into()))?),
            // Nothing but a hole until the end.
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(failed(errno.into())),
        };
        let data = (data / LARGEST * LARGEST).max(at);
        let end = end.next_multiple_of(LARGEST).min(length);
        at = data;
        while at < end {
            let share = usize::try_from((end - at).min(CHUNK)).unwrap_or(BLOCK);
            let bytes = &mut buffer[..share];
            ReadAt::read_exact_at(file, bytes, at).map_err(failed)?;
            look(at, bytes)?;
            at += share as u64;
        }
    }
    Ok(())
}
