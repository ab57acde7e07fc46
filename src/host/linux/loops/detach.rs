//! Detaching, and telling a device that its file has grown: of a device whose backing still is the file that is meant. The kernel says yes to
//! detaching a busy device and leaves it, so that it is looked at again.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::{describe, look, node, on_dead};
use crate::host::linux::errors::{failed, wrong};
use crate::host::linux::{discard, sys};
use crate::host::{ErrorKind, Result};
use crate::model::{Done, FileId};

/// How long a detached device is looked at again, and how long between. udev, blkid and mkfs.btrfs open every device of the machine for a
/// moment, which under load is long.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

/// Opens a device for a change, if its backing still is `file`. While it is open it can't become anybody else's.
fn open_ours(act: &'static str, index: u32, file: FileId) -> Result<Option<loopdev::LoopDevice>> {
    let path = node(index);
    let device = match loopdev::LoopDevice::open(&path) {
        Ok(device) => device,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO)) => return Ok(None),
        Err(error) => return Err(failed(act, path)(error)),
    };
    let seen = sys::with_fd(&device, |fd| describe(index, fd))?;
    Ok(seen.filter(|seen| seen.backing == file).map(|_| device))
}

/// Detaches a device if its backing still is `file`, and looks again: the kernel says yes to a busy one and leaves it.
pub fn detach(index: u32, file: FileId) -> Result<Done> {
    const ACT: &str = "detach";
    let Some(device) = open_ours(ACT, index, file)? else { return Ok(Done::Already) };
    match device.detach() {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(Done::Already),
        Err(error) => return Err(failed(ACT, node(index))(error)),
    }
    drop(device);
    gone(index, || Ok(look(index)?.is_some_and(|still| still.backing == file)))
}

/// The same where the backing file's disk is dead: the kernel tells no inode, but the path under which the file was opened.
pub fn detach_dead(index: u32, path: &Path, file: FileId) -> Result<Done> {
    const ACT: &str = "detach";
    let device = match loopdev::LoopDevice::open(node(index)) {
        Ok(device) => device,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO)) => return Ok(Done::Already),
        Err(error) => return Err(failed(ACT, node(index))(error)),
    };
    // Looked at while it is open, so that it can't become anybody else's in between.
    if on_dead(index, path, file).is_none() {
        return Ok(Done::Already);
    }
    device.detach().map_err(failed(ACT, node(index)))?;
    drop(device);
    gone(index, || Ok(on_dead(index, path, file).is_some()))
}

/// Waits until a device that was detached is gone: the kernel says yes to a busy one and leaves it.
fn gone(index: u32, is_there: impl Fn() -> Result<bool>) -> Result<Done> {
    const ACT: &str = "detach";
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if !is_there()? {
            discard::renew(index);
            return Ok(Done::Changed);
        }
        thread::sleep(PAUSE);
    }
    let cause = "it is in use; it will go when its last user closes it (csictl who names them)";
    Err(wrong(ErrorKind::Busy, ACT, &node(index), cause))
}

/// Tells a device that its file has grown.
pub fn resize(index: u32, file: FileId) -> Result<Done> {
    const ACT: &str = "resize loop device";
    let path = node(index);
    let Some(device) = open_ours(ACT, index, file)? else {
        return Err(wrong(ErrorKind::NotFound, ACT, &path, "the image is not attached there"));
    };
    let size = |device: &loopdev::LoopDevice| sys::with_fd(device, sys::block_size_bytes).map_err(failed(ACT, &path));
    let before = size(&device)?;
    device.set_capacity().map_err(failed(ACT, &path))?;
    Ok(if size(&device)? == before { Done::Already } else { Done::Changed })
}
