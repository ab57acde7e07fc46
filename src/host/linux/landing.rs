//! What is common to everything that puts a mount somewhere: its propagation is set as meant, and it is looked at again through
//! the wanted path. A directory above it may have been moved or swapped while we mounted; then the mount is elsewhere, is taken
//! away again, and that is an error.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};

use super::errors::{failed, wrong};
use super::{lookup, path, sys};
use crate::host::{ErrorKind, HostError, Result};
use crate::model::{Mount, Propagation};

/// A target opened for mounting on, with what is needed to name it again.
pub struct Landing<'a> {
    /// The act, for messages.
    pub act: &'static str,
    /// The trusted root.
    pub trusted_root: &'a Path,
    /// The target.
    pub target: &'a Path,
    /// The inode that gets covered.
    pub fd: OwnedFd,
    /// The id of the mount that inode lies on.
    below: u64,
}

impl<'a> Landing<'a> {
    /// Opens a target that nothing is mounted on.
    pub fn open(act: &'static str, trusted_root: &'a Path, target: &'a Path) -> Result<Self> {
        let fd = path::open_target(act, trusted_root, target)?;
        let (mount, is_root) = lookup::mount_of(fd.as_fd(), target)?;
        if is_root {
            return Err(wrong(
                ErrorKind::Exists,
                act,
                target,
                format!("{} ({}) is mounted there already", mount.source.display(), mount.fs_type),
            ));
        }
        Ok(Self { act, trusted_root, target, fd, below: mount.id })
    }

    /// Checks that `ours` is what is seen at the target now and sets its propagation; takes the new mount away again if not.
    pub fn settle(self, propagation: Propagation, ours: impl Fn(&Mount) -> bool) -> Result<Mount> {
        match self.look_again(propagation, &ours) {
            Ok(mount) => Ok(mount),
            Err(error) => Err(self.undo(error, &ours)),
        }
    }

    fn look_again(&self, propagation: Propagation, ours: &impl Fn(&Mount) -> bool) -> Result<Mount> {
        let seen = path::open_target(self.act, self.trusted_root, self.target)?;
        let (mount, is_root) = lookup::mount_of(seen.as_fd(), self.target)?;
        if !is_root || !ours(&mount) || mount.target != self.target {
            return Err(wrong(
                ErrorKind::UnsafePath,
                self.act,
                self.target,
                "the path was exchanged while it was being mounted on: the mount is not kept",
            ));
        }
        // The kernel puts a mount on whatever came there since the inode was opened.
        if mount.parent != self.below {
            let cause = "something else was mounted there at the same moment: the mount is not kept";
            return Err(wrong(ErrorKind::Exists, self.act, self.target, cause));
        }
        set_propagation(seen.as_fd(), &mount, propagation, self.act, self.target)?;
        Ok(mount)
    }

    /// Takes away a mount that did not land where it should. Nothing was mounted on the covered inode, which is still open: what covers
    /// it now, wherever its directory was moved, is what was just put there.
    fn undo(&self, error: HostError, ours: &impl Fn(&Mount) -> bool) -> HostError {
        /// The directory may be moved to and fro meanwhile, and somebody be looking into the mount.
        const PATIENCE: Duration = Duration::from_secs(2);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.take_away(ours) {
                return error;
            }
            std::thread::yield_now();
        }
        HostError { cause: format!("{}; it could not be undone, look for it with findmnt", error.cause), ..error }
    }

    /// Whether the new mount was found at the covered inode's path of this moment and taken away.
    fn take_away(&self, ours: &impl Fn(&Mount) -> bool) -> bool {
        let Ok(now) = fs::read_link(path::proc_path(&self.fd)) else { return false };
        let Ok((parent, name)) = path::open_parent(self.act, Path::new("/"), &now) else { return false };
        let seen = lookup::top_at(parent.as_fd(), &name, &now);
        seen.is_ok_and(|seen| seen.is_some_and(|seen| ours(&seen.mount)))
            && unmount(path::proc_path(&parent).join(&name), UnmountFlags::NOFOLLOW).is_ok()
    }
}

/// Sets the propagation of the mount `fd` is open on, where it differs.
pub fn set_propagation(
    fd: BorrowedFd<'_>,
    mount: &Mount,
    wanted: Propagation,
    act: &'static str,
    object: &Path,
) -> Result<()> {
    if mount.propagation() == wanted && !(wanted == Propagation::Bidirectional && mount.slave) {
        return Ok(());
    }
    let attributes = sys::MountAttr { propagation: propagation_bits(wanted), ..sys::MountAttr::default() };
    sys::mount_setattr(fd, &attributes).map_err(failed(act, object))
}

/// `MS_PRIVATE`, `MS_SLAVE` or `MS_SHARED`.
pub const fn propagation_bits(propagation: Propagation) -> u64 {
    match propagation {
        Propagation::None => libc::MS_PRIVATE,
        Propagation::HostToContainer => libc::MS_SLAVE,
        Propagation::Bidirectional => libc::MS_SHARED,
    }
}
