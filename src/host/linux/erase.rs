//! Erasing signatures: zeros over every byte a probe looks at, then a probe that has to find nothing.
//!
//! Done for the wipe of a device that a user has approved by name, and for a file system csictl began itself. The end is
//! erased before the start, so that after a kill what is left still says what it was.

use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use super::format::open;
use super::probe::{probe, view};
use crate::host::{ErrorKind, HostError, Result};
use crate::model::{BlockId, Done, Probe};

const ACT: &str = "erase signatures of";

/// Erases the signatures on a device that is the one meant and in use by nobody, and proves it blank.
///
/// # Errors
/// Another device, a busy one, or one that could not be read, written, or proven blank after.
pub fn erase_signatures(device: &Path, expect: BlockId) -> Result<Done> {
    let file = open(device, true)?;
    let facts = file.metadata().map_err(|error| HostError::io(ACT, device, &error))?;
    let found = BlockId { major: rustix::fs::major(facts.rdev()), minor: rustix::fs::minor(facts.rdev()) };
    if !facts.file_type().is_block_device() || found != expect {
        let cause = format!("it is {found}, not the device {expect} that was meant");
        return Err(HostError::new(ErrorKind::Foreign, ACT, device, cause));
    }
    if probe(&file).is_blank() {
        return Ok(Done::Already);
    }
    erase(&file, device)?;
    Ok(Done::Changed)
}

/// Writes zeros wherever a probe looks, flushes, and probes.
pub(super) fn erase(file: &File, path: &Path) -> Result<()> {
    let failed = |error: std::io::Error| HostError::io(ACT, path, &error);
    let size = view::ReadAt::size(file).map_err(failed)?;
    let mut places = [view::samples(size), view::ranges(size)].concat();
    places.sort_unstable();
    for (start, end) in places.into_iter().rev() {
        let len = usize::try_from(end - start).map_err(|error| failed(std::io::Error::other(error)))?;
        file.write_all_at(&vec![0; len], start).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    match probe(file) {
        Probe::Blank => Ok(()),
        left => Err(HostError::new(ErrorKind::Verify, ACT, path, format!("after erasing, this is left: {left}"))),
    }
}
