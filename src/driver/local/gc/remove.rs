//! Removing one leftover: alone, under the global lock, and only if it still is one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::driver::local::session::{host_failure, state_error};
use crate::driver::local::{deleted, group, guard};
use crate::driver::{DriverError, Refusal, Result};
use crate::host::{Host, HostError, LockMode, Unmount};
use crate::model::device::LOOP_MAJOR;
use crate::model::record::Recorded;
use crate::model::{Approval, Done, FileId, Layout};
use crate::state::{GlobalLock, Reader, StateError};

use super::find::find;
use super::leftover::{Leftover, object_of};
use super::names::{growth_of, lock_of_temporary, temporary_of};
use super::thaw::thaw;

/// Removes one leftover, if it still is one. What holds data takes an approval of its own ([`Leftover::approval`]).
///
/// # Errors
/// [`DriverError::LockHeld`] while any other csictl works; [`DriverError::Refused`] when it is in use, not approved, or no leftover any more.
pub fn remove(
    host: &dyn Host,
    layout: &Layout,
    leftover: &Leftover,
    approved: &BTreeSet<Approval>,
    timeout: Duration,
) -> Result<Done> {
    if let Some(needed) = leftover.approval().filter(|needed| !approved.contains(needed)) {
        let help = format!("approve it by name: {}", leftover.approve_flag().unwrap_or_default());
        return Err(DriverError::refused(Refusal::Unapproved, needed.object, "its data would be lost (delete)", help));
    }
    let object = object_of(leftover);
    let fail = |error: HostError| host_failure(&object, error);
    let state = |error: StateError| state_error(&object, error);
    let _alone = GlobalLock::exclusive(host, layout, timeout).map_err(state)?;
    let pools: Vec<PathBuf> = match leftover {
        Leftover::Temporary { path }
        | Leftover::InTheWay { path }
        | Leftover::Loop { image: path, .. }
        | Leftover::Image { path, .. }
        | Leftover::Snapshot { path, .. } => path.parent().map(PathBuf::from).into_iter().collect(),
        Leftover::Mount { .. } | Leftover::Frozen { .. } | Leftover::Group { .. } => Vec::new(),
    };
    if !find(host, layout, &pools).map_err(fail)?.contains(leftover) {
        return Ok(Done::Already);
    }
    match leftover {
        Leftover::Frozen { volume } => thaw(host, layout, volume).map(|_| Done::Changed).map_err(fail),
        Leftover::Group { group } => {
            if let Recorded::Present(record) = Reader::new(host, layout).group(group) {
                group::finish(host, layout, record)?;
            }
            Ok(Done::Changed)
        }
        Leftover::InTheWay { path } => {
            let message = format!("{} is no file, and in the way of one of csictl's own", path.display());
            let help = format!("see what it is, and remove it by hand: ls -ld {0}; rm -r {0}", path.display());
            Err(DriverError::refused(Refusal::Foreign, object, message, help))
        }
        Leftover::Temporary { path } => {
            // A helper whose csictl was killed may still be writing to it, and keeps the volume's lock until it ends.
            let id = temporary_of(path).or_else(|| growth_of(path));
            let lock = id.map(|id| lock_of_temporary(layout, path, &id));
            let _idle = match lock {
                Some(lock) => Some(
                    host.lock(&lock, LockMode::Exclusive, timeout)
                        .map_err(|_| DriverError::LockHeld { object: object.clone() })?,
                ),
                None => None,
            };
            host.remove_image(path, None).map_err(fail)
        }
        Leftover::Image { path, file, .. } => {
            let image = host.image(path).map_err(fail)?;
            if image.and_then(|image| image.identity).is_some_and(|identity| identity.protected) {
                let message = format!("{} says that its volume is protected (prevent_destroy)", path.display());
                let help = "apply its manifest, which adopts it, and set prevent_destroy = false there first";
                return Err(DriverError::refused(Refusal::Protected, object, message, help));
            }
            guard::not_attached(host, &object, path, *file)?;
            remove_file(host, layout, path, *file).map_err(fail)
        }
        Leftover::Snapshot { path, file, .. } => {
            guard::not_attached(host, &object, path, *file)?;
            remove_file(host, layout, path, *file).map_err(fail)
        }
        Leftover::Loop { index, file, .. } => host.detach_loop(*index, *file).map_err(fail),
        Leftover::Mount { target, .. } => {
            let Some(top) = host.mounts_at(target).map_err(fail)?.into_iter().next_back() else {
                return Ok(Done::Already);
            };
            // A killed snapshot may have left it frozen.
            let _ = host.thaw(target);
            let request = Unmount {
                target: target.clone(),
                trusted_root: layout.run.clone(),
                expect: top.device,
                root: Some(top.root.clone()),
            };
            let answer = host.unmount(&request);
            if answer.is_ok() && top.device.major == LOOP_MAJOR {
                host.renew_loop(top.device.minor);
            }
            answer.map_err(|error| {
                let busy = error.kind == crate::host::ErrorKind::Busy;
                let failed = host_failure(&object, error);
                let help = format!("csictl who {} shows who holds it", target.display());
                if busy {
                    DriverError::refused(Refusal::Busy, object.clone(), failed.to_string(), help)
                } else {
                    failed
                }
            })?;
            host.remove_dir(target).map_err(fail)?;
            Ok(Done::Changed)
        }
    }
}

fn remove_file(host: &dyn Host, layout: &Layout, path: &Path, file: FileId) -> std::result::Result<Done, HostError> {
    let done = host.remove_image(path, Some(file))?;
    deleted::forget(host, layout, path)?;
    Ok(done)
}
