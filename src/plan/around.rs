//! Planning around volumes that are refused: they are left exactly as they are, with what lies on them, and the others are planned as
//! if those were not there to be touched. A boot wants this: a disk that is missing keeps its own volume down and no other. Pure.

use std::collections::BTreeSet;
use std::path::Path;

use crate::model::observed::Observed;
use crate::model::{Backing, Desired, Layout, ObjectRef, VolumeId, VolumeSpec};

use super::guards::named;
use super::{Intent, Plan, Refused, plan};

/// The plan without the volumes that are refused, and why each of them was. What is refused beside volumes stays refused in the
/// plan.
pub fn around(desired: &Desired, observed: &Observed, layout: &Layout, intent: &Intent) -> (Plan, Vec<Refused>) {
    let mut observed = observed.clone();
    let mut aside: Vec<Refused> = Vec::new();
    loop {
        let mut plan = plan(desired, &observed, layout, intent);
        let mut found = plan.refused.clone();
        found.extend(hidden(desired, &observed, &aside));
        found
            .retain(|refused| matches!(refused.object, ObjectRef::Volume(_)) && !ids(&aside).contains(&refused.object));
        if found.is_empty() {
            // They were read well enough; only nothing is to be done about them.
            let left = ids(&aside);
            plan.unknown.retain(|(object, _)| !left.contains(object));
            return (plan, aside);
        }
        for refused in &found {
            if let ObjectRef::Volume(id) = &refused.object {
                observed.volumes.entry(id.clone()).or_default().unknown.push(refused.message.clone());
            }
        }
        aside.extend(found);
    }
}

fn ids(aside: &[Refused]) -> BTreeSet<ObjectRef> {
    aside.iter().map(|refused| refused.object.clone()).collect()
}

/// Volumes that lie, or are mounted, below a target where one that is left alone is not mounted: they would be made or mounted in
/// the wrong place.
fn hidden(desired: &Desired, observed: &Observed, aside: &[Refused]) -> Vec<Refused> {
    let left = ids(aside);
    let is_left = |id: &VolumeId| left.contains(&ObjectRef::Volume(id.clone()));
    let missing: Vec<(&Path, &VolumeId)> = desired
        .publishes()
        .filter(|publish| is_left(&publish.volume))
        .map(|publish| (publish.target.as_path(), &publish.volume))
        .filter(|(target, id)| {
            let seen = observed.volumes.get(*id);
            seen.is_none_or(|seen| !seen.published.iter().any(|publish| publish.target == *target))
        })
        .collect();
    if missing.is_empty() {
        return Vec::new();
    }
    let below = |path: &Path| missing.iter().find(|(target, _)| path.starts_with(target)).copied();
    let mut found = Vec::new();
    for (id, spec) in desired.volumes.iter().filter(|(id, _)| !is_left(id)) {
        let targets =
            desired.publishes().filter(|publish| publish.volume == *id).map(|publish| publish.target.as_path());
        if let Some((target, parent)) = targets.chain(lies_at(spec)).find_map(below) {
            let message = format!("it lies below {}, where {} is not mounted", target.display(), named(parent));
            let help = format!("bring {} back first", named(parent));
            found.push(Refused { code: "not-found", object: ObjectRef::Volume(id.clone()), message, help });
        }
    }
    found
}

fn lies_at(spec: &VolumeSpec) -> Option<&Path> {
    match &spec.backing {
        Backing::Image(image) => Some(&image.pool_path),
        Backing::Directory(directory) => Some(&directory.path),
        Backing::Device(_) | Backing::Tmpfs(_) => None,
    }
}
