//! Mounting a file system, tmpfs or directory at its staging path, and changing its options in place.
//!
//! mount(2) through sys-mount, with the file system's type always given (its guess tries every one and reports the last error)
//! and the target named by descriptor. mount(2) answers a bare EINVAL; the log of an fsopen descriptor has the reason.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, openat, statx};
use rustix::mount::MountAttrFlags;
use sys_mount::MountFlags;

use super::errors::{failed, refused, wrong};
use super::landing::{Landing, set_propagation};
use super::{bind, lookup, options, path, sys, trial};
use crate::host::{ErrorKind, FsMount, HostError, Result};
use crate::model::{BlockId, Done, Mount, Propagation, PublishKind};

const ACT: &str = "mount";
/// Permissions of a staging path and its parents.
const STAGING_MODE: u32 = 0o700;

/// Mounts at a directory that is made if need be and that nothing is mounted on.
pub fn mount(request: &FsMount) -> Result<()> {
    path::make_target(&request.trusted_root, &request.target, PublishKind::Mount, STAGING_MODE)?;
    if request.bind_directory {
        return bind::directory(request);
    }
    if let Some(expect) = request.expect {
        expect_device(&request.source, expect)?;
    }
    let landing = Landing::open(ACT, &request.trusted_root, &request.target)?;
    let split = options::split(&request.options);
    sys_mount::Mount::builder()
        .fstype(request.fs_type.as_str())
        .flags(split.flags)
        .data(&split.data)
        .mount(&request.source, path::proc_path(&landing.fd))
        .map_err(|error| explain(request, &split.data, &error))?;
    let propagation = if request.shared { Propagation::Bidirectional } else { Propagation::None };
    landing.settle(propagation, |mount| is_meant(request, mount)).map(drop)
}

/// Whether this is the mount that was asked for. btrfs has an anonymous device of its own, so its source tells.
fn is_meant(request: &FsMount, mount: &Mount) -> bool {
    mount.fs_type == request.fs_type
        && match request.expect {
            Some(device) => mount.device == device || (mount.device.major == 0 && mount.source == request.source),
            None => true,
        }
}

/// The block device at `source` has to be the one meant: names in /dev move.
fn expect_device(source: &Path, expect: BlockId) -> Result<()> {
    let facts = statx(CWD, source, AtFlags::empty(), StatxFlags::BASIC_STATS).map_err(refused(ACT, source))?;
    let found = BlockId { major: facts.stx_rdev_major, minor: facts.stx_rdev_minor };
    if FileType::from_raw_mode(facts.stx_mode.into()) != FileType::BlockDevice {
        return Err(wrong(ErrorKind::Foreign, ACT, source, "it is not a block device"));
    }
    if found != expect {
        return Err(wrong(ErrorKind::Foreign, ACT, source, format!("it is device {found}, not {expect}")));
    }
    Ok(())
}

/// Changes the options of the mount that is seen at the target.
pub fn remount(request: &FsMount) -> Result<Done> {
    const ACT: &str = "remount";
    let fd = path::open_target(ACT, &request.trusted_root, &request.target)?;
    let (before, is_root) = lookup::mount_of(fd.as_fd(), &request.target)?;
    if !is_root || before.target != request.target {
        return Err(wrong(ErrorKind::NotFound, ACT, &request.target, "nothing is mounted there"));
    }
    let ours = if request.bind_directory {
        request.expect.is_none_or(|device| before.device == device)
    } else {
        is_meant(request, &before)
    };
    if !ours {
        let cause =
            format!("{} ({}) is mounted there, which is not the one meant", before.source.display(), before.fs_type);
        return Err(wrong(ErrorKind::Foreign, ACT, &request.target, cause));
    }
    if request.bind_directory {
        let attributes = bind::directory_attributes(request, true);
        sys::mount_setattr(fd.as_fd(), &attributes).map_err(failed(ACT, &request.target))?;
    } else {
        let split = options::split(&request.options);
        // A remount that says nothing of access times keeps them as they are: `noatime` would never go.
        let atime = MountFlags::NOATIME | MountFlags::RELATIME | MountFlags::STRICTATIME;
        let default = if split.flags.intersects(atime) { MountFlags::empty() } else { MountFlags::RELATIME };
        sys_mount::Mount::builder()
            .fstype(request.fs_type.as_str())
            .flags(split.flags | default | MountFlags::REMOUNT)
            .data(&split.data)
            .mount(&request.source, path::proc_path(&fd))
            .map_err(failed(ACT, &request.target))?;
    }
    let wanted = if request.shared { Propagation::Bidirectional } else { Propagation::None };
    let (after, _) = lookup::mount_of(fd.as_fd(), &request.target)?;
    set_propagation(fd.as_fd(), &after, wanted, ACT, &request.target)?;
    let same =
        before.options == after.options && before.super_options == after.super_options && after.propagation() == wanted;
    Ok(if same { Done::Already } else { Done::Changed })
}

/// The error of a failed mount(2) with the reason that the kernel logs.
fn explain(request: &FsMount, data: &str, error: &io::Error) -> HostError {
    let mut failure = HostError::io(ACT, &request.target, error);
    // EBUSY, EPERM and the like say what they mean; a second try would only disturb.
    let mute =
        matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV | libc::EIO | libc::EUCLEAN | libc::ENOTSUP));
    failure.cause = match error.raw_os_error() {
        Some(libc::ENODEV) => format!("the kernel has no file system {}", request.fs_type),
        _ => format!("{} of {}: {}", request.fs_type, request.source.display(), failure.cause),
    };
    if mute && let Some(log) = kernel_log(request, data) {
        failure.cause = format!("{}: {log}", failure.cause);
    }
    if error.raw_os_error() == Some(libc::ENODEV) {
        failure.kind = ErrorKind::Unsupported;
    }
    failure
}

/// What the kernel has to say when the same is asked of an fsopen descriptor; the superblock, if one comes of it, is let go.
fn kernel_log(request: &FsMount, data: &str) -> Option<String> {
    let read_only = request.options.iter().any(|option| option == "ro");
    let data = if read_only { format!("ro,{data}") } else { data.to_owned() };
    let (_, said) = trial::superblock(&request.fs_type, &request.source, &data).err()?;
    (!said.is_empty()).then_some(said)
}

/// Opens a directory by its path, links followed: a directory volume's path is the administrator's.
pub fn open_directory(act: &'static str, directory: &Path) -> Result<std::os::fd::OwnedFd> {
    openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(refused(act, directory))
}

const _: () = assert!(MountAttrFlags::MOUNT_ATTR_NOSUID.bits() as u64 == sys::attr::NOSUID);
