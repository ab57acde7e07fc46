//! The number by which the kernel knows a mount namespace, which it gives once.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

nix::ioctl_read!(
    /// NS_GET_MNTNS_ID (linux/nsfs.h).
    ns_get_mntns_id, 0xb7, 5, u64);

/// The unique id of the mount namespace that `namespace` is open on (`/proc/PID/ns/mnt`).
///
/// # Errors
/// ENOTTY before Linux 6.11.
pub fn mount_namespace_id(namespace: BorrowedFd<'_>) -> io::Result<u64> {
    let mut id = 0u64;
    // SAFETY: the descriptor is open for the call's length and the kernel writes eight bytes to `id`.
    unsafe { ns_get_mntns_id(namespace.as_raw_fd(), &raw mut id) }?;
    Ok(id)
}
