//! Deleting what cannot be seen. A file that is not at its path is gone only where its pool is the one it lay in; where the pool is away, the
//! record is all that tells of it. And a file that was elsewhere while it was deleted may come back: a mark keeps it from being taken for
//! a new volume's.

use std::path::{Path, PathBuf};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{FileKind, Host, HostError, Observe};
use crate::model::{FileId, Layout, ObjectRef};

use super::LocalDriver;
use super::session::host_failure;

/// Refuses to take a missing file for gone that only cannot be seen: its pool's file system is not mounted, or another one lies there.
pub(super) fn pool_is_there(driver: &LocalDriver, object: &ObjectRef, path: &Path, was: Option<FileId>) -> Result<()> {
    pool_of(driver.host(), object, path, was)
}

/// The same without a driver. Of a file of which nothing is known but its path, the directory at least has to be there.
pub(super) fn pool_of(host: &dyn Observe, object: &ObjectRef, path: &Path, was: Option<FileId>) -> Result<()> {
    let pool = path.parent().unwrap_or(path);
    let is = host.stat(pool).map_err(|error| host_failure(object, error))?;
    let is = is.filter(|is| is.kind == FileKind::Directory);
    if is.is_some_and(|is| was.is_none_or(|was| was.device == is.file.device)) {
        return Ok(());
    }
    let why = if is.is_none() { "is not there" } else { "is not the one that holds it" };
    let (pool, file) = (pool.display(), path.display());
    Err(DriverError::refused(
        Refusal::NotReady,
        object.clone(),
        format!("its pool {pool} {why}: {file} can't be deleted, and would come back with the pool"),
        format!("mount the pool at {pool} first; if it is lost for good, remove the record by hand (docs/csi.md)"),
    ))
}

/// A file that was unlinked stays away before its record goes: a power cut between the two must not bring it back with nobody knowing of it.
pub(super) fn stays_away(host: &dyn Host, layout: &Layout, path: &Path) -> std::result::Result<(), HostError> {
    path.parent().map_or(Ok(()), |pool| host.settle_removal(pool, &layout.state))
}

/// Where the mark of a file is.
fn mark_of(layout: &Layout, path: &Path) -> Option<PathBuf> {
    Some(layout.deleted().join(path.file_name()?))
}

/// Remembers that this file is deleted, though it was not found.
pub(super) fn mark(driver: &LocalDriver, object: &ObjectRef, path: &Path) -> Result<()> {
    let Some(mark) = mark_of(driver.layout(), path) else { return Ok(()) };
    let fail = |error: HostError| host_failure(object, error);
    driver.host().make_dir(&driver.layout().deleted(), 0o700).map_err(fail)?;
    driver.host().write_small(&mark, path.display().to_string().as_bytes(), true).map_err(fail)
}

/// Forgets the mark of a file, which is gone or is made anew.
pub(super) fn forget(host: &dyn Host, layout: &Layout, path: &Path) -> std::result::Result<(), HostError> {
    mark_of(layout, path).map_or(Ok(()), |mark| host.remove_small(&mark, false).map(drop))
}

/// Refuses a file that is there and was deleted before it came; where none is, its mark has served.
pub(super) fn not_marked(driver: &LocalDriver, object: &ObjectRef, path: &Path, there: bool) -> Result<()> {
    let fail = |error: HostError| host_failure(object, error);
    let Some(mark) = mark_of(driver.layout(), path) else { return Ok(()) };
    if driver.host().stat(&mark).map_err(fail)?.is_none() {
        return Ok(());
    }
    if !there {
        return forget(driver.host(), driver.layout(), path).map_err(fail);
    }
    Err(DriverError::refused(
        Refusal::Foreign,
        object.clone(),
        format!(
            "{} is there again, of one that was deleted while it was elsewhere: it is not taken over",
            path.display()
        ),
        format!("csictl gc shows it and removes it by name; to have it back, remove the mark {}", mark.display()),
    ))
}
