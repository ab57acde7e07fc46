//! Locks: flock(2) on a file opened afresh for each operation, because the lock belongs to the open file and two operations of
//! one process must exclude each other as two processes do. The descriptor may be handed to a helper as its stdin, which
//! then keeps the volume locked after its parent was killed.

use std::fs::symlink_metadata;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, fstat, openat, statat};
use rustix::io::Errno;

use super::errors::{refused, wrong};
use super::files::not_a_file;
use crate::host::{ErrorKind, Lock, LockMode, Result};

const ACT: &str = "lock";
const MODE: u32 = 0o600;
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Takes the lock, waiting at most `timeout`.
pub fn lock(path: &Path, mode: LockMode, timeout: Duration) -> Result<Lock> {
    let operation = match mode {
        LockMode::Shared => FlockOperation::NonBlockingLockShared,
        LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    let deadline = Instant::now() + timeout;
    let mut pause = FIRST_PAUSE;
    let mut file = open(path)?;
    loop {
        match flock(&file, operation) {
            Ok(()) if is_at(&file, path) => return Ok(Lock::on_file(file)),
            // Somebody removed the file and perhaps made a new one: a lock on the old is a lock on nothing.
            Ok(()) => {
                file = open(path)?;
                continue;
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(error) => return Err(refused(ACT, path)(error)),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let cause = format!("another csictl has held it for more than {timeout:?}; try again when it is done");
            return Err(wrong(ErrorKind::LockHeld, ACT, path, cause));
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let answer = match openat(CWD, path, flags, Mode::empty()) {
        // Only then: asking to create takes the directory's own lock, for which everybody else would queue.
        Err(Errno::NOENT) => openat(CWD, path, flags | OFlags::CREATE, Mode::from_raw_mode(MODE)),
        // flock(2) asks for no right to write: with the state directory read-only, everybody can still take down.
        Err(Errno::ROFS) => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            openat(CWD, path, flags, Mode::empty()).map_err(|_| Errno::ROFS)
        }
        answer => answer,
    };
    answer.map_err(|error| match symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => not_a_file(ACT, path, facts.file_type()),
        _ => refused(ACT, path)(error),
    })
}

fn is_at(file: &OwnedFd, path: &Path) -> bool {
    let (Ok(held), Ok(there)) = (fstat(file.as_fd()), statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)) else {
        return false;
    };
    (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
}
