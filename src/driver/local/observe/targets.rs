//! The paths at which something is, or is to be, published: what is there, and whose.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::driver::local::own::describe;
use crate::model::observed::{ObservedTarget, ObservedVolume};
use crate::model::{Owner, PublishSpec, VolumeId};

use super::Look;

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
        let seen = super::parallel::map(asked.into_iter().collect(), |(target, publish)| {
            let mut seen = self.host.target(&publish.trusted_root, target).unwrap_or_else(|error| ObservedTarget {
                unknown: Some(error.to_string()),
                ..ObservedTarget::default()
            });
            if let Some(owner) = taken.get(target) {
                seen.taken_by = Some(owner.clone());
            } else if !ours.contains_key(target) {
                seen.foreign = self.mounts.top(target).map(describe);
            }
            (target.to_owned(), seen)
        });
        seen.into_iter().collect()
    }

    /// Targets at which a volume that is not looked at here is published.
    fn taken(&self, volumes: &BTreeMap<VolumeId, ObservedVolume>) -> HashMap<&Path, (Owner, VolumeId)> {
        let mut taken = HashMap::new();
        for (id, run) in self.runs.iter().filter(|(id, _)| !volumes.contains_key(*id)) {
            let record = self.records.get(id).and_then(|record| record.present());
            let owner = record.map_or_else(|| Owner::by_id(id), |record| record.spec.owner.clone());
            for target in run.publishes.keys().filter(|target| self.mounts.top(target).is_some()) {
                taken.insert(target.as_path(), (owner.clone(), id.clone()));
            }
        }
        taken
    }
}
