//! Loop ioctls (loop(4)): what is behind a device, attaching in one call, autoclear, and removal of a free one.

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd};

/// `LO_FLAGS_READ_ONLY`.
pub const LO_READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`.
pub const LO_AUTOCLEAR: u32 = 4;
/// `LO_FLAGS_DIRECT_IO`.
pub const LO_DIRECT_IO: u32 = 16;

const LO_NAME_SIZE: usize = 64;

/// `struct loop_info64` (linux/loop.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; LO_NAME_SIZE],
    crypt_name: [u8; LO_NAME_SIZE],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` (linux/loop.h).
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo64>() == 232 && size_of::<LoopConfig>() == 304);

nix::ioctl_read_bad!(
    /// LOOP_GET_STATUS64.
    loop_get_status64, 0x4C05, LoopInfo64);
nix::ioctl_write_ptr_bad!(
    /// LOOP_SET_STATUS64.
    loop_set_status64, 0x4C04, LoopInfo64);
nix::ioctl_write_ptr_bad!(
    /// LOOP_CONFIGURE.
    loop_configure, 0x4C0A, LoopConfig);
nix::ioctl_write_int_bad!(
    /// LOOP_CTL_REMOVE.
    loop_ctl_remove, 0x4C81);

/// What LOOP_GET_STATUS64 says of an attached device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoopStatus {
    /// Device of the backing file, as in `st_dev`.
    pub device: u64,
    /// Inode of the backing file.
    pub inode: u64,
    /// Offset into it.
    pub offset: u64,
    /// Bytes used of it; 0 for all.
    pub size_limit: u64,
    /// `LO_*` flags.
    pub flags: u32,
}

/// Asks a loop device what is behind it.
///
/// # Errors
/// ENXIO when nothing is.
pub fn loop_status(device: BorrowedFd<'_>) -> io::Result<LoopStatus> {
    let info = loop_info(device)?;
    Ok(LoopStatus {
        device: info.device,
        inode: info.inode,
        offset: info.offset,
        size_limit: info.size_limit,
        flags: info.flags,
    })
}

fn loop_info(device: BorrowedFd<'_>) -> io::Result<LoopInfo64> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut info: LoopInfo64 = unsafe { zeroed() };
    // SAFETY: the descriptor is open for the call's length, `info` is a writable struct of the layout the kernel fills.
    unsafe { loop_get_status64(device.as_raw_fd(), &raw mut info) }?;
    Ok(info)
}

/// Attaches `backing` to a free loop device in one call.
///
/// # Errors
/// EBUSY when somebody was faster.
pub fn loop_attach(device: BorrowedFd<'_>, backing: BorrowedFd<'_>, block_size: u32, flags: u32) -> io::Result<()> {
    // SAFETY: all-zero is a valid value of this plain C struct.
    let mut config: LoopConfig = unsafe { zeroed() };
    config.fd = backing.as_raw_fd().cast_unsigned();
    config.block_size = block_size;
    config.info.flags = flags;
    // SAFETY: both descriptors are open for the call's length, `config` is a whole loop_config the kernel only reads.
    unsafe { loop_configure(device.as_raw_fd(), &raw const config) }?;
    Ok(())
}

/// Sets or clears AUTOCLEAR of an attached loop device. Costs an RCU grace period (16 ms).
///
/// # Errors
/// What LOOP_SET_STATUS64 says.
pub fn loop_set_autoclear(device: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    let mut info = loop_info(device)?;
    info.flags = if on { info.flags | LO_AUTOCLEAR } else { info.flags & !LO_AUTOCLEAR };
    // SAFETY: the descriptor is open for the call's length, `info` is a whole loop_info64 the kernel only reads.
    unsafe { loop_set_status64(device.as_raw_fd(), &raw const info) }?;
    Ok(())
}

/// Removes a free loop device from the system; the kernel makes it anew on demand.
///
/// # Errors
/// EBUSY when it is attached or open.
pub fn loop_remove(control: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call's length; the argument is a plain number.
    unsafe { loop_ctl_remove(control.as_raw_fd(), index.cast_signed()) }?;
    Ok(())
}
