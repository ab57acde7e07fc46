//! Taking a group: every source is held still before the first copy begins, and thawed after the last has ended.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{CopyRequest, ErrorKind, Host, HostError};
use crate::model::action::Outcome;
use crate::model::record::{GroupRecord, GroupState, ImageIdentity, SnapshotRecord};
use crate::model::{Done, GroupSpec, ObjectRef, VolumeId};
use crate::state::VolumeLock;

use super::finish::finish;
use super::{lock, not_a_member, part_of, recorded};
use crate::driver::local::session::{host_failure, state_error};
use crate::driver::local::snapshot::{self, is_snapshot_of};
use crate::driver::local::source::{Frozen, Origin, not_of_one_moment};
use crate::driver::local::{LocalDriver, deleted, now, room};

pub(in crate::driver::local) fn snapshot_group(driver: &LocalDriver, spec: &GroupSpec) -> Result<Outcome> {
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
    // What is not held still is of that moment too if nobody writes to it until the last copy has ended.
    let still = || origins.iter().filter(|origin| origin.writable_at().is_none());
    let before: Vec<_> = still().map(|origin| origin.last_write(driver)).collect::<Result<_>>()?;
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
    for (origin, before) in still().zip(before) {
        if before.is_passed(origin.last_write(driver)?) {
            return Err(DriverError::refused(
                Refusal::Busy,
                origin.object.clone(),
                "it was written to, and not by csictl, while it was copied: such a copy is torn",
                "stop who writes to it (a loop device, a raw device) and try again",
            ));
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
