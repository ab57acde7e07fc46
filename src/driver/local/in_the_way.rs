//! What is no file and lies where csictl keeps one of its own: a directory, a pipe, a link. It cannot have made it, so it removes none of it;
//! but it is in the way of a verb, and somebody has to be told.

use std::path::{Path, PathBuf};

use crate::host::{FileKind, HostError, Observe};
use crate::model::{Layout, VolumeId};

/// Every such thing in these pools and among records and locks.
///
/// # Errors
/// A directory can't be listed.
pub(super) fn find<'p>(
    host: &dyn Observe,
    layout: &Layout,
    pools: impl Iterator<Item = &'p PathBuf>,
) -> Result<Vec<PathBuf>, HostError> {
    let of_records = [layout.volumes(), layout.snapshots(), layout.run_volumes()];
    let mut found = Vec::new();
    let directories = pools.map(|pool| (pool.clone(), is_working_file as fn(&str) -> bool));
    let directories = directories.chain(of_records.into_iter().map(|of| (of, is_record_temporary as fn(&str) -> bool)));
    for (directory, is_own) in directories.chain([(layout.locks(), is_lock as fn(&str) -> bool)]) {
        for name in host.list(&directory)? {
            let path = directory.join(&name);
            if name.to_str().is_some_and(is_own) && is_no_file(host, &path) {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// Whether something is there and is no regular file.
pub(super) fn is_no_file(host: &dyn Observe, path: &Path) -> bool {
    host.stat(path).ok().flatten().is_some_and(|facts| facts.kind != FileKind::File)
}

fn is_working_file(name: &str) -> bool {
    let Some(name) = name.strip_prefix('.') else { return false };
    let id = [".img.part", ".snap.part", ".img.grow"].iter().find_map(|end| name.strip_suffix(end));
    id.is_some_and(|id| id.parse::<VolumeId>().is_ok())
}

fn is_record_temporary(name: &str) -> bool {
    let id = name.strip_prefix('.').and_then(|name| name.strip_suffix(".json.tmp"));
    id.is_some_and(|id| id.parse::<VolumeId>().is_ok())
}

fn is_lock(name: &str) -> bool {
    !name.starts_with('.')
}
