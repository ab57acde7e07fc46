//! Whether discards of a loop device reach its file. For a `full` image they must not: an fstrim would give the reserved bytes
//! back to the pool.
//!
//! The kernel has no flag for it at attach. A limit of 0 in the queue's sysfs folder stops discards, and with them zeroing that
//! may unmap (loop.c asks the same limit). But it is a one-way switch (6.18): a device without discards has no granularity, and
//! without one the kernel refuses every other limit, even for the next file attached to it. So a device that was switched off is
//! removed once it is free, and made anew on demand; until then it is not taken for an image that wants discards.

use std::fs;
use std::io;
use std::path::Path;

use super::errors::{failed, wrong};
use super::{loops, sys};
use crate::host::{ErrorKind, Result};

/// The limit, in bytes.
const LIMIT: &str = "queue/discard_max_bytes";
/// What the loop driver could do with the file behind it (or, while free, with the last one).
const POSSIBLE: &str = "queue/discard_max_hw_bytes";

/// Whether discards were switched off on a device that could do them.
pub fn is_off(index: u32) -> bool {
    let folder = loops::sysfs(index);
    let number = |name: &str| read(&folder.join(name)).ok().flatten();
    number(LIMIT) == Some(0) && number(POSSIBLE).is_some_and(|possible| possible > 0)
}

/// Switches discards of an attached device off. Freezes the queue for a moment (16 ms), so only where they are on.
pub fn switch_off(index: u32) -> Result<()> {
    const ACT: &str = "switch off discards with";
    let path = loops::sysfs(index).join(LIMIT);
    if read(&path).map_err(failed(ACT, &path))?.unwrap_or(0) == 0 {
        return Ok(());
    }
    fs::write(&path, "0").map_err(|error| {
        let mut failure = failed(ACT, &path)(error);
        failure.cause = format!("{}; without it an fstrim would give up a full image's reservation", failure.cause);
        failure
    })?;
    match read(&path).map_err(failed(ACT, &path))? {
        Some(0) => Ok(()),
        _ => Err(wrong(ErrorKind::Verify, ACT, &path, "the kernel took the value and did not keep it")),
    }
}

/// Removes a free device whose discards are off, so that whoever gets the number next has them. Best effort: a device that
/// somebody has taken or opened meanwhile is refused by the kernel and left.
pub fn renew(index: u32) {
    if is_off(index)
        && let Ok(control) = loops::control()
    {
        let _ = sys::with_fd(&control, |fd| sys::loop_remove(fd, index));
    }
}

fn read(path: &Path) -> io::Result<Option<u64>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
