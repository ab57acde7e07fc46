//! FIFREEZE and FITHAW, and the fork of the child that holds a freeze: it ends, and thaws, with its parent.

use std::ffi::c_int;
use std::io;
use std::mem::zeroed;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

nix::ioctl_readwrite!(
    /// FIFREEZE.
    fifreeze, b'X', 119, c_int);
nix::ioctl_readwrite!(
    /// FITHAW.
    fithaw, b'X', 120, c_int);

/// Thaws a frozen file system.
///
/// # Errors
/// EINVAL when it is not frozen.
pub fn thaw(mount_point: BorrowedFd<'_>) -> io::Result<()> {
    let mut unused: c_int = 0;
    // SAFETY: the descriptor is open for the call's length; the argument is not used by the kernel.
    unsafe { fithaw(mount_point.as_raw_fd(), &raw mut unused) }?;
    Ok(())
}

/// A child that holds a freeze.
#[derive(Debug)]
pub struct FreezeChild {
    pid: libc::pid_t,
    /// While this end is open the child keeps the file system frozen.
    keep: Option<OwnedFd>,
    /// What the child has to say, one byte each: see [`FREEZE_HELD`].
    pub said: OwnedFd,
}

/// The child has frozen the file system.
pub const FREEZE_HELD: u8 = b'f';
/// The child has thawed it because its time was over.
pub const FREEZE_TIMED_OUT: u8 = b't';
/// Freezing failed; the errno follows as one byte.
pub const FREEZE_FAILED: u8 = b'e';

impl FreezeChild {
    /// Forks a child that freezes the file system and thaws it when this value is dropped, when this process dies, or when
    /// `timeout` is over. The file descriptor of the mount point has to be above 2.
    ///
    /// # Errors
    /// The pipes or the fork; what FIFREEZE says comes through [`Self::said`].
    pub fn spawn(mount_point: BorrowedFd<'_>, timeout: Duration) -> io::Result<Self> {
        let (keep_read, keep_write) = pipe()?;
        let (said_read, said_write) = pipe()?;
        let milliseconds = c_int::try_from(timeout.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: the child of this threaded process calls nothing but async-signal-safe functions and leaves with _exit.
        let pid = unsafe { libc::fork() };
        match pid {
            -1 => Err(io::Error::last_os_error()),
            0 => freeze_child(mount_point.as_raw_fd(), keep_read.as_raw_fd(), said_write.as_raw_fd(), milliseconds),
            pid => Ok(Self { pid, keep: Some(keep_write), said: said_read }),
        }
    }

    /// Has the child thaw the file system, and answers whether there was something to thaw: that it was alive, its time was not over, and
    /// nobody else had thawed it.
    pub fn end(mut self) -> bool {
        self.wait() == Some(0)
    }

    /// Ends the child, once; what it exited with, if it did.
    fn wait(&mut self) -> Option<c_int> {
        drop(self.keep.take()?);
        let mut status = 0;
        loop {
            // SAFETY: waiting for a child of ours; `status` is a writable int.
            match unsafe { libc::waitpid(self.pid, &raw mut status, 0) } {
                -1 if io::Error::last_os_error().raw_os_error() == Some(libc::EINTR) => {}
                -1 => return None,
                _ => return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            }
        }
    }
}

impl Drop for FreezeChild {
    fn drop(&mut self) {
        self.wait();
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0 as c_int; 2];
    // SAFETY: the array has room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: pipe2 succeeded, so both are open and nobody else owns them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// The life of the freezing child. Runs between fork and _exit: no allocation, no lock, no panic.
fn freeze_child(mount_point: c_int, keep: c_int, said: c_int, timeout: c_int) -> ! {
    // SAFETY: only async-signal-safe calls on descriptors this process inherited, with pointers to locals.
    unsafe {
        // Ctrl-C at the terminal, and whatever else can be blocked, is not for this child: it ends with its pipe.
        libc::setpgid(0, 0);
        let mut all: libc::sigset_t = zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        close_others([mount_point, keep, said]);
        let mut unused: c_int = 0;
        if let Err(errno) = fifreeze(mount_point, &raw mut unused) {
            let message = [FREEZE_FAILED, (errno as i32).to_le_bytes()[0]];
            libc::write(said, message.as_ptr().cast(), message.len());
            libc::_exit(1);
        }
        libc::write(said, [FREEZE_HELD].as_ptr().cast(), 1);
        let mut wait = libc::pollfd { fd: keep, events: libc::POLLIN, revents: 0 };
        let timed_out = libc::poll(&raw mut wait, 1, timeout) == 0;
        let thawed = fithaw(mount_point, &raw mut unused).is_ok();
        if timed_out {
            libc::write(said, [FREEZE_TIMED_OUT].as_ptr().cast(), 1);
        }
        libc::_exit(c_int::from(timed_out || !thawed));
    }
}

/// Closes every descriptor but these three: a lock or another child's pipe that stayed open here would outlive its owner.
///
/// # Safety
/// Only for a child between fork and _exit, which uses none of the closed descriptors.
unsafe fn close_others(mut keep: [c_int; 3]) {
    // Three values, sorted by hand: nothing here may allocate or panic.
    if keep[0] > keep[1] {
        keep.swap(0, 1);
    }
    if keep[1] > keep[2] {
        keep.swap(1, 2);
    }
    if keep[0] > keep[1] {
        keep.swap(0, 1);
    }
    let mut from = 0;
    for fd in keep {
        if fd > from {
            // SAFETY: close_range touches no memory.
            unsafe { libc::syscall(libc::SYS_close_range, from, fd - 1, 0) };
        }
        from = fd + 1;
    }
    // SAFETY: as above.
    unsafe { libc::syscall(libc::SYS_close_range, from, c_int::MAX, 0) };
}
