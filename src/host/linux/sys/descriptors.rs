//! Descriptors: who else has a file open, what is handed to a child and what is not, and taking over those that others opened.

use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::process::CommandExt;

use super::check;

/// Whether nobody but the caller has this file open, in any process or as a loop's backing.
///
/// A write lease is granted only to the sole opener (fcntl(2), F_SETLEASE), so asking for one and giving it back tells without
/// looking at every loop device. `false` also when the file system knows no leases.
pub fn sole_opener(file: BorrowedFd<'_>) -> bool {
    const F_SETSIG: c_int = 10;
    let raw = file.as_raw_fd();
    // Whoever opens the file in that moment breaks the lease, and the kernel tells us by a signal: SIGIO would kill this process,
    // SIGURG is ignored by default.
    // SAFETY: fcntl with integer arguments on a descriptor that is open for the call's length.
    let granted = unsafe {
        libc::fcntl(raw, F_SETSIG, libc::SIGURG) == 0 && libc::fcntl(raw, libc::F_SETLEASE, libc::F_WRLCK) == 0
    };
    if granted {
        // SAFETY: as above.
        unsafe { libc::fcntl(raw, libc::F_SETLEASE, libc::F_UNLCK) };
    }
    granted
}

/// Marks every descriptor but the three of stdio close-on-exec. What csictl opens is so from the start; what it was started with
/// need not be, and would reach every helper (CVE-2024-21626).
///
/// # Errors
/// ENOSYS or EINVAL before Linux 5.11.
pub fn close_inherited_on_exec() -> io::Result<()> {
    const CLOSE_RANGE_CLOEXEC: c_int = 4;
    // SAFETY: close_range touches no memory, and with this flag closes nothing.
    if unsafe { libc::syscall(libc::SYS_close_range, 3 as c_int, c_int::MAX, CLOSE_RANGE_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Has a program that is started by `command` get this descriptor, under its number. Nobody else who is started meanwhile does.
pub fn hand_down(command: &mut impl CommandExt, file: BorrowedFd<'_>) {
    let number = file.as_raw_fd();
    // SAFETY: fcntl with F_SETFD touches no memory, and answers EBADF for a number that is no descriptor.
    let keep = move || check(unsafe { libc::fcntl(number, libc::F_SETFD, 0) }.into()).map(drop);
    // SAFETY: between fork and exec nothing is called but that one fcntl, which a signal handler may call too.
    unsafe { command.pre_exec(keep) };
}

/// Takes over a descriptor that this process was started with, and keeps it from its children.
///
/// # Errors
/// EBADF when there is none of this number.
pub fn inherited(number: c_int) -> io::Result<OwnedFd> {
    // SAFETY: fcntl with F_SETFD touches no memory, and answers EBADF for a number that is no descriptor.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())?;
    // SAFETY: the descriptor is open, and nothing in this process owns it: it was there before main.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Takes over the descriptor of something that gives it away.
pub fn own(from: impl IntoRawFd) -> File {
    // SAFETY: into_raw_fd gives up ownership of an open descriptor, so it is ours alone.
    unsafe { File::from_raw_fd(from.into_raw_fd()) }
}

/// Lends the descriptor of something that only tells its number (loopdev's devices).
pub fn with_fd<T>(of: &impl AsRawFd, act: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
    // SAFETY: `of` is borrowed for the whole call, so its descriptor stays open.
    act(unsafe { BorrowedFd::borrow_raw(of.as_raw_fd()) })
}
