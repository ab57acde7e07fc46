//! The temporary files that killed runs left: disposable by their name, so that whoever comes next removes them without asking.

use std::path::PathBuf;
use std::time::Duration;

use crate::driver::local::in_the_way;
use crate::host::{Host, HostError, LockMode};
use crate::model::{Done, Layout, Owner};

use super::names::{is_of, record_temporary_of, snapshot_lock, temporary_of};

/// Removes the temporary files that killed runs of one owner left, in these pools and among the records; one whose volume or
/// snapshot somebody works on stays. They are disposable by their name, so this needs no asking.
///
/// # Errors
/// A directory that can't be listed, or a file that can't be removed.
pub fn clear_temporaries(
    host: &dyn Host,
    layout: &Layout,
    owner: &Owner,
    pools: &[PathBuf],
) -> std::result::Result<Done, HostError> {
    let records = [layout.volumes(), layout.snapshots(), layout.run_volumes(), layout.growth()];
    let mut done = Done::Already;
    for directory in pools.iter().chain(&records) {
        for name in host.list(directory)? {
            let path = directory.join(&name);
            let Some(id) = temporary_of(&path).or_else(|| record_temporary_of(&path)) else { continue };
            if !is_of(owner, &id) || in_the_way::is_no_file(host, &path) {
                continue;
            }
            let of_snapshot = *directory == layout.snapshots() || path.to_string_lossy().ends_with(".snap.part");
            let lock = if of_snapshot { snapshot_lock(layout, &id) } else { layout.volume_lock(&id) };
            let Ok(_idle) = host.lock(&lock, LockMode::Exclusive, Duration::ZERO) else { continue };
            if host.remove_image(&path, None)? == Done::Changed {
                done = Done::Changed;
            }
        }
    }
    Ok(done)
}
