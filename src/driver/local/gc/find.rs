//! Finding what is left. Only reads.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::host::{HostError, Observe};
use crate::model::device::LOOP_MAJOR;
use crate::model::record::Recorded;
use crate::model::{BlockId, Layout, Mount, MountTable, SnapshotId, VolumeId};
use crate::state::Reader;

use super::leftover::{InUse, Leftover};
use super::names::{growth_of, temporary_of};
use super::thaw::{frozen_by_others, marked};
use crate::driver::local::own::{self, describe};
use crate::driver::local::{group, in_the_way};

/// Finds what is left, besides the recorded pools in these directories.
///
/// # Errors
/// What makes looking pointless: the mount table, the loops or the records can't be read.
pub fn find(host: &dyn Observe, layout: &Layout, pools: &[PathBuf]) -> std::result::Result<Vec<Leftover>, HostError> {
    look(host, layout, pools).map(|(leftovers, _)| leftovers)
}

/// The same, and what looks like a leftover and is in use.
///
/// # Errors
/// As those of [`find`].
pub fn look(
    host: &dyn Observe,
    layout: &Layout,
    pools: &[PathBuf],
) -> std::result::Result<(Vec<Leftover>, Vec<InUse>), HostError> {
    let mut in_use: Vec<InUse> = Vec::new();
    let reader = Reader::new(host, layout);
    let ids: BTreeSet<VolumeId> = reader.volume_ids()?.into_iter().collect();
    let mut directories: BTreeSet<PathBuf> = pools.iter().cloned().collect();
    directories.extend([layout.default_pool(), layout.growth()]);
    for id in &ids {
        if let Recorded::Present(record) = reader.volume(id)
            && let Some(image) = record.spec.backing.as_image()
        {
            directories.insert(image.pool_path.clone());
        }
    }
    let snapshots: BTreeSet<SnapshotId> = reader.snapshot_ids()?.into_iter().chain(group::members(&reader)?).collect();
    for id in reader.snapshot_ids()? {
        if let Recorded::Present(record) = reader.snapshot(&id) {
            directories.extend(record.path.parent().map(PathBuf::from));
        }
    }
    let loops = host.loops()?;
    let mounts = host.mount_table()?;
    let mut frozen: BTreeSet<VolumeId> = marked(host, layout)?.into_iter().collect();
    frozen.extend(frozen_by_others(host, layout, &mounts, &ids)?);
    let mut found: Vec<Leftover> = frozen.into_iter().map(|volume| Leftover::Frozen { volume }).collect();
    found.extend(group::unfinished(&reader)?.into_iter().map(|group| Leftover::Group { group }));
    let spoken_for = group::spoken_for(&reader)?;
    let in_the_way: BTreeSet<PathBuf> = in_the_way::find(host, layout, directories.iter())?.into_iter().collect();
    for directory in &directories {
        for name in host.list(directory)? {
            let path = directory.join(&name);
            if spoken_for.contains(&path) || in_the_way.contains(&path) {
                continue;
            }
            if temporary_of(&path).is_some() {
                found.push(Leftover::Temporary { path });
                continue;
            }
            if let Some(id) = growth_of(&path) {
                // It is worth something as long as there is an image that it can be carried out on.
                let image = directory.join(format!("{id}.img"));
                if *directory != layout.growth() && !ids.contains(&id) && host.stat(&image)?.is_none() {
                    found.push(Leftover::Temporary { path });
                }
                continue;
            }
            if path.extension() == Some(OsStr::new("snap")) {
                found.extend(stray_snapshot(host, path, &snapshots));
                continue;
            }
            if path.extension() != Some(OsStr::new("img")) {
                continue;
            }
            let Some(image) = host.image(&path).ok().flatten() else { continue };
            let Some(identity) = image.identity.filter(|identity| !identity.snapshot) else { continue };
            if let Some(volume) = named_after::<VolumeId>(&path, &identity.id).filter(|id| !ids.contains(id)) {
                found.push(Leftover::Image { path: path.clone(), volume, file: image.file });
            }
            let owned = ids.iter().any(|id| id.as_str() == identity.id);
            let attached = loops.iter().find(|device| device.backing == image.file);
            let (false, Some(device)) = (owned, attached) else { continue };
            let places = shown_at(&mounts, host, device.block);
            if places.is_empty() {
                found.push(Leftover::Loop { index: device.index, image: path, file: image.file });
            } else if let Some(places) = outside(layout, places) {
                in_use.push(InUse { volume: identity.id, places });
            }
        }
    }
    found.extend(in_the_way.into_iter().map(|path| Leftover::InTheWay { path }));
    for mount in stray_mounts(layout, &mounts, &ids) {
        let volume = mount.target.file_name().map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
        let elsewhere = |other: &&Mount| other.device == mount.device && other.root.starts_with(&mount.root);
        let places = mounts.iter().filter(elsewhere).map(|other| other.target.clone()).collect();
        if let Some(places) = outside(layout, places) {
            in_use.push(InUse { volume, places });
        } else if mount.device.major == LOOP_MAJOR && host.is_last_copy(mount.device.minor)? {
            in_use.push(InUse { volume, places: vec![mount.target.clone()] });
        } else {
            found.push(Leftover::Mount { target: mount.target.clone(), what: describe(mount) });
        }
    }
    found.sort();
    in_use.sort();
    in_use.dedup_by(|one, other| one.volume == other.volume);
    Ok((found, in_use))
}

/// Those of these places that are not staging paths; `None` if there are none.
fn outside(layout: &Layout, mut places: Vec<PathBuf>) -> Option<Vec<PathBuf>> {
    places.retain(|place| !place.starts_with(layout.staging()));
    (!places.is_empty()).then_some(places)
}

/// Where a device is mounted, or its node bound. A node's own place below `/dev` is none.
fn shown_at(mounts: &MountTable, host: &dyn Observe, block: BlockId) -> Vec<PathBuf> {
    let node = PathBuf::from(format!("/loop{}", block.minor));
    let bound = |mount: &Mount| {
        let facts = || host.stat(&mount.target).ok().flatten();
        mount.root == node && facts().is_some_and(|facts| facts.device == Some(block))
    };
    let shows = |mount: &&Mount| own::shows_block(host, mount, block) || bound(mount);
    mounts.iter().filter(shows).map(|mount| mount.target.clone()).collect()
}

/// The id of a file that is called by it. One under another name is somebody's copy.
fn named_after<T: std::str::FromStr>(path: &Path, id: &str) -> Option<T> {
    (path.file_stem() == Some(OsStr::new(id))).then(|| id.parse().ok()).flatten()
}

/// A snapshot's file that says it is one, where none is recorded.
fn stray_snapshot(host: &dyn Observe, path: PathBuf, known: &BTreeSet<SnapshotId>) -> Option<Leftover> {
    let image = host.image(&path).ok().flatten()?;
    let identity = image.identity.filter(|identity| identity.snapshot)?;
    let snapshot = named_after::<SnapshotId>(&path, &identity.id).filter(|id| !known.contains(id))?;
    Some(Leftover::Snapshot { path, snapshot, file: image.file })
}

/// Mounts at staging paths of volumes that have no record. Whatever else is mounted below the run directory is not csictl's.
fn stray_mounts<'m>(layout: &Layout, mounts: &'m MountTable, ids: &BTreeSet<VolumeId>) -> Vec<&'m Mount> {
    let staging = layout.staging();
    let stray = |mount: &&Mount| {
        let id = mount.target.strip_prefix(&staging).ok().and_then(Path::to_str).and_then(|id| id.parse().ok());
        id.is_some_and(|id: VolumeId| !ids.contains(&id))
    };
    mounts.iter().filter(stray).collect()
}
