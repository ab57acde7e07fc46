//! Whether the file system that holds a pool is mounted: records remember images, and on which file system each of them lay. Where all of them
//! are missing and another file system lies there, an image made now would be hidden the moment the right one is mounted.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::host::{FileKind, HostError, Observe};
use crate::model::BlockId;
use crate::model::record::{SnapshotRecord, VolumeRecord};

use super::LocalDriver;
use super::observe::parallel;

/// The name of one of the images recorded in this pool, if none of them is there and the pool's directory is on none of the file systems they
/// were made on. Device numbers may change with a boot, so that an image that is there outweighs them.
pub(super) fn missed<'r>(
    host: &dyn Observe,
    pool: &Path,
    volumes: impl Iterator<Item = &'r VolumeRecord>,
    snapshots: impl Iterator<Item = &'r SnapshotRecord>,
) -> Option<String> {
    let is_there = |path: &Path| host.stat(path).is_ok_and(|facts| facts.is_some());
    let is = device_below(host, pool)?;
    let mut missed = None;
    for record in volumes {
        let Some(backing) = record.spec.backing.as_image().filter(|backing| backing.pool_path == pool) else {
            continue;
        };
        let Some(file) = record.image else { continue };
        let path = backing.image_path(&record.spec.id);
        if file.device == is || is_there(&path) {
            return None;
        }
        missed = missed.or(Some(path));
    }
    for record in snapshots.filter(|record| record.path.parent() == Some(pool)) {
        if is_there(&record.path) {
            return None;
        }
        missed = missed.or_else(|| Some(record.path.clone()));
    }
    missed?.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Who but root may exchange files in a pool that is there, in words: its directory belongs to somebody else, or others may write to it.
pub(super) fn open_to(host: &dyn Observe, pool: &Path) -> Option<String> {
    // What a link at that place leads to, not the link.
    let facts = host.stat(&pool.join(".")).ok().flatten().filter(|facts| facts.kind == FileKind::Directory)?;
    if facts.uid != 0 {
        return Some(format!("belongs to user {}, not to root", facts.uid));
    }
    (facts.mode & 0o022 != 0).then(|| format!("has mode {:04o}, so that others may write to it", facts.mode & 0o7777))
}

impl LocalDriver {
    /// Whether the file system that holds a pool is mounted, as far as records tell: nothing can be made in it while it is not.
    ///
    /// # Errors
    /// The records can't be listed.
    pub fn pool_is_mounted(&self, pool: &Path) -> Result<bool, HostError> {
        Ok(missed_now(self, pool)?.is_none())
    }
}

/// The same, from the records as they are now; they are read once for each pool, and again only if something else is mounted there.
///
/// # Errors
/// The records can't be listed.
pub(super) fn missed_now(driver: &LocalDriver, pool: &Path) -> Result<Option<String>, HostError> {
    let is = device_below(driver.host(), pool);
    let judged = |pools: &HashMap<PathBuf, BlockId>| is.is_some() && pools.get(pool).copied() == is;
    if judged(&driver.mounted_pools()) {
        return Ok(None);
    }
    let reader = driver.reader();
    let volumes = parallel::map(reader.volume_ids()?, |id| reader.volume(&id));
    let snapshots = parallel::map(reader.snapshot_ids()?, |id| reader.snapshot(&id));
    let (volumes, snapshots) =
        (volumes.iter().filter_map(|record| record.present()), snapshots.iter().filter_map(|record| record.present()));
    let missed = missed(driver.host(), pool, volumes, snapshots);
    if let (None, Some(is)) = (&missed, is) {
        driver.mounted_pools().insert(pool.to_owned(), is);
    }
    Ok(missed)
}

/// The device number of the file system that a path lies on, or would lie on.
fn device_below(host: &dyn Observe, path: &Path) -> Option<BlockId> {
    path.ancestors().find_map(|path| host.stat(path).ok().flatten()).map(|facts| facts.file.device)
}
