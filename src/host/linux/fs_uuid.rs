//! A new UUID for the file system of a copy, before the copy is ever attached: two file systems with one UUID confuse the
//! kernel (XFS refuses the second, btrfs may mix them up). The UUID is read back each time: `xfs_admin` exits 0 when it
//! refuses.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::ext_superblock::{self, Change, PRIMARY};
use super::files::open_regular;
use super::fsck::e2fsck;
use super::helper::{Helper, Ran};
use super::probe::probe_one;
use super::probe::view::{ReadAt, le64};
use crate::host::{AttachedLoop, ErrorKind, HostError, Lock, Result};
use crate::model::{FsType, FsUuid};

const ACT: &str = "change the UUID of";

/// Attaches an image that has to be mounted once; the loop goes when what is answered is dropped.
pub type Attach<'a> = &'a (dyn Fn(&Path) -> Result<AttachedLoop> + Sync);

/// Gives the file system in an unattached image a new UUID and reads it back. Nothing happens if it has it already.
///
/// # Errors
/// No sound file system of that type, a tool failed, or the old UUID is still there.
pub fn change_uuid(path: &Path, fs: FsType, uuid: FsUuid, lock: &Lock, attach: Attach<'_>) -> Result<()> {
    let file = open_regular(ACT, path, true)?;
    if read_back(&file, path, fs)? == uuid.to_string() {
        return Ok(());
    }
    match fs {
        FsType::Ext4 => ext4(&file, path, uuid, lock)?,
        FsType::Xfs => xfs(&file, path, uuid, lock, attach)?,
        FsType::Btrfs => btrfs(&file, path, uuid, lock)?,
    }
    let found = read_back(&file, path, fs)?;
    if found == uuid.to_string() {
        return Ok(());
    }
    Err(HostError::new(ErrorKind::Verify, ACT, path, format!("it is {found} after it was set to {uuid}")))
}

fn read_back(file: &File, path: &Path, fs: FsType) -> Result<String> {
    let found = probe_one(file, fs).map_err(|error| HostError::new(ErrorKind::Io, ACT, path, error.to_string()))?;
    let uuid = found.filter(|found| found.kind == fs.as_str()).and_then(|found| found.uuid);
    uuid.ok_or_else(|| HostError::new(ErrorKind::Invalid, ACT, path, format!("there is no sound {fs} on it")))
}

fn ext4(file: &File, path: &Path, uuid: FsUuid, lock: &Lock) -> Result<()> {
    let failed = |error: std::io::Error| HostError::io(ACT, path, &error);
    let gone = || HostError::new(ErrorKind::Invalid, ACT, path, "its superblock is damaged");
    let mut superblock = ext_superblock::read(file, PRIMARY).map_err(failed)?.ok_or_else(gone)?;
    if ext_superblock::needs_recovery(&superblock) {
        // The journal may hold an older superblock, which a later replay would bring back.
        e2fsck(ACT, path, Some(file), &["-p"], lock)?;
        superblock = ext_superblock::read(file, PRIMARY).map_err(failed)?.ok_or_else(gone)?;
        if ext_superblock::needs_recovery(&superblock) {
            return Err(HostError::new(ErrorKind::Verify, ACT, path, "its journal still waits to be replayed"));
        }
    }
    if ext_superblock::can_change(&superblock) {
        let change = Change { uuid: *uuid.as_bytes(), label: None, hash_seed: None };
        return ext_superblock::change_all(file, &superblock, &change).map_err(failed);
    }
    // Group checksums of the older kind are made from the UUID; tune2fs rewrites them, and wants a whole check first.
    e2fsck(ACT, path, Some(file), &["-f", "-p"], lock)?;
    let helper = helper("tune2fs", file, path, lock);
    helper.succeed(["-U".as_ref(), uuid.to_string().as_ref(), "--".as_ref(), helper.place().as_os_str()]).map(drop)
}

/// One that works on the opened image.
fn helper<'a>(tool: &'static str, file: &'a File, path: &'a Path, lock: &'a Lock) -> Helper<'a> {
    Helper { tool, act: ACT, object: path, file: Some(file.as_fd()), lock: lock.file(), limit: None }
}

fn xfs(file: &File, path: &Path, uuid: FsUuid, lock: &Lock, attach: Attach<'_>) -> Result<()> {
    // A frozen XFS leaves its log dirty on purpose, so the log is the rule here and not the exception.
    let said = xfs_db(file, path, uuid, lock)?;
    if read_back(file, path, FsType::Xfs)? == uuid.to_string() {
        return Ok(());
    }
    replay_journal(path, FsType::Xfs, attach)?;
    let again = xfs_db(file, path, uuid, lock)?;
    if read_back(file, path, FsType::Xfs)? == uuid.to_string() {
        return Ok(());
    }
    let output = format!("{}\n{}", said.output, again.output);
    Err(HostError::new(ErrorKind::ToolFailed, ACT, path, "xfs_db did not write it").with_output(output))
}

/// What `xfs_admin -U` runs, without its shell.
fn xfs_db(file: &File, path: &Path, uuid: FsUuid, lock: &Lock) -> Result<Ran> {
    let helper = helper("xfs_db", file, path, lock);
    let command = format!("uuid {uuid}");
    helper.run([
        "-x".as_ref(),
        "-f".as_ref(),
        "-p".as_ref(),
        "xfs_admin".as_ref(),
        "-c".as_ref(),
        command.as_ref(),
        helper.place().as_os_str(),
    ])
}

/// Mounts the image or device once where nobody sees it, which replays the journal, and unmounts it, which leaves it clean. A thread
/// with a mount namespace of its own does so: should it be killed, mount and loop go with it.
pub(super) fn replay_journal(path: &Path, fs: FsType, attach: Attach<'_>) -> Result<()> {
    let device = std::fs::metadata(path).is_ok_and(|facts| facts.file_type().is_block_device());
    let attached = if device { None } else { Some(attach(path)?) };
    let node = attached.as_ref().map_or_else(|| path.to_owned(), |attached| attached.device.node());
    // Any directory will do in a namespace that ends with this thread.
    let over = path.parent().map_or_else(|| PathBuf::from("/"), Path::to_owned);
    let replayed = thread::scope(|scope| scope.spawn(|| mount_once(&node, &over, fs)).join());
    drop(attached);
    match replayed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(errno)) => Err(HostError::io(ACT, path, &errno.into())),
        Err(_) => Err(HostError::new(ErrorKind::Other, ACT, path, "the thread that replays its log panicked")),
    }
}

fn mount_once(node: &Path, over: &Path, fs: FsType) -> nix::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let option = match fs {
        FsType::Xfs => Some("nouuid"),
        FsType::Ext4 => Some("errors=remount-ro"),
        FsType::Btrfs => None,
    };
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some(node), over, Some(fs.as_str()), flags, option)?;
    umount2(over, MntFlags::UMOUNT_NOFOLLOW)
}

fn btrfs(file: &File, path: &Path, uuid: FsUuid, lock: &Lock) -> Result<()> {
    if btrfs_log(file, path)? {
        let cause = "it has a log of its last fsyncs that only a mount replays: stage the volume it comes from once, and copy again";
        return Err(HostError::new(ErrorKind::Unsupported, ACT, path, cause));
    }
    // -f answers the question btrfstune asks a person; the copy is csictl's own and is thrown away if this is cut short.
    let helper = helper("btrfstune", file, path, lock);
    helper.succeed(["-f".as_ref(), "-U".as_ref(), uuid.to_string().as_ref(), helper.place().as_os_str()]).map(drop)
}

/// Whether a log tree waits to be replayed (the superblock's `log_root`). Its blocks would keep the old UUID.
fn btrfs_log(file: &File, path: &Path) -> Result<bool> {
    const LOG_ROOT: u64 = 65_536 + 96;
    let mut root = [0; 8];
    ReadAt::read_exact_at(file, &mut root, LOG_ROOT).map_err(|error| HostError::io(ACT, path, &error))?;
    Ok(le64(&root, 0) != 0)
}
