//! Loop devices: attach, adopt, detach, resize, and what is behind them.
//!
//! Attach is one LOOP_CONFIGURE with everything in it, AUTOCLEAR included, so that a process killed at any moment leaks no
//! loop. LOOP_CTL_GET_FREE only advises: whoever loses the race asks again, and never clears a device that somebody else got.
//! A loop is known by its backing's device, inode and offset; the path in sysfs lies once the file is renamed or deleted.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use loopdev::LoopControl;
use rustix::fs::{AtFlags, statat};

use super::errors::{failed, wrong};
use super::free_loop::{Candidate, candidate};
use super::{discard, files, sys};
use crate::host::{AttachLoop, AttachedLoop, ErrorKind, HostError, LoopHold, Result};
use crate::model::device::LOOP_MAJOR;
use crate::model::{BlockId, Done, FileId, LoopDevice, SectorSize};

/// How often the race for a free device is run before giving up.
const ATTACH_TRIES: u32 = 256;
/// How often a free device without discards is removed and asked for anew.
const RENEW_TRIES: u32 = 32;
/// How long a detached device is looked at again, and how long between. udev, blkid and mkfs.btrfs open every device of the machine for a
/// moment, which under load is long.
const DETACH_PATIENCE: Duration = Duration::from_secs(5);
const DETACH_PAUSE: Duration = Duration::from_millis(5);

/// Keeps a device open. Should nothing else have held it by the time it is let go, AUTOCLEAR has freed it, and its discards
/// are put right for the next one.
struct Hold {
    file: Option<File>,
    index: u32,
    discard: bool,
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.file.take());
        if !self.discard {
            discard::renew(self.index);
        }
    }
}

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
pub fn loops() -> Result<Vec<LoopDevice>> {
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
fn look(index: u32) -> Result<Option<LoopDevice>> {
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

/// Attaches the image, or adopts the device it is attached to. The caller holds the volume's lock.
pub fn attach(request: &AttachLoop) -> Result<AttachedLoop> {
    let image = open_image(request)?;
    // Nobody else has the file open, so no loop device has: no need to look at all of them.
    if !sys::sole_opener(image.as_fd())
        && let Some(adopted) = adopt(request)?
    {
        return Ok(adopted);
    }
    configure(request, &image)
}

/// Attaches an image that is in the making (at its temporary name) and that has to be mounted once; the loop goes with its last
/// user.
pub fn attach_for_a_moment(path: &Path) -> Result<AttachedLoop> {
    attach_in_the_making(path, SectorSize::B512, true)
}

/// The same with the sector size that its file system was made for, and without discards where its blocks are to stay allocated.
pub fn attach_in_the_making(path: &Path, sector_size: SectorSize, discard: bool) -> Result<AttachedLoop> {
    let metadata = fs::symlink_metadata(path).map_err(failed("attach", path))?;
    attach(&AttachLoop {
        path: path.to_owned(),
        file: file_id(&metadata),
        read_only: false,
        autoclear: true,
        direct_io: false,
        sector_size,
        discard,
        hint: None,
        id: "new".parse().expect("'new' is an id"),
    })
}

fn open_image(request: &AttachLoop) -> Result<File> {
    let image = files::open_regular("open image", &request.path, !request.read_only)?;
    let metadata = image.metadata().map_err(failed("open image", &request.path))?;
    let found = file_id(&metadata);
    if !metadata.is_file() || found != request.file {
        let cause = format!("it is not the image of {} any more: expected {}, found {found}", request.id, request.file);
        return Err(wrong(ErrorKind::Foreign, "attach", &request.path, cause));
    }
    Ok(image)
}

/// Takes over the device that the image is attached to already, and makes its flags those asked for.
fn adopt(request: &AttachLoop) -> Result<Option<AttachedLoop>> {
    const ACT: &str = "attach";
    let mut candidates = Vec::new();
    if let Some(device) = request.hint.map(look).transpose()?.flatten() {
        candidates.push(device);
    }
    if !candidates.iter().any(|device| device.backing == request.file && device.shows_all()) {
        candidates = find_backing(request.file)?;
    }
    candidates.retain(|device| device.backing == request.file);
    let Some(found) = candidates.iter().find(|device| device.shows_all()) else {
        return match candidates.first() {
            Some(other) => {
                let up_to = match other.size_limit {
                    0 => String::new(),
                    limit => format!(", {limit} bytes of it"),
                };
                let cause = format!(
                    "{} shows it from byte {} on{up_to}; two loop devices on one file destroy it",
                    other.node().display(),
                    other.offset
                );
                Err(wrong(ErrorKind::Foreign, ACT, &request.path, cause))
            }
            None => Ok(None),
        };
    };
    let path = found.node();
    // Once it is open and still ours it can't go away, AUTOCLEAR or not.
    let held = OpenOptions::new().read(true).custom_flags(libc::O_CLOEXEC).open(&path).map_err(failed(ACT, &path))?;
    let Some(mut device) = describe(found.index, held.as_fd())?.filter(|device| device.backing == request.file) else {
        return Ok(None);
    };
    let refuse = |cause: String| wrong(ErrorKind::Invalid, ACT, &path, cause);
    if device.read_only != request.read_only {
        let word = if device.read_only { "read-only" } else { "writable" };
        return Err(refuse(format!("the image of {} is attached {word} there; detach it first", request.id)));
    }
    if device.sector_size != request.sector_size.bytes() {
        let (found, wanted) = (device.sector_size, request.sector_size.bytes());
        return Err(refuse(format!("it has sectors of {found} bytes, not {wanted}; detach it first")));
    }
    if device.autoclear != request.autoclear {
        sys::loop_set_autoclear(held.as_fd(), request.autoclear).map_err(failed(ACT, &path))?;
        device.autoclear = request.autoclear;
    }
    if !request.discard {
        discard::switch_off(device.index)?;
    }
    let hold = LoopHold::new(Hold { file: Some(held), index: device.index, discard: request.discard });
    Ok(Some(AttachedLoop { device, adopted: true, hold }))
}

fn configure(request: &AttachLoop, image: &File) -> Result<AttachedLoop> {
    const ACT: &str = "attach";
    let mut flags = 0;
    for (wanted, bit) in [
        (request.read_only, sys::LO_READ_ONLY),
        (request.autoclear, sys::LO_AUTOCLEAR),
        (request.direct_io, sys::LO_DIRECT_IO),
    ] {
        flags |= if wanted { bit } else { 0 };
    }
    let control = control()?;
    for attempt in 0..ATTACH_TRIES {
        // A device that can't be renewed is better than none.
        let renew = request.discard && attempt < RENEW_TRIES;
        match try_free(&control, image, request.sector_size.bytes(), flags, renew) {
            Ok((index, held)) => {
                let device =
                    describe(index, held.as_fd())?.filter(|device| device.backing == request.file).ok_or_else(
                        || wrong(ErrorKind::Verify, ACT, &node(index), "it does not show the image just attached"),
                    )?;
                if !request.discard {
                    discard::switch_off(index)?;
                }
                let hold = LoopHold::new(Hold { file: Some(held), index, discard: request.discard });
                return Ok(AttachedLoop { device, adopted: false, hold });
            }
            Err(error) if lost_to_another(&error) => pause(attempt),
            Err(error) => match error.raw_os_error() {
                // Direct I/O is best effort: a file system or sector size that can't says EINVAL.
                Some(libc::EINVAL) if flags & sys::LO_DIRECT_IO != 0 => flags &= !sys::LO_DIRECT_IO,
                _ => return Err(failed(ACT, &request.path)(error)),
            },
        }
    }
    Err(wrong(
        ErrorKind::Busy,
        ACT,
        &request.path,
        format!("{ATTACH_TRIES} free loop devices were taken by others first"),
    ))
}

/// Whether somebody was faster, or the device is just going or coming. ENXIO, ENOENT: udev has not made the node yet; EEXIST: a device of that
/// number is being removed and still has its name; ENODEV: of two that renew it the other has removed it.
fn lost_to_another(error: &io::Error) -> bool {
    use libc::{EAGAIN, EBUSY, EEXIST, EINTR, ENODEV, ENOENT, ENXIO};
    matches!(error.raw_os_error(), Some(EBUSY | EAGAIN | EINTR | ENXIO | ENOENT | EEXIST | ENODEV))
}

/// One run for a free device. On failure nothing is cleared: the device is whoever's who got it.
fn try_free(control: &LoopControl, image: &File, block_size: u32, flags: u32, renew: bool) -> io::Result<(u32, File)> {
    let Candidate { index, device: held, reservation: _reservation } = candidate(control)?;
    if renew && discard::is_off(index) {
        drop(held);
        sys::with_fd(control, |fd| sys::loop_remove(fd, index))?;
        return Err(io::Error::from_raw_os_error(libc::EAGAIN));
    }
    sys::loop_attach(held.as_fd(), image.as_fd(), block_size, flags)?;
    Ok((index, held))
}

fn pause(attempt: u32) {
    if attempt > 8 {
        thread::sleep(Duration::from_micros(u64::from(attempt.min(100)) * 100));
    } else {
        thread::yield_now();
    }
}

/// The kernel's loop control device.
pub fn control() -> Result<LoopControl> {
    LoopControl::open().map_err(|error| no_loops(&error))
}

fn no_loops(error: &io::Error) -> HostError {
    let mut failure = HostError::io("open", "/dev/loop-control", error);
    if failure.kind == ErrorKind::NotFound {
        failure.cause = "this kernel has no loop devices; 'modprobe loop' loads them".to_owned();
        failure.kind = ErrorKind::Unsupported;
    }
    failure
}

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
    while begun.elapsed() < DETACH_PATIENCE {
        if !is_there()? {
            discard::renew(index);
            return Ok(Done::Changed);
        }
        thread::sleep(DETACH_PAUSE);
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

/// The path of a device's folder in sysfs.
pub fn sysfs(index: u32) -> PathBuf {
    Path::new("/sys/block").join(format!("loop{index}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two that find the same free device without discards both remove it, to have it made anew; the second hears that there is none.
    #[test]
    fn a_device_that_another_removes_or_makes_at_the_same_time_is_asked_for_again() {
        let control = control().unwrap();
        let nobodys = (0..).map(|n| (1 << 19) + n).find(|index| !sysfs(*index).exists()).unwrap();

        let removed = sys::with_fd(&control, |fd| sys::loop_remove(fd, nobodys)).unwrap_err();

        assert!(lost_to_another(&removed), "{removed}");
        for errno in [libc::ENOSPC, libc::EIO, libc::EPERM, libc::EINVAL] {
            assert!(!lost_to_another(&io::Error::from_raw_os_error(errno)), "{errno}");
        }
    }
}
