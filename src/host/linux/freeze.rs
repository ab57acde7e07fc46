//! Freezing a file system so that a copy of it is of one moment. A SIGKILL after FIFREEZE would leave every writer unkillable, so
//! a child holds the freeze: it thaws when the pipe to us closes, for whatever reason, and when the time is over.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::errors::{failed, refused, wrong};
use super::ext_superblock;
use super::sys::{self, FREEZE_FAILED, FREEZE_HELD, FreezeChild};
use crate::host::request::FreezeGuard;
use crate::host::{ErrorKind, Freeze, HostError, Result};
use crate::model::device::LOOP_MAJOR;
use crate::model::{Done, FsType, Mount};

const ACT: &str = "freeze";
const THAW: &str = "thaw";

struct Held {
    /// `None` only while it is dropped.
    child: Option<FreezeChild>,
    said: Mutex<File>,
    directory: OwnedFd,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.child.take());
        // The child has thawed it, unless somebody killed the child.
        let _ = sys::thaw(self.directory.as_fd());
    }
}

impl FreezeGuard for Held {
    fn held(&self) -> bool {
        let said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut polled = [PollFd::new(&*said, PollFlags::IN)];
        // Anything more it has to say, its death included, means that the freeze is over.
        matches!(poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0)) && self.child.is_some()
    }

    fn end(mut self: Box<Self>) -> bool {
        self.held() && self.child.take().is_some_and(FreezeChild::end)
    }
}

/// Freezes a mounted file system until the guard goes, at most `timeout`.
pub fn freeze(mount_point: &Path, timeout: Duration) -> Result<Freeze> {
    let directory = open(ACT, mount_point)?;
    let child = FreezeChild::spawn(directory.as_fd(), timeout).map_err(failed(ACT, mount_point))?;
    let mut said = File::from(child.said.try_clone().map_err(failed(ACT, mount_point))?);
    let mut word = [0u8; 2];
    let length = said.read(&mut word).map_err(failed(ACT, mount_point))?;
    match (length, word[0]) {
        (1.., FREEZE_HELD) => Ok(Freeze::new(Held { child: Some(child), said: Mutex::new(said), directory })),
        (2, FREEZE_FAILED) => {
            let error = std::io::Error::from_raw_os_error(word[1].into());
            let mut failure = HostError::io(ACT, mount_point, &error);
            if failure.errno == Some(libc::EBUSY) {
                failure.cause = "it is frozen already".to_owned();
            }
            Err(failure)
        }
        _ => {
            drop(child);
            // It may have died between freezing and saying so.
            let _ = sys::thaw(directory.as_fd());
            Err(wrong(ErrorKind::Other, ACT, mount_point, "the child that holds the freeze died"))
        }
    }
}

/// Whether a mounted file system is frozen. There is no call that asks, and a write would wait for ever; but a freeze leaves a file system
/// as if it were unmounted, and that can be read: ext4 takes the word from its superblock that its journal would have to be recovered,
/// XFS gives back the blocks it keeps for itself. Of btrfs nothing tells.
pub fn is_frozen(mount: &Mount) -> Option<bool> {
    if mount.super_read_only() {
        return Some(false);
    }
    match mount.fs_type.as_str() {
        "ext4" => {
            let node = if mount.device.major == LOOP_MAJOR {
                PathBuf::from(format!("/dev/loop{}", mount.device.minor))
            } else {
                mount.source.clone()
            };
            let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(node).ok()?;
            let facts = file.metadata().ok()?;
            let (major, minor) = sys::device_numbers(facts.rdev());
            if !facts.file_type().is_block_device() || (mount.device.major, mount.device.minor) != (major, minor) {
                return None;
            }
            let superblock = ext_superblock::read(&file, ext_superblock::PRIMARY).ok()??;
            ext_superblock::has_journal(&superblock).then(|| !ext_superblock::needs_recovery(&superblock))
        }
        "xfs" => {
            let directory = open(ACT, &mount.target).ok()?;
            let (major, minor) = sys::device_numbers(rustix::fs::fstat(&directory).ok()?.st_dev);
            if (mount.device.major, mount.device.minor) != (major, minor) {
                return None;
            }
            sys::xfs_blocks_kept_back(directory.as_fd()).ok().map(|kept| kept == 0)
        }
        _ => None,
    }
}

/// Thaws what a killed run left frozen.
pub fn thaw(mount_point: &Path) -> Result<Done> {
    thawed(open(THAW, mount_point)?.as_fd(), mount_point)
}

/// Thaws the file system on a device that nothing shows any more: while it is frozen, the kernel keeps it without a mount, and mounting the
/// device leads to it again.
pub fn thaw_unmounted(device: &Path, fs: FsType) -> Result<Done> {
    let ask = || -> rustix::io::Result<OwnedFd> {
        let opened = fsopen(fs.as_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(opened.as_fd(), "source", device)?;
        fsconfig_create(opened.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = fsmount(opened.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
        openat(mount, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let root = ask().map_err(refused(THAW, device))?;
    thawed(root.as_fd(), device)
}

fn thawed(directory: BorrowedFd<'_>, object: &Path) -> Result<Done> {
    match sys::thaw(directory) {
        Ok(()) => Ok(Done::Changed),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Done::Already),
        Err(error) => Err(failed(THAW, object)(error)),
    }
}

fn open(act: &'static str, mount_point: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, mount_point, flags, Mode::empty()).map_err(refused(act, mount_point))
}
