//! Whether all that lies on storage can be what a mkfs left there that was interrupted: what a user may have written since is told from it by
//! where it lies.
//!
//! Where a mkfs writes is known: XFS says in its superblock, which comes first, how it is laid out; mke2fs and mkfs.btrfs are run once more, in memory,
//! on a file of the same size. A page with data where the program leaves zeros is somebody's. The head and the end are read whole, of the rest pages
//! all over it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{MemfdFlags, memfd_create};

use super::ext_superblock;
use super::mkfs;
use super::probe::ext;
use super::probe::view::ReadAt;
use super::xfs_log;
use super::zeros::is_zero;
use crate::host::{FormatRequest, HostError, Lock, Result};
use crate::model::FsType;

const ACT: &str = "tell what a mkfs left from what a user wrote on";
const PAGE: usize = 4096;
/// What is read at once.
const CHUNK: usize = 1 << 20;
/// What is read whole.
const HEAD: u64 = 64 << 20;
const TAIL: u64 = 4 << 20;
/// How many pages of the rest are read.
const SPREAD: u64 = 16_384;
/// How far into an allocation group mkfs.xfs writes: headers and roots of trees; in the first one inodes too.
const XFS_FIRST: u64 = 2 << 20;
const XFS_EACH: u64 = 256 << 10;

/// Where a mkfs writes.
enum Written {
    /// Wherever this file of what it writes has other bytes than zeros.
    As(File),
    /// As this XFS is laid out.
    Xfs(xfs_log::Geometry),
}

/// Where data lies that no mkfs of this request has put there; `None` where there is none.
///
/// # Errors
/// It could not be read, or mkfs could not be asked.
pub fn somebody_elses(
    file: &File,
    request: &FormatRequest,
    lock: &Lock,
    limit: Option<Duration>,
) -> Result<Option<u64>> {
    let failed = |error: std::io::Error| HostError::io(ACT, &request.path, &error);
    let size = ReadAt::size(file).map_err(failed)?;
    let written = match request.fs {
        FsType::Xfs => match xfs_log::Geometry::read(file).map_err(failed)? {
            Some(geometry) => Written::Xfs(geometry),
            None => return Ok(Some(0)),
        },
        FsType::Ext4 | FsType::Btrfs => Written::As(made_in_memory(request, size, lock, limit)?),
    };
    let mut chunk = vec![0; CHUNK];
    for (start, end) in places(size) {
        let mut at = start;
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            FileExt::read_exact_at(file, &mut chunk[..length], at).map_err(failed)?;
            for (page, offset) in chunk[..length].chunks(PAGE).zip((at..).step_by(PAGE)) {
                if !is_zero(page) && !is_written(&written, request, offset, page).map_err(failed)? {
                    return Ok(Some(offset));
                }
            }
            at += length as u64;
        }
    }
    Ok(None)
}

/// The ranges that are read, in order.
fn places(size: u64) -> Vec<(u64, u64)> {
    let head = HEAD.min(size);
    let tail = (size.saturating_sub(TAIL) / PAGE as u64 * PAGE as u64).max(head);
    let step = ((tail - head) / SPREAD / PAGE as u64).max(1) * PAGE as u64;
    let mut places = vec![(0, head)];
    places.extend(
        (head..tail).step_by(usize::try_from(step).unwrap_or(PAGE)).map(|at| (at, (at + PAGE as u64).min(tail))),
    );
    places.push((tail, size));
    places
}

fn is_written(written: &Written, request: &FormatRequest, at: u64, page: &[u8]) -> std::io::Result<bool> {
    match written {
        Written::Xfs(geometry) => Ok(geometry.is_header(at, XFS_FIRST, XFS_EACH) || geometry.is_log_start(at)),
        Written::As(scratch) => {
            let mut same = vec![0; page.len()];
            FileExt::read_exact_at(scratch, &mut same, at)?;
            // The first block has room for a boot loader, which no mke2fs writes to.
            let first = request.fs == FsType::Ext4 && at == 0;
            Ok(!is_zero(&same) && (!first || is_superblock_only(page, request)))
        }
    }
}

fn is_superblock_only(page: &[u8], request: &FormatRequest) -> bool {
    let (place, length) = (1024, ext::SUPERBLOCK_LEN);
    let (boot, rest) = page.split_at(place.min(page.len()));
    let (superblock, after) = rest.split_at(length.min(rest.len()));
    let ours =
        || ext::is_sound(superblock) && superblock[ext_superblock::UUID_AT..].starts_with(request.uuid.as_bytes());
    is_zero(boot) && is_zero(after) && (is_zero(superblock) || superblock.len() == length && ours())
}

/// What this mkfs makes of a file of zeros, in memory.
fn made_in_memory(request: &FormatRequest, size: u64, lock: &Lock, limit: Option<Duration>) -> Result<File> {
    let failed = |error: std::io::Error| HostError::io(ACT, &request.path, &error);
    let scratch = memfd_create("csictl-mkfs", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    let scratch = File::from(scratch);
    scratch.set_len(size).map_err(failed)?;
    let mut options = request.options.clone();
    if request.fs == FsType::Ext4 {
        // Tables and journals of zeros say nothing and take memory.
        options.extend(["-E".to_owned(), "lazy_itable_init=1,lazy_journal_init=1".to_owned()]);
    }
    let request = FormatRequest { options, fresh_image: true, block: None, ..request.clone() };
    mkfs::run(&request, Some(&scratch), lock, limit)?;
    Ok(scratch)
}
