//! Checking a file system before its first mount after an attach.
//!
//! ext4 says in its superblock whether the kernel found errors in it; only then e2fsck runs, repairing what is safe to
//! repair without asking. XFS and btrfs check themselves at every mount and have no such repair.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use super::ext_superblock::{self, PRIMARY};
use super::format::open;
use super::helper::{Helper, Ran};
use super::xfs_log;
use crate::host::{ErrorKind, HostError, Lock, Made, Result};
use crate::model::{Done, FsType};

const ACT: &str = "check";
/// What `xfs_repair -n` says of a log that is still to be replayed.
const XFS_LOG_IN_USE: &str = "valuable metadata changes in a log";
/// e2fsck(8), "Exit code": 1 errors corrected, 2 and the system should be rebooted (of a mounted root only).
const CORRECTED: i32 = 1 | 2;

/// Checks the file system on a device that is not mounted.
///
/// # Errors
/// No sound superblock, or errors that need a person: with the command to run.
pub fn check_filesystem(device: &Path, fs: FsType, lock: &Lock) -> Result<Done> {
    if fs != FsType::Ext4 {
        return Ok(Done::Already);
    }
    let file = open(device, false)?;
    let superblock = ext_superblock::read(&file, PRIMARY).map_err(|error| HostError::io(ACT, device, &error))?;
    let Some(superblock) = superblock else {
        let shown = device.display();
        let cause =
            format!("its superblock is damaged; look with 'e2fsck -n {shown}', repair with 'e2fsck -f {shown}'");
        return Err(HostError::new(ErrorKind::Invalid, ACT, device, cause));
    };
    if !ext_superblock::has_errors(&superblock) {
        return Ok(Done::Already);
    }
    e2fsck(ACT, device, None, &["-p"], lock)
}

/// Looks whether a file system came to be whole, by its own check, and if not, whether it is certain that it was never mounted. A log that is
/// still to be replayed is no damage: the next mount replays it, and only a mounted file system has one.
///
/// # Errors
/// The check is not installed or could not be run, or the superblock could not be read.
pub fn made(device: &Path, fs: FsType, lock: &Lock) -> Result<Made> {
    const ACT: &str = "look whether it was made whole";
    let (tool, arguments): (_, &[&str]) = match fs {
        FsType::Ext4 => ("e2fsck", &["-fn", "--"]),
        FsType::Xfs => ("xfs_repair", &["-n", "--"]),
        FsType::Btrfs => ("btrfs", &["check", "--readonly", "--"]),
    };
    let helper = Helper { tool, act: ACT, object: device, file: None, lock: lock.file(), limit: None };
    let arguments = arguments.iter().map(AsRef::as_ref).chain([device.as_os_str()]);
    let ran = helper.run(arguments)?;
    if ran.status.success() {
        return Ok(Made::Whole);
    }
    let failed = |error: std::io::Error| HostError::io(ACT, device, &error);
    let file = open(device, false)?;
    let never_mounted = match fs {
        FsType::Ext4 => {
            let superblock = ext_superblock::read(&file, PRIMARY).map_err(failed)?;
            if superblock.as_ref().is_some_and(ext_superblock::needs_recovery) {
                return Ok(Made::Whole);
            }
            superblock.is_some_and(|superblock| !ext_superblock::was_mounted(&superblock))
        }
        FsType::Xfs => {
            let geometry = xfs_log::Geometry::read(&file).map_err(failed)?;
            let never = geometry.map(|geometry| geometry.was_never_written(&file)).transpose().map_err(failed)?;
            if never != Some(true) && ran.output.contains(XFS_LOG_IN_USE) {
                return Ok(Made::Whole);
            }
            never == Some(true)
        }
        // It writes its first superblock last.
        FsType::Btrfs => false,
    };
    Ok(if never_mounted { Made::Unfinished } else { Made::Unclear })
}

/// Runs e2fsck, on what is opened as `image` where there is one, and tells "was clean" from "was corrected".
pub(super) fn e2fsck(
    act: &'static str,
    device: &Path,
    image: Option<&File>,
    options: &[&str],
    lock: &Lock,
) -> Result<Done> {
    let file = image.map(AsFd::as_fd);
    let helper = Helper { tool: "e2fsck", act, object: device, file, lock: lock.file(), limit: None };
    let place = helper.place();
    let arguments = options.iter().map(AsRef::as_ref).chain([std::ffi::OsStr::new("--"), place.as_os_str()]);
    let ran = helper.run(arguments)?;
    verdict(&ran).ok_or_else(|| {
        let mut error = ran.failure(act, device);
        if ran.status.code().is_some_and(|code| code & 4 != 0) {
            let shown = device.display();
            error.cause = format!("it has errors that are not safe to repair by itself; run 'e2fsck -f {shown}'");
        }
        error
    })
}

fn verdict(ran: &Ran) -> Option<Done> {
    match ran.status.code()? {
        0 => Some(Done::Already),
        code if code & !CORRECTED == 0 => Some(Done::Changed),
        _ => None,
    }
}
