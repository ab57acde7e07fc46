//! Mounts as the kernel has them now: the whole table for a plan, and one place's stack of mounts at a cost that does not grow
//! with the table. statx tells the unique id of the mount a path lies on, statmount (6.8) tells that mount; where the kernel
//! has neither, the table is read.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Statx, StatxAttributes, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::errors::failed;
use super::sys::statmount_mask as mask;
use super::{mountinfo, sys};
use crate::host::{ErrorKind, HostError, Result};
use crate::model::{BlockId, Mount, MountTable};

/// The table of the *thread's* namespace: `/proc/self` would be that of the process's first thread.
const MOUNTINFO: &str = "/proc/thread-self/mountinfo";

/// The most mounts on one place that are followed down.
const STACK_MAX: usize = 4096;

/// `STATX_MNT_ID_UNIQUE` (linux/stat.h, 6.8).
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

static NO_STATMOUNT: AtomicBool = AtomicBool::new(false);

/// All mounts, in the kernel's order.
pub fn table() -> Result<Vec<Mount>> {
    let text = fs::read(MOUNTINFO).map_err(failed("read the mount table", MOUNTINFO))?;
    parse(&text)
}

/// A table in another process's view.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>> {
    mountinfo::parse(text).map_err(|cause| HostError::new(ErrorKind::Invalid, "read the mount table", MOUNTINFO, cause))
}

/// The stack of mounts at exactly `target`, the visible one last.
pub fn stack_at(target: &Path) -> Result<Vec<Mount>> {
    let facts = match statx(CWD, target, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, MNT_ID_UNIQUE) {
        Ok(facts) => facts,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Vec::new()),
        // A file system that has shut down (xfs) does not even describe its root; the table does.
        Err(error) => {
            let stack = in_table(target)?;
            return if stack.is_empty() {
                Err(failed("look at the mounts of", target)(error.into()))
            } else {
                Ok(stack)
            };
        }
    };
    if knows_mount_roots(&facts) && !facts.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(Vec::new());
    }
    if has_unique_id(&facts)
        && let Some(stack) = follow_down(facts.stx_mnt_id, target)?
    {
        return Ok(stack);
    }
    in_table(target)
}

fn in_table(target: &Path) -> Result<Vec<Mount>> {
    Ok(MountTable::new(table()?).at(target).cloned().collect())
}

/// The mount that an open file lies on, and whether the file is that mount's root.
pub fn mount_of(fd: BorrowedFd<'_>, object: &Path) -> Result<(Mount, bool)> {
    let act = "look at the mount of";
    let flags = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let told = statx(fd, c"", flags, MNT_ID_UNIQUE).map_err(|error| failed(act, object)(error.into()))?;
    let (top, is_root) = named(told, fd, c"", flags, mask::WHOLE, object)?;
    Ok((top.mount, is_root))
}

/// The mount that a directory lies on, if it is not shared and this is not the mount namespace of the machine's first process. Where csictl is that
/// process itself, as in a container, nothing tells, and it is taken to be another.
pub fn seen_only_here(directory: &Path) -> Option<Mount> {
    let machines = || Some(super::who::facts_namespace("self")? == super::who::facts_namespace("1")?);
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::empty()).ok()?;
    let (mount, _) = mount_of(opened.as_fd(), directory).ok()?;
    (!mount.shared && (std::process::id() == 1 || machines() != Some(true))).then_some(mount)
}

/// The mount that is seen at a place.
pub struct Top {
    /// It.
    pub mount: Mount,
    /// What tells it from every other, those before and after it too: the kernel's unique id, which is never given twice. Without one
    /// (before 6.8), the id that mountinfo shows and how many mounts lie there.
    pub key: (u64, usize),
}

/// The mount that is seen at an entry of an opened directory, without its superblock's options; `None` when nothing is mounted there.
/// Unlike a path, directory and name are still the same ones when they are used again to take that mount away.
pub fn top_at(directory: BorrowedFd<'_>, name: &OsStr, object: &Path) -> Result<Option<Top>> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let told = match statx(directory, name, flags, MNT_ID_UNIQUE) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        // A file system that has shut down (xfs) does not even describe its root; a descriptor of it still tells its mount.
        Err(error) => {
            return match by_descriptor(directory, name, object)? {
                None => Err(failed("look at the mounts of", object)(error.into())),
                top => Ok(top),
            };
        }
        Ok(told) => told,
    };
    if knows_mount_roots(&told) && !told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(None);
    }
    let (top, is_root) = named(told, directory, name, flags, mask::IDENTITY, object)?;
    Ok(is_root.then_some(top))
}

/// Where the mount with this key, which was seen at an entry of an opened directory, is now; `None` when it is gone. Before 6.8 only that entry
/// is looked at: ids are given again.
pub fn place_of(key: (u64, usize), directory: BorrowedFd<'_>, name: &OsStr, object: &Path) -> Result<Option<PathBuf>> {
    if key.1 == 0 && !NO_STATMOUNT.load(Ordering::Relaxed) {
        let there = by_unique_id(key.0, mask::MNT_POINT | mask::SB_SOURCE, object)?;
        return Ok(there.map(|(mount, _)| mount.target));
    }
    let there = top_at(directory, name, object)?.is_some_and(|top| top.key == key);
    Ok(there.then(|| object.to_owned()))
}

/// The mount of which an entry of an opened directory is the root, as the kernel tells of a descriptor that asks the file system for
/// nothing.
fn by_descriptor(directory: BorrowedFd<'_>, name: &OsStr, object: &Path) -> Result<Option<Top>> {
    let refused = |error: std::io::Error| failed("look at the mounts of", object)(error);
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = openat(directory, name, flags, Mode::empty()).map_err(|error| refused(error.into()))?;
    let told = fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", opened.as_raw_fd())).map_err(refused)?;
    let id = told.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse().ok());
    let table = table()?;
    let found = table.iter().find(|mount| Some(mount.id) == id && mount.target == object).cloned();
    let many = table.iter().filter(|mount| mount.target == object).count();
    Ok(found.map(|mount| Top { key: (mount.id, many), mount }))
}

/// The mount that statx told of.
fn named<P: rustix::path::Arg>(
    told: Statx,
    fd: BorrowedFd<'_>,
    name: P,
    flags: AtFlags,
    wanted: u64,
    object: &Path,
) -> Result<(Top, bool)> {
    let act = "look at the mount of";
    let is_root = told.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    if has_unique_id(&told)
        && let Some((mount, _)) = by_unique_id(told.stx_mnt_id, wanted, object)?
    {
        return Ok((Top { mount, key: (told.stx_mnt_id, 0) }, is_root));
    }
    let told = statx(fd, name, flags, StatxFlags::MNT_ID).map_err(|error| failed(act, object)(error.into()))?;
    let table = table()?;
    let found = table.iter().find(|mount| mount.id == told.stx_mnt_id).cloned();
    let mount =
        found.ok_or_else(|| HostError::new(ErrorKind::NotFound, act, object, "its mount is not in this namespace"))?;
    let is_root = if knows_mount_roots(&told) { is_root } else { mount.target == object };
    let many = table.iter().filter(|other| other.target == mount.target).count();
    Ok((Top { key: (mount.id, many), mount }, is_root))
}

fn has_unique_id(facts: &Statx) -> bool {
    facts.stx_mask & MNT_ID_UNIQUE.bits() != 0 && !NO_STATMOUNT.load(Ordering::Relaxed)
}

fn knows_mount_roots(facts: &Statx) -> bool {
    facts.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
}

/// The mounts below the one with this id as long as they are at the same place; `None` when the kernel has no statmount.
fn follow_down(id: u64, target: &Path) -> Result<Option<Vec<Mount>>> {
    let mut stack = Vec::new();
    let mut next = id;
    while stack.len() < STACK_MAX {
        // What lies below is mostly elsewhere, and its options then nobody's business.
        if !stack.is_empty()
            && by_unique_id(next, mask::MNT_POINT | mask::SB_SOURCE, target)?
                .is_some_and(|(below, _)| below.target != target)
        {
            break;
        }
        let Some((mount, parent)) = by_unique_id(next, mask::WHOLE, target)? else {
            // The topmost may be gone since statx saw it; the table then tells the truth.
            return Ok(if stack.is_empty() { None } else { Some(stack) });
        };
        if mount.target != target {
            break;
        }
        stack.push(mount);
        if parent == next {
            break;
        }
        next = parent;
    }
    stack.reverse();
    Ok(Some(stack))
}

/// One mount and its parent's unique id; `None` when it can't be asked for.
fn by_unique_id(id: u64, wanted: u64, object: &Path) -> Result<Option<(Mount, u64)>> {
    if NO_STATMOUNT.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let told = match sys::statmount(id, wanted) {
        Ok(told) => told,
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EPERM) => {
                NO_STATMOUNT.store(true, Ordering::Relaxed);
                return Ok(None);
            }
            Some(libc::ENOENT) => return Ok(None),
            _ => return Err(failed("look at the mounts of", object)(error)),
        },
    };
    let needed = (mask::SB_SOURCE | mask::MNT_OPTS) & wanted;
    if told.head.mask & needed != needed && told.head.mask & mask::SB_SOURCE == 0 {
        // Before 6.13 statmount does not tell the source.
        NO_STATMOUNT.store(true, Ordering::Relaxed);
        return Ok(None);
    }
    Ok(Some((from_statmount(&told), told.head.parent_id)))
}

fn from_statmount(told: &sys::StatMount) -> Mount {
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let mut fs_type = String::from_utf8_lossy(&told.fs_type).into_owned();
    if !told.fs_subtype.is_empty() {
        fs_type = format!("{fs_type}.{}", String::from_utf8_lossy(&told.fs_subtype));
    }
    let mut super_options = super_flags(told.head.super_flags);
    super_options.extend(mountinfo::options(&told.options));
    Mount {
        id: u64::from(told.head.old_id),
        parent: u64::from(told.head.old_parent_id),
        device: BlockId { major: told.head.major, minor: told.head.minor },
        root: path(&told.root),
        target: path(&told.point),
        fs_type,
        source: path(&told.source),
        options: mount_options(told.head.attributes),
        super_options,
        shared: told.head.propagation & libc::MS_SHARED != 0,
        slave: told.head.propagation & libc::MS_SLAVE != 0,
    }
}

/// `SB_*` flags in the words and order of mountinfo.
fn super_flags(flags: u32) -> Vec<String> {
    const SB_RDONLY: u32 = 1;
    const OTHERS: [(u32, &str); 4] = [(1 << 4, "sync"), (1 << 7, "dirsync"), (1 << 6, "mand"), (1 << 25, "lazytime")];
    let first = if flags & SB_RDONLY != 0 { "ro" } else { "rw" };
    let others = OTHERS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word);
    std::iter::once(first).chain(others).map(str::to_owned).collect()
}

/// `MOUNT_ATTR_*` in the words and order of mountinfo.
fn mount_options(attributes: u64) -> Vec<String> {
    use sys::attr;
    let mut words = vec![if attributes & attr::RDONLY != 0 { "ro" } else { "rw" }];
    for (bit, word) in [(attr::NOSUID, "nosuid"), (attr::NODEV, "nodev"), (attr::NOEXEC, "noexec")] {
        if attributes & bit != 0 {
            words.push(word);
        }
    }
    match attributes & attr::ATIME_MASK {
        attr::NOATIME => words.push("noatime"),
        attr::RELATIME => {}
        _ => {}
    }
    if attributes & attr::NODIRATIME != 0 {
        words.push("nodiratime");
    }
    if attributes & attr::ATIME_MASK == attr::RELATIME {
        words.push("relatime");
    }
    if attributes & attr::NOSYMFOLLOW != 0 {
        words.push("nosymfollow");
    }
    words.into_iter().map(str::to_owned).collect()
}
