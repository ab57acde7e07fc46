//! Whether a pool's limit lets something be made or grow: the nominal sizes of all that is recorded in it, whichever project or orchestrator it
//! belongs to, and of what is being made at this moment, by this process or another one. The one place that decides; a plan only says it earlier.
//!
//! What is being made is noted in the run directory, beside the lock of the object it is made for: a note counts as long as somebody holds that
//! lock, so that a killed run keeps no room. The pool's own lock is held only while the sum is made and the note written.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{Changes, DirectoryWatch, ErrorKind, HostError, LockMode};
use crate::model::record::{SnapshotRecord, VolumeRecord};
use crate::model::{Capacity, GroupId, Layout, ObjectRef, Owner, Pool, SnapshotId, VolumeId};
use crate::state::{Reader, lock};

use super::LocalDriver;
use super::observe::parallel;
use super::session::{host_failure, state_error};

/// The least time to wait for a pool's lock: nobody holds it for longer than a sum takes, so that waiting is better than failing.
const PATIENCE: Duration = Duration::from_secs(10);
const NOTES_MODE: u32 = 0o700;

/// Something that takes room in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Takes {
    /// What is made: a volume, or a snapshot.
    what: Thing,
    /// The pool's directory.
    pool: PathBuf,
    /// Its nominal size once it is made.
    size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Thing {
    Volume(VolumeId),
    Snapshot(SnapshotId),
}

impl Takes {
    /// A volume of this size.
    pub fn volume(id: &VolumeId, pool: &Path, size: Capacity) -> Self {
        Self { what: Thing::Volume(id.clone()), pool: pool.to_owned(), size: size.get() }
    }

    /// A snapshot of this size.
    pub fn snapshot(id: &SnapshotId, pool: &Path, size: Capacity) -> Self {
        Self { what: Thing::Snapshot(id.clone()), pool: pool.to_owned(), size: size.get() }
    }
}

/// Room that is kept until this is dropped: once the record of what is made is written, that counts.
pub(super) struct Room<'d> {
    driver: &'d LocalDriver,
    note: PathBuf,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        // One that stays counts for nothing once the lock is free.
        let _ = self.driver.host().remove_small(&self.note, false);
    }
}

/// Sizes of what is recorded, by what it is; only what changed is read again.
pub(super) struct Sizes {
    volumes: Box<dyn DirectoryWatch>,
    snapshots: Box<dyn DirectoryWatch>,
    sizes: BTreeMap<Thing, (PathBuf, u64)>,
    whole: bool,
}

/// Keeps room for what is made under the lock named `holder`, or refuses; nothing is kept of pools without a limit.
///
/// # Errors
/// [`Refusal::NoSpace`] naming the pool, its limit and what it holds.
pub(super) fn take<'d>(
    driver: &'d LocalDriver,
    object: &ObjectRef,
    holder: &str,
    owner: &Owner,
    takes: &[Takes],
) -> Result<Option<Room<'d>>> {
    let limits: BTreeMap<&Path, Capacity> =
        takes.iter().filter_map(|takes| Some((takes.pool.as_path(), driver.limit_of(&takes.pool, owner)?))).collect();
    if limits.is_empty() {
        return Ok(None);
    }
    let (host, layout) = (driver.host(), driver.layout());
    let fail = |error: HostError| host_failure(object, error);
    let mut sizes = driver.sizes();
    let timeout = driver.lock_timeout.max(PATIENCE);
    // In order of their paths, so that nobody waits for each other.
    let _locks = limits
        .keys()
        .map(|pool| lock::pool(host, layout, pool, timeout).map_err(|error| state_error(object, error)))
        .collect::<Result<Vec<_>>>()?;
    // Notes before records: whoever ends meanwhile has written its record before its note goes, and is counted by one of them.
    let noted = noted(driver, holder).map_err(fail)?;
    let sizes = sizes.get_or_insert_with(|| Sizes::new(driver));
    sizes.refresh(&driver.reader()).map_err(fail)?;
    for (pool, limit) in limits {
        let all = held(sizes, &noted, pool);
        let holds: u64 = all.values().sum();
        let mut added = 0;
        for takes in takes.iter().filter(|takes| takes.pool == pool) {
            added += takes.size.saturating_sub(all.get(&takes.what).copied().unwrap_or(0));
        }
        if added > 0 && holds.saturating_add(added) > limit.get() {
            return Err(DriverError::refused(
                Refusal::NoSpace,
                object.clone(),
                format!(
                    "pool {}: its limit is {limit}; it holds {} and {} would be added",
                    pool.display(),
                    Capacity::bytes(holds),
                    Capacity::bytes(added)
                ),
                "raise pools.limit, ask for less, or delete what is released",
            ));
        }
    }
    let note = layout.room_note(holder);
    host.make_dir(&layout.room(), NOTES_MODE).map_err(fail)?;
    let bytes = serde_json::to_vec(takes).unwrap_or_default();
    host.write_small(&note, &bytes, false).map_err(fail)?;
    Ok(Some(Room { driver, note }))
}

/// What a pool holds, and what is being made in it.
fn held<'a>(sizes: &'a Sizes, noted: &'a [Takes], pool: &Path) -> BTreeMap<&'a Thing, u64> {
    let mut all: BTreeMap<&Thing, u64> = sizes.in_pool(pool).collect();
    for note in noted.iter().filter(|note| note.pool == pool) {
        let size = all.entry(&note.what).or_default();
        *size = note.size.max(*size);
    }
    all
}

/// What others are making now. Notes whose lock is free are a killed run's.
fn noted(driver: &LocalDriver, but: &str) -> std::result::Result<Vec<Takes>, HostError> {
    let (host, layout) = (driver.host(), driver.layout());
    let mut all = Vec::new();
    for name in host.list(&layout.room())? {
        let Some(name) = name.to_str().filter(|name| *name != but && !name.starts_with('.')) else { continue };
        let note = layout.room_note(name);
        match host.lock(&layout.locks().join(name), LockMode::Shared, Duration::ZERO) {
            Ok(_free) => {
                host.remove_small(&note, false)?;
            }
            Err(error) if error.kind == ErrorKind::LockHeld => {
                let bytes = host.read_small(&note)?.unwrap_or_default();
                all.extend(serde_json::from_slice::<Vec<Takes>>(&bytes).unwrap_or_default());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

impl Sizes {
    fn new(driver: &LocalDriver) -> Self {
        let (host, layout) = (driver.host(), driver.layout());
        let (volumes, snapshots) = (host.watch(&layout.volumes()), host.watch(&layout.snapshots()));
        Self { volumes, snapshots, sizes: BTreeMap::new(), whole: false }
    }

    fn refresh(&mut self, reader: &Reader<'_>) -> std::result::Result<(), HostError> {
        fn ids<T: std::str::FromStr>(names: &BTreeSet<OsString>) -> Vec<T> {
            names.iter().filter_map(|name| Reader::id_of(name)).collect()
        }
        let (volumes, snapshots) = match (self.volumes.changes(), self.snapshots.changes()) {
            (Changes::Names(volumes), Changes::Names(snapshots)) if self.whole => (ids(&volumes), ids(&snapshots)),
            _ => {
                self.sizes.clear();
                self.whole = false;
                (reader.volume_ids()?, reader.snapshot_ids()?)
            }
        };
        let volumes = parallel::map(volumes, |id| {
            let size = reader.volume(&id).present().and_then(of_volume);
            (Thing::Volume(id), size)
        });
        let snapshots = parallel::map(snapshots, |id| {
            let size = reader.snapshot(&id).present().and_then(of_snapshot);
            (Thing::Snapshot(id), size)
        });
        for (thing, size) in volumes.into_iter().chain(snapshots) {
            match size {
                Some(size) => self.sizes.insert(thing, size),
                None => self.sizes.remove(&thing),
            };
        }
        self.whole = true;
        Ok(())
    }

    fn in_pool<'a>(&'a self, pool: &Path) -> impl Iterator<Item = (&'a Thing, u64)> {
        self.sizes.iter().filter(move |(_, (path, _))| path == pool).map(|(thing, (_, size))| (thing, *size))
    }
}

fn of_volume(record: &VolumeRecord) -> Option<(PathBuf, u64)> {
    let pool = record.spec.backing.as_image()?.pool_path.clone();
    Some((pool, record.nominal()?.get()))
}

fn of_snapshot(record: &SnapshotRecord) -> Option<(PathBuf, u64)> {
    Some((record.path.parent()?.to_owned(), record.size.get()))
}

/// The names of the locks that notes lie beside.
pub(super) fn holder_of_snapshot(layout: &Layout, id: &SnapshotId) -> String {
    name_of(&layout.snapshot_lock(id))
}

/// As [`holder_of_snapshot`], of a group.
pub(super) fn holder_of_group(layout: &Layout, id: &GroupId) -> String {
    name_of(&layout.group_lock(id))
}

fn name_of(lock: &Path) -> String {
    lock.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl LocalDriver {
    /// With these pools' limits, by their directories. Of other pools, what the project's last apply said holds.
    #[must_use]
    pub fn with_pools<'a>(self, pools: impl IntoIterator<Item = &'a Pool>) -> Self {
        self.limit(pools);
        self
    }

    /// From now on with the limits of these pools.
    pub fn limit<'a>(&self, pools: impl IntoIterator<Item = &'a Pool>) {
        let limits = pools.into_iter().map(|pool| (pool.path.clone(), pool.limit)).collect();
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// Nominal bytes that still fit below a pool's limit, what is being made now counted; `None` without a limit.
    ///
    /// # Errors
    /// The records or notes can't be read.
    pub fn below_limit(&self, pool: &Pool) -> std::result::Result<Option<u64>, HostError> {
        let Some(limit) = pool.limit else { return Ok(None) };
        let mut sizes = self.sizes();
        let noted = noted(self, "")?;
        let sizes = sizes.get_or_insert_with(|| Sizes::new(self));
        sizes.refresh(&self.reader())?;
        let holds: u64 = held(sizes, &noted, &pool.path).values().sum();
        Ok(Some(limit.get().saturating_sub(holds)))
    }

    fn limit_of(&self, pool: &Path, owner: &Owner) -> Option<Capacity> {
        if let Some(limit) = self.limits.read().unwrap_or_else(PoisonError::into_inner).get(pool) {
            return *limit;
        }
        let Owner::Project(project) = owner else { return None };
        self.reader().limits(project).present()?.limits.get(pool).copied()
    }
}
