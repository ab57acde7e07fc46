//! The imperative forms: one object, named by the user, whoever owns it. They look at nothing else and go through the same courses and
//! guards as an apply.

use std::borrow::Cow;

use crate::model::observed::ObservedVolume;
use crate::model::record::{Recorded, SnapshotRecord, VolumeRecord};
use crate::model::{
    AccessMode, Action, Allocate, Backing, Capacity, CapacityRange, FsSpec, ImageBacking, Layout, ObjectRef, Owner,
    Reclaim, SnapshotId, Source, VolumeId, VolumeMode, VolumeSpec,
};

use super::course::{Course, End, Make, NEVER_SEEN};
use super::draft::Draft;
use super::guards::{self, not_found, refuse};
use super::{Change, ChangeKind, DataFate, Risk, decide};

/// The record of a volume that may be worked on; what stands against it is said.
fn recorded<'a>(draft: &mut Draft<'a>, id: &VolumeId) -> Option<(&'a ObservedVolume, &'a VolumeRecord)> {
    let object = ObjectRef::Volume(id.clone());
    let seen = draft.observed.volumes.get(id).unwrap_or(&NEVER_SEEN);
    if draft.is_unknown(id, seen) {
        return None;
    }
    let refused = match &seen.record {
        Recorded::Present(record) => {
            match guards::namespace(&Course::new(&record.spec.id, Cow::Borrowed(&record.spec), seen)) {
                None => return Some((seen, record)),
                Some(refused) => refused,
            }
        }
        Recorded::Newer { version } => guards::newer(&object, *version),
        Recorded::Corrupt { cause } => {
            let message = format!("its record is corrupt: {cause}");
            refuse("protected", &object, message, "apply its manifest, which makes the record anew")
        }
        Recorded::Absent | Recorded::Unknown { .. } => {
            not_found(&object, format!("there is no volume {id}"), "csictl get volumes lists those there are")
        }
    };
    draft.refused.push(refused);
    None
}

/// `expand VOLUME SIZE`.
pub(super) fn expand<'a>(draft: &mut Draft<'a>, id: &'a VolumeId, to: Capacity) -> Vec<Course<'a>> {
    let object = ObjectRef::Volume(id.clone());
    let Some((seen, record)) = recorded(draft, id) else { return Vec::new() };
    let mut spec = record.spec.clone();
    match &mut spec.backing {
        Backing::Image(_) => {
            let limit = spec.capacity.and_then(|range| range.limit);
            if let Some(limit) = limit.filter(|limit| to > *limit) {
                let message = format!("{to} is asked for and its capacity.limit is {limit}");
                draft.refused.push(refuse("out-of-range", &object, message, "raise the limit in its manifest first"));
            }
            spec.capacity = Some(CapacityRange { required: to.rounded_up(), limit });
        }
        Backing::Tmpfs(tmpfs) => tmpfs.size = to,
        other => {
            let message = format!("a {} has the size it has", other.kind());
            draft.refused.push(refuse("unsupported", &object, message, "only images and tmpfs grow through csictl"));
            return Vec::new();
        }
    }
    let mut course = Course::new(id, Cow::Owned(spec), seen);
    course.stays = true;
    course.publishes = seen.run.iter().flat_map(|run| run.publishes.values()).map(Cow::Borrowed).collect();
    // An expand mends nothing: what is not mounted now stays so.
    course.publishes.retain(|publish| seen.published.iter().any(|seen| seen.target == publish.target));
    if let (Backing::Tmpfs(now), Backing::Tmpfs(was)) = (&course.spec.backing, &record.spec.backing) {
        if now.size < was.size {
            draft.refused.push(guards::too_small(&object, now.size, was.size, "applied"));
        } else if now.size > was.size {
            course.modify.push(("size".to_owned(), format!("{} -> {}", was.size, now.size)));
        }
        return vec![course];
    }
    draft.refused.extend(guards::behind(&course, None));
    decide::grow(draft, &mut course);
    let unasked = seen.published.iter().any(|publish| course.asked(&publish.target).is_none());
    if let Some(reason) = course.cycle.as_ref().filter(|_| unasked || record.spec.owner == Owner::Csi) {
        let help = "let its orchestrator unpublish and unstage it first";
        draft.refused.push(refuse("unsupported", &object, reason.clone(), help));
    }
    if matches!(record.spec.owner, Owner::Project(_)) && course.grow.is_some() {
        let size = course.spec.required().map_or_else(String::new, Capacity::to_manifest);
        let note = format!("write capacity = \"{size}\" in its manifest too");
        draft.notes.push((object, note));
    }
    vec![course]
}

/// `delete VOLUME`.
pub(super) fn delete<'a>(draft: &mut Draft<'a>, id: &'a VolumeId) -> Vec<Course<'a>> {
    let object = ObjectRef::Volume(id.clone());
    let Some((seen, record)) = recorded(draft, id) else { return Vec::new() };
    let mut course = Course::new(id, Cow::Borrowed(&record.spec), seen);
    course.end = if record.spec.backing.as_image().is_some() { End::Delete } else { End::Forget };
    if let (Owner::Project(project), false) = (&record.spec.owner, record.released) {
        let message = format!("project {project} still wants it");
        let help = "take it out of the manifest and apply; or csictl destroy MANIFEST --delete-data NAME";
        draft.refused.push(refuse("busy", &object, message, help));
    } else if seen.staged.is_some() || !seen.published.is_empty() {
        let message = "it is mounted".to_owned();
        draft.refused.push(refuse(
            "busy",
            &object,
            message,
            "have it unpublished and unstaged first; csictl who shows who uses it",
        ));
    }
    if record.protected() {
        draft.refused.push(guards::protected(&object, Some(record), "deleted"));
    }
    vec![course]
}

/// `snapshot delete SNAPSHOT`.
pub(super) fn delete_snapshot(draft: &mut Draft<'_>, id: &SnapshotId) {
    let object = ObjectRef::Snapshot(id.clone());
    let Some(record) = recorded_snapshot(draft, id) else { return };
    if let Some(group) = &record.group {
        let message = format!("it was taken with group {group} and goes only with all of it");
        let help = "delete the group: csictl csi delete-volume-group-snapshot, or its orchestrator";
        draft.refused.push(refuse("group-member", &object, message, help));
        return;
    }
    let details = vec![("of".to_owned(), guards::named(&record.volume)), ("size".to_owned(), record.size.to_string())];
    let title = "delete".to_owned();
    draft.changes.push(Change {
        object,
        kind: ChangeKind::Delete,
        title,
        comment: None,
        data: DataFate::Lost,
        details,
    });
    let request = crate::model::action::DeleteSnapshotRequest { id: id.clone(), approval: None };
    draft.graph.push(Action::DeleteSnapshot(request), Risk::DataLoss, "asked for by name");
}

fn recorded_snapshot<'a>(draft: &mut Draft<'a>, id: &SnapshotId) -> Option<&'a SnapshotRecord> {
    let object = ObjectRef::Snapshot(id.clone());
    let refused = match draft.observed.snapshots.get(id).map(|seen| &seen.record) {
        Some(Recorded::Present(record)) => return Some(record),
        Some(Recorded::Unknown { cause }) => {
            draft.unknown.push((object, format!("its record: {cause}")));
            return None;
        }
        Some(Recorded::Newer { version }) => guards::newer(&object, *version),
        Some(Recorded::Corrupt { cause }) => {
            let message = format!("its record is corrupt: {cause}");
            refuse("protected", &object, message, "csictl gc looks after records that cannot be read")
        }
        Some(Recorded::Absent) | None => {
            not_found(&object, format!("there is no snapshot {id}"), "csictl get snapshots lists those there are")
        }
    };
    draft.refused.push(refused);
    None
}

/// `snapshot restore SNAPSHOT NEWVOLUME`.
pub(super) fn restore<'a>(draft: &mut Draft<'a>, snapshot: &SnapshotId, id: &'a VolumeId) -> Vec<Course<'a>> {
    let object = ObjectRef::Volume(id.clone());
    let Some(record) = recorded_snapshot(draft, snapshot) else { return Vec::new() };
    let seen = draft.observed.volumes.get(id).unwrap_or(&NEVER_SEEN);
    if draft.is_unknown(id, seen) {
        return Vec::new();
    }
    if let Owner::Project(project) = &record.owner {
        let note = format!(
            "no manifest declares it: add volumes.{} with source = {{ snapshot = \"{}\" }} to the manifest of project {project}, or its next apply releases it (the data stays)",
            id.short(),
            snapshot.short()
        );
        draft.notes.push((object.clone(), note));
    }
    let spec = restored(draft, record, id);
    let mut course = Course::new(id, Cow::Owned(spec), seen);
    course.stays = true;
    match course.record {
        Some(there) if there.spec.source == course.spec.source => {}
        Some(there) => {
            let message = format!("there is a volume {id} already, of {}", there.spec.owner);
            draft.refused.push(refuse("exists", &object, message, "choose another name for the new volume"));
        }
        None => {
            course.make = if matches!(seen.record, Recorded::Absent) {
                Make::New
            } else {
                Make::Again("its record cannot be read")
            };
            if !record.ready {
                let message = format!("snapshot.{} was never finished", snapshot.short());
                draft.refused.push(refuse("not-ready", &object, message, "take it again: csictl snapshot create"));
            }
            draft.refused.extend(guards::behind(&course, None));
        }
    }
    vec![course]
}

/// The new volume, as its snapshot's volume is where that is still known.
fn restored(draft: &Draft<'_>, record: &SnapshotRecord, id: &VolumeId) -> VolumeSpec {
    let of =
        draft.observed.volumes.get(&record.volume).and_then(|seen| seen.record.present()).map(|record| &record.spec);
    let pool_path = record.path.parent().unwrap_or(&record.path).to_owned();
    let like = of.and_then(|spec| spec.backing.as_image());
    let pool = like.map(|image| image.pool.clone());
    let pool = pool.or_else(|| {
        draft.observed.pools.values().find(|seen| seen.pool.path == pool_path).map(|seen| seen.pool.name.clone())
    });
    VolumeSpec {
        id: id.clone(),
        owner: record.owner.clone(),
        name: id.short().to_owned(),
        description: None,
        volume_mode: if record.fs_type.is_some() { VolumeMode::Filesystem } else { VolumeMode::Block },
        capacity: Some(CapacityRange { required: record.size, limit: None }),
        access_mode: of.map_or_else(AccessMode::default, |spec| spec.access_mode),
        backing: Backing::Image(ImageBacking {
            pool: pool.unwrap_or_else(Layout::default_pool_name),
            pool_path,
            allocate: like.map_or_else(Allocate::default, |image| image.allocate),
            direct_io: like.is_none_or(|image| image.direct_io),
            sector_size: record.sector_size,
        }),
        fs: record.fs_type.map(FsSpec::plain),
        fs_type_given: false,
        mount_options: of.map_or_else(Vec::new, |spec| spec.mount_options.clone()),
        source: Some(Source::Snapshot(record.id.clone())),
        reclaim: Reclaim::Retain,
        prevent_destroy: false,
        ownership: crate::model::Ownership::default(),
        fs_group: None,
        ephemeral: false,
    }
}
