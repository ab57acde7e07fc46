//! snapshot-group and delete-group (CSI 1.12, CreateVolumeGroupSnapshot and DeleteVolumeGroupSnapshot): copies of several volumes as they
//! are at one moment, all or none.
//!
//! Every file system that is written to is frozen before the first copy begins and thawed after the last has ended, so that no copy shows a
//! write that came after one which another copy lacks. The copies lie under their disposable names until all of them are durable; then
//! the group's record is written, which carries its members' records whole. Before that record there is no group, and what a killed run left
//! is a handful of temporary files; from it on, any later run ends what was begun ([`finish`]): a retry, the start of a server, gc.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{CopyRequest, ErrorKind, Host, HostError, Place};
use crate::model::action::{DeleteGroupRequest, Outcome};
use crate::model::observed::ObservedImage;
use crate::model::record::{GroupRecord, GroupState, ImageIdentity, Recorded, SnapshotRecord};
use crate::model::{Approval, Done, GroupId, GroupSpec, Layout, Loss, ObjectRef, SnapshotId, VolumeId};
use crate::state::{Reader, Store, VolumeLock};

use super::session::{host_failure, state_error};
use super::snapshot::is_snapshot_of;
use super::source::{Frozen, Origin, not_of_one_moment};
use super::{LocalDriver, deleted, guard, now, room, snapshot};

pub(super) fn snapshot_group(driver: &LocalDriver, spec: &GroupSpec) -> Result<Outcome> {
    let object = ObjectRef::Group(spec.id.clone());
    driver.prepare(&object)?;
    {
        let _lock = lock(driver, &spec.id)?;
        if let Some(done) = there_already(driver, spec, &object)? {
            return Ok(done.into());
        }
    }
    // Volumes are locked by their ids' order, then the group, then its snapshots: two groups cannot wait for each other.
    let members: BTreeMap<_, _> = spec.members.iter().map(|member| (&member.volume, &member.snapshot)).collect();
    let origins: Vec<Origin<'_>> = members.keys().map(|volume| driver.volume_origin(volume)).collect::<Result<_>>()?;
    let _lock = lock(driver, &spec.id)?;
    if let Some(done) = there_already(driver, spec, &object)? {
        return Ok(done.into());
    }
    let ids: BTreeSet<_> = members.values().collect();
    let locks: Vec<VolumeLock> = ids.into_iter().map(|id| snapshot::lock(driver, id)).collect::<Result<_>>()?;
    let created_at = now();
    let wanted: Vec<SnapshotRecord> = members
        .iter()
        .zip(&origins)
        .map(|((volume, id), origin)| SnapshotRecord {
            id: (*id).clone(),
            owner: spec.owner.clone(),
            name: spec.name.clone(),
            volume: (*volume).clone(),
            path: origin.path.parent().map(PathBuf::from).unwrap_or_default().join(format!("{id}.snap")),
            size: origin.size,
            fs_type: origin.fs_type,
            fs_uuid: origin.fs_uuid,
            sector_size: origin.sector_size,
            ready: true,
            created_at: created_at.clone(),
            group: Some(spec.id.clone()),
            file: None,
        })
        .collect();
    let mut record = GroupRecord {
        id: spec.id.clone(),
        owner: spec.owner.clone(),
        name: spec.name.clone(),
        state: GroupState::Placing,
        members: wanted,
        created_at,
    };
    let _room = room_for(driver, &record, &object)?;
    let placed = all_placed(driver, &record, &object)?;
    if !placed {
        copy_all(driver, &record, &origins, &locks, &object)?;
    }
    for member in &mut record.members {
        let path = if placed { member.path.clone() } else { part_of(member) };
        member.file = driver.host().image(&path).map_err(|error| host_failure(&object, error))?.map(|image| image.file);
    }
    // From here on the group is there, and only its ends are loose.
    drop(origins);
    driver.store().put_group(&record).map_err(|error| state_error(&object, error))?;
    finish(driver.host(), driver.layout(), record)?;
    Ok(Done::Changed.into())
}

/// Keeps room for all of them below their pools' limits.
fn room_for<'d>(driver: &'d LocalDriver, record: &GroupRecord, object: &ObjectRef) -> Result<Option<room::Room<'d>>> {
    let takes: Vec<_> = record
        .members
        .iter()
        .filter_map(|member| Some(room::Takes::snapshot(&member.id, member.path.parent()?, member.size)))
        .collect();
    room::take(driver, object, &room::holder_of_group(driver.layout(), &record.id), &record.owner, &takes)
}

/// Copies every volume to its temporary name at one moment, durably; on any failure nothing of it is left.
fn copy_all(
    driver: &LocalDriver,
    record: &GroupRecord,
    origins: &[Origin<'_>],
    locks: &[VolumeLock],
    object: &ObjectRef,
) -> Result<()> {
    one_moment_is_possible(driver, origins, object)?;
    let host = driver.host();
    let copied = at_one_moment(driver, record, origins, locks).and_then(|()| durable(host, record, object));
    copied.inspect_err(|_| {
        for member in &record.members {
            let _ = host.remove_image(&part_of(member), None);
        }
    })
}

fn at_one_moment(
    driver: &LocalDriver,
    record: &GroupRecord,
    origins: &[Origin<'_>],
    locks: &[VolumeLock],
) -> Result<()> {
    let host = driver.host();
    let fail = |origin: &Origin<'_>, error: HostError| host_failure(&origin.object, error);
    let mut frozen: Vec<Option<Frozen<'_>>> = Vec::new();
    for origin in origins {
        frozen.push(origin.freeze(driver)?);
    }
    let until = frozen.iter().flatten().map(Frozen::until).min();
    let held = || frozen.iter().flatten().all(Frozen::held);
    for origin in origins {
        if let Some((_, node)) = origin.writable_at() {
            host.flush_device(node).map_err(|error| fail(origin, error))?;
        }
    }
    for ((origin, member), lock) in origins.iter().zip(&record.members).zip(locks) {
        let request = CopyRequest {
            from: origin.path.clone(),
            from_file: origin.file,
            to_part: part_of(member),
            size: origin.size,
            full: false,
            reflink: true,
            until,
        };
        match host.copy_image(&request, lock.own()) {
            Err(error) if error.kind != ErrorKind::TimedOut => return Err(fail(origin, error)),
            // What is read once one of them was thawed is of another moment.
            Ok(_) if held() => {}
            _ => return Err(not_of_one_moment(driver, &origin.object, &origin.path, until, None)),
        }
    }
    // That somebody else thawed one shows when it is thawed.
    let mut broken = None;
    for (origin, frozen) in origins.iter().zip(frozen) {
        if frozen.is_some_and(|frozen| !frozen.end()) {
            broken = Some(origin);
        }
    }
    broken.map_or(Ok(()), |origin| Err(not_of_one_moment(driver, &origin.object, &origin.path, until, None)))
}

/// Says in each copy who it is, and flushes them all.
fn durable(host: &dyn Host, record: &GroupRecord, object: &ObjectRef) -> Result<()> {
    let fail = |error: HostError| host_failure(object, error);
    for member in &record.members {
        let identity = ImageIdentity {
            id: member.id.to_string(),
            owner: member.owner.clone(),
            snapshot: true,
            fs_type: member.fs_type,
            fs_uuid: member.fs_uuid,
            sector_size: member.sector_size,
            protected: false,
            ephemeral: false,
            group: Some(record.id.clone()),
            deleting: false,
        };
        host.set_identity(&part_of(member), &identity).map_err(fail)?;
    }
    let pools: BTreeSet<&Path> = record.members.iter().filter_map(|member| member.path.parent()).collect();
    pools.into_iter().try_for_each(|pool| host.sync(pool)).map_err(fail)
}

/// Refuses what cannot be held still, or would hold csictl itself still.
fn one_moment_is_possible(driver: &LocalDriver, origins: &[Origin<'_>], object: &ObjectRef) -> Result<()> {
    if let Some(raw) = origins.iter().find(|origin| origin.in_use_raw()) {
        return Err(DriverError::refused(
            Refusal::Unsupported,
            object.clone(),
            format!(
                "{} is in use as a raw device, whose writes cannot be held for one moment with the others",
                raw.object
            ),
            "unpublish it for the snapshot, or take a snapshot of it alone",
        ));
    }
    let mut frozen = BTreeSet::new();
    for origin in origins {
        let Some((mount_point, _)) = origin.writable_at() else { continue };
        let mounts = driver.host().mounts_at(mount_point).map_err(|error| host_failure(&origin.object, error))?;
        frozen.extend(mounts.last().map(|mount| mount.device));
    }
    for origin in origins {
        if frozen.contains(&origin.file.device) {
            return Err(DriverError::refused(
                Refusal::Unsupported,
                object.clone(),
                format!(
                    "{} lies on another volume of the group, which would be frozen under it",
                    origin.path.display()
                ),
                "keep pools off the volumes themselves, or take the snapshots one by one",
            ));
        }
    }
    Ok(())
}

/// Whether the snapshots lie under their own names already, though no record tells of them: they got those only once the whole group was
/// durable, so they are adopted, all of them or none.
fn all_placed(driver: &LocalDriver, record: &GroupRecord, object: &ObjectRef) -> Result<bool> {
    let mut there = 0;
    for member in &record.members {
        let file = driver.host().image(&member.path).map_err(|error| host_failure(object, error))?;
        deleted::not_marked(driver, object, &member.path, file.is_some())?;
        match file {
            Some(file) if is_snapshot_of(file.identity.as_ref(), &member.id, &member.owner) => there += 1,
            Some(_) => return Err(not_a_member(object, member, "does not say that it is")),
            None => {}
        }
    }
    if there > 0 && there < record.members.len() {
        return Err(DriverError::refused(
            Refusal::WrongIdentity,
            object.clone(),
            format!("{there} of its {} snapshots lie there and no record tells of the others", record.members.len()),
            "choose another name, or move those files away",
        ));
    }
    Ok(there > 0)
}

fn not_a_member(object: &ObjectRef, member: &SnapshotRecord, says: &str) -> DriverError {
    DriverError::refused(
        Refusal::WrongIdentity,
        object.clone(),
        format!("{} {says} snapshot {} of the group", member.path.display(), member.id),
        "look at it (getfattr -n trusted.csictl); it is neither used nor removed",
    )
}

fn lock(driver: &LocalDriver, id: &GroupId) -> Result<VolumeLock> {
    VolumeLock::group(driver.host(), driver.layout(), id, driver.lock_timeout)
        .map_err(|error| state_error(&ObjectRef::Group(id.clone()), error))
}

/// A member's temporary name.
fn part_of(member: &SnapshotRecord) -> PathBuf {
    member.path.with_file_name(format!(".{}.snap.part", member.id))
}

/// The group's record if there is one; a damaged one is made anew from its members', each of which names it.
fn recorded(driver: &LocalDriver, id: &GroupId, object: &ObjectRef) -> Result<Option<GroupRecord>> {
    match driver.reader().group(id) {
        Recorded::Absent => Ok(None),
        Recorded::Present(record) => Ok(Some(record)),
        Recorded::Newer { version } => Err(DriverError::refused(
            Refusal::NewerRecord,
            object.clone(),
            format!("its record has version {version}, written by a newer csictl"),
            "use that csictl",
        )),
        Recorded::Unknown { cause } => {
            let path = driver.layout().group_record(id);
            let error = HostError::new(ErrorKind::Other, "read record", path, cause);
            Err(DriverError::host(object.clone(), error))
        }
        Recorded::Corrupt { .. } => {
            let state = |error| state_error(object, error);
            let rebuilt = rebuild(driver, id).map_err(|error| host_failure(object, error))?;
            driver.store().set_group_aside(id).map_err(state)?;
            if let Some(record) = &rebuilt {
                driver.store().put_group(record).map_err(state)?;
            }
            Ok(rebuilt)
        }
    }
}

fn rebuild(driver: &LocalDriver, id: &GroupId) -> std::result::Result<Option<GroupRecord>, HostError> {
    let reader = driver.reader();
    let records = reader.snapshot_ids()?.into_iter().filter_map(|id| reader.snapshot(&id).present().cloned());
    let mut members: Vec<SnapshotRecord> = records.filter(|record| record.group.as_ref() == Some(id)).collect();
    members.sort_by(|a, b| a.volume.cmp(&b.volume));
    Ok(members.first().cloned().map(|first| GroupRecord {
        id: id.clone(),
        owner: first.owner,
        name: first.name,
        state: GroupState::Ready,
        members,
        created_at: first.created_at,
    }))
}

/// Whether the group was taken before, its loose ends tied; an error when its name was used for something else.
fn there_already(driver: &LocalDriver, spec: &GroupSpec, object: &ObjectRef) -> Result<Option<Done>> {
    let Some(record) = recorded(driver, &spec.id, object)? else { return Ok(None) };
    let refuse =
        |refusal, message: String| Err(DriverError::refused(refusal, object.clone(), message, "choose another name"));
    if record.owner != spec.owner {
        return refuse(Refusal::Foreign, format!("it belongs to {}, not to {}", record.owner, spec.owner));
    }
    if record.state == GroupState::Deleting {
        finish(driver.host(), driver.layout(), record)?;
        return Ok(None);
    }
    let of: BTreeSet<&VolumeId> = record.members.iter().map(|member| &member.volume).collect();
    if of != spec.members.iter().map(|member| &member.volume).collect() {
        let of: Vec<_> = of.into_iter().map(VolumeId::as_str).collect();
        return refuse(Refusal::Exists, format!("it exists already, as a group of {}", of.join(", ")));
    }
    if record.state == GroupState::Placing {
        finish(driver.host(), driver.layout(), record)?;
        return Ok(Some(Done::Changed));
    }
    for member in &record.members {
        if snapshot::file_of(driver, member)?.is_none() {
            return Err(not_a_member(object, member, "is gone, which was"));
        }
    }
    Ok(Some(Done::Already))
}

pub(super) fn delete_group(driver: &LocalDriver, request: &DeleteGroupRequest) -> Result<Outcome> {
    let object = ObjectRef::Group(request.id.clone());
    driver.prepare(&object)?;
    let _lock = lock(driver, &request.id)?;
    let Some(mut record) = recorded(driver, &request.id, &object)? else { return Ok(Done::Already.into()) };
    let approved = Approval { object: object.clone(), loss: Loss::Delete };
    if request.approval.as_ref() != Some(&approved) {
        return Err(DriverError::unapproved(object, Loss::Delete, "its snapshots would be lost (delete)"));
    }
    // All of them or none: one that a volume is being made from keeps the whole group.
    let ids: BTreeSet<_> = record.members.iter().map(|member| &member.id).collect();
    let _members: Vec<VolumeLock> = ids.into_iter().map(|id| snapshot::lock(driver, id)).collect::<Result<_>>()?;
    for member in &record.members {
        let begun = record.state == GroupState::Deleting;
        match snapshot::file_of(driver, member)? {
            Some(file) => guard::not_attached(driver.host(), &object, &member.path, file.file)?,
            None if begun => {}
            None => {
                deleted::pool_is_there(driver, &object, &member.path, member.file)?;
                deleted::mark(driver, &object, &member.path)?;
            }
        }
    }
    begin_deletion(driver.host(), &record, &object)?;
    record.state = GroupState::Deleting;
    driver.store().put_group(&record).map_err(|error| state_error(&object, error))?;
    finish(driver.host(), driver.layout(), record)?;
    Ok(Done::Changed.into())
}

/// Writes into each member's own file that the deletion of its group was asked for, before the record says so: what a later run ends is then
/// known not from a record alone, which anybody may have brought.
fn begin_deletion(host: &dyn Host, record: &GroupRecord, object: &ObjectRef) -> Result<()> {
    let fail = |error: HostError| host_failure(object, error);
    for member in &record.members {
        let Some(file) = says_member(host, record, member, &member.path)? else { continue };
        if let Some(identity) = file.identity {
            host.set_identity(&member.path, &ImageIdentity { deleting: true, ..identity }).map_err(fail)?;
        }
    }
    let pools: BTreeSet<&Path> = record.members.iter().filter_map(|member| member.path.parent()).collect();
    pools.into_iter().try_for_each(|pool| host.sync(pool)).map_err(fail)
}

/// The file at a member's name, which has to say that it is this snapshot of this group.
fn says_member(
    host: &dyn Host,
    record: &GroupRecord,
    member: &SnapshotRecord,
    path: &Path,
) -> Result<Option<ObservedImage>> {
    let object = ObjectRef::Group(record.id.clone());
    let Some(file) = host.image(path).map_err(|error| host_failure(&object, error))? else { return Ok(None) };
    let of_group = file.identity.as_ref().is_some_and(|identity| identity.group.as_ref() == Some(&record.id));
    if of_group && is_snapshot_of(file.identity.as_ref(), &member.id, &member.owner) {
        return Ok(Some(file));
    }
    Err(not_a_member(&object, member, "does not say that it is"))
}

/// Ends what was begun with a group whose lock, or the global one, the caller holds: gives its snapshots their names and records, or
/// takes them all away.
pub(super) fn finish(host: &dyn Host, layout: &Layout, mut record: GroupRecord) -> Result<()> {
    let object = ObjectRef::Group(record.id.clone());
    let fail = |error: HostError| host_failure(&object, error);
    let store = Store::new(host, layout);
    let reader = Reader::new(host, layout);
    match record.state {
        GroupState::Ready => Ok(()),
        GroupState::Placing => {
            for member in &record.members {
                match host.image(&member.path).map_err(fail)? {
                    Some(file) if is_snapshot_of(file.identity.as_ref(), &member.id, &member.owner) => {}
                    Some(_) => return Err(not_a_member(&object, member, "does not say that it is")),
                    None => {
                        says_member(host, &record, member, &part_of(member))?;
                        host.place_image(&part_of(member), &member.path, Place::New).map_err(fail)?;
                    }
                }
                let known = reader.snapshot(&member.id);
                if known.present().is_some_and(|known| known.group != member.group) {
                    return Err(not_a_member(&object, member, "is recorded, and not as"));
                }
                if known.present() != Some(member) {
                    store.put_snapshot(member).map_err(fail)?;
                }
            }
            record.state = GroupState::Ready;
            store.put_group(&record).map_err(|error| state_error(&object, error))
        }
        GroupState::Deleting => {
            // The record alone is not believed: whoever brought or edited it never asked for this deletion. Each file says that it was begun.
            for member in &record.members {
                match says_member(host, &record, member, &member.path)? {
                    Some(file) if !file.identity.as_ref().is_some_and(|identity| identity.deleting) => {
                        return Err(not_a_member(&object, member, "does not say that it is being deleted as"));
                    }
                    Some(_) => {}
                    None => deleted::pool_of(host, &object, &member.path, member.file)?,
                }
            }
            for member in &record.members {
                if let Some(file) = host.image(&member.path).map_err(fail)? {
                    host.remove_image(&member.path, Some(file.file)).map_err(fail)?;
                    deleted::stays_away(host, layout, &member.path).map_err(fail)?;
                }
                host.remove_image(&part_of(member), None).map_err(fail)?;
                if reader.snapshot(&member.id).present().is_none_or(|known| known.group == member.group) {
                    store.remove_snapshot(&member.id).map_err(fail)?;
                }
            }
            store.remove_group(&record.id).map_err(fail)
        }
    }
}

/// Ends what killed runs began with groups of snapshots, and answers which; a group that somebody works on right now is left to them.
///
/// # Errors
/// The records can't be listed, or what was begun cannot be ended.
pub fn finish_left(host: &dyn Host, layout: &Layout) -> Result<Vec<GroupId>> {
    let reader = Reader::new(host, layout);
    let (mut finished, mut failed) = (Vec::new(), Ok(()));
    let pool = || ObjectRef::Pool(Layout::default_pool_name());
    for id in unfinished(&reader).map_err(|error| host_failure(&pool(), error))? {
        let Ok(_idle) = VolumeLock::group(host, layout, &id, Duration::ZERO) else { continue };
        if let Recorded::Present(record) = reader.group(&id) {
            // One that cannot be ended keeps no other from it.
            match finish(host, layout, record) {
                Ok(()) => finished.push(id),
                Err(error) => failed = Err(error),
            }
        }
    }
    failed.map(|()| finished)
}

/// The groups that are half-way, be it that somebody is at work on them now.
pub(super) fn unfinished(reader: &Reader<'_>) -> std::result::Result<Vec<GroupId>, HostError> {
    let ids = reader.group_ids()?;
    let half = |id: &GroupId| reader.group(id).present().is_some_and(|record| record.state != GroupState::Ready);
    Ok(ids.into_iter().filter(half).collect())
}

/// The temporary files that are more than that: a group's record says that they are its snapshots.
pub(super) fn spoken_for(reader: &Reader<'_>) -> std::result::Result<BTreeSet<PathBuf>, HostError> {
    let mut parts = BTreeSet::new();
    for id in reader.group_ids()? {
        if let Recorded::Present(record) = reader.group(&id)
            && record.state != GroupState::Ready
        {
            parts.extend(record.members.iter().map(part_of));
        }
    }
    Ok(parts)
}

/// The snapshots of all groups, those that have no record of their own yet among them.
pub(super) fn members(reader: &Reader<'_>) -> std::result::Result<BTreeSet<SnapshotId>, HostError> {
    let mut members = BTreeSet::new();
    for id in reader.group_ids()? {
        if let Recorded::Present(record) = reader.group(&id) {
            members.extend(record.members.into_iter().map(|member| member.id));
        }
    }
    Ok(members)
}
