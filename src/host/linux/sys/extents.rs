//! FS_IOC_FIEMAP: where the bytes of a file lie on their device.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};

/// How many extents one FIEMAP call asks for.
const FIEMAP_EXTENTS: usize = 64;
const FIEMAP_COUNT: u32 = 64;

/// `struct fiemap` (linux/fiemap.h) without its extents.
#[repr(C)]
struct FiemapHead {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

/// `struct fiemap_extent` (linux/fiemap.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct FiemapExtent {
    logical: u64,
    physical: u64,
    length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct Fiemap {
    head: FiemapHead,
    extents: [FiemapExtent; FIEMAP_EXTENTS],
}

const _: () = assert!(size_of::<FiemapHead>() == 32 && size_of::<FiemapExtent>() == 56);
const _: () = assert!(FIEMAP_COUNT as usize == FIEMAP_EXTENTS);

nix::ioctl_readwrite!(
    /// FS_IOC_FIEMAP.
    fs_ioc_fiemap, b'f', 11, FiemapHead);

/// Where a stretch of a file lies on its file system's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedExtent {
    /// Its first byte in the file.
    pub logical: u64,
    /// Its first byte on the device.
    pub physical: u64,
    /// How many bytes.
    pub length: u64,
    /// `FIEMAP_EXTENT_*`.
    pub flags: u32,
}

/// The first extents of a file in a range, as many as one call answers.
///
/// # Errors
/// EOPNOTSUPP where the file system does not tell.
pub fn fiemap(file: BorrowedFd<'_>, start: u64, length: u64) -> io::Result<Vec<MappedExtent>> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut map: Fiemap = unsafe { zeroed() };
    map.head.start = start;
    map.head.length = length;
    map.head.count = FIEMAP_COUNT;
    // SAFETY: the descriptor is open for the call's length; behind the head lies room for `count` extents, which is all the kernel writes.
    unsafe { fs_ioc_fiemap(file.as_raw_fd(), (&raw mut map).cast::<FiemapHead>()) }?;
    let found = map.extents.iter().take(map.head.mapped as usize);
    Ok(found
        .map(|extent| MappedExtent {
            logical: extent.logical,
            physical: extent.physical,
            length: extent.length,
            flags: extent.flags,
        })
        .collect())
}
