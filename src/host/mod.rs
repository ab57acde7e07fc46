//! The whole surface at which csictl touches a machine, as two traits: [`Observe`] reads, [`Host`] also writes.
//!
//! Code that plans or reports receives `&dyn Observe` and therefore cannot change anything. The verbs are few and speak the
//! domain's types, so that a simulated host can take the kernel's place and fail or crash at any of them. Every write is safe to
//! repeat, refuses what it does not recognise, and says in its error which object, which call and which cause.
//!
//! Way in: `linux::LinuxObserve` and `linux::LinuxHost` are the real ones, `sim::SimHost` the simulated one.

pub mod error;
pub mod linux;
pub mod request;
pub mod sim;
pub mod watch;

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::observed::{HostFacts, ObservedDevice, ObservedImage, ObservedTarget};
use crate::model::record::ImageIdentity;
use crate::model::{
    BlockId, Capacity, Done, FileId, FsType, FsUuid, LoopDevice, Mount, MountTable, Ownership, PublishKind,
};
use crate::model::{MountNamespace, NamespaceState, Pool, Probe};

pub use error::{ErrorKind, HostError};
pub use request::{
    AttachLoop, AttachedLoop, BindMount, CopyMethod, CopyRequest, Extent, Extents, FileFacts, FileKind, FormatRequest,
    Formatted, Freeze, FreezeGuard, FsMount, FsUsage, GrowRequest, GrowthFiles, Holder, ImageFile, Lock, LockMode,
    LoopHold, Made, NewImage, Place, PoolFacts, ToolFacts, TrialRequest, Unmount, UsedMount,
};

pub use watch::{Changes, DirectoryWatch};

/// The answer of a host verb.
pub type Result<T> = std::result::Result<T, HostError>;

/// Reading the machine. Nothing here changes anything, not even an access time that matters.
pub trait Observe: Send + Sync {
    /// Name, boot, mount namespace, privileges.
    fn facts(&self) -> Result<HostFacts>;

    /// All mounts of this namespace, read in one go.
    fn mount_table(&self) -> Result<MountTable>;

    /// The stack of mounts at exactly `target`, the visible one last; empty when nothing is mounted there. Read afresh, at a cost
    /// that does not depend on how many mounts the machine has (statmount where the kernel has it).
    fn mounts_at(&self, target: &Path) -> Result<Vec<Mount>>;

    /// Every attached loop device, read in one go.
    fn loops(&self) -> Result<Vec<LoopDevice>>;

    /// The loop device whose backing is `file` at offset 0, read afresh; `hint` is looked at first.
    fn loop_of(&self, file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>>;

    /// The same of an image that lies at `path`, at a cost that does not grow with the number of loop devices where none shows it: a
    /// file that nobody has open is behind no device.
    fn loop_of_image(&self, path: &Path, file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>> {
        let _ = path;
        self.loop_of(file, hint)
    }

    /// Every loop device that shows some part of the image at `path`, whoever attached it.
    fn loops_of_image(&self, path: &Path, file: FileId) -> Result<Vec<LoopDevice>> {
        let _ = path;
        Ok(self.loops()?.into_iter().filter(|device| device.backing == file).collect())
    }

    /// The loop device of that number, if its backing file lies on a file system that has died, so that the kernel tells neither of them, but
    /// still tells that it was opened as `path`; `file` is what that file was.
    fn loop_on_dead(&self, index: u32, path: &Path, file: FileId) -> Option<LoopDevice> {
        let _ = (index, path, file);
        None
    }

    /// Whether no name that can be seen from here leads to the file behind a loop device any more, so that its bytes go with the device.
    /// `false` when nothing is attached there.
    fn is_last_copy(&self, index: u32) -> Result<bool>;

    /// What lies at `path`, not following a last link; `None` when nothing does.
    fn stat(&self, path: &Path) -> Result<Option<FileFacts>>;

    /// The names in a directory, sorted; none when it is missing.
    fn list(&self, directory: &Path) -> Result<Vec<OsString>>;

    /// Whether a directory has no entries, without reading all of them. One that cannot be read is not said to be empty.
    fn is_empty(&self, directory: &Path) -> Result<bool> {
        self.list(directory).map(|names| names.is_empty())
    }

    /// Watches the names in a directory from now on. The directory need not be there yet. A host that cannot watch answers each time that
    /// anything may have changed.
    fn watch(&self, directory: &Path) -> Box<dyn DirectoryWatch> {
        let _ = directory;
        Box::new(watch::Unwatched)
    }

    /// The whole of a small file (a record); `None` when it is missing.
    fn read_small(&self, path: &Path) -> Result<Option<Vec<u8>>>;

    /// An image file with its size, allocation and own word about itself; `None` when nothing is there.
    fn image(&self, path: &Path) -> Result<Option<ObservedImage>>;

    /// Where an image holds data, from an offset on and some at a time; what lies between reads as zeros.
    fn data_extents(&self, of: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents>;

    /// Where an image's bytes differ from those of another one, which reads as zeros behind its end; some at a time, and after a bounded
    /// amount of reading even when nothing was found. Equal bytes may be among them, differing ones are never missing.
    fn changed_extents(&self, of: &ImageFile, base: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents>;

    /// A block device, links followed; `None` when nothing is there.
    fn device(&self, path: &Path) -> Result<Option<ObservedDevice>>;

    /// Whether somebody uses a block device for himself alone, as a mount does in whichever mount namespace.
    fn is_claimed(&self, path: &Path) -> Result<bool> {
        let _ = path;
        Ok(false)
    }

    /// What is on a device or in an image file. Errors are an answer of their own ([`Probe::Unreadable`]).
    fn probe(&self, path: &Path) -> Probe;

    /// The size the file system on a device or in an image says it has.
    fn filesystem_size(&self, path: &Path, fs: FsType) -> Result<Capacity>;

    /// Whether a mounted file system is frozen, so that every write to it waits; `None` where its type does not tell without a write (btrfs)
    /// or it can't be asked. Never waits itself.
    fn frozen(&self, mount: &Mount) -> Option<bool> {
        let _ = mount;
        None
    }

    /// Use of the mounted file system at `path`.
    fn usage(&self, path: &Path) -> Result<FsUsage>;

    /// The file system below a pool's directory, or below its nearest existing parent.
    fn pool(&self, pool: &Pool) -> Result<PoolFacts>;

    /// What is at a target path below a trusted root. `foreign` and `taken_by` are left empty: they are the driver's to judge.
    fn target(&self, trusted_root: &Path, target: &Path) -> Result<ObservedTarget>;

    /// The mount that a directory lies on, where what is mounted below it is seen by nobody outside this mount namespace: one that is not shared, in
    /// a namespace that is not known to be the machine's.
    fn seen_only_here(&self, directory: &Path) -> Option<Mount> {
        let _ = directory;
        None
    }

    /// Whether any process still lives in that mount namespace.
    fn namespace_state(&self, mount_namespace: MountNamespace) -> Result<NamespaceState>;

    /// Which processes, in which mount namespaces, keep the file system on `device` (mounted at `target`, if it is) busy.
    fn holders(&self, device: BlockId, target: Option<&Path>) -> Result<Vec<Holder>>;

    /// Which processes have something open in each of these mounts: one look at all processes, however many mounts there are.
    fn users(&self, mounts: &[UsedMount<'_>]) -> Result<Vec<Vec<Holder>>> {
        mounts.iter().map(|used| self.holders(used.mount.device, Some(&used.mount.target))).collect()
    }

    /// The helper programs and what is known of them, for `doctor`.
    fn tools(&self) -> Vec<ToolFacts>;
}

/// Changing the machine. Every verb is "predicate, then action": calling it again after a crash at any point is safe.
pub trait Host: Observe {
    /// Makes a directory and its missing parents with this mode. An existing one is left as it is.
    fn make_dir(&self, path: &Path, mode: u32) -> Result<Done>;

    /// Removes one empty directory; a missing one is fine, one that is not empty is [`ErrorKind::NotEmpty`].
    fn remove_dir(&self, path: &Path) -> Result<Done>;

    /// Replaces a small file as a whole: temporary file, fsync, rename, fsync of the directory. When it returns, the new content
    /// survives a power cut; until then the old one does. Writes of many threads may share one flush. With `durable` false
    /// (boot-scoped records) nothing is flushed.
    fn write_small(&self, path: &Path, content: &[u8], durable: bool) -> Result<()>;

    /// Appends a line to a small file that is there, if it is no longer than `most` bytes then; `Already` means it does not fit, or the
    /// file is missing, and nothing was done. Nothing is flushed: a kill leaves the line whole or not there, a power cut may leave a part.
    fn append_small(&self, path: &Path, line: &[u8], most: u64) -> Result<Done>;

    /// Removes a small file, durably when `durable`.
    fn remove_small(&self, path: &Path, durable: bool) -> Result<Done>;

    /// Moves a file into `directory` under a name that is free there; used to set corrupt records aside.
    fn set_aside(&self, path: &Path, directory: &Path) -> Result<PathBuf>;

    /// Takes a lock on a file that is opened (made if need be) afresh; waits at most `timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::LockHeld`] when somebody else kept it.
    fn lock(&self, path: &Path, mode: LockMode, timeout: Duration) -> Result<Lock>;

    /// Makes a new image file at its temporary name, removing what a killed run left under that name.
    fn create_image(&self, image: &NewImage) -> Result<FileId>;

    /// Makes a file system on a device, or in an image at its temporary name, and verifies it. On a device the caller has
    /// probed and recorded [`crate::model::record::FormatMark::Begun`] before; the host probes again and refuses unless it is
    /// blank or holds a half-made file system with this very UUID.
    fn format(&self, request: &FormatRequest, lock: &Lock) -> Result<Formatted>;

    /// Copies an image to a new file at a temporary name: reflink where it can, else only the bytes that hold data.
    fn copy_image(&self, request: &CopyRequest, lock: &Lock) -> Result<CopyMethod>;

    /// Gives an image file more bytes, durably, and never fewer; with `full`, the added bytes are allocated first, so that no space means no
    /// change.
    fn resize_image(&self, path: &Path, file: FileId, size: Capacity, full: bool) -> Result<Done>;

    /// Allocates every byte of an image (sparse → full).
    fn allocate_image(&self, path: &Path, file: FileId) -> Result<Done>;

    /// Writes an image's word about itself, the `trusted.csictl` attribute.
    fn set_identity(&self, path: &Path, identity: &ImageIdentity) -> Result<Done>;

    /// Puts a finished image from its temporary name to its own, durably: fsync, rename, fsync of the directory.
    fn place_image(&self, part: &Path, path: &Path, place: Place) -> Result<()>;

    /// Unlinks an image if it still is the file meant; a missing one is fine.
    fn remove_image(&self, path: &Path, file: Option<FileId>) -> Result<Done>;

    /// Makes what was unlinked from `directory` stay away after a power cut before anything that is flushed at `before` later: on one file
    /// system with a journal that is so anyway. Flushes of many threads may be one.
    fn settle_removal(&self, directory: &Path, before: &Path) -> Result<()>;

    /// Attaches an image to a loop device, or adopts the one it is attached to. One LOOP_CONFIGURE, retried on EBUSY.
    fn attach_loop(&self, request: &AttachLoop) -> Result<AttachedLoop>;

    /// Detaches a loop device if its backing still is `file`, and looks again: success means it is gone.
    fn detach_loop(&self, index: u32, file: FileId) -> Result<Done>;

    /// The same where the backing file lies on a file system that has died: by the path it was opened as ([`Observe::loop_on_dead`]).
    fn detach_dead(&self, index: u32, path: &Path, file: FileId) -> Result<Done> {
        let _ = path;
        self.detach_loop(index, file)
    }

    /// A loop device without discards (of a `full` image) may have gone with its last mount: whoever gets its number next shall have
    /// them again. Does nothing to a device in use; best effort.
    fn renew_loop(&self, index: u32) {
        let _ = index;
    }

    /// Tells a loop device that its file has grown.
    fn resize_loop(&self, index: u32, file: FileId) -> Result<Done>;

    /// Looks whether a file system whose making was interrupted came to its end all the same. Changes nothing.
    ///
    /// # Errors
    /// Its check is not installed, or could not be run.
    fn made(&self, device: &Path, fs: FsType, lock: &Lock) -> Result<Made>;

    /// Checks a file system before its first mount after an attach, repairing what is safe to repair (`e2fsck -p`).
    fn check_filesystem(&self, device: &Path, fs: FsType, lock: &Lock) -> Result<Done>;

    /// Grows a file system to its device and reads the new size back.
    fn grow_filesystem(&self, request: &GrowRequest, lock: &Lock) -> Result<Done>;

    /// Tries out whether unmounted ext4 could be grown to a size that its image does not have yet. A growth that was cut short before is
    /// ended first; else nothing is changed.
    ///
    /// # Errors
    /// [`ErrorKind::Ungrowable`] when what comes of it is not sound, and those of the tools.
    fn try_growth(&self, request: &GrowRequest, to: Capacity, lock: &Lock) -> Result<()> {
        let _ = (request, to, lock);
        Ok(())
    }

    /// Carries out what an offline growth that was cut short has left to do on a device or image nobody uses; `Already` when there is no
    /// such log. A host on which growing is one step never has any.
    fn finish_growth(&self, device: &Path, log: &Path) -> Result<Done> {
        let _ = (device, log);
        Ok(Done::Already)
    }

    /// Gives the file system in an image at its temporary name a new UUID, and reads it back.
    fn change_uuid(&self, path: &Path, fs: FsType, uuid: FsUuid, lock: &Lock) -> Result<()>;

    /// Asks the kernel whether it can use the file system of an image in the making, with these options; nothing is mounted.
    fn try_filesystem(&self, request: &TrialRequest) -> Result<()> {
        let _ = request;
        Ok(())
    }

    /// Erases the signatures found on a device, and proves it blank; only ever called with an approval of the loss.
    fn erase_signatures(&self, device: &Path, expect: BlockId) -> Result<Done>;

    /// Mounts a file system at a directory that is made if need be.
    fn mount(&self, request: &FsMount) -> Result<()>;

    /// Changes the options of a mount of ours in place.
    fn remount(&self, request: &FsMount) -> Result<Done>;

    /// Binds a directory of a mount, or a device node, to a target that exists. A read-only bind is never writable, not even for a moment.
    fn bind(&self, request: &BindMount) -> Result<()>;

    /// Gives the bind that is seen at the target exactly the flags it is asked to have, all at once: a read-only one is never writable.
    /// What is bound there stays; of it only the device is looked at.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when nothing is mounted there; [`ErrorKind::Foreign`] when it is another device's.
    fn change_flags(&self, request: &BindMount) -> Result<Done>;

    /// Takes away the topmost mount at a target if its device and root are the ones meant. `Already` when nothing of ours is there.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when it is in use; [`ErrorKind::Foreign`] when something else is mounted there.
    fn unmount(&self, request: &Unmount) -> Result<Done>;

    /// Makes a target below a trusted root, following no link, and answers every path it made, parents first.
    fn make_target(&self, trusted_root: &Path, target: &Path, kind: PublishKind) -> Result<Vec<PathBuf>>;

    /// Makes a directory in a volume that is mounted at `root`, and its missing parents, following no link, with the owner and the mode that the
    /// volume's root has: whoever may use the volume may use them.
    fn make_inside(&self, root: &Path, path: &Path) -> Result<()> {
        self.make_target(root, path, PublishKind::Mount).map(drop)
    }

    /// Removes one target (rmdir or unlink of an empty file); never recursive, a missing one is fine.
    fn remove_target(&self, trusted_root: &Path, target: &Path, kind: PublishKind) -> Result<Done>;

    /// Sets owner, group and mode of the inode at `path` (a mounted root).
    fn set_ownership(&self, path: &Path, ownership: Ownership) -> Result<Done>;

    /// Gives everything below `path` to a group, with the group's permissions, following no link and staying on one file system; does
    /// nothing when the root already belongs to it.
    fn change_group(&self, path: &Path, group: u32) -> Result<Done>;

    /// Freezes a mounted file system until the guard goes, at most `timeout`. A child holds the freeze and thaws when this process dies.
    fn freeze(&self, mount_point: &Path, timeout: Duration) -> Result<Freeze>;

    /// Thaws a file system that a killed run left frozen; `Already` when it is not frozen.
    fn thaw(&self, mount_point: &Path) -> Result<Done>;

    /// The same for one of which no mount is left, through a mount that has no place in any namespace.
    fn thaw_unmounted(&self, device: &Path, fs: FsType) -> Result<Done> {
        let _ = (device, fs);
        Ok(Done::Already)
    }

    /// Flushes the file system that `path` lies on.
    fn sync(&self, path: &Path) -> Result<()>;

    /// Flushes a block device's dirty pages, and through a loop its file.
    fn flush_device(&self, device: &Path) -> Result<()>;
}
