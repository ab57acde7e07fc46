//! The real machine: loop devices, mounts, file-system tools and probes of Linux behind the traits of [`crate::host`].
//!
//! Way in: [`LinuxObserve`] and [`LinuxHost`] (host.rs), whose verbs each call one room. All `unsafe` is in `sys`.

pub mod activation;
mod bind;
mod commit;
mod copy;
pub mod crc32c;
mod device;
mod discard;
pub mod erase;
mod errors;
pub mod ext_superblock;
pub mod ext_template;
mod extents;
mod facts;
mod files;
pub mod format;
mod freeze;
pub mod fs_uuid;
pub mod fsck;
pub mod grow;
pub mod growth;
pub mod helper;
mod host;
pub mod identity;
mod image;
mod landing;
mod lock;
mod lookup;
mod loops;
pub mod mkfs;
mod mount;
pub mod mountinfo;
mod options;
mod output;
mod ownership;
mod parts;
mod path;
mod patience;
pub mod probe;
pub mod readiness;
mod remains;
mod small;
pub mod socket;
mod sys;
mod told;
mod trial;
mod unmount;
mod users;
mod watch;
mod who;
mod xfs_log;
mod zeros;

pub use host::{LinuxHost, LinuxObserve};
pub use sys::close_inherited_on_exec;

/// The user this process acts as.
pub fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
