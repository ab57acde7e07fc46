//! The course of each volume of a manifest, and of each that left it.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use crate::model::observed::{Observed, ObservedBacking, ObservedVolume};
use crate::model::record::{FormatMark, Recorded, RunRecord, VolumeRecord};
use crate::model::{
    Allocate, Backing, Capacity, Desired, FsType, ObjectRef, Owner, PublishSpec, Reclaim, SectorSize, Source, VolumeId,
    VolumeSpec,
};

use super::course::{Course, End, Growth, Make, NEVER_SEEN};
use super::devices::Devices;
use super::draft::Draft;
use super::{change, drift, guards, options};

/// What a volume is filled with, as far as it is known.
pub(super) struct SourceFacts {
    /// Its size when it is read.
    pub size: Option<Capacity>,
    /// Its file system.
    pub fs: Option<FsType>,
    /// Its sector size.
    pub sector_size: SectorSize,
    /// Whether it is a raw block volume.
    pub raw: bool,
}

/// The courses of an apply: every volume of the manifest and every recorded one of its project.
pub(super) fn apply<'a>(draft: &mut Draft<'a>) -> Vec<Course<'a>> {
    let (desired, observed) = (draft.desired, draft.observed);
    let mut wanted = publishes_by_volume(desired);
    let unmounted = not_yet_published(desired, observed);
    let devices = Devices::of(desired, observed);
    let mut courses = Vec::with_capacity(desired.volumes.len());
    for (id, spec) in &desired.volumes {
        let seen = observed.volumes.get(id).unwrap_or(&NEVER_SEEN);
        if draft.is_unknown(id, seen) {
            continue;
        }
        let publishes = wanted.remove(id).unwrap_or_default();
        let course = wanted_volume(draft, id, spec, seen, publishes, &unmounted);
        draft.refused.extend(course.as_ref().and_then(|course| devices.taken(course)));
        courses.extend(course);
    }
    courses.extend(left_the_manifest(draft));
    courses.sort_unstable_by_key(|course| course.id);
    courses
}

fn publishes_by_volume(desired: &Desired) -> BTreeMap<&VolumeId, Vec<&PublishSpec>> {
    let mut all: BTreeMap<&VolumeId, Vec<&PublishSpec>> = BTreeMap::new();
    for publish in desired.publishes() {
        all.entry(&publish.volume).or_default().push(publish);
    }
    for publishes in all.values_mut() {
        publishes.sort_by(|a, b| a.target.cmp(&b.target));
    }
    all
}

/// Targets of the manifest that show nothing yet: what lies below them now is not what will.
fn not_yet_published<'a>(desired: &'a Desired, observed: &'a Observed) -> HashSet<&'a Path> {
    let mounted: HashSet<&Path> = observed
        .volumes
        .values()
        .flat_map(|volume| &volume.published)
        .map(|publish| publish.target.as_path())
        .collect();
    desired.publishes().map(|publish| publish.target.as_path()).filter(|target| !mounted.contains(target)).collect()
}

fn wanted_volume<'a>(
    draft: &mut Draft<'a>,
    id: &'a VolumeId,
    spec: &'a VolumeSpec,
    seen: &'a ObservedVolume,
    publishes: Vec<&'a PublishSpec>,
    unmounted: &HashSet<&Path>,
) -> Option<Course<'a>> {
    let mut course = Course::new(id, Cow::Borrowed(spec), seen);
    course.left_alone = course.orchestrated.is_some();
    let object = ObjectRef::Volume(id.clone());
    let read_only = spec.access_mode.read_only();
    let publishes = publishes.into_iter();
    course.publishes = publishes
        .map(|publish| match read_only && !publish.read_only {
            true => Cow::Owned(PublishSpec { read_only, ..publish.clone() }),
            false => Cow::Borrowed(publish),
        })
        .collect();
    let who = guards::who(&course, &Owner::Project(draft.desired.project.clone()));
    if !who.is_empty() {
        draft.refused.extend(who);
        return None;
    }
    if let Some(source) = &spec.source {
        inherit(draft, &mut course, source);
    }
    let differences = change::compare(&course);
    draft.refused.extend(differences.refused);
    draft.notes.extend(differences.notes.into_iter().map(|note| (object.clone(), note)));
    course.modify = differences.in_place;
    course.replaced = differences.replace;
    course.make = make(&course);
    let hidden =
        course.lies_at().and_then(|path| path.ancestors().find(|path| unmounted.contains(path))).map(Path::to_owned);
    if matches!(course.make, Make::Replace | Make::Exchange) {
        course.modify.clear();
        if course.record.is_some_and(VolumeRecord::protected) || spec.prevent_destroy {
            draft.refused.push(guards::protected(&object, course.record, "replaced"));
        }
    }
    draft.notes.extend(guards::adopted(&course).map(|note| (object.clone(), note)));
    draft.notes.extend(guards::found_there(&course).map(|note| (object.clone(), note)));
    draft.refused.extend(guards::behind(&course, hidden.as_deref()));
    grow(draft, &mut course);
    let wanted: Vec<&PublishSpec> = course.publishes.iter().map(AsRef::as_ref).collect();
    let drift = drift::of_volume(id, seen, &wanted);
    course.drifted = !drift.is_empty();
    draft.drift.extend(drift);
    again(&mut course);
    cycle(&mut course);
    draft.refused.extend(options::judge(&mut course));
    Some(course)
}

/// What the image of a volume without a record says that it was made with; its source may be gone since.
fn from_its_image(course: &Course<'_>) -> Option<SourceFacts> {
    let ObservedBacking::Image(image) = &course.seen.backing else { return None };
    let says = image.identity.as_ref().filter(|says| says.id == course.id.as_str() && !says.snapshot)?;
    Some(SourceFacts { size: None, fs: says.fs_type, sector_size: says.sector_size, raw: says.fs_type.is_none() })
}

/// A clone or restored volume has the file system and the sector size of its source, once made those it was made with.
fn inherit<'a>(draft: &mut Draft<'a>, course: &mut Course<'a>, source: &'a Source) {
    let mut spec = course.spec.clone().into_owned();
    let object = ObjectRef::Volume(course.id.clone());
    let made =
        course.record.filter(|record| record.spec.source == spec.source && !record.rebuilt).map(|record| &record.spec);
    let from_record = made.map(|made| SourceFacts {
        size: None,
        fs: made.fs_type(),
        sector_size: made.backing.as_image().map(|image| image.sector_size).unwrap_or_default(),
        raw: made.is_raw(),
    });
    let from_image = || from_its_image(course).filter(|_| made.is_none());
    let (facts, holder) = match from_record.or_else(from_image) {
        Some(facts) => (facts, "its image"),
        None => match draft.source_facts(course.id, source) {
            Ok(facts) => (facts, "its source"),
            Err(Some(refused)) => return draft.refused.push(refused),
            Err(None) => return,
        },
    };
    if let Backing::Image(image) = &mut spec.backing {
        image.sector_size = facts.sector_size;
    }
    if let (Some(fs), Some(from)) = (&mut spec.fs, facts.fs) {
        if spec.fs_type_given && fs.fs_type != from && made.is_none() {
            let message = format!("fs.type = \"{}\" is asked for and {holder} holds {from}", fs.fs_type);
            draft.refused.push(guards::refuse(
                "incompatible",
                &object,
                message,
                "leave fs.type out; it comes from the source",
            ));
        } else if !spec.fs_type_given {
            fs.fs_type = from;
        }
    }
    if made.is_none() && facts.raw != spec.is_raw() {
        let message = format!("it and {holder} have different volume modes");
        draft.refused.push(guards::refuse("incompatible", &object, message, "give both the same volume_mode"));
    }
    course.spec = Cow::Owned(spec);
    if let Some(size) = facts.size {
        draft.refused.extend(guards::source_fits(course, size, "its source"));
        // A copy is grown at its first stage.
        let to = course.spec.required().filter(|to| *to > size);
        if let Some(to) = to.filter(|to| !guards::may_grow_to(course.spec.fs_type(), *to)) {
            draft.refused.push(guards::grown_too_little(&object, to));
        }
    }
}

fn make(course: &Course<'_>) -> Make {
    let seen = course.seen;
    let Some(record) = course.record else {
        return match (&seen.record, &seen.backing) {
            (Recorded::Corrupt { .. }, _) => Make::Again("its record is corrupt: it is set aside and made anew"),
            (_, ObservedBacking::Image(_)) => Make::Adopt,
            _ => Make::New,
        };
    };
    if !course.replaced.is_empty() {
        let same_kind = record.spec.backing.kind() == course.spec.backing.kind();
        let loses = same_kind || record.spec.backing.as_image().is_some();
        return if loses { Make::Replace } else { Make::Exchange };
    }
    if record.released {
        return Make::Again("it was released and is wanted again");
    }
    if record.rebuilt {
        return Make::Again("its record was rebuilt: the manifest confirms it");
    }
    let unfinished = match &course.spec.backing {
        Backing::Image(_) if guards::is_lost(course) => record.format == FormatMark::Begun && seen.staged.is_none(),
        // The image is recorded once it is in place.
        Backing::Image(_) => true,
        Backing::Directory(_) => seen.backing == ObservedBacking::Missing,
        Backing::Device(_) | Backing::Tmpfs(_) => false,
    };
    if unfinished { Make::Again("its making was not finished") } else { Make::Nothing }
}

/// Growth, and its refusal where the volume would shrink.
pub(super) fn grow(draft: &mut Draft<'_>, course: &mut Course<'_>) {
    let object = ObjectRef::Volume(course.id.clone());
    let Some(to) = course.spec.capacity.map(|range| range.required) else { return };
    let ObservedBacking::Image(image) = &course.seen.backing else { return };
    let applied = match course.record {
        // One that is taken over keeps what it has, and grows to what is asked for.
        None if course.make == Make::Adopt => to.min(image.size),
        Some(record) if matches!(course.make, Make::Nothing | Make::Again(_)) => {
            if guards::is_truncated(record, image.size) {
                return;
            }
            let recorded = record.spec.capacity.map_or(image.size, |range| range.required);
            if record.rebuilt { image.size } else { recorded }
        }
        _ => return,
    };
    let begun = course.record.is_some_and(|record| record.growing.is_some());
    if to < applied {
        draft.refused.push(guards::too_small(&object, to, applied, "applied"));
    } else if to > image.size && !guards::may_grow_to(course.spec.fs_type(), to) {
        draft.refused.push(guards::grown_too_little(&object, to));
    } else if to > image.size || to > applied || loop_is_short(course.seen, to) {
        course.grow = Some(Growth { from: applied.min(image.size), to });
        // Where all that is asked for is there already, it only has to be written down.
        if to > image.size || begun || loop_is_short(course.seen, to) {
            course.cycle = offline_growth(course, draft.observed);
        }
    }
    if image.size > to && to >= applied {
        let note = format!(
            "it was grown elsewhere: {} instead of {to}; its file system takes all of it when it is staged",
            image.size
        );
        draft.notes.push((object, note));
    }
}

/// A crash between growing the file and telling the loop.
fn loop_is_short(seen: &ObservedVolume, to: Capacity) -> bool {
    seen.loop_device.as_ref().is_some_and(|device| device.size < to.get())
}

/// Why growth cannot happen under the running mount.
pub(super) fn offline_growth(course: &Course<'_>, observed: &Observed) -> Option<String> {
    let mounted = course.seen.staged.is_some() || !course.seen.published.is_empty();
    let stuck = course.spec.fs_type() == Some(FsType::Ext4) && mounted && !observed.host.can_grow_ext4_online;
    stuck.then(|| "ext4 cannot grow while mounted on this machine (no CAP_SYS_RESOURCE)".to_owned())
}

/// Which of its mounts have to be made again.
fn again(course: &mut Course<'_>) {
    let tmpfs = matches!(course.spec.backing, Backing::Tmpfs(_));
    let mut again: BTreeMap<PathBuf, String> = BTreeMap::new();
    for publish in &course.publishes {
        let Some(seen) = course.mounted_at(&publish.target) else { continue };
        // Of a mount that is read-only by the volume's options, modify makes what they say now.
        let spec = &with_options(course);
        let reason = if seen.depth > 1 {
            Some(format!("{} mounts lie on each other", seen.depth))
        } else if let Some((expected, found)) = drift::wrong_mount(spec, seen, publish) {
            Some(format!("{found} -> {expected}"))
        } else if course.asked(&publish.target).is_some_and(|asked| asked.propagation != publish.propagation) {
            Some("propagation changes".to_owned())
        } else if tmpfs && course.seen.staged.is_none() {
            Some("its memory is no longer staged".to_owned())
        } else {
            None
        };
        if let Some(reason) = reason {
            again.insert(publish.target.clone(), reason);
        }
    }
    course.again = again;
}

/// The spec with the mount options that are in force now.
fn with_options<'a>(course: &Course<'a>) -> Cow<'a, VolumeSpec> {
    match course.record {
        Some(record) if record.spec.mount_options != course.spec.mount_options => {
            let mount_options = record.spec.mount_options.clone();
            Cow::Owned(VolumeSpec { mount_options, ..course.spec.clone().into_owned() })
        }
        _ => course.spec.clone(),
    }
}

/// Whether the way up leads over the way down.
fn cycle(course: &mut Course<'_>) {
    if course.cycle.is_some() || !course.up() {
        return;
    }
    if course.seen.staged.as_ref().is_some_and(|staged| staged.depth > 1) {
        course.cycle = Some("staging mounts lie on each other".to_owned());
    }
    let directory = matches!(course.spec.backing, Backing::Directory(_));
    if directory && course.seen.staged.as_ref().is_some_and(|staged| staged.mount.is_of_removed()) {
        course.cycle = Some("the directory it shows was removed".to_owned());
    }
    let wanted = course.attach_read_only();
    if course.seen.loop_device.as_ref().is_some_and(|device| device.read_only != wanted) {
        let word = if wanted { "read-only" } else { "writable" };
        course.cycle = Some(format!("its loop device has to become {word}"));
    }
}

/// Recorded volumes of the project that its manifest no longer names.
fn left_the_manifest<'a>(draft: &mut Draft<'a>) -> Vec<Course<'a>> {
    let desired = draft.desired;
    let prefix = format!("{}.", desired.project);
    let mut courses = Vec::new();
    for (id, seen) in &draft.observed.volumes {
        if desired.volumes.contains_key(id) {
            continue;
        }
        let object = ObjectRef::Volume(id.clone());
        let record = match &seen.record {
            Recorded::Present(record) => record,
            Recorded::Corrupt { .. } | Recorded::Newer { .. } if id.as_str().starts_with(&prefix) => {
                let note = "it is not in the manifest, and its record cannot be read: it is left alone";
                draft.notes.push((object, note.to_owned()));
                continue;
            }
            _ => continue,
        };
        if record.spec.owner != Owner::Project(desired.project.clone()) || draft.is_unknown(id, seen) {
            continue;
        }
        let mut course = Course::new(id, Cow::Borrowed(&record.spec), seen);
        course.end = end(record);
        if course.end == End::Release && record.is_unmade() && seen.backing == ObservedBacking::Missing {
            draft.notes.push((object.clone(), "nothing of it was ever made: its record goes".to_owned()));
        }
        if record.released && course.end == End::Release {
            course.end = End::Stay;
            if !course.is_up() {
                continue;
            }
        }
        course.left_alone = course.end == End::Stay && course.orchestrated.is_some();
        if let Some(refused) = guards::namespace(&course) {
            draft.refused.push(refused);
            continue;
        }
        if course.end == End::Delete && record.protected() {
            draft.refused.push(guards::protected(&object, Some(record), "deleted"));
        }
        courses.push(course);
    }
    courses
}

/// How a volume ends that left its manifest.
fn end(record: &VolumeRecord) -> End {
    match (&record.spec.backing, record.spec.reclaim) {
        (Backing::Tmpfs(_), _) if !record.protected() => End::Forget,
        (Backing::Image(_), Reclaim::Delete) => End::Delete,
        // What is protected keeps its record, and with it the protection.
        (_, Reclaim::Delete) if !record.protected() => End::Forget,
        _ => End::Release,
    }
}

/// Whether anything of it is mounted or attached, as far as that can be told.
fn is_up(seen: &ObservedVolume) -> bool {
    let recorded =
        |run: &RunRecord| run.staging_path.is_some() || !run.publishes.is_empty() || run.loop_index.is_some();
    seen.staged.is_some() || seen.loop_device.is_some() || seen.run.as_ref().is_some_and(recorded)
}

/// The courses of a destroy: every volume of the project is taken down, those named lose their data.
pub(super) fn destroy<'a>(
    draft: &mut Draft<'a>,
    delete_data: &std::collections::BTreeSet<VolumeId>,
) -> Vec<Course<'a>> {
    let desired = draft.desired;
    let owner = Owner::Project(desired.project.clone());
    let prefix = format!("{}.", desired.project);
    let mut courses = Vec::new();
    for (id, seen) in &draft.observed.volumes {
        let object = ObjectRef::Volume(id.clone());
        let ours = match &seen.record {
            Recorded::Present(record) => record.spec.owner == owner,
            _ => id.as_str().starts_with(&prefix),
        };
        if !ours {
            continue;
        }
        // What lies on a disk that died is taken down by what the kernel and the records still tell of it, and keeps its data.
        let died = !seen.unknown.is_empty() && seen.backing == ObservedBacking::Missing && !delete_data.contains(id);
        let goes = match &seen.record {
            // Without its loop device nobody could say which mounts are its own.
            Recorded::Present(_) => seen.loop_device.is_some(),
            Recorded::Absent => !is_up(seen),
            _ => false,
        };
        if died && goes {
            draft.notes.push((object.clone(), format!("{}: what it was is only taken down", seen.unknown.join("; "))));
        } else if draft.is_unknown(id, seen) {
            continue;
        }
        let spec = seen.record.present().map(|record| &record.spec).or_else(|| desired.volumes.get(id));
        // Neither a record nor the manifest knows it, so nothing but a stray image made it seen.
        let Some(spec) = spec else { continue };
        let mut course = Course::new(id, Cow::Borrowed(spec), seen);
        if matches!(seen.record, Recorded::Absent) && !course.is_up() {
            continue;
        }
        if let Some(refused) = guards::namespace(&course) {
            draft.refused.push(refused);
            continue;
        }
        if delete_data.contains(id) {
            delete_named(draft, &mut course, &object);
        } else if course.record.is_none() {
            draft.notes.push((object, "its record cannot be read: it is only taken down".to_owned()));
        }
        courses.push(course);
    }
    for id in delete_data.iter().filter(|id| !courses.iter().any(|course| course.id == *id)) {
        if !draft.unknown.iter().any(|(object, _)| *object == ObjectRef::Volume((*id).clone())) {
            draft.notes.push((ObjectRef::Volume(id.clone()), "there is nothing of it to delete".to_owned()));
        }
    }
    courses
}

fn delete_named(draft: &mut Draft<'_>, course: &mut Course<'_>, object: &ObjectRef) {
    let wanted = draft.desired.volumes.get(course.id);
    let recorded = course.record.is_some_and(VolumeRecord::protected);
    // Where the image is gone, a manifest that lifts the protection cannot be applied any more; its word is taken here.
    let gone = guards::image_is_gone(course);
    let lifted = gone && wanted.is_some_and(|spec| !spec.prevent_destroy);
    let protected = recorded && !lifted || wanted.is_some_and(|spec| spec.prevent_destroy);
    match &course.seen.record {
        Recorded::Newer { version } => draft.refused.push(guards::newer(object, *version)),
        _ if protected && gone => draft.refused.push(guards::protected_though_gone(object)),
        _ if protected || course.record.is_none() => {
            draft.refused.push(guards::protected(object, course.record, "deleted"));
        }
        _ => course.end = if course.spec.backing.as_image().is_some() { End::Delete } else { End::Forget },
    }
}

/// Whether a volume's bytes are promised to be allocated.
pub(super) fn is_full(spec: &VolumeSpec) -> bool {
    spec.backing.as_image().is_some_and(|image| image.allocate == Allocate::Full)
}
