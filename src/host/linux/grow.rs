//! Growing a file system to the size of its device.
//!
//! What counts is the size read back afterwards, not the tool's exit status. ext4 grows mounted (which needs
//! CAP_SYS_RESOURCE) or unmounted and even as a plain image file ([`growth`]); XFS and btrfs grow only mounted. What the kernel
//! grows is safe in its journal.

use std::fs::File;
use std::path::Path;

use super::format::{open, size};
use super::fs_uuid::Attach;
use super::fsck::e2fsck;
use super::growth;
use super::helper::Helper;
use super::probe::view::ReadAt;
use crate::host::{ErrorKind, GrowRequest, HostError, Lock, Result};
use crate::model::{Capacity, Done, FsType};

const ACT: &str = "grow";
/// What ext4 may leave unused at the end: a last group of blocks too small for its bitmaps, inode table and reserved
/// descriptors.
const EXT4_SLACK: u64 = 32 << 20;
/// What XFS and btrfs may leave unused: less than 64 blocks, a chunk's alignment.
const SLACK: u64 = 4 << 20;

/// Grows a file system to its device.
///
/// # Errors
/// A privilege is missing, a tool failed, or the size read back is not the device's.
pub fn grow_filesystem(request: &GrowRequest, lock: &Lock, attach: Attach<'_>) -> Result<Done> {
    let device = &request.device;
    let finished = match (&request.files, &request.mount_point) {
        (Some(files), None) => growth::finish(device, &files.log)?,
        _ => Done::Already,
    };
    let file = open(device, false)?;
    let wanted = ReadAt::size(&file).map_err(|error| HostError::io(ACT, device, &error))?;
    let before = measure(request, &file)?;
    if before > wanted {
        let cause =
            format!("its file system has {before} bytes, and the device shows {wanted} of them: nothing was done");
        return Err(HostError::new(ErrorKind::Foreign, ACT, device, cause));
    }
    if before == wanted / 4096 * 4096 {
        return Ok(finished);
    }
    match (request.fs, &request.mount_point) {
        (FsType::Ext4, None) => match &request.files {
            Some(files) => growth::grow(device, files, lock, attach)?,
            None => {
                // resize2fs wants a whole check first, and so does anybody who moves block groups.
                e2fsck(ACT, device, None, &["-f", "-p"], lock)?;
                resize2fs(device, lock)?;
            }
        },
        (FsType::Ext4, Some(_)) => resize2fs(device, lock)?,
        (FsType::Xfs, Some(mount_point)) => {
            run("xfs_growfs", device, lock, &["-d".as_ref(), mount_point.as_os_str()])?;
        }
        (FsType::Btrfs, Some(mount_point)) => {
            let words = ["filesystem", "resize", "max"].map(AsRef::as_ref);
            run("btrfs", device, lock, &[&words[..], &[mount_point.as_os_str()]].concat())?;
        }
        (fs, None) => {
            let cause = format!("{fs} grows only while it is mounted");
            return Err(HostError::new(ErrorKind::Unsupported, ACT, device, cause));
        }
    }
    let after = measure(request, &file)?;
    let slack = if request.fs == FsType::Ext4 { EXT4_SLACK } else { SLACK };
    if after > wanted || wanted - after >= slack {
        let cause = format!("the file system has {after} bytes after growing, its device {wanted}");
        return Err(HostError::new(ErrorKind::Verify, ACT, device, cause));
    }
    Ok(if after > before { Done::Changed } else { finished })
}

/// Tries on a copy whether unmounted ext4 could be grown to a size that its device does not have yet.
///
/// # Errors
/// Those of [`growth::try_out`].
pub fn try_growth(request: &GrowRequest, to: Capacity, lock: &Lock, attach: Attach<'_>) -> Result<()> {
    let (FsType::Ext4, None, Some(files)) = (request.fs, &request.mount_point, &request.files) else { return Ok(()) };
    growth::finish(&request.device, &files.log)?;
    growth::try_out(&request.device, files, to.get(), lock, attach)
}

fn resize2fs(device: &Path, lock: &Lock) -> Result<()> {
    let helper = Helper { tool: "resize2fs", act: ACT, object: device, file: None, lock: lock.file(), limit: None };
    let ran = helper.run(["--".as_ref(), device.as_os_str()])?;
    if ran.status.success() {
        return Ok(());
    }
    let mut error = ran.failure(ACT, device);
    if ran.output.contains("Permission denied") || ran.output.contains("Operation not permitted") {
        error.kind = ErrorKind::Permission;
        error.cause =
            "the kernel refuses to grow mounted ext4 without CAP_SYS_RESOURCE; unmount it to grow it".to_owned();
    }
    Err(error)
}

fn run(tool: &'static str, device: &Path, lock: &Lock, arguments: &[&std::ffi::OsStr]) -> Result<()> {
    Helper { tool, act: ACT, object: device, file: None, lock: lock.file(), limit: None }.succeed(arguments).map(drop)
}

/// The file system's size now. A mounted XFS is asked through its mount, since it writes its superblock late and past the
/// device's cache; the others have written it there once they are flushed.
fn measure(request: &GrowRequest, file: &File) -> Result<u64> {
    let device = &request.device;
    let failed = |error: std::io::Error| HostError::io(ACT, device, &error);
    match (request.fs, &request.mount_point) {
        (FsType::Xfs, Some(mount_point)) => {
            let helper = Helper { tool: "xfs_growfs", act: ACT, object: device, file: None, lock: None, limit: None };
            let ran = helper.succeed(["-n".as_ref(), mount_point.as_os_str()])?;
            xfs_data_size(&ran.output).ok_or_else(|| ran.failure(ACT, device))
        }
        (_, Some(mount_point)) => {
            let directory = File::open(mount_point).map_err(failed)?;
            rustix::fs::syncfs(&directory).map_err(|errno| failed(errno.into()))?;
            size(device, request.fs).map(Capacity::get)
        }
        (_, None) => {
            file.sync_all().map_err(failed)?;
            size(device, request.fs).map(Capacity::get)
        }
    }
}

/// From `data     =      bsize=4096   blocks=76800, imaxpct=25`.
fn xfs_data_size(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("data"))?;
    let number = |key: &str| -> Option<u64> {
        let rest = line.split(key).nth(1)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    number("bsize=")?.checked_mul(number("blocks=")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_mounted_xfs_is_read_from_its_geometry() {
        let text = "meta-data=/dev/loop0             isize=512    agcount=4, agsize=19200 blks\n\
                    data     =                       bsize=4096   blocks=76800, imaxpct=25\n\
                    naming   =version 2              bsize=4096   ascii-ci=0, ftype=1\n";
        assert_eq!(xfs_data_size(text), Some(300 << 20));
        assert_eq!(xfs_data_size("data = nothing"), None);
    }
}
