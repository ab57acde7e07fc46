//! The paths at which something is, or is to be, published: what is there, and whose.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::{Path, PathBuf};

use crate::driver::local::own::describe;
use crate::model::observed::{ObservedTarget, ObservedVolume};
use crate::model::{Backing, Owner, PublishSpec, VolumeId};

use super::Look;

/// Paths of other owners' volumes.
struct Elsewhere<'a> {
    /// Directories of images, in which nothing else may be and over which nothing may lie.
    pools: BTreeMap<&'a Path, (Owner, VolumeId)>,
    /// Directories and targets, over which nothing may lie.
    above: BTreeMap<&'a Path, (Owner, VolumeId)>,
}

impl Elsewhere<'_> {
    /// What a mount at `target` would cross.
    fn crossed_by(&self, target: &Path) -> Option<(Owner, VolumeId, PathBuf)> {
        // In this order what lies below a path comes right behind it.
        let below = |paths: &BTreeMap<&Path, (Owner, VolumeId)>| {
            let next = paths
                .range::<Path, _>((Bound::Included(target), Bound::Unbounded))
                .next()
                .filter(|(path, _)| path.starts_with(target));
            next.map(|(path, (owner, id))| (owner.clone(), id.clone(), path.to_path_buf()))
        };
        let within = || {
            let pool = target.ancestors().find_map(|path| self.pools.get_key_value(path));
            pool.map(|(path, (owner, id))| (owner.clone(), id.clone(), path.to_path_buf()))
        };
        below(&self.pools).or_else(|| below(&self.above)).or_else(within)
    }
}

impl Look<'_> {
    pub(super) fn targets(&self, volumes: &BTreeMap<VolumeId, ObservedVolume>) -> BTreeMap<PathBuf, ObservedTarget> {
        // Trusted root and, where a manifest wants it there, the volume.
        let mut asked: BTreeMap<&Path, &PublishSpec> = BTreeMap::new();
        for volume in volumes.values() {
            for publish in volume.run.iter().flat_map(|run| run.publishes.values()) {
                asked.insert(&publish.target, publish);
            }
        }
        for publish in self.wanted.values().flatten() {
            asked.insert(&publish.target, publish);
        }
        let mut ours: HashMap<&Path, &VolumeId> = HashMap::new();
        for (id, volume) in volumes {
            ours.extend(volume.published.iter().map(|publish| (publish.target.as_path(), id)));
        }
        let taken = self.taken(volumes);
        let elsewhere = self.elsewhere(volumes, &taken);
        let seen = super::parallel::map(asked.into_iter().collect(), |(target, publish)| {
            let mut seen = self.host.target(&publish.trusted_root, target).unwrap_or_else(|error| ObservedTarget {
                unknown: Some(error.to_string()),
                ..ObservedTarget::default()
            });
            if let Some(owner) = taken.get(target) {
                seen.taken_by = Some(owner.clone());
            } else if !ours.contains_key(target) {
                seen.foreign = self.mounts.top(target).map(describe);
                seen.crosses = elsewhere.crossed_by(target);
            }
            (target.to_owned(), seen)
        });
        seen.into_iter().collect()
    }

    /// Where the volumes lie, and are seen, that are not looked at here.
    fn elsewhere<'a>(
        &'a self,
        volumes: &BTreeMap<VolumeId, ObservedVolume>,
        taken: &HashMap<&'a Path, (Owner, VolumeId)>,
    ) -> Elsewhere<'a> {
        let mut elsewhere = Elsewhere { pools: BTreeMap::new(), above: BTreeMap::new() };
        let others = self.records.iter().filter(|(id, _)| !volumes.contains_key(*id));
        for record in others.filter_map(|(_, record)| record.present()) {
            let whose = || (record.spec.owner.clone(), record.spec.id.clone());
            match &record.spec.backing {
                Backing::Image(image) => drop(elsewhere.pools.entry(&image.pool_path).or_insert_with(whose)),
                Backing::Directory(directory) => drop(elsewhere.above.entry(&directory.path).or_insert_with(whose)),
                Backing::Device(_) | Backing::Tmpfs(_) => {}
            }
        }
        elsewhere.above.extend(taken.iter().map(|(target, whose)| (*target, whose.clone())));
        elsewhere
    }

    /// Targets at which a volume that is not looked at here is published.
    fn taken(&self, volumes: &BTreeMap<VolumeId, ObservedVolume>) -> HashMap<&Path, (Owner, VolumeId)> {
        let mut taken = HashMap::new();
        for (id, run) in self.runs.iter().filter(|(id, _)| !volumes.contains_key(*id)) {
            let record = self.records.get(id).and_then(|record| record.present());
            let owner = record.map_or(Owner::Csi, |record| record.spec.owner.clone());
            for target in run.publishes.keys().filter(|target| self.mounts.top(target).is_some()) {
                taken.insert(target.as_path(), (owner.clone(), id.clone()));
            }
        }
        taken
    }
}
