//! Whether the images of a plan fit: nominal sizes against a pool's limit, bytes still to be allocated against what is free minus the
//! reserve. What a plan deletes is not counted as free, because nothing makes the deleting come first.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::model::observed::{ObservedBacking, ObservedPool};
use crate::model::{Action, Allocate, Capacity, ImageBacking, Name, ObjectRef, SnapshotSpec, Source, VolumeId};

use super::Refused;
use super::course::{Course, Make};
use super::draft::Draft;
use super::guards::refuse;

#[derive(Debug, Default)]
struct Need {
    /// Nominal bytes added, and those that make room for them.
    nominal: u64,
    given_back: u64,
    /// Bytes to be allocated at once.
    allocate: u64,
    /// Bytes that come when they are written.
    later: u64,
}

/// Judges every pool that is to hold more.
pub(super) fn judge<'s>(draft: &mut Draft<'_>, courses: &[Course<'_>], taken: impl Iterator<Item = &'s SnapshotSpec>) {
    let mut needs: BTreeMap<(Name, PathBuf), Need> = BTreeMap::new();
    for course in courses {
        if let Some(image) = course.spec.backing.as_image() {
            let need = of_course(draft, course, image);
            if let Some(refused) = one_file_holds(draft, course, image, &need) {
                draft.refused.push(refused);
                continue;
            }
            if need.nominal + need.allocate > 0 {
                draft.note_full(course);
                add(&mut needs, image, &need);
            }
        }
    }
    for snapshot in taken {
        if let Some((pool, need)) = of_snapshot(draft, &snapshot.volume) {
            add(&mut needs, pool, &need);
        }
    }
    for ((name, path), need) in needs {
        fits(draft, &name, &path, &need);
    }
}

fn add(needs: &mut BTreeMap<(Name, PathBuf), Need>, pool: &ImageBacking, need: &Need) {
    let sum = needs.entry((pool.pool.clone(), pool.pool_path.clone())).or_default();
    sum.nominal = sum.nominal.saturating_add(need.nominal);
    sum.given_back = sum.given_back.saturating_add(need.given_back);
    sum.allocate = sum.allocate.saturating_add(need.allocate);
    sum.later = sum.later.saturating_add(need.later);
}

fn of_course(draft: &Draft<'_>, course: &Course<'_>, image: &ImageBacking) -> Need {
    let full = image.allocate == Allocate::Full;
    let required = course.spec.required().map_or(0, Capacity::get);
    let seen = match &course.seen.backing {
        ObservedBacking::Image(image) => Some(image),
        _ => None,
    };
    let made = match course.make {
        Make::New | Make::Replace | Make::Exchange => true,
        Make::Again(_) => seen.is_none(),
        Make::Nothing | Make::Adopt => false,
    };
    if made {
        let given_back = seen.filter(|_| course.make == Make::Replace).map_or(0, |old| old.size.get());
        let allocate = if full { required } else { copied(draft, course) };
        return Need { nominal: required, given_back, allocate, later: required.saturating_sub(allocate) };
    }
    let grown = course.grow.map_or(0, |growth| growth.to.get().saturating_sub(growth.from.get()));
    let filled = course.modify.iter().any(|(what, _)| what == "allocate") && full;
    let holes = seen.filter(|_| filled).map_or(0, |image| image.size.get().saturating_sub(image.allocated.get()));
    let (allocate, later) = if full { (grown + holes, 0) } else { (0, grown) };
    Need { nominal: grown, given_back: 0, allocate, later }
}

/// Refuses an image larger than one file can be where its pool lies.
fn one_file_holds(draft: &Draft<'_>, course: &Course<'_>, image: &ImageBacking, need: &Need) -> Option<Refused> {
    let pools = &draft.observed.pools;
    let seen = pools.values().find(|seen| seen.pool.path == image.pool_path)?;
    let asked = course.spec.required().filter(|_| need.nominal > 0)?;
    let most = seen.largest_file.filter(|most| asked > *most)?;
    let message = format!(
        "{asked} is asked for, and a file on the {} below {} has at most {most}",
        seen.fs_type,
        image.pool_path.display()
    );
    let help = "ask for less, or use a pool on another file system (xfs, btrfs)";
    Some(refuse("out-of-range", &ObjectRef::Volume(course.id.clone()), message, help))
}

/// What a sparse clone takes at once: what its source holds, unless they share it.
fn copied(draft: &Draft<'_>, course: &Course<'_>) -> u64 {
    match &course.spec.source {
        Some(Source::Volume(id)) => of_snapshot(draft, id).map_or(0, |(_, need)| need.allocate),
        Some(Source::Snapshot(id)) => {
            let reflink = course
                .spec
                .backing
                .as_image()
                .and_then(|image| draft.observed.pools.get(&image.pool))
                .is_some_and(|pool| pool.reflink);
            let file = draft.observed.snapshots.get(id).and_then(|seen| seen.file.as_ref());
            file.filter(|_| !reflink).map_or(0, |file| file.allocated.get())
        }
        None => 0,
    }
}

fn of_snapshot<'a>(draft: &Draft<'a>, volume: &VolumeId) -> Option<(&'a ImageBacking, Need)> {
    let seen = draft.observed.volumes.get(volume);
    let spec = seen.and_then(|seen| seen.record.present()).map(|record| &record.spec);
    let spec = spec.or_else(|| draft.desired.volumes.get(volume))?;
    let image = spec.backing.as_image()?;
    let reflink = draft.observed.pools.get(&image.pool).is_some_and(|pool| pool.reflink);
    let held = match seen.map(|seen| &seen.backing) {
        Some(ObservedBacking::Image(file)) if !reflink => file.allocated.get(),
        _ => 0,
    };
    Some((image, Need { nominal: spec.required()?.get(), given_back: 0, allocate: held, later: 0 }))
}

fn fits(draft: &mut Draft<'_>, name: &Name, path: &Path, need: &Need) {
    // Two projects may call two directories by one name.
    let is_it = |seen: &&ObservedPool| seen.pool.path == path;
    let pools = &draft.observed.pools;
    let Some(seen) = pools.get(name).filter(is_it).or_else(|| pools.values().find(is_it)) else { return };
    let declared = draft.desired.pools.get(name).unwrap_or(&seen.pool);
    let said = || draft.observed.limits.get(&draft.desired.project)?.get(path).copied();
    let limit = declared.limit.or_else(|| said().filter(|_| !draft.desired.pools.contains_key(name)));
    let object = ObjectRef::Pool(name.clone());
    let nominal = seen.nominal.get().saturating_add(need.nominal).saturating_sub(need.given_back);
    if let Some(limit) = limit.filter(|limit| need.nominal > 0 && nominal > limit.get()) {
        let message = format!(
            "its limit is {limit}; it holds {} and {} would be added",
            seen.nominal,
            Capacity::bytes(need.nominal)
        );
        draft.refused.push(refuse(
            "no-space",
            &object,
            message,
            "raise pools.limit, ask for less, or delete what is released",
        ));
    }
    let reserve = declared.reserve.map_or(0, Capacity::get);
    let asked = need.allocate.saturating_add(seen.unallocated.get()).saturating_add(reserve);
    let all = asked.saturating_add(need.later);
    if need.later > 0 && asked <= seen.free.get() && all > seen.free.get() {
        let note = format!(
            "{} is free at {}, less than what is sparse in this plan may come to ({}): writes fail once it is full",
            seen.free,
            declared.path.display(),
            Capacity::bytes(need.later)
        );
        draft.notes.push((object.clone(), note));
    }
    if need.allocate > 0 && asked > seen.free.get() {
        let message = format!(
            "{} is free at {}; {} are to be allocated, {} are promised already, {} are kept in reserve",
            seen.free,
            declared.path.display(),
            Capacity::bytes(need.allocate),
            seen.unallocated,
            Capacity::bytes(reserve)
        );
        draft.refused.push(refuse(
            "no-space",
            &object,
            message,
            "free space, ask for less, or set image.allocate = \"sparse\"",
        ));
    }
}

/// The snapshots a graph takes.
pub(super) fn taken(draft: &Draft<'_>) -> Vec<SnapshotSpec> {
    let spec = |action: &Action| match action {
        Action::Snapshot(spec) => Some(spec.clone()),
        _ => None,
    };
    draft.graph.actions().filter_map(spec).collect()
}
