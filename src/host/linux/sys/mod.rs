//! The only `unsafe` of the house: system calls that no crate wraps, each behind a safe function with plain types. Layouts and
//! numbers are those of the kernel's uapi headers.
#![allow(unsafe_code)]

mod block;
mod descriptors;
mod extents;
mod freeze;
mod loops;
mod mounts;
mod namespace;
mod xfs;

use std::ffi::c_long;
use std::io;

pub use block::{block_read_only, block_size_bytes, device_numbers};
pub use descriptors::{close_inherited_on_exec, hand_down, inherited, own, sole_opener, with_fd};
pub use extents::{MappedExtent, fiemap};
pub use freeze::{FREEZE_FAILED, FREEZE_HELD, FreezeChild, thaw};
pub use loops::{LO_AUTOCLEAR, LO_DIRECT_IO, LO_READ_ONLY, loop_attach, loop_remove, loop_set_autoclear, loop_status};
pub use mounts::{MountAttr, StatMount, attr, mount_setattr, statmount, statmount_mask};
pub use namespace::mount_namespace_id;
pub use xfs::{xfs_blocks_kept_back, xfs_reflink};

fn check(result: c_long) -> io::Result<c_long> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
