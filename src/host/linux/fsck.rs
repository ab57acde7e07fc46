//! Checking a file system before its first mount after an attach.
//!
//! ext4 says in its superblock whether the kernel found errors in it; only then e2fsck runs, repairing what is safe to
//! repair without asking. XFS and btrfs check themselves at every mount and have no such repair.

use std::path::Path;

use super::ext_superblock::{self, PRIMARY};
use super::format::open;
use super::helper::{Helper, Ran};
use crate::host::{ErrorKind, HostError, Lock, Result};
use crate::model::{Done, FsType};

const ACT: &str = "check";
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
    e2fsck(ACT, device, &["-p"], lock)
}

/// Runs e2fsck and tells "was clean" from "was corrected".
pub(super) fn e2fsck(act: &'static str, device: &Path, options: &[&str], lock: &Lock) -> Result<Done> {
    let helper = Helper { tool: "e2fsck", act, object: device, lock: lock.file(), limit: None };
    let arguments = options.iter().map(AsRef::as_ref).chain([std::ffi::OsStr::new("--"), device.as_os_str()]);
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
