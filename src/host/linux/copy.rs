//! Copying an image: by sharing its extents where the file system can, else only the bytes that hold data, in the kernel.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use rustix::fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek};
use rustix::io::Errno;

use super::errors::{failed, refused, wrong};
use super::parts::Parts;
use super::{image, loops};
use crate::host::{CopyMethod, CopyRequest, ErrorKind, Result};

const ACT: &str = "copy image";
/// One call's share: large enough to be cheap, small enough for a signal to be noticed.
const CHUNK: usize = 64 << 20;

/// Copies an image to a new file at a temporary name.
pub fn copy(parts: &Parts, request: &CopyRequest) -> Result<CopyMethod> {
    let from = image::open_ours(ACT, &request.from, request.from_file, false)?;
    let length = from.metadata().map_err(failed(ACT, &request.from))?.len();
    if request.size.get() < length {
        return Err(wrong(ErrorKind::Invalid, ACT, &request.to_part, "the copy would be smaller than what is copied"));
    }
    let to = parts.create(ACT, &request.to_part)?;
    let fill = || -> Result<CopyMethod> {
        let method = if request.reflink && !request.full && reflink(&from, &to, &request.to_part)? {
            CopyMethod::Reflink
        } else {
            if request.full {
                image::allocate(&to, 0, request.size.get(), ACT, &request.to_part)?;
            }
            copy_data(&from, &to, length, request)?;
            CopyMethod::Sparse
        };
        if to.metadata().map_err(failed(ACT, &request.to_part))?.len() != request.size.get() {
            to.set_len(request.size.get()).map_err(failed(ACT, &request.to_part))?;
        }
        let now = from.metadata().map_err(failed(ACT, &request.from))?;
        if now.len() != length || loops::file_id(&now) != request.from_file {
            return Err(wrong(ErrorKind::Verify, ACT, &request.from, "it changed its size while it was copied"));
        }
        Ok(method)
    };
    fill().inspect_err(|_| {
        let _ = fs::remove_file(&request.to_part);
        parts.let_go(&request.to_part);
    })
}

/// Whether extents are shared now; `false` where this file system, or this pair of files, can't.
fn reflink(from: &File, to: &File, path: &Path) -> Result<bool> {
    match ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => Ok(false),
        Err(error) => Err(refused(ACT, path)(error)),
    }
}

/// Copies every stretch of data; what is a hole stays one.
fn copy_data(from: &File, to: &File, length: u64, request: &CopyRequest) -> Result<()> {
    let path = &request.to_part;
    let mut at = 0;
    while at < length {
        let data = match seek(from, SeekFrom::Data(at)) {
            Ok(data) => data.min(length),
            // Nothing but a hole until the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(refused(ACT, path)(error)),
        };
        let end = seek(from, SeekFrom::Hole(data)).map_err(refused(ACT, path))?.min(length);
        // Whether it is still worth going on is asked once a share, however long the stretch.
        at = end.min(data + CHUNK as u64);
        copy_range(from, to, data, at, path)?;
        if request.until.is_some_and(|until| Instant::now() > until) {
            return Err(wrong(ErrorKind::TimedOut, ACT, path, "it took longer than it is allowed to"));
        }
    }
    if to.metadata().map_err(failed(ACT, path))?.len() < length {
        to.set_len(length).map_err(failed(ACT, path))?;
    }
    Ok(())
}

fn copy_range(from: &File, to: &File, start: u64, end: u64, path: &Path) -> Result<()> {
    let (mut read_at, mut write_at) = (start, start);
    while read_at < end {
        let want = usize::try_from(end - read_at).unwrap_or(CHUNK).min(CHUNK);
        match copy_file_range(from, Some(&mut read_at), to, Some(&mut write_at), want) {
            Ok(0) => return Err(wrong(ErrorKind::Verify, ACT, path, "the source ended early")),
            Ok(_) | Err(Errno::INTR | Errno::AGAIN) => {}
            // Between two file systems that can't, and from odd ones: through memory.
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return copy_through_memory(from, to, read_at, end, path);
            }
            Err(error) => return Err(refused(ACT, path)(error)),
        }
    }
    Ok(())
}

fn copy_through_memory(from: &File, to: &File, start: u64, end: u64, path: &Path) -> Result<()> {
    use std::os::unix::fs::FileExt;
    const BUFFER: u64 = 1 << 20;
    let mut buffer = vec![0u8; 1 << 20];
    let mut at = start;
    while at < end {
        let length = usize::try_from((end - at).min(BUFFER)).unwrap_or(buffer.len());
        let piece = &mut buffer[..length];
        from.read_exact_at(piece, at).map_err(failed(ACT, path))?;
        to.write_all_at(piece, at).map_err(failed(ACT, path))?;
        at += length as u64;
    }
    Ok(())
}
