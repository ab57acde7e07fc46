//! The real machine: loop devices, mounts, file-system tools and probes of Linux behind the traits of [`crate::host`].

pub mod crc32c;
pub mod erase;
pub mod ext_superblock;
pub mod ext_template;
pub mod format;
pub mod fs_uuid;
pub mod fsck;
pub mod grow;
pub mod helper;
pub mod mkfs;
pub mod probe;
