//! Pools as seen: the room below them, and what their images add up to, whichever project they belong to.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::model::observed::{ObservedBacking, ObservedPool, ObservedSnapshot, ObservedVolume};
use crate::model::{Allocate, Capacity, Name, Owner, Pool, SnapshotId, VolumeId};
use crate::state::Reader;

use super::Look;
use crate::driver::local::mounted;

impl Look<'_> {
    pub(super) fn pools(
        &self,
        volumes: &BTreeMap<VolumeId, ObservedVolume>,
        snapshots: &BTreeMap<SnapshotId, ObservedSnapshot>,
    ) -> BTreeMap<Name, ObservedPool> {
        let mut pools: BTreeMap<Name, Pool> = BTreeMap::new();
        for record in self.records.values().filter_map(|record| record.present()) {
            if self.desired.is_some() && !volumes.contains_key(&record.spec.id) {
                continue;
            }
            if let Some(image) = record.spec.backing.as_image() {
                let pool = Pool { name: image.pool.clone(), path: image.pool_path.clone(), limit: None, reserve: None };
                pools.insert(image.pool.clone(), pool);
            }
        }
        // What is declared now outranks what a record remembers.
        pools.extend(self.desired.into_iter().flat_map(|desired| desired.pools.clone()));
        let mut known: BTreeMap<PathBuf, (u64, u64)> = BTreeMap::new();
        for volume in volumes.values() {
            if let ObservedBacking::Image(image) = &volume.backing {
                known.insert(image.path.clone(), (image.size.get(), image.allocated.get()));
            }
        }
        for file in snapshots.values().filter_map(|snapshot| snapshot.file.as_ref()) {
            known.insert(file.path.clone(), (file.size.get(), file.allocated.get()));
        }
        pools.into_iter().map(|(name, pool)| (name, self.pool(pool, &known, snapshots))).collect()
    }

    /// The limits that hold for what is done to a volume without its manifest.
    pub(super) fn limits(&self) -> BTreeMap<Name, BTreeMap<PathBuf, Capacity>> {
        let mut limits = BTreeMap::new();
        if self.desired.is_some() {
            return limits;
        }
        let reader = Reader::new(self.host, self.layout);
        for record in self.records.values().filter_map(|record| record.present()) {
            if let Owner::Project(project) = &record.spec.owner
                && !limits.contains_key(project)
            {
                let said = reader.limits(project).present().map(|record| record.limits.clone());
                limits.insert(project.clone(), said.unwrap_or_default());
            }
        }
        limits
    }

    fn pool(
        &self,
        pool: Pool,
        known: &BTreeMap<PathBuf, (u64, u64)>,
        snapshots: &BTreeMap<SnapshotId, ObservedSnapshot>,
    ) -> ObservedPool {
        let mut nominal = 0;
        let mut unallocated = 0;
        let records = self.records.values().filter_map(|record| record.present());
        let taken = snapshots.values().filter_map(|seen| seen.record.present());
        let missed = mounted::missed(self.host, &pool.path, records, taken);
        let open_to = mounted::open_to(self.host, &pool.path);
        for name in self.host.list(&pool.path).unwrap_or_default() {
            let path = pool.path.join(&name);
            let extension = path.extension().and_then(OsStr::to_str);
            if !matches!(extension, Some("img" | "snap")) || name.to_string_lossy().starts_with('.') {
                continue;
            }
            let measured = known.get(&path).copied();
            let stat = || self.host.stat(&path).ok().flatten().map(|facts| (facts.size, facts.allocated));
            let Some((size, allocated)) = measured.or_else(stat) else { continue };
            nominal += size;
            if self.is_full(&path) {
                unallocated += size.saturating_sub(allocated);
            }
        }
        let facts = self.host.pool(&pool);
        let (exists, fs_type, free, total, reflink, largest_file) = match facts {
            Ok(facts) => (facts.exists, facts.fs_type, facts.free, facts.total, facts.reflink, facts.largest_file),
            Err(_) => (false, String::new(), Capacity::default(), Capacity::default(), false, None),
        };
        ObservedPool {
            pool,
            exists,
            fs_type,
            free,
            total,
            reflink,
            largest_file,
            nominal: Capacity::bytes(nominal),
            unallocated: Capacity::bytes(unallocated),
            missed,
            open_to,
        }
    }

    /// Whether the image at that path was promised all its bytes.
    fn is_full(&self, path: &Path) -> bool {
        let id = path.file_stem().and_then(OsStr::to_str).filter(|_| path.extension() == Some(OsStr::new("img")));
        let record = id.and_then(|id| self.records.get(id)).and_then(|record| record.present());
        record.and_then(|record| record.spec.backing.as_image()).is_some_and(|image| image.allocate == Allocate::Full)
    }
}
