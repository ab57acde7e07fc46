//! Whether this machine could serve a volume now: cheap questions, nothing is attached or written.

use std::fs::OpenOptions;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::host::HostError;

/// The device that gives out loop devices.
const LOOP_CONTROL: &str = "/dev/loop-control";

/// Whether loop devices can be had.
///
/// # Errors
/// The module is missing, the device was not passed into the container, or a right is missing.
pub fn can_attach() -> Result<(), HostError> {
    let path = Path::new(LOOP_CONTROL);
    let opened = OpenOptions::new().read(true).write(true).open(path);
    opened.map(drop).map_err(|error| HostError::io("open", path, &error))
}

/// Whether records can be written below this directory.
///
/// # Errors
/// It is gone, read-only, or not for this user.
pub fn can_record(directory: &Path) -> Result<(), HostError> {
    let allowed = access(directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK);
    allowed.map_err(|error| HostError::io("write to", directory, &error.into()))
}
