//! Snapshots and clones: both copy a volume's bytes, so both come after the volume was made and before the same plan grows, replaces or
//! opens it. While a mounted file system is copied without reflink its writes pause, which the plan says.

use std::collections::HashMap;

use crate::model::observed::{Observed, ObservedBacking, ObservedImage};
use crate::model::record::Recorded;
use crate::model::{Action, Backing, ObjectRef, SnapshotId, SnapshotSpec, Source, VolumeId, VolumeSpec};

use super::course::{Course, NEVER_SEEN};
use super::draft::Draft;
use super::emit::{AllEmitted, Emitted};
use super::graph::Node;
use super::guards::{foreign_owner, named, newer, not_found, refuse};
use super::{Change, ChangeKind, DataFate, Risk};

/// Plans these snapshots and orders every copy against what moves its source.
pub(super) fn plan<'a>(
    draft: &mut Draft<'a>,
    snapshots: impl Iterator<Item = &'a SnapshotSpec>,
    courses: &[Course<'a>],
    emitted: &AllEmitted<'_>,
) {
    let by_id: HashMap<&VolumeId, &Course<'_>> = courses.iter().map(|course| (course.id, course)).collect();
    let mut taken: HashMap<&SnapshotId, Node> = HashMap::new();
    for spec in snapshots {
        let course = by_id.get(&spec.volume).copied();
        if let Some(node) = snapshot(draft, spec, course) {
            taken.insert(&spec.id, node);
            read(draft, node, emitted.get(&spec.volume));
        }
    }
    for course in courses {
        let Some(node) = emitted.get(course.id).and_then(|steps| steps.copies) else { continue };
        match &course.spec.source {
            Some(Source::Snapshot(id)) => {
                if let Some(snapshot) = taken.get(id) {
                    draft.graph.edge(*snapshot, node);
                }
            }
            Some(Source::Volume(id)) => {
                let risk = risk(draft.observed, id, by_id.get(id).copied());
                draft.graph.raise(node, risk, PAUSE);
                read(draft, node, emitted.get(id));
            }
            None => {}
        }
    }
}

/// What a copy without reflink means for those who write meanwhile.
const PAUSE: &str = "writes pause while it is copied";

/// Orders one copy: after the making and the taking down of its source, before anything else happens to it.
fn read(draft: &mut Draft<'_>, copy: Node, source: Option<&Emitted>) {
    let Some(source) = source else { return };
    for &before in source.made.iter().chain(source.down.last()) {
        draft.graph.edge(before, copy);
    }
    // The rest of what moves it waits for the first.
    if let Some(&moves) = source.moving.first() {
        draft.graph.edge(copy, moves);
    }
}

/// What copying a volume puts at stake.
fn risk(observed: &Observed, id: &VolumeId, course: Option<&Course<'_>>) -> Risk {
    let seen = observed.volumes.get(id).unwrap_or(&NEVER_SEEN);
    let pool = seen.record.present().and_then(|record| record.spec.backing.as_image()).map(|image| &image.pool);
    let reflink = pool.and_then(|pool| observed.pools.get(pool)).is_some_and(|pool| pool.reflink);
    let writable =
        seen.staged.as_ref().is_some_and(|staged| !staged.mount.read_only() && !staged.mount.super_read_only());
    let stays_up = course.is_none_or(|course| !course.comes_down());
    if writable && stays_up && !reflink { Risk::Offline } else { Risk::None }
}

/// One snapshot: taken, there already, or refused.
fn snapshot(draft: &mut Draft<'_>, spec: &SnapshotSpec, course: Option<&Course<'_>>) -> Option<Node> {
    let object = ObjectRef::Snapshot(spec.id.clone());
    let seen = draft.observed.snapshots.get(&spec.id);
    match seen.map(|seen| &seen.record) {
        Some(Recorded::Unknown { cause }) => {
            draft.unknown.push((object, format!("its record: {cause}")));
            return None;
        }
        Some(Recorded::Newer { version }) => {
            draft.refused.push(newer(&object, *version));
            return None;
        }
        Some(Recorded::Present(record)) => {
            if record.owner != spec.owner {
                draft.refused.push(foreign_owner(&object, &record.owner));
                return None;
            }
            if record.volume != spec.volume {
                let message =
                    format!("it was taken of {} and is asked for of {}", named(&record.volume), named(&spec.volume));
                draft.refused.push(refuse(
                    "exists",
                    &object,
                    message,
                    "give the new snapshot another name; none is ever retaken",
                ));
                return None;
            }
            if record.ready {
                draft.changes.push(unchanged(object));
                return None;
            }
        }
        _ => {}
    }
    let source = source(draft, &object, spec, course)?;
    let file = seen.filter(|seen| seen.record.present().is_none()).and_then(|seen| seen.file.as_ref());
    if let Some(file) = file.filter(|file| file.identity.as_ref().is_some_and(|says| says.owner == spec.owner)) {
        draft.changes.push(adopted(object, spec, file));
        return Some(draft.graph.push(Action::Snapshot(spec.clone()), Risk::None, ADOPTED));
    }
    let risk = risk(draft.observed, &spec.volume, course);
    draft.changes.push(taken(object, spec, &source, risk));
    let reason = match risk {
        Risk::Offline => PAUSE,
        _ => "not taken yet",
    };
    Some(draft.graph.push(Action::Snapshot(spec.clone()), risk, reason))
}

/// The volume a snapshot is taken of, as it is when it is taken.
fn source(
    draft: &mut Draft<'_>,
    object: &ObjectRef,
    spec: &SnapshotSpec,
    course: Option<&Course<'_>>,
) -> Option<VolumeSpec> {
    let seen = draft.observed.volumes.get(&spec.volume).unwrap_or(&NEVER_SEEN);
    let volume = seen.record.present().map(|record| &record.spec).or_else(|| draft.desired.volumes.get(&spec.volume));
    let unreadable = matches!(seen.record, Recorded::Unknown { .. }) || !seen.unknown.is_empty();
    if unreadable {
        draft.unknown.push((object.clone(), format!("{} could not be read", named(&spec.volume))));
        return None;
    }
    let Some(volume) = volume else {
        let message = format!("{} does not exist", named(&spec.volume));
        draft.refused.push(not_found(object, message, "csictl get volumes lists those there are"));
        return None;
    };
    if !matches!(volume.backing, Backing::Image(_)) {
        let message = format!("{} is a {}; only images can be copied", named(&spec.volume), volume.backing.kind());
        draft.refused.push(refuse("unsupported", object, message, "copy its files with other means"));
        return None;
    }
    if course.is_none() && !matches!(seen.backing, ObservedBacking::Image(_)) {
        let message = format!("the image of {} is not there", named(&spec.volume));
        draft.refused.push(not_found(object, message, "csictl status shows what became of it"));
        return None;
    }
    Some(volume.clone())
}

fn unchanged(object: ObjectRef) -> Change {
    let title = "unchanged".to_owned();
    Change { object, kind: ChangeKind::Unchanged, title, comment: None, data: DataFate::None, details: Vec::new() }
}

/// Why a snapshot whose file is there is asked for once more.
const ADOPTED: &str = "its file says it is ours, its record is gone";

fn adopted(object: ObjectRef, spec: &SnapshotSpec, file: &ObservedImage) -> Change {
    Change {
        object,
        kind: ChangeKind::Create,
        title: "adopt".to_owned(),
        comment: Some(ADOPTED.to_owned()),
        data: DataFate::Kept,
        details: vec![("of".to_owned(), named(&spec.volume)), ("size".to_owned(), file.size.to_string())],
    }
}

fn taken(object: ObjectRef, spec: &SnapshotSpec, source: &VolumeSpec, risk: Risk) -> Change {
    let mut details = vec![("of".to_owned(), named(&spec.volume))];
    details.extend(source.required().map(|size| ("size".to_owned(), size.to_string())));
    Change {
        object,
        kind: ChangeKind::Create,
        title: "snapshot".to_owned(),
        comment: (risk == Risk::Offline).then(|| "offline: writes pause".to_owned()),
        data: DataFate::None,
        details,
    }
}
