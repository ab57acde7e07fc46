//! Block devices: how large one is, whether it may be written to, and the numbers of which its id is made.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

nix::ioctl_read!(
    /// BLKGETSIZE64; the header says size_t, the kernel writes eight bytes.
    blkgetsize64, 0x12, 114, u64);
nix::ioctl_read_bad!(
    /// BLKROGET.
    blkroget, nix::request_code_none!(0x12, 94), c_int);

/// Size of a block device in bytes.
///
/// # Errors
/// ENOTTY when it is none.
pub fn block_size_bytes(device: BorrowedFd<'_>) -> io::Result<u64> {
    let mut size = 0u64;
    // SAFETY: the descriptor is open for the call's length and the kernel writes eight bytes to `size`.
    unsafe { blkgetsize64(device.as_raw_fd(), &raw mut size) }?;
    Ok(size)
}

/// Whether a block device refuses writes.
///
/// # Errors
/// ENOTTY when it is none.
pub fn block_read_only(device: BorrowedFd<'_>) -> io::Result<bool> {
    let mut read_only: c_int = 0;
    // SAFETY: the descriptor is open for the call's length and the kernel writes one int.
    unsafe { blkroget(device.as_raw_fd(), &raw mut read_only) }?;
    Ok(read_only != 0)
}

/// Major and minor of a `dev_t`.
pub fn device_numbers(device: u64) -> (u32, u32) {
    (libc::major(device), libc::minor(device))
}
