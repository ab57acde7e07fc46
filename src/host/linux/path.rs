//! Paths below a trusted root. Whoever can write there may swap a directory for a symbolic link between our look and our act, so
//! nothing below the root is ever named twice by its path: it is opened once with openat2, no link followed, and the
//! descriptor is what is acted on.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, StatxAttributes, StatxFlags, mkdirat, openat, openat2,
    statat, statx, unlinkat,
};
use rustix::io::Errno;

use super::errors::{failed, refused, wrong};
use crate::host::{ErrorKind, HostError, Result};
use crate::model::observed::{ObservedTarget, TargetKind};
use crate::model::{Done, PublishKind};

/// Permissions of directories made above and at targets.
pub const PARENTS_MODE: u32 = 0o755;
/// Permissions of the file a device node is bound over.
const FILE_MODE: u32 = 0o644;
/// openat2 answers EAGAIN when a rename happened meanwhile; then it is asked again.
const RACE_TRIES: u32 = 64;
/// How many hidden entries are counted at most.
const HIDDEN_MAX: u64 = 1000;

/// How to resolve below a trusted root.
fn below() -> ResolveFlags {
    ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS
}

/// The path from the root to the target; `.` when they are the same.
fn relative(trusted_root: &Path, target: &Path) -> Result<PathBuf> {
    let outside = |cause: &str| wrong(ErrorKind::UnsafePath, "resolve", target, cause.to_owned());
    let rest = target
        .strip_prefix(trusted_root)
        .map_err(|_| outside(&format!("it is not below {}", trusted_root.display())))?;
    if rest.components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(outside("it has '..' in it"));
    }
    Ok(if rest.as_os_str().is_empty() { PathBuf::from(".") } else { rest.to_owned() })
}

/// Opens the trusted root itself; links in *its* path are the administrator's.
pub fn open_root(trusted_root: &Path) -> Result<OwnedFd> {
    openat(CWD, trusted_root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(refused("open the trusted root", trusted_root))
}

/// openat2 below `root`, no link followed.
pub fn open_below(root: BorrowedFd<'_>, relative: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    open_resolved(root, relative, flags, below())
}

fn open_resolved(root: BorrowedFd<'_>, path: &Path, flags: OFlags, how: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let mut tries = 0;
    loop {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) if tries < RACE_TRIES => tries += 1,
            answer => return answer,
        }
    }
}

/// Opens a target below its trusted root for naming only (O_PATH).
pub fn open_target(act: &'static str, trusted_root: &Path, target: &Path) -> Result<OwnedFd> {
    let root = open_root(trusted_root)?;
    let path = relative(trusted_root, target)?;
    open_below(root.as_fd(), &path, OFlags::PATH).map_err(|error| unsafe_path(act, trusted_root, target, error))
}

/// Opens the directory that holds a target, and the target's name in it.
pub fn open_parent(act: &'static str, trusted_root: &Path, target: &Path) -> Result<(OwnedFd, OsString)> {
    let root = open_root(trusted_root)?;
    let path = relative(trusted_root, target)?;
    let name =
        path.file_name().ok_or_else(|| wrong(ErrorKind::UnsafePath, act, target, "it is the trusted root itself"))?;
    let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) else {
        return Ok((root, name.to_owned()));
    };
    let parent = open_below(root.as_fd(), above, OFlags::PATH | OFlags::DIRECTORY)
        .map_err(|error| unsafe_path(act, trusted_root, target, error))?;
    Ok((parent, name.to_owned()))
}

/// A path inside a staged mount: beneath its root, no link, no other mount.
pub fn open_sub_path(mount: BorrowedFd<'_>, sub_path: &Path, object: &Path) -> Result<OwnedFd> {
    open_resolved(mount, sub_path, OFlags::PATH | OFlags::DIRECTORY, below() | ResolveFlags::NO_XDEV).map_err(|error| {
        let cause = match error {
            Errno::LOOP => "a symbolic link is on the way".to_owned(),
            Errno::XDEV => "it leads out of the volume".to_owned(),
            Errno::NOENT => "there is no such directory in the volume".to_owned(),
            Errno::NOTDIR => "it is not a directory, or a symbolic link is on the way".to_owned(),
            other => return refused("open sub_path", object.join(sub_path))(other),
        };
        let kind = if error == Errno::NOENT { ErrorKind::NotFound } else { ErrorKind::UnsafePath };
        wrong(kind, "open sub_path", &object.join(sub_path), cause)
    })
}

/// The error of a failed resolution, naming the link where there is one.
fn unsafe_path(act: &'static str, trusted_root: &Path, target: &Path, error: Errno) -> HostError {
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::XDEV => match find_link(trusted_root, target) {
            Some((link, to)) => wrong(
                ErrorKind::UnsafePath,
                act,
                target,
                format!(
                    "{} is a symbolic link to {}; links are not followed below {}",
                    link.display(),
                    to.display(),
                    trusted_root.display()
                ),
            ),
            None if error == Errno::NOTDIR => refused(act, target)(error),
            None => wrong(ErrorKind::UnsafePath, act, target, "a symbolic link is, or just was, on the way"),
        },
        other => refused(act, target)(other),
    }
}

/// The first symbolic link between root and target, the target included, and where it points.
fn find_link(trusted_root: &Path, target: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut path = trusted_root.to_owned();
    for part in target.strip_prefix(trusted_root).ok()?.components() {
        path.push(part);
        if let Ok(to) = fs::read_link(&path) {
            return Some((path, to));
        }
    }
    None
}

/// `/proc/self/fd/N`, for calls that take a path: the kernel follows it to the very inode that is open.
pub fn proc_path(fd: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Makes the target and its missing parents; answers every path made, parents first.
pub fn make_target(trusted_root: &Path, target: &Path, kind: PublishKind, parents: u32) -> Result<Vec<PathBuf>> {
    const ACT: &str = "make target";
    let mut made = Vec::new();
    let path = relative(trusted_root, target)?;
    if path == Path::new(".") {
        return Ok(made);
    }
    let mut directory = open_root(trusted_root)?;
    let mut so_far = trusted_root.to_owned();
    let parts: Vec<&OsStr> = path.components().map(Component::as_os_str).collect();
    for (index, part) in parts.iter().enumerate() {
        so_far.push(part);
        let last = index + 1 == parts.len();
        if last && kind == PublishKind::Device {
            if make_file(directory.as_fd(), part, &so_far)? {
                made.push(so_far.clone());
            }
            break;
        }
        let (next, new) = enter_or_make(directory.as_fd(), part, parents, None)
            .map_err(|error| unsafe_path(ACT, trusted_root, &so_far, error))?;
        if new {
            made.push(so_far.clone());
        }
        directory = next;
    }
    Ok(made)
}

/// Makes a directory in a mounted volume, and its missing parents, with the owner and the mode of the volume's root.
pub fn make_inside(root: &Path, path: &Path) -> Result<()> {
    const ACT: &str = "make directory in a volume";
    let mut directory = open_root(root)?;
    let like = statat(&directory, "", AtFlags::EMPTY_PATH).map_err(refused(ACT, root))?;
    for part in relative(root, path)?.components() {
        let mode = like.st_mode & 0o7777;
        let (next, _) = enter_or_make(directory.as_fd(), part.as_os_str(), mode, Some((like.st_uid, like.st_gid)))
            .map_err(|error| unsafe_path(ACT, root, path, error))?;
        directory = next;
    }
    Ok(())
}

fn enter_or_make(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    mode: u32,
    owner: Option<(u32, u32)>,
) -> rustix::io::Result<(OwnedFd, bool)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match open_below(directory, Path::new(name), flags) {
        Err(Errno::NOENT) => {}
        answer => return answer.map(|fd| (fd, false)),
    }
    let new = match mkdirat(directory, name, Mode::from_raw_mode(mode)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error),
    };
    let fd = open_below(directory, Path::new(name), flags)?;
    if new {
        if let Some((user, group)) = owner {
            // Before the mode: the kernel takes set-id bits away with the owner.
            let _ = chown(proc_path(&fd), Some(user), Some(group));
        }
        // The umask may have taken bits that the pod's user needs.
        let _ = fs::set_permissions(proc_path(&fd), fs::Permissions::from_mode(mode));
    }
    Ok((fd, new))
}

fn make_file(directory: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<bool> {
    const ACT: &str = "make target";
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
    match openat(directory, name, flags, Mode::from_raw_mode(FILE_MODE)) {
        Ok(file) => {
            let _ = fs::set_permissions(proc_path(&file), fs::Permissions::from_mode(FILE_MODE));
            Ok(true)
        }
        Err(Errno::EXIST) => {
            let facts = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(refused(ACT, path))?;
            match FileType::from_raw_mode(facts.st_mode) {
                // A device node bound there already shows as a block device.
                FileType::RegularFile | FileType::BlockDevice => Ok(false),
                FileType::Symlink => Err(wrong(ErrorKind::UnsafePath, ACT, path, "a symbolic link is in its place")),
                _ => Err(wrong(ErrorKind::Exists, ACT, path, "something that is not a file is in its place")),
            }
        }
        Err(error) => Err(refused(ACT, path)(error)),
    }
}

/// Removes one target: an empty directory, or an empty file. Never what something is mounted on.
pub fn remove_target(trusted_root: &Path, target: &Path, kind: PublishKind) -> Result<Done> {
    const ACT: &str = "remove target";
    let (parent, name) = match open_parent(ACT, trusted_root, target) {
        Err(error) if error.errno == Some(libc::ENOENT) => return Ok(Done::Already),
        answer => answer?,
    };
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let facts = match statx(&parent, &name, flags, StatxFlags::BASIC_STATS) {
        Err(Errno::NOENT) => return Ok(Done::Already),
        answer => answer.map_err(refused(ACT, target))?,
    };
    if facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(wrong(ErrorKind::Busy, ACT, target, "something is mounted there"));
    }
    let (how, fits) = match FileType::from_raw_mode(facts.stx_mode.into()) {
        FileType::Directory => (AtFlags::REMOVEDIR, kind == PublishKind::Mount),
        FileType::RegularFile if facts.stx_size > 0 => {
            return Err(wrong(ErrorKind::NotEmpty, ACT, target, "it is a file with content"));
        }
        FileType::RegularFile => (AtFlags::empty(), kind == PublishKind::Device),
        _ => (AtFlags::empty(), false),
    };
    if !fits {
        return Err(wrong(ErrorKind::Foreign, ACT, target, "it is not what csictl made there"));
    }
    match unlinkat(&parent, &name, how) {
        Ok(()) => Ok(Done::Changed),
        Err(Errno::NOENT) => Ok(Done::Already),
        // rmdir(2) has two words for it.
        Err(Errno::NOTEMPTY | Errno::EXIST) => {
            Err(wrong(ErrorKind::NotEmpty, ACT, target, "the directory is not empty"))
        }
        Err(error) => Err(refused(ACT, target)(error)),
    }
}

/// What is at a target, without touching it.
pub fn observe_target(trusted_root: &Path, target: &Path) -> Result<ObservedTarget> {
    let mut seen = ObservedTarget { symlink: find_link(trusted_root, target), ..ObservedTarget::default() };
    if seen.symlink.is_some() {
        seen.kind = TargetKind::Other;
        return Ok(seen);
    }
    let opened = open_target("look at", trusted_root, target);
    let fd = match opened {
        Ok(fd) => fd,
        Err(error) if error.errno == Some(libc::ENOENT) => return Ok(seen),
        Err(error) if error.kind == ErrorKind::UnsafePath && error.errno.is_none() => return Err(error),
        Err(error) => {
            seen.unknown = Some(error.cause);
            return Ok(seen);
        }
    };
    let facts = statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map_err(refused("look at", target))?;
    seen.kind = match FileType::from_raw_mode(facts.stx_mode.into()) {
        FileType::Directory => TargetKind::Directory,
        FileType::RegularFile => TargetKind::File,
        _ => TargetKind::Other,
    };
    if seen.kind == TargetKind::Directory && !facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        seen.hides = count_entries(fd.as_fd(), HIDDEN_MAX).map_err(failed("list", target))?;
    }
    Ok(seen)
}

/// How many entries a directory has, counted up to `max`.
pub fn count_entries(directory: BorrowedFd<'_>, max: u64) -> std::io::Result<u64> {
    let readable = openat(directory, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut space = Vec::with_capacity(8192);
    let mut entries = RawDir::new(&readable, space.spare_capacity_mut());
    let mut count = 0;
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            count += 1;
        }
        if count >= max {
            break;
        }
    }
    Ok(count)
}
