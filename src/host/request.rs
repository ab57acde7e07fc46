//! What host verbs are asked and what they answer: plain values, and the guards that hold a lock, a loop or a freeze for as
//! long as they live.

use std::any::Any;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use crate::model::{
    BlockId, Capacity, FileId, FsType, FsUuid, LoopDevice, Mount, Propagation, PublishKind, SectorSize, VolumeId,
};

/// What sort of file lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A block device.
    Block,
    /// Anything else.
    Other,
}

/// What stat says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Sort.
    pub kind: FileKind,
    /// Device and inode.
    pub file: FileId,
    /// The device number, where it is a device.
    pub device: Option<BlockId>,
    /// Nominal size in bytes.
    pub size: u64,
    /// Bytes allocated.
    pub allocated: u64,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    /// When its content was last written, in seconds since 1970.
    pub modified: i64,
    /// The nanoseconds of that second.
    pub modified_nanos: i64,
}

/// Use of a mounted file system, in bytes and inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FsUsage {
    /// Bytes in all.
    pub total: u64,
    /// Bytes used.
    pub used: u64,
    /// Bytes free to root.
    pub free: u64,
    /// Bytes free to users.
    pub available: u64,
    /// Inodes in all; 0 where the file system has no such number.
    pub inodes: u64,
    /// Inodes used.
    pub inodes_used: u64,
}

/// The file system below a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFacts {
    /// Whether the pool's directory is there.
    pub exists: bool,
    /// The file system's type.
    pub fs_type: String,
    /// Bytes free to root.
    pub free: Capacity,
    /// Bytes in all.
    pub total: Capacity,
    /// Whether files on it can share extents.
    pub reflink: bool,
    /// The most that one file on it can have, where that is known.
    pub largest_file: Option<Capacity>,
}

/// Who keeps a mount or device busy: a process, or mounts that lie on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process's id; [`Holder::NO_PROCESS`] for mounts that no process stands for.
    pub pid: u32,
    /// Its command.
    pub command: String,
    /// Its mount namespace.
    pub mount_namespace: u64,
    /// What it holds: `cwd`, `root`, `exe`, `mmap`, `fd 7`, `mount /path`.
    pub what: Vec<String>,
}

/// A mount whose users are asked for.
#[derive(Debug, Clone, Copy)]
pub struct UsedMount<'a> {
    /// The mount.
    pub mount: &'a Mount,
    /// Whether its whole file system is meant, through whichever mount it is used; a mount of a part of one means itself all the same.
    pub whole: bool,
}

impl Holder {
    /// The id where mounts below a target keep it, and no process does.
    pub const NO_PROCESS: u32 = 0;
}

/// A helper program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFacts {
    /// Its name, `mkfs.ext4`.
    pub name: &'static str,
    /// Where it was found in the system directories.
    pub path: Option<PathBuf>,
    /// Its version, where asked for.
    pub version: Option<String>,
    /// What it is needed for.
    pub needed_for: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

/// Whether a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Many may hold it.
    Shared,
    /// One holds it.
    Exclusive,
}

/// A held lock; gone when dropped, and when the last helper that was given it ends.
pub struct Lock {
    file: Option<OwnedFd>,
    _other: Option<Box<dyn Any + Send + Sync>>,
}

impl Lock {
    /// A lock on an open file.
    pub fn on_file(file: OwnedFd) -> Self {
        Self { file: Some(file), _other: None }
    }

    /// A lock that is some other guard, or none at all.
    pub fn of(guard: impl Any + Send + Sync) -> Self {
        Self { file: None, _other: Some(Box::new(guard)) }
    }

    /// The locked file, to be given to a helper as its stdin.
    pub fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

/// A new image file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImage {
    /// Its temporary name.
    pub part: PathBuf,
    /// Its nominal size.
    pub size: Capacity,
    /// Whether every byte is allocated.
    pub full: bool,
}

/// A file system to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatRequest {
    /// The device, or the image at its temporary name.
    pub path: PathBuf,
    /// Type.
    pub fs: FsType,
    /// The UUID it gets.
    pub uuid: FsUuid,
    /// Its label.
    pub label: Option<String>,
    /// Allow-listed arguments of its mkfs.
    pub options: Vec<String>,
    /// The logical sector size it will be used with.
    pub sector_size: SectorSize,
    /// A file this process has just created and nothing has written to: reads as zeros, may be copied from a template.
    pub fresh_image: bool,
    /// Whether blocks may be discarded (sparse) or have to stay allocated (full).
    pub discard: bool,
    /// The block device it has to be, and not what the path has led to since; `None` for an image.
    pub block: Option<BlockId>,
    /// Whether what lies there is known to be a half-made file system with this very UUID, from a run that was killed.
    pub resume: bool,
    /// Whether a fresh image may be a copy of the first one of its sort that this process had made.
    pub template: bool,
}

/// A file system that was made with options of a user's own, to be tried out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrialRequest {
    /// The image at its temporary name.
    pub part: PathBuf,
    /// Type.
    pub fs: FsType,
    /// Every mount option.
    pub options: Vec<String>,
    /// The logical sector size it was made for.
    pub sector_size: SectorSize,
    /// Whether discards may reach the file; not where its blocks have to stay allocated.
    pub discard: bool,
}

/// What has become of a file system whose making is not known to have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// Its own check finds nothing wrong: it is whole, and may be in use since.
    Whole,
    /// It is not whole, and was never mounted: nobody's data is in it.
    Unfinished,
    /// It is not whole, and may have been in use.
    Unclear,
}

/// How a file system was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Formatted {
    /// By its mkfs.
    Mkfs,
    /// As a copy of a verified template.
    Template,
}

/// A copy to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    /// The file to copy.
    pub from: PathBuf,
    /// Which file it has to be.
    pub from_file: FileId,
    /// The new file's temporary name; what a killed run left there is removed.
    pub to_part: PathBuf,
    /// The new file's nominal size, at least that of the source.
    pub size: Capacity,
    /// Whether every byte of it is allocated (not possible after a reflink).
    pub full: bool,
    /// Whether sharing extents is allowed.
    pub reflink: bool,
    /// When it is worth nothing any more and given up: the file system it shows is thawed then.
    pub until: Option<Instant>,
}

/// An image or snapshot whose bytes are asked about, and which file it has to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFile {
    /// Where.
    pub path: PathBuf,
    /// Which file.
    pub file: FileId,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Its first byte.
    pub offset: u64,
    /// How many bytes; never none.
    pub length: u64,
}

/// Some stretches of a file, in order and without overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extents {
    /// Those that were found.
    pub found: Vec<Extent>,
    /// Where to go on; `None` when there are no more.
    pub next: Option<u64>,
}

/// How a copy was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyMethod {
    /// Extents are shared: at once, whatever the size.
    Reflink,
    /// Data was copied, holes were kept.
    Sparse,
}

/// Whether a finished image may take the place of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Its name has to be free (RENAME_NOREPLACE).
    New,
    /// It replaces this very file, whose loss was approved.
    Replace(FileId),
}

/// A loop device to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachLoop {
    /// The image.
    pub path: PathBuf,
    /// Which file it has to be.
    pub file: FileId,
    /// Refuse writes at the device.
    pub read_only: bool,
    /// Let the kernel detach it when its last user goes.
    pub autoclear: bool,
    /// Ask for direct I/O.
    pub direct_io: bool,
    /// Logical sector size.
    pub sector_size: SectorSize,
    /// Whether discards reach the file; off for `full` images.
    pub discard: bool,
    /// The index it had before, a hint.
    pub hint: Option<u32>,
    /// Whose it is, for messages.
    pub id: VolumeId,
}

/// Keeps a loop device with AUTOCLEAR from going away; dropped once a mount holds it.
pub struct LoopHold(Option<Box<dyn Any + Send + Sync>>);

impl LoopHold {
    /// Held by this guard.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(guard)))
    }

    /// Whether anything is held.
    pub fn holds(&self) -> bool {
        self.0.is_some()
    }
}

impl fmt::Debug for LoopHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LoopHold")
    }
}

/// An attached loop device.
#[derive(Debug)]
pub struct AttachedLoop {
    /// The device.
    pub device: LoopDevice,
    /// Whether it was attached already.
    pub adopted: bool,
    /// Keeps it, while a mount does not yet.
    pub hold: LoopHold,
}

/// A file system to be grown to the size of its device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrowRequest {
    /// The device, or (offline ext4) the image file.
    pub device: PathBuf,
    /// Type.
    pub fs: FsType,
    /// Where it is mounted; `None` grows it offline.
    pub mount_point: Option<PathBuf>,
    /// What an offline growth needs to lose nothing; `None` where the image is at its temporary name and disposable.
    pub files: Option<GrowthFiles>,
}

/// The two files of an offline growth, on a file system with room for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrowthFiles {
    /// A temporary name for the copy on which it is tried out.
    pub scratch: PathBuf,
    /// What has to be changed in the volume; there only between the moment it is settled and the moment it is done.
    pub log: PathBuf,
}

/// A file system to be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsMount {
    /// The device node, or `tmpfs`; with `bind_directory`, the directory whose tree is shown.
    pub source: PathBuf,
    /// The type for mount(2): `ext4`, `xfs`, `btrfs`, `tmpfs`, or `none` for a bind of a directory.
    pub fs_type: String,
    /// A directory volume: bind `source` instead of mounting a file system.
    pub bind_directory: bool,
    /// The device that has to be found at `source`; not for tmpfs.
    pub expect: Option<BlockId>,
    /// Where. Made if missing (0700 parents below the run directory).
    pub target: PathBuf,
    /// The trusted directory below which no link is followed.
    pub trusted_root: PathBuf,
    /// Every option, `ro` and those always added included.
    pub options: Vec<String>,
    /// Whether the mount joins a peer group, so that binds made from it can travel (bidirectional pods).
    pub shared: bool,
}

/// A bind to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMount {
    /// The staging mount, or the device node.
    pub source: PathBuf,
    /// For a mount: the device of the file system that has to be mounted at `source`, so that a plain directory is never bound.
    /// For a device node: its number.
    pub expect: BlockId,
    /// A path inside the source, resolved beneath it.
    pub sub_path: Option<PathBuf>,
    /// Where.
    pub target: PathBuf,
    /// The trusted directory below which no link is followed.
    pub trusted_root: PathBuf,
    /// Directory or device.
    pub kind: PublishKind,
    /// Refuse writes.
    pub read_only: bool,
    /// Propagation of the new mount.
    pub propagation: Propagation,
    /// Further flags of the mount (`noexec`, `noatime`…); nosuid and nodev are always set on directories.
    pub options: Vec<String>,
}

/// A mount to be taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmount {
    /// Where.
    pub target: PathBuf,
    /// The trusted directory below which no link is followed.
    pub trusted_root: PathBuf,
    /// The device of the file system that is meant (for a device node: that of the file system the node lies on).
    pub expect: BlockId,
    /// The root that has to be seen there (`/loop3` for a device node); `None` for any.
    pub root: Option<PathBuf>,
}

/// Keeps a file system frozen.
pub trait FreezeGuard: Send {
    /// Whether it has been frozen all the time since; false once the time allowed was over and it was thawed.
    fn held(&self) -> bool;

    /// Thaws it, and answers whether it was frozen until then: false when anybody else had thawed it before.
    fn end(self: Box<Self>) -> bool;
}

/// A frozen file system; thawed when dropped.
pub struct Freeze(Box<dyn FreezeGuard>);

impl Freeze {
    /// Held by this guard.
    pub fn new(guard: impl FreezeGuard + 'static) -> Self {
        Self(Box::new(guard))
    }

    /// Whether what was read until now was read of a frozen file system.
    pub fn held(&self) -> bool {
        self.0.held()
    }

    /// Thaws it, and answers whether all that was read meanwhile was read of a frozen file system. That somebody else thawed it (a backup
    /// agent, `fsfreeze -u`) shows only now, where there is nothing left to thaw. Not seen is one that was thawed and frozen again.
    pub fn end(self) -> bool {
        self.0.end()
    }
}

impl fmt::Debug for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Freeze")
    }
}
