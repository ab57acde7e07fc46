//! Whether a pool has room for one more: nominal bytes against its limit, bytes to be allocated against what is free minus the reserve. What is
//! being made at this moment counts too, so that two calls at once never both take the last place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tonic::Status;

use super::index::Records;
use super::plugin::Plugin;
use super::status;
use crate::model::record::{SnapshotRecord, VolumeRecord};
use crate::model::{Capacity, Pool, SnapshotId, VolumeId};

/// What one piece of work takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Need {
    /// Nominal bytes: the size of the image or snapshot.
    pub nominal: u64,
    /// Bytes that are allocated at once; 0 for a sparse image.
    pub allocate: u64,
}

/// What is being made, by what it is called. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, (PathBuf, Need)>>>);

/// A place in the ledger; dropping it gives it back. To be held until the record of what is made is written, and its bytes are allocated.
#[derive(Debug)]
pub struct Reservation {
    ledger: Ledger,
    object: String,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.ledger.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.object);
    }
}

/// What is left of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Nominal bytes below its limit; `None` without one.
    pub nominal: Option<u64>,
    /// Bytes that can still be allocated.
    pub free: u64,
}

impl Ledger {
    /// Takes a place for `object` (an id, or whatever no two pieces of work share).
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED naming the pool, what is left and what is asked.
    pub fn reserve(&self, plugin: &Plugin, pool: &Pool, object: &str, need: Need) -> Result<Reservation, Status> {
        let mut making = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = left(plugin, pool, &making)?;
        let place = || format!("pool '{}' at {}", pool.name, pool.path.display());
        if let Some(left) = room.nominal.filter(|left| need.nominal > *left) {
            return Err(Status::resource_exhausted(format!(
                "{}: {} is asked for, {} is left below its limit {}. Raise pools.limit, ask for less, or delete something",
                place(),
                Capacity::bytes(need.nominal),
                Capacity::bytes(left),
                pool.limit.unwrap_or_default(),
            )));
        }
        if need.allocate > room.free {
            return Err(Status::resource_exhausted(format!(
                "{}: {} is to be allocated, {} is free beyond its reserve. Free space there, ask for less, or set allocate=sparse",
                place(),
                Capacity::bytes(need.allocate),
                Capacity::bytes(room.free),
            )));
        }
        making.insert(object.to_owned(), (pool.path.clone(), need));
        Ok(Reservation { ledger: self.clone(), object: object.to_owned() })
    }

    /// Takes a place for a snapshot of a volume, in that volume's pool where it is one of the configuration's. What is there already
    /// needs none. Bytes are allocated as far as there is data, which only the copy finds out.
    ///
    /// # Errors
    /// As [`Ledger::reserve`].
    pub fn reserve_snapshot(
        &self,
        plugin: &Plugin,
        id: &SnapshotId,
        volume: &VolumeId,
    ) -> Result<Option<Reservation>, Status> {
        let (volumes, snapshots) = (plugin.volumes()?, plugin.snapshots()?);
        let Some(record) = volumes.get(volume).and_then(|record| record.present()) else { return Ok(None) };
        let Some(image) = record.spec.backing.as_image().filter(|_| !snapshots.contains_key(id)) else {
            return Ok(None);
        };
        let storage = plugin.storage();
        let Some(pool) = storage.pools.values().find(|pool| pool.path == image.pool_path) else { return Ok(None) };
        let need = Need { nominal: record.spec.required().map_or(0, Capacity::get), allocate: 0 };
        self.reserve(plugin, pool, id.as_str(), need).map(Some)
    }

    /// What is left of a pool now.
    ///
    /// # Errors
    /// INTERNAL when it can't be measured.
    pub fn room(&self, plugin: &Plugin, pool: &Pool) -> Result<Room, Status> {
        left(plugin, pool, &self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn left(plugin: &Plugin, pool: &Pool, making: &BTreeMap<String, (PathBuf, Need)>) -> Result<Room, Status> {
    let facts = plugin.driver().host().pool(pool).map_err(|error| status::of_host(&error))?;
    let here = || making.iter().filter(|(_, (path, _))| *path == pool.path);
    let allocating: u64 = here().map(|(_, (_, need))| need.allocate).sum();
    let reserve = pool.reserve.map_or(0, Capacity::get);
    let free = facts.free.get().saturating_sub(reserve).saturating_sub(allocating);
    let Some(limit) = pool.limit else { return Ok(Room { nominal: None, free }) };
    let (volumes, snapshots) = (plugin.volumes()?, plugin.snapshots()?);
    let recorded = recorded(&volumes, &snapshots, &pool.path);
    let is_recorded = |object: &str| {
        object.parse::<VolumeId>().is_ok_and(|id| volumes.contains_key(&id))
            || object.parse::<SnapshotId>().is_ok_and(|id| snapshots.contains_key(&id))
    };
    // What has its record already is in the sum of records.
    let begun: u64 = here().filter(|(object, _)| !is_recorded(object)).map(|(_, (_, need))| need.nominal).sum();
    let nominal = limit.get().saturating_sub(recorded).saturating_sub(begun);
    Ok(Room { nominal: Some(nominal), free })
}

/// Nominal bytes of all that is recorded in a pool's directory.
fn recorded(volumes: &Records<VolumeRecord>, snapshots: &Records<SnapshotRecord>, path: &Path) -> u64 {
    let of_volumes = volumes.values().filter_map(|record| {
        let record = record.present()?;
        let image = record.spec.backing.as_image()?;
        (image.pool_path == path).then(|| record.nominal().map_or(0, Capacity::get))
    });
    let of_snapshots = snapshots.values().filter_map(|record| {
        let record = record.present()?;
        (record.path.parent() == Some(path)).then(|| record.size.get())
    });
    of_volumes.chain(of_snapshots).sum()
}
