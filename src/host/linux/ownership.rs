//! Owner, group and permissions: of one inode (a volume's root), or of everything below it for a pod's group. The walk goes by
//! opened directories, follows no link and leaves no file system, so a link planted in a volume leads nowhere.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, fchmod, fchown, fstat, openat, statat,
};
use rustix::io::Errno;

use super::errors::{failed, refused};
use super::path::proc_path;
use crate::host::Result;
use crate::model::{Done, Ownership};

const SETGID: u32 = 0o2000;
const PERMISSIONS: u32 = 0o7777;

fn open_directory(act: &'static str, path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(refused(act, path))
}

/// Sets owner, group and mode of one directory.
pub fn set(path: &Path, ownership: Ownership) -> Result<Done> {
    const ACT: &str = "set the owner of";
    let directory = open_directory(ACT, path)?;
    let before = fstat(&directory).map_err(refused(ACT, path))?;
    let mut done = Done::Already;
    if let Some((uid, gid)) = ownership.owner
        && (before.st_uid, before.st_gid) != (uid, gid)
    {
        fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(refused(ACT, path))?;
        done = Done::Changed;
    }
    // After chown, which takes setuid and setgid bits away.
    if let Some(mode) = ownership.mode
        && fstat(&directory).map_err(refused(ACT, path))?.st_mode & PERMISSIONS != mode
    {
        fchmod(&directory, Mode::from_raw_mode(mode)).map_err(refused(ACT, path))?;
        done = Done::Changed;
    }
    Ok(done)
}

/// Gives everything below to a group. The root comes last: a run that was killed is then begun again.
pub fn change_group(path: &Path, group: u32) -> Result<Done> {
    const ACT: &str = "change the group of";
    let root = open_directory(ACT, path)?;
    let before = fstat(&root).map_err(refused(ACT, path))?;
    if before.st_gid == group && before.st_mode & SETGID != 0 {
        return Ok(Done::Already);
    }
    if before.st_mode & SETGID != 0 {
        // The mark of the group it had: killed in the walk, files have the one or the other, and the root may vouch for neither.
        fchmod(&root, Mode::from_raw_mode(before.st_mode & PERMISSIONS & !SETGID)).map_err(refused(ACT, path))?;
    }
    walk(root.as_fd(), before.st_dev, group, path)?;
    give(root.as_fd(), &before, group, path)?;
    Ok(Done::Changed)
}

fn walk(directory: BorrowedFd<'_>, device: u64, group: u32, path: &Path) -> Result<()> {
    const ACT: &str = "change the group below";
    let entries = Dir::read_from(directory).map_err(refused(ACT, path))?;
    for entry in entries {
        let entry = entry.map_err(refused(ACT, path))?;
        let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
        if name == "." || name == ".." {
            continue;
        }
        let below = path.join(&name);
        let seen = match statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW) {
            // The application may delete while we walk.
            Err(Errno::NOENT) => continue,
            answer => answer.map_err(refused(ACT, &below))?,
        };
        let sort = FileType::from_raw_mode(seen.st_mode);
        if seen.st_dev != device || sort == FileType::Symlink {
            continue;
        }
        let mut flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        flags |= if sort == FileType::Directory { OFlags::RDONLY | OFlags::DIRECTORY } else { OFlags::PATH };
        let opened = match openat(directory, &name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => continue,
            answer => answer.map_err(refused(ACT, &below))?,
        };
        let is = fstat(&opened).map_err(refused(ACT, &below))?;
        if is.st_dev != device || FileType::from_raw_mode(is.st_mode) != sort {
            continue;
        }
        if sort == FileType::Directory {
            walk(opened.as_fd(), device, group, &below)?;
        }
        give(opened.as_fd(), &is, group, &below)?;
    }
    Ok(())
}

/// One inode: the group, read and write for it, and for directories entry and setgid.
fn give(fd: BorrowedFd<'_>, seen: &Stat, group: u32, path: &Path) -> Result<()> {
    const ACT: &str = "change the group of";
    if seen.st_gid != group {
        chownat(fd, c"", None, Some(Gid::from_raw(group)), AtFlags::EMPTY_PATH).map_err(refused(ACT, path))?;
    }
    let sort = FileType::from_raw_mode(seen.st_mode);
    let before = seen.st_mode & PERMISSIONS;
    let wanted = match sort {
        FileType::Directory => before | 0o070 | SETGID,
        FileType::RegularFile => {
            let execute = if before & 0o100 != 0 { 0o010 } else { 0 };
            before | 0o060 | execute
        }
        _ => return Ok(()),
    };
    // chown has taken setuid and setgid from files; what was there is put back.
    if wanted != before || seen.st_gid != group {
        fs::set_permissions(proc_path(&fd), Permissions::from_mode(wanted)).map_err(failed(ACT, path))?;
    }
    Ok(())
}
