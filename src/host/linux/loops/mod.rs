//! Loop devices, and what is behind them. A loop is known by its backing's device, inode and offset; the path in sysfs lies once
//! the file is renamed or deleted.

mod attach;
mod detach;
mod free;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, statat};

pub use attach::{attach, attach_for_a_moment, attach_in_the_making, control};
pub use detach::{detach, detach_dead, resize};

use super::errors::failed;
use super::sys;
use crate::host::Result;
use crate::model::device::LOOP_MAJOR;
use crate::model::{BlockId, FileId, LoopDevice};

/// The device's node.
pub fn node(index: u32) -> PathBuf {
    PathBuf::from(format!("/dev/loop{index}"))
}

/// A file's device and inode.
pub fn file_id(metadata: &fs::Metadata) -> FileId {
    let (major, minor) = sys::device_numbers(metadata.dev());
    FileId { device: BlockId { major, minor }, inode: metadata.ino() }
}

/// Every attached loop device.
pub fn all() -> Result<Vec<LoopDevice>> {
    let mut found = Vec::new();
    for index in attached()? {
        if let Some(device) = look_unless_dead(index)? {
            found.push(device);
        }
    }
    found.sort_by_key(|device| device.index);
    Ok(found)
}

/// Indices of the devices that have something behind them, in no order.
fn attached() -> Result<Vec<u32>> {
    // Not /sys/block, whose entries are links that would be followed for each.
    const BLOCK: &str = "/sys/devices/virtual/block";
    let folder = File::open(BLOCK).map_err(failed("list loop devices in", BLOCK))?;
    let entries = fs::read_dir(BLOCK).map_err(failed("list loop devices in", BLOCK))?;
    let mut indices = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed("list loop devices in", BLOCK))?;
        let name = entry.file_name();
        let Some(index) = name.to_str().and_then(|name| name.strip_prefix("loop")).and_then(|n| n.parse().ok()) else {
            continue;
        };
        // The kernel has this folder only while something is attached.
        if statat(&folder, format!("loop{index}/loop"), AtFlags::SYMLINK_NOFOLLOW).is_ok() {
            indices.push(index);
        }
    }
    Ok(indices)
}

/// One device; `None` when nothing is attached to it, or when its backing file is on a file system that has shut down. Such a file cannot be
/// looked at by its name either, so it is none that anybody asks for; and one dead disk must not keep all others from being used.
fn look_unless_dead(index: u32) -> Result<Option<LoopDevice>> {
    match look(index) {
        Err(error) if error.errno == Some(libc::EIO) => {
            static TOLD: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
            if TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(index) {
                tracing::info!("{} is passed over: {error}", node(index).display());
            }
            Ok(None)
        }
        other => other,
    }
}

/// One device; `None` when nothing is attached to it.
pub fn look(index: u32) -> Result<Option<LoopDevice>> {
    let path = node(index);
    // Opened for reading only: closing a device that was open for writing makes udev probe it again.
    let device = match OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC | libc::O_NONBLOCK).open(&path) {
        Ok(device) => device,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO | libc::ENODEV)) => {
            return Ok(None);
        }
        Err(error) => return Err(failed("open loop device", path)(error)),
    };
    describe(index, device.as_fd())
}

fn describe(index: u32, device: BorrowedFd<'_>) -> Result<Option<LoopDevice>> {
    let act = "read the state of loop device";
    let status = match sys::loop_status(device) {
        Ok(status) => status,
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(None),
        Err(error) => return Err(failed(act, node(index))(error)),
    };
    let (major, minor) = sys::device_numbers(status.device);
    Ok(Some(LoopDevice {
        index,
        block: BlockId { major: LOOP_MAJOR, minor: index },
        backing: FileId { device: BlockId { major, minor }, inode: status.inode },
        offset: status.offset,
        size_limit: status.size_limit,
        size: sys::block_size_bytes(device).map_err(failed(act, node(index)))?,
        read_only: status.flags & sys::LO_READ_ONLY != 0,
        autoclear: status.flags & sys::LO_AUTOCLEAR != 0,
        direct_io: status.flags & sys::LO_DIRECT_IO != 0,
        sector_size: rustix::fs::ioctl_blksszget(device).map_err(|error| failed(act, node(index))(error.into()))?,
    }))
}

/// The device of that number, if its backing file can't be looked at any more and was opened as `path`.
pub fn on_dead(index: u32, path: &Path, file: FileId) -> Option<LoopDevice> {
    let died = look(index).is_err_and(|error| error.errno == Some(libc::EIO));
    let word = |name: &str| fs::read_to_string(sysfs(index).join(name)).ok();
    let number = |name: &str| word(name)?.trim().parse::<u64>().ok();
    // A name with a line's end in it is no name of ours: ids have none, and of a pool's it would be the wrong end.
    if !died
        || word("loop/backing_file")?.strip_suffix('\n')? != path.to_str()?
        || number("loop/offset")? != 0
        || number("loop/sizelimit")? != 0
    {
        return None;
    }
    Some(LoopDevice {
        index,
        block: BlockId { major: LOOP_MAJOR, minor: index },
        backing: file,
        offset: 0,
        size_limit: 0,
        size: number("size")? * 512,
        read_only: number("ro")? == 1,
        autoclear: number("loop/autoclear")? == 1,
        direct_io: number("loop/dio")? == 1,
        sector_size: u32::try_from(number("queue/logical_block_size")?).ok()?,
    })
}

/// The device whose backing is `file` from its beginning; `hint` is looked at first.
pub fn loop_of(file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>> {
    if let Some(device) = hinted(file, hint)? {
        return Ok(Some(device));
    }
    Ok(find_backing(file)?.into_iter().find(LoopDevice::shows_all))
}

/// The same for the file at `path`: all devices are looked at only if anybody has it open, which every loop device has. Looking at
/// all for each of many volumes would be quadratic.
pub fn loop_of_image(path: &Path, file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>> {
    if let Some(device) = hinted(file, hint)? {
        return Ok(Some(device));
    }
    if nobody_has_open(path, file) {
        return Ok(None);
    }
    loop_of(file, None)
}

/// Every device that shows some part of the file at `path`.
pub fn loops_of_image(path: &Path, file: FileId) -> Result<Vec<LoopDevice>> {
    if nobody_has_open(path, file) { Ok(Vec::new()) } else { find_backing(file) }
}

/// Whether no name leads to the file behind a device. The kernel tells the path of the file as it is now, wherever it was moved, with
/// " (deleted)" behind it once it was unlinked.
pub fn is_last_copy(index: u32) -> Result<bool> {
    let Some(device) = look_unless_dead(index)? else { return Ok(false) };
    let told = sysfs(index).join("loop/backing_file");
    let mut path = match fs::read(&told) {
        Ok(path) => path,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("look at the file behind", node(index))(error)),
    };
    path.pop_if(|last| *last == b'\n');
    let path = Path::new(OsStr::from_bytes(&path));
    Ok(!fs::symlink_metadata(path).is_ok_and(|found| file_id(&found) == device.backing))
}

fn hinted(file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>> {
    let device = hint.map(look).transpose()?.flatten();
    Ok(device.filter(|device| device.backing == file && device.shows_all()))
}

/// Whether it is certain that nobody has the file open; in doubt not.
fn nobody_has_open(path: &Path, file: FileId) -> bool {
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let Ok(opened) = OpenOptions::new().read(true).custom_flags(flags).open(path) else { return false };
    let is_it = opened.metadata().is_ok_and(|found| found.is_file() && file_id(&found) == file);
    is_it && sys::sole_opener(opened.as_fd())
}

/// Every device whose backing is `file`, whatever the offset.
fn find_backing(file: FileId) -> Result<Vec<LoopDevice>> {
    let mut found = Vec::new();
    for index in attached()? {
        let Some(device) = look_unless_dead(index)? else { continue };
        if device.backing == file {
            found.push(device);
        }
    }
    Ok(found)
}

/// The path of a device's folder in sysfs.
pub fn sysfs(index: u32) -> PathBuf {
    Path::new("/sys/block").join(format!("loop{index}"))
}
