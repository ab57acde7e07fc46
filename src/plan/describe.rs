//! The lines that explain what becomes of one volume, as the text of a plan shows them.

use crate::model::observed::ObservedBacking;
use crate::model::{Allocate, Backing, ObjectRef, Probe, Reclaim, Source, VolumeSpec};

use super::course::{Course, End, Make};
use super::{Change, ChangeKind, DataFate};

/// What becomes of a course's volume.
pub(super) fn volume(course: &Course<'_>) -> Change {
    let (kind, title) = kind(course);
    let mut change = Change {
        object: ObjectRef::Volume(course.id.clone()),
        kind,
        title,
        comment: comment(course),
        data: data(course, kind),
        details: Vec::new(),
    };
    if kind == ChangeKind::Unchanged {
        return change;
    }
    match kind {
        ChangeKind::Create => made(course, &mut change.details),
        ChangeKind::Replace => {
            let forced = |(what, value): &(String, String)| (what.clone(), format!("{value}   # forces replacement"));
            change.details.extend(course.replaced.iter().map(forced));
            change.details.extend(holds(course).map(|value| ("holds".to_owned(), value)));
        }
        _ => {}
    }
    if let Some(growth) = course.grow {
        change.details.push(("capacity".to_owned(), format!("{} -> {}", growth.from, growth.to)));
    }
    change.details.extend(course.modify.iter().cloned());
    paths(course, &mut change.details);
    if kind == ChangeKind::Delete {
        change.details.extend(holds(course).map(|value| ("holds".to_owned(), value)));
    }
    change
}

fn kind(course: &Course<'_>) -> (ChangeKind, String) {
    let titled = |kind, title: &str| (kind, title.to_owned());
    match (&course.make, course.end) {
        (_, End::Release) => return titled(ChangeKind::Release, "release"),
        (_, End::Forget) => return titled(ChangeKind::Release, "forget"),
        (_, End::Delete) => return titled(ChangeKind::Delete, "delete"),
        (Make::New, _) => return titled(ChangeKind::Create, "create"),
        (Make::Adopt, _) => return titled(ChangeKind::Create, "adopt"),
        (Make::Replace, _) => return titled(ChangeKind::Replace, "replace"),
        (Make::Exchange, _) => return titled(ChangeKind::Change, "exchange"),
        (Make::Nothing | Make::Again(_), End::Stay) => {}
    }
    let coming = course.coming().next().is_some();
    let leaving = !course.leaving().is_empty();
    let stops = !course.up() && course.comes_down() && (course.is_up() || leaving);
    let title = if course.grow.is_some() {
        if course.cycle.is_some() { "expand offline" } else { "expand online" }
    } else if matches!(course.make, Make::Again(_)) {
        "take up"
    } else if stops {
        "take down"
    } else if !course.modify.is_empty() {
        "change"
    } else if course.remount || course.drifted && (coming || leaving) {
        "restore"
    } else if coming && leaving {
        "publish anew"
    } else if coming {
        "publish"
    } else if leaving {
        "unpublish"
    } else {
        return titled(ChangeKind::Unchanged, "unchanged");
    };
    let title = match title {
        "expand online" if course.seen.staged.is_none() && course.seen.loop_device.is_none() => "expand",
        other => other,
    };
    titled(ChangeKind::Change, title)
}

fn comment(course: &Course<'_>) -> Option<String> {
    let left = |reclaim| match reclaim {
        Reclaim::Retain => "not in the manifest, reclaim = retain",
        Reclaim::Delete => "not in the manifest, reclaim = delete",
    };
    match (&course.make, course.end) {
        (_, End::Release) => Some(left(course.spec.reclaim).to_owned()),
        (_, End::Forget) => Some(format!("the bytes of a {} are not csictl's to delete", course.spec.backing.kind()))
            .filter(|_| !matches!(course.spec.backing, Backing::Tmpfs(_))),
        (Make::Adopt, _) => Some("its image says it is ours, its record is gone".to_owned()),
        (Make::Again(reason), _) => Some((*reason).to_owned()),
        _ => course.cycle.clone().filter(|_| course.up()),
    }
}

fn data(course: &Course<'_>, kind: ChangeKind) -> DataFate {
    let memory = |spec: &VolumeSpec| matches!(spec.backing, Backing::Tmpfs(_));
    let scratch = memory(&course.spec) || course.make == Make::Exchange && memory(course.old_spec());
    match kind {
        ChangeKind::Replace | ChangeKind::Delete => DataFate::Lost,
        ChangeKind::Unchanged => DataFate::None,
        _ if scratch => DataFate::Scratch,
        ChangeKind::Create if course.make == Make::Adopt => DataFate::Kept,
        ChangeKind::Create => DataFate::None,
        ChangeKind::Release => DataFate::Kept,
        ChangeKind::Change if course.make == Make::Exchange => DataFate::Kept,
        ChangeKind::Change if !course.up() && course.is_up() => DataFate::Kept,
        ChangeKind::Change => DataFate::None,
    }
}

fn made(course: &Course<'_>, details: &mut Vec<(String, String)>) {
    let spec = &course.spec;
    let mut line = |what: &str, value: String| details.push((what.to_owned(), value));
    match &spec.backing {
        Backing::Image(image) => {
            let name = format!("{}/{}.img", image.pool, course.id);
            let size = spec.required().map_or_else(String::new, |size| size.to_string());
            match (&course.make, image.allocate) {
                (Make::Adopt, _) => line("image", format!("{name}   there, {size}")),
                (_, Allocate::Full) => line("image", format!("{name}   new, {size} allocated")),
                (_, Allocate::Sparse) => line("image", format!("{name}   new, {size} sparse")),
            }
        }
        Backing::Device(device) => line("device", device.path.display().to_string()),
        Backing::Directory(directory) => {
            let new = course.seen.backing == ObservedBacking::Missing;
            line("directory", format!("{}{}", directory.path.display(), if new { "   new" } else { "" }));
        }
        Backing::Tmpfs(tmpfs) => line("tmpfs", tmpfs.size.to_string()),
    }
    match &spec.source {
        Some(Source::Volume(id)) => line("source", format!("volume.{}", id.short())),
        Some(Source::Snapshot(id)) => line("source", format!("snapshot.{}", id.short())),
        None => {}
    }
    if let Some(fs) = &spec.fs {
        let label = fs.label.as_ref().map_or_else(String::new, |label| format!(", label {label}"));
        let there = matches!((&spec.backing, &course.seen.probe), (Backing::Device(_), Some(Probe::Known(_))));
        line("filesystem", format!("{}{label}{}", fs.fs_type, if there { "   there" } else { "" }));
    }
}

fn paths(course: &Course<'_>, details: &mut Vec<(String, String)>) {
    let coming: Vec<_> = course.coming().map(|publish| publish.target.as_path()).collect();
    for leaving in course.leaving().iter().filter(|leaving| coming.binary_search(&leaving.target).is_err()) {
        let asked = leaving.asked.map(|asked| &asked.pod).or(leaving.seen.and_then(|seen| seen.pod.as_ref()));
        let pod = asked.map_or_else(String::new, |pod| format!("pod.{pod}:"));
        details.push(("unpublish".to_owned(), format!("{pod}{}", leaving.target.display())));
    }
    for publish in course.coming() {
        let how = if publish.read_only { "read-only" } else { "read-write" };
        let sub = publish.sub_path.as_ref().map_or_else(String::new, |path| format!("   sub_path {}", path.display()));
        let text = format!("pod.{}:{}   {how}{sub}", publish.pod, publish.target.display());
        details.push(("publish".to_owned(), text));
    }
}

/// What is about to be lost.
fn holds(course: &Course<'_>) -> Option<String> {
    let record = course.record?;
    let fs = record.spec.fs_type().map(|fs| fs.to_string());
    let uuid = record.fs_uuid.map(|uuid| shortened(&uuid.to_string()));
    let used = course.seen.used.map(|used| format!("{used} used"));
    let what = [fs, uuid].into_iter().flatten().collect::<Vec<_>>().join(" ");
    // Of a disk that is wiped the record may know nothing.
    let disk = matches!(course.seen.backing, ObservedBacking::Device(_)) && what.is_empty();
    let found = course.seen.probe.as_ref().filter(|found| disk && !found.is_blank()).map(ToString::to_string);
    let parts: Vec<_> = [(!what.is_empty()).then_some(what), found, used].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Enough of a UUID to recognise it.
fn shortened(uuid: &str) -> String {
    match (uuid.get(..4), uuid.get(uuid.len().saturating_sub(2)..)) {
        (Some(head), Some(tail)) => format!("{head}…{tail}"),
        _ => uuid.to_owned(),
    }
}
