//! snapshot and delete-snapshot (CSI 1.12, CreateSnapshot and DeleteSnapshot): a copy of an image's bytes at one moment, which says who it is as an image does.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{CopyRequest, HostError, LockMode, Place};
use crate::model::action::{DeleteSnapshotRequest, Outcome};
use crate::model::observed::ObservedImage;
use crate::model::record::{GroupRecord, ImageIdentity, Recorded, SnapshotRecord};
use crate::model::{Approval, Done, Loss, ObjectRef, Owner, SnapshotId, SnapshotSpec};
use crate::state::VolumeLock;

use super::session::{host_failure, state_error};
use super::{LocalDriver, deleted, guard, now, room};

pub(super) fn snapshot(driver: &LocalDriver, spec: &SnapshotSpec) -> Result<Outcome> {
    let object = ObjectRef::Snapshot(spec.id.clone());
    let fail = |error: HostError| host_failure(&object, error);
    // The volume is locked first, everywhere: two verbs on one pair cannot wait for each other.
    let refuse = |refusal, message: String, help: &str| {
        Err(DriverError::refused(refusal, object.clone(), message, help.to_owned()))
    };
    driver.prepare(&object)?;
    if let Some(done) = there_already(driver, spec, &object)? {
        return Ok(done.into());
    }
    let origin = driver.volume_origin(&spec.volume)?;
    let lock = lock(driver, &spec.id)?;
    if let Some(done) = there_already(driver, spec, &object)? {
        return Ok(done.into());
    }
    if matches!(driver.reader().snapshot(&spec.id), Recorded::Corrupt { .. }) {
        driver.store().set_snapshot_aside(&spec.id).map_err(|error| state_error(&object, error))?;
    }
    let pool = origin.path.parent().map(PathBuf::from).unwrap_or_default();
    let (path, part) = (pool.join(format!("{}.snap", spec.id)), pool.join(format!(".{}.snap.part", spec.id)));
    let mut notes = Vec::new();
    // The moment it shows is when the copy begins, which may take long.
    let created_at = now();
    let host = driver.host();
    let file = host.image(&path).map_err(fail)?;
    deleted::not_marked(driver, &object, &path, file.is_some())?;
    if let Some(file) = &file
        && !is_snapshot_of(file.identity.as_ref(), &spec.id, &spec.owner)
    {
        return refuse(
            Refusal::Foreign,
            format!("{} is there already and does not say that it is snapshot {}", path.display(), spec.id),
            "move it away, or choose another name",
        );
    }
    let size = file.as_ref().map_or(origin.size, |file| file.size);
    let fs_uuid = file.as_ref().map_or(origin.fs_uuid, |file| file.identity.as_ref().and_then(|i| i.fs_uuid));
    let _room = if file.is_none() {
        guard::pool_is_private(driver, &object, &pool)?;
        let takes = [room::Takes::snapshot(&spec.id, &pool, origin.size)];
        let of = driver.reader().volume(&spec.volume).present().map(|record| record.spec.owner.clone());
        let holder = room::holder_of_snapshot(driver.layout(), &spec.id);
        room::take(driver, &object, &holder, of.as_ref().unwrap_or(&spec.owner), &takes)?
    } else {
        None
    };
    if file.is_none() {
        let request = CopyRequest {
            from: origin.path.clone(),
            from_file: origin.file,
            to_part: part.clone(),
            size: origin.size,
            full: false,
            reflink: true,
            until: None,
        };
        let made = origin.copy(driver, &lock, &request, &mut notes).and_then(|_| {
            let identity = ImageIdentity {
                id: spec.id.to_string(),
                owner: spec.owner.clone(),
                snapshot: true,
                fs_type: origin.fs_type,
                fs_uuid: origin.fs_uuid,
                sector_size: origin.sector_size,
                protected: false,
                ephemeral: false,
                group: None,
                deleting: false,
            };
            host.set_identity(&part, &identity).map_err(fail)?;
            host.place_image(&part, &path, Place::New).map_err(fail)
        });
        if let Err(error) = made {
            // What was copied so far is taken away at once; should that fail as well, the next run does it.
            let _ = host.remove_image(&part, None);
            return Err(error);
        }
    }
    let taken = host.image(&path).map_err(fail)?.map(|image| image.file);
    let record = SnapshotRecord {
        id: spec.id.clone(),
        owner: spec.owner.clone(),
        name: spec.name.clone(),
        volume: spec.volume.clone(),
        path,
        size,
        fs_type: origin.fs_type,
        fs_uuid,
        sector_size: origin.sector_size,
        ready: true,
        created_at,
        group: None,
        file: taken,
    };
    driver.store().put_snapshot(&record).map_err(fail)?;
    Ok(Outcome { done: Done::Changed, notes })
}

pub(super) fn lock(driver: &LocalDriver, id: &SnapshotId) -> Result<VolumeLock> {
    VolumeLock::snapshot(driver.host(), driver.layout(), id, LockMode::Exclusive, driver.lock_timeout)
        .map_err(|error| state_error(&ObjectRef::Snapshot(id.clone()), error))
}

/// Whether the snapshot was taken before; an error when its name was used for something else.
fn there_already(driver: &LocalDriver, spec: &SnapshotSpec, object: &ObjectRef) -> Result<Option<Done>> {
    let refuse = |refusal, message: String, help: &str| {
        Err(DriverError::refused(refusal, object.clone(), message, help.to_owned()))
    };
    match driver.reader().snapshot(&spec.id) {
        Recorded::Absent | Recorded::Corrupt { .. } => Ok(None),
        Recorded::Newer { version } => refuse(
            Refusal::NewerRecord,
            format!("its record has version {version}, written by a newer csictl"),
            "use that csictl",
        ),
        Recorded::Unknown { cause } => Err(DriverError::host(
            object.clone(),
            HostError::new(
                crate::host::ErrorKind::Other,
                "read record",
                driver.layout().snapshot_record(&spec.id),
                cause,
            ),
        )),
        Recorded::Present(record) if record.owner != spec.owner => refuse(
            Refusal::Foreign,
            format!("it belongs to {}, not to {}", record.owner, spec.owner),
            "choose another name",
        ),
        Recorded::Present(record) if record.volume != spec.volume => refuse(
            Refusal::Exists,
            format!("it exists already, as a snapshot of {}", record.volume),
            "choose another name",
        ),
        Recorded::Present(record) if is_of_an_earlier_volume(driver, &record) => refuse(
            Refusal::Exists,
            format!(
                "it exists already, of {}, as an earlier volume of that name was at {}",
                record.volume, record.created_at
            ),
            "choose another name, or delete that snapshot first",
        ),
        Recorded::Present(record) => match file_of(driver, &record)? {
            Some(_) => Ok(Some(Done::Already)),
            None => refuse(
                Refusal::WrongIdentity,
                format!("its file {} is gone", record.path.display()),
                "bring it back, or delete the snapshot and take another",
            ),
        },
    }
}

/// Whether its volume was deleted and made anew since: ids are made of names, and come again with them. Of a volume that was adopted nobody knows
/// when it was made; an orchestrator's two of one second are told apart by their file systems, which nothing replaces.
fn is_of_an_earlier_volume(driver: &LocalDriver, record: &SnapshotRecord) -> bool {
    let volume = driver.reader().volume(&record.volume);
    let Some(volume) = volume.present() else { return false };
    let other = matches!((record.fs_uuid, volume.fs_uuid), (Some(was), Some(is)) if was != is);
    other && volume.spec.owner == Owner::Csi || !volume.rebuilt && record.created_at < volume.created_at
}

pub(super) fn is_snapshot_of(identity: Option<&ImageIdentity>, id: &SnapshotId, owner: &Owner) -> bool {
    identity.is_some_and(|identity| identity.snapshot && identity.id == id.as_str() && identity.owner == *owner)
}

/// A snapshot's file, if its name and its own word both say that it is this one; the record's path alone is not believed.
pub(super) fn file_of(driver: &LocalDriver, record: &SnapshotRecord) -> Result<Option<ObservedImage>> {
    let object = ObjectRef::Snapshot(record.id.clone());
    let image = driver.host().image(&record.path).map_err(|error| host_failure(&object, error))?;
    let Some(image) = image else { return Ok(None) };
    let named = record.path.file_name().is_some_and(|name| name == format!("{}.snap", record.id).as_str());
    if named && is_snapshot_of(image.identity.as_ref(), &record.id, &record.owner) {
        return Ok(Some(image));
    }
    Err(DriverError::refused(
        Refusal::WrongIdentity,
        object,
        format!("{} does not say that it is snapshot {}", record.path.display(), record.id),
        "look at it (getfattr -n trusted.csictl); it is neither used nor removed",
    ))
}

pub(super) fn delete_snapshot(driver: &LocalDriver, request: &DeleteSnapshotRequest) -> Result<Outcome> {
    let object = ObjectRef::Snapshot(request.id.clone());
    driver.prepare(&object)?;
    let fail = |error: HostError| host_failure(&object, error);
    let _lock = lock(driver, &request.id)?;
    let record = match driver.reader().snapshot(&request.id) {
        Recorded::Absent => return Ok(Done::Already.into()),
        Recorded::Present(record) => record,
        Recorded::Newer { version } => {
            let message = format!("its record has version {version}, written by a newer csictl");
            return Err(DriverError::refused(Refusal::NewerRecord, object, message, "use that csictl"));
        }
        Recorded::Corrupt { .. } if delete_by_its_own_word(driver, request)? => return Ok(Done::Changed.into()),
        Recorded::Corrupt { cause } | Recorded::Unknown { cause } => {
            return Err(DriverError::refused(
                Refusal::Protected,
                object,
                format!("its record can't be used ({cause}), so nobody knows which file to remove"),
                "take it again under its name first: that adopts the file; or remove file and record by hand",
            ));
        }
    };
    if let Some(group) = &record.group {
        return Err(DriverError::refused(
            Refusal::GroupMember,
            object,
            format!("it was taken with group {group} and goes only with all of it"),
            "delete the group as a whole (DeleteVolumeGroupSnapshot)",
        ));
    }
    let approved = Approval { object: object.clone(), loss: Loss::Delete };
    if request.approval.as_ref() != Some(&approved) {
        return Err(DriverError::unapproved(object, Loss::Delete, "its data would be lost (delete)"));
    }
    match file_of(driver, &record)? {
        Some(ObservedImage { identity: Some(ImageIdentity { group: Some(group), .. }), .. }) => {
            return Err(DriverError::refused(
                Refusal::GroupMember,
                object,
                format!(
                    "{} says that it was taken with group {group} and goes only with all of it",
                    record.path.display()
                ),
                "delete the group as a whole (DeleteVolumeGroupSnapshot)",
            ));
        }
        Some(image) => {
            guard::not_attached(driver.host(), &object, &record.path, image.file)?;
            driver.host().remove_image(&record.path, Some(image.file)).map_err(fail)?;
            deleted::stays_away(driver.host(), driver.layout(), &record.path).map_err(fail)?;
        }
        None => {
            deleted::pool_is_there(driver, &object, &record.path, record.file)?;
            deleted::mark(driver, &object, &record.path)?;
        }
    }
    driver.store().remove_snapshot(&request.id).map_err(fail)?;
    Ok(Done::Changed.into())
}

/// Deletes an orchestrator's snapshot whose record is damaged, if a file in some pool says that it is that snapshot; answers whether one did. Only
/// the orchestrator names it by this id, and no group has it.
fn delete_by_its_own_word(driver: &LocalDriver, request: &DeleteSnapshotRequest) -> Result<bool> {
    let object = ObjectRef::Snapshot(request.id.clone());
    let fail = |error: HostError| host_failure(&object, error);
    if request.approval != Some(Approval { object: object.clone(), loss: Loss::Delete }) {
        return Ok(false);
    }
    let reader = driver.reader();
    let groups = reader.group_ids().map_err(fail)?;
    let in_group = |group: &GroupRecord| group.members.iter().any(|member| member.id == request.id);
    if groups.iter().any(|id| reader.group(id).present().is_some_and(in_group)) {
        return Ok(false);
    }
    let mut pools: BTreeSet<PathBuf> = driver.kept().pools.iter().cloned().collect();
    pools.insert(driver.layout().default_pool());
    for id in reader.volume_ids().map_err(fail)? {
        let volume = reader.volume(&id);
        pools.extend(volume.present().and_then(|record| Some(record.spec.backing.as_image()?.pool_path.clone())));
    }
    let mut found = Vec::new();
    for pool in pools {
        let path = pool.join(format!("{}.snap", request.id));
        let image = driver.host().image(&path).map_err(fail)?;
        let says = |image: &ObservedImage| is_snapshot_of(image.identity.as_ref(), &request.id, &Owner::Csi);
        found.extend(image.filter(says).map(|image| (path, image)));
    }
    // Of a snapshot and its backup copy nobody says which is which.
    let [(path, image)] = found.as_slice() else { return Ok(false) };
    if image.identity.as_ref().is_some_and(|identity| identity.group.is_some()) {
        return Ok(false);
    }
    guard::not_attached(driver.host(), &object, path, image.file)?;
    driver.host().remove_image(path, Some(image.file)).map_err(fail)?;
    deleted::stays_away(driver.host(), driver.layout(), path).map_err(fail)?;
    driver.store().set_snapshot_aside(&request.id).map_err(|error| state_error(&object, error))?;
    Ok(true)
}
