//! Attaching: one LOOP_CONFIGURE with everything in it, AUTOCLEAR included, so that a process killed at any moment leaks no loop; or
//! taking over the device that shows the file already. LOOP_CTL_GET_FREE only advises: whoever loses the race asks again, and
//! never clears a device that somebody else got.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use loopdev::LoopControl;

use super::free::{Candidate, candidate};
use super::{describe, file_id, find_backing, look, node};
use crate::host::linux::errors::{failed, wrong};
use crate::host::linux::{discard, files, sys};
use crate::host::{AttachLoop, AttachedLoop, ErrorKind, HostError, LoopHold, Result};
use crate::model::SectorSize;

/// How often the race for a free device is run before giving up.
const ATTACH_TRIES: u32 = 256;
/// How often a free device without discards is removed and asked for anew.
const RENEW_TRIES: u32 = 32;

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
    let mut without_node = 0;
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
            Err(error) if lost_to_another(&error) => {
                without_node += u32::from(error.raw_os_error() == Some(libc::ENOENT));
                pause(attempt);
            }
            Err(error) => match error.raw_os_error() {
                // Direct I/O is best effort: a file system or sector size that can't says EINVAL.
                Some(libc::EINVAL) if flags & sys::LO_DIRECT_IO != 0 => flags &= !sys::LO_DIRECT_IO,
                _ => return Err(failed(ACT, &request.path)(error)),
            },
        }
    }
    if without_node == ATTACH_TRIES {
        let cause = "the kernel has a free loop device and /dev has no node for it: a /dev that is read-only, or a container's own, gets none";
        return Err(wrong(ErrorKind::Other, ACT, &request.path, cause));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::linux::loops::sysfs;

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
