//! Whether a pool has bytes for what is to be allocated at once: what is free there minus its reserve, and minus what other calls are about
//! to allocate, so that two at once never both take the last place. Nominal sizes and their limit are the driver's to count.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::Status;

use super::plugin::Plugin;
use super::status;
use crate::model::{Allocate, Capacity, Pool, VolumeSpec};

/// What is about to be allocated, by what it is for. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Mutex<BTreeMap<String, (PathBuf, u64)>>>);

/// A place in the ledger; dropping it gives it back. To be held until the bytes are allocated.
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

impl Ledger {
    /// Takes bytes for `object` (an id, or whatever no two pieces of work share); what allocates nothing at once takes none.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED naming the pool, what is free and what is asked.
    pub fn reserve(
        &self,
        plugin: &Plugin,
        pool: &Pool,
        object: &str,
        bytes: u64,
    ) -> Result<Option<Reservation>, Status> {
        if bytes == 0 {
            return Ok(None);
        }
        let mut allocating = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = free(plugin, pool, &allocating)?;
        if bytes > free {
            return Err(Status::resource_exhausted(format!(
                "pool '{}' at {}: {} is to be allocated, {} is free beyond its reserve. Free space there, ask for less, or set allocate=sparse",
                pool.name,
                pool.path.display(),
                Capacity::bytes(bytes),
                Capacity::bytes(free),
            )));
        }
        allocating.insert(object.to_owned(), (pool.path.clone(), bytes));
        Ok(Some(Reservation { ledger: self.clone(), object: object.to_owned() }))
    }

    /// Takes the bytes of a new volume.
    ///
    /// # Errors
    /// As [`Ledger::reserve`]; INTERNAL when its pool is none of the configuration's any more.
    pub fn reserve_volume(&self, plugin: &Plugin, spec: &VolumeSpec) -> Result<Option<Reservation>, Status> {
        let image = spec.backing.as_image().ok_or_else(|| Status::internal("a volume over gRPC is an image"))?;
        let storage = plugin.storage();
        let pool = storage.pools.get(&image.pool);
        let pool = pool.ok_or_else(|| Status::internal(format!("pool '{}' is gone", image.pool)))?;
        let full = image.allocate == Allocate::Full;
        self.reserve(plugin, pool, spec.id.as_str(), if full { spec.required().map_or(0, Capacity::get) } else { 0 })
    }

    /// Bytes that can still be allocated in a pool.
    ///
    /// # Errors
    /// INTERNAL when it can't be measured.
    pub fn free(&self, plugin: &Plugin, pool: &Pool) -> Result<u64, Status> {
        free(plugin, pool, &self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn free(plugin: &Plugin, pool: &Pool, allocating: &BTreeMap<String, (PathBuf, u64)>) -> Result<u64, Status> {
    let facts = plugin.driver().host().pool(pool).map_err(|error| status::of_host(&error))?;
    let here: u64 = allocating.values().filter(|(path, _)| *path == pool.path).map(|(_, bytes)| bytes).sum();
    let reserve = pool.reserve.map_or(0, Capacity::get);
    Ok(facts.free.get().saturating_sub(reserve).saturating_sub(here))
}
