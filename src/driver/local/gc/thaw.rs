//! Volumes that are frozen though nobody copies them: what a killed run left, and what others did.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::driver::local::{freezing, frozen};
use crate::host::{Host, HostError, LockMode, Observe};
use crate::model::{Done, Layout, MountTable, VolumeId};
use crate::state::Reader;

/// Thaws every volume that a killed run left frozen, and answers where. A volume somebody copies right now is left to them.
///
/// # Errors
/// The marks can't be listed, or a file system can't be thawed.
pub fn thaw_left(host: &dyn Host, layout: &Layout) -> std::result::Result<Vec<PathBuf>, HostError> {
    let mut thawed = Vec::new();
    for id in marked(host, layout)? {
        let Ok(_idle) = host.lock(&layout.volume_lock(&id), LockMode::Exclusive, Duration::ZERO) else { continue };
        thawed.extend(thaw(host, layout, &id)?);
    }
    Ok(thawed)
}

/// The volumes that are marked as frozen.
pub(super) fn marked(host: &dyn Observe, layout: &Layout) -> std::result::Result<Vec<VolumeId>, HostError> {
    let names = host.list(&layout.frozen())?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// The volumes that are frozen without a mark.
pub(super) fn frozen_by_others(
    host: &dyn Observe,
    layout: &Layout,
    mounts: &MountTable,
    ids: &BTreeSet<VolumeId>,
) -> std::result::Result<Vec<VolumeId>, HostError> {
    let reader = Reader::new(host, layout);
    let boot = host.facts()?.boot_id;
    let staged = reader.run_ids().unwrap_or_default().into_iter().filter(|id| ids.contains(id));
    let is_left = |id: &VolumeId| {
        let path = reader.run(id, &boot).present().and_then(|run| run.staging_path.clone());
        let own = || reader.volume(id).present().is_some_and(|record| freezing::is_own(&record.spec));
        let top = path.and_then(|path| mounts.top(&path));
        top.is_some_and(|top| freezing::is_left(host, layout, id, top)) && own()
    };
    Ok(staged.filter(is_left).collect())
}

/// Thaws one volume, nobody else being at work on it, and answers where if it was frozen.
pub(super) fn thaw(host: &dyn Host, layout: &Layout, id: &VolumeId) -> std::result::Result<Option<PathBuf>, HostError> {
    let boot = host.facts()?.boot_id;
    let run = Reader::new(host, layout).run(id, &boot);
    let staged = run.present().and_then(|run| run.staging_path.clone());
    let path = staged.unwrap_or_else(|| layout.staging_path(id));
    let is_mounted = !host.mounts_at(&path)?.is_empty();
    let done = if is_mounted { host.thaw(&path)? } else { frozen::thaw_unseen(host, layout, id)? };
    host.remove_small(&layout.frozen_mark(id), false)?;
    Ok((done == Done::Changed).then_some(path))
}
