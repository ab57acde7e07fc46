//! Images that are being made, at their temporary names. Who makes one holds a lock on the file itself until it is put in its place or taken
//! away: the locks of volumes lie in the state directory, and two csictl with two of them, on one pool, would take each other's unfinished
//! image for what a killed run left.

use std::collections::HashMap;
use std::fs::{File, Metadata, OpenOptions, symlink_metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::errors::{failed, wrong};
use super::files;
use crate::host::{ErrorKind, HostError, Result};

/// Images are nobody's but root's.
const MODE: u32 = 0o600;

/// The unfinished images of this process, and its locks on them.
#[derive(Debug, Default)]
pub struct Parts {
    held: Mutex<HashMap<PathBuf, Arc<File>>>,
}

impl Parts {
    /// A new empty file at a temporary name, held until [`Self::let_go`].
    pub fn create(&self, act: &'static str, part: &Path) -> Result<Arc<File>> {
        // The volume's lock is the caller's: what is held from before was left by a failure.
        self.let_go(part);
        let file = Arc::new(create(act, part)?);
        self.held().insert(part.to_owned(), Arc::clone(&file));
        Ok(file)
    }

    /// Refuses to take away what another csictl is making; nobody begins to while the answer is kept.
    pub fn to_take_away(&self, act: &'static str, part: &Path) -> Result<Option<Arc<File>>> {
        match self.held().remove(part) {
            Some(ours) => Ok(Some(ours)),
            None => Ok(abandoned(act, part)?.map(Arc::new)),
        }
    }

    /// Refuses to give a name to another file than the one that was made here.
    pub fn is_ours(&self, act: &'static str, part: &Path) -> Result<()> {
        match self.held().get(part) {
            Some(file) if !is_at(file, part) => Err(others(act, part)),
            _ => Ok(()),
        }
    }

    /// It has its name, or is gone.
    pub fn let_go(&self, part: &Path) {
        self.held().remove(part);
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, Arc<File>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A new empty file at a temporary name, locked as long as it is open; what a killed run left there is removed.
pub fn create(act: &'static str, part: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(MODE).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    let file = match options.open(part) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let _kept = abandoned(act, part)?;
            files::remove_own(act, part)?;
            match options.open(part) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(others(act, part)),
                answer => answer.map_err(failed(act, part))?,
            }
        }
        answer => answer.map_err(failed(act, part))?,
    };
    // Between the two calls somebody else may have taken it for abandoned.
    if try_lock(&file) && is_at(&file, part) { Ok(file) } else { Err(others(act, part)) }
}

/// What lies at a temporary name, locked, if it is a file that nobody is making.
fn abandoned(act: &'static str, part: &Path) -> Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK);
    // What can't be opened, or is no file, is for the removal to judge.
    let Ok(file) = options.open(part) else { return Ok(None) };
    // Between the two calls somebody else may have removed it, and begun his own there.
    if try_lock(&file) && is_at(&file, part) { Ok(Some(file)) } else { Err(others(act, part)) }
}

/// Whether the name leads to this file.
fn is_at(file: &File, part: &Path) -> bool {
    let id = |facts: &Metadata| (facts.dev(), facts.ino());
    matches!((file.metadata(), symlink_metadata(part)), (Ok(held), Ok(there)) if id(&held) == id(&there))
}

/// Whether nobody else holds it; a file system without such locks cannot tell.
fn try_lock(file: &File) -> bool {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::INTR) => {}
            answer => return answer != Err(Errno::WOULDBLOCK),
        }
    }
}

fn others(act: &'static str, part: &Path) -> HostError {
    let cause = "another csictl, with a state directory of its own, is making it; try again when it is done, and give each pool to one state directory";
    wrong(ErrorKind::LockHeld, act, part, cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_csictl_makes_is_neither_made_again_nor_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join(".a.img.part");
        let (ours, theirs) = (Parts::default(), Parts::default());
        let made = ours.create("create", &part).unwrap();
        let inode = made.metadata().unwrap().ino();
        drop(made);

        for answer in [theirs.create("create", &part).map(drop), theirs.to_take_away("remove", &part).map(drop)] {
            assert_eq!(answer.unwrap_err().kind, ErrorKind::LockHeld);
        }
        assert_eq!(std::fs::metadata(&part).unwrap().ino(), inode);

        // As after a kill.
        drop(ours.to_take_away("remove", &part).unwrap());
        drop(theirs.to_take_away("remove", &part).unwrap());
        theirs.create("create", &part).unwrap();
        assert_eq!(ours.create("create", &part).unwrap_err().kind, ErrorKind::LockHeld);
        theirs.create("create", &part).unwrap();
    }

    #[test]
    fn another_file_at_the_temporary_name_gets_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join(".a.img.part");
        let parts = Parts::default();
        parts.create("create", &part).unwrap();
        parts.is_ours("place", &part).unwrap();

        std::fs::rename(&part, folder.path().join("away")).unwrap();
        std::fs::write(&part, "another").unwrap();

        assert_eq!(parts.is_ours("place", &part).unwrap_err().kind, ErrorKind::LockHeld);
        assert!(!is_at(&File::open(folder.path().join("away")).unwrap(), &part));
    }

    #[test]
    fn a_directory_or_a_link_in_the_way_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, link, aim) = (folder.path().join("d"), folder.path().join("l"), folder.path().join("aim"));
        std::fs::create_dir(&directory).unwrap();
        std::fs::write(&aim, "kept").unwrap();
        std::os::unix::fs::symlink(&aim, &link).unwrap();
        let parts = Parts::default();
        assert_eq!(parts.create("create", &directory).unwrap_err().kind, ErrorKind::Foreign);
        parts.create("create", &link).unwrap();
        assert_eq!(std::fs::read_to_string(&aim).unwrap(), "kept");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_file());
    }
}
