//! Whether the mounts that a boot-scoped record tells of may be out of reach: in another mount namespace, where they cannot be seen and are not
//! ours to change.
//!
//! A namespace that is gone has taken its mounts with it, but those that were shared: they are there when the container of a driver is
//! replaced. Whether one is gone only the machine's own processes tell, whom a container does not see as a rule. There it is told by what
//! is left: mounts that are seen here and shared are the same ones for all; and what nobody has mounted, wherever, is in nobody's way.

use crate::host::{ErrorKind, HostError, Observe};
use crate::model::mount_namespace::{MountNamespace, NamespaceState};
use crate::model::record::{RunRecord, VolumeRecord};
use crate::model::{Backing, Mount};

type Result<T> = std::result::Result<T, HostError>;

/// Whether what the record tells of may be where it cannot be seen from `here`; `state` answers how its namespace is.
pub(super) fn is_out_of_reach(
    host: &dyn Observe,
    here: MountNamespace,
    record: Option<&VolumeRecord>,
    run: &RunRecord,
    state: impl FnOnce(MountNamespace) -> Result<NamespaceState>,
) -> Result<bool> {
    let in_use = run.staging_path.is_some() || !run.publishes.is_empty();
    if !in_use || run.namespace().is(here) {
        return Ok(false);
    }
    match state(run.namespace())? {
        NamespaceState::Lives => Ok(true),
        NamespaceState::Gone => Ok(false),
        NamespaceState::Untold => Ok(!(is_shared_here(host, record, run)? || nobody_has_it(host, record, run)?)),
    }
}

/// Whether all of its mounts are seen here, and are no copies of those that others see.
fn is_shared_here(host: &dyn Observe, record: Option<&VolumeRecord>, run: &RunRecord) -> Result<bool> {
    // A raw volume is staged without a mount.
    let raw = record.is_some_and(|record| record.spec.is_raw());
    let staged = run.staging_path.iter().filter(|_| !raw);
    for place in run.publishes.keys().chain(staged) {
        match host.mounts_at(place) {
            Ok(mounts) if mounts.last().is_some_and(|top: &Mount| top.shared) => {}
            Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Whether its file system is mounted nowhere, in no namespace: the kernel gives a device that is mounted to nobody for himself alone.
fn nobody_has_it(host: &dyn Observe, record: Option<&VolumeRecord>, run: &RunRecord) -> Result<bool> {
    let Some(record) = record.filter(|record| !record.spec.is_raw()) else { return Ok(false) };
    let node = match (&record.spec.backing, record.image) {
        (Backing::Image(backing), Some(file)) => {
            let path = backing.image_path(&record.spec.id);
            let Some(device) = host.loop_of_image(&path, file, run.loop_index)? else { return Ok(true) };
            device.node()
        }
        (Backing::Device(device), _) => device.path.clone(),
        _ => return Ok(false),
    };
    Ok(!host.is_claimed(&node)?)
}
