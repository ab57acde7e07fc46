//! The real machine: loop devices, mounts, file-system tools and probes of Linux behind the traits of [`crate::host`].

pub mod crc32c;
pub mod probe;
