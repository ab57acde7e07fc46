//! What only XFS tells of itself.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

nix::ioctl_read!(
    /// XFS_IOC_GET_RESBLKS: blocks kept back, and how many of them are left.
    xfs_get_resblks, b'X', 115, [u64; 2]);
nix::ioctl_read!(
    /// XFS_IOC_FSGEOMETRY_V1, whose size is all that the number holds.
    xfs_geometry_v1, b'X', 100, [u32; 28]);

/// Whether the XFS that `fd` lies on shares extents (XFS_FSOP_GEOM_FLAGS_REFLINK).
///
/// # Errors
/// ENOTTY on another file system.
pub fn xfs_reflink(fd: BorrowedFd<'_>) -> io::Result<bool> {
    /// Index of `flags` in struct xfs_fsop_geom_v1, counted in u32.
    const FLAGS: usize = 23;
    const REFLINK: u32 = 1 << 20;
    let mut geometry = [0u32; 28];
    // SAFETY: the descriptor is open for the call's length; the array has the 112 bytes that the ioctl's number names.
    unsafe { xfs_geometry_v1(fd.as_raw_fd(), &raw mut geometry) }?;
    Ok(geometry[FLAGS] & REFLINK != 0)
}

/// How many blocks the XFS at a descriptor keeps back: some while it may be written to, none while it is frozen.
///
/// # Errors
/// ENOTTY on another file system, EPERM without CAP_SYS_ADMIN.
pub fn xfs_blocks_kept_back(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut kept = [0u64; 2];
    // SAFETY: the descriptor is open for the call's length; the array has the 16 bytes that the ioctl's number names.
    unsafe { xfs_get_resblks(fd.as_raw_fd(), &raw mut kept) }?;
    Ok(kept[0])
}
