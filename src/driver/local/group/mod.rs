//! snapshot-group and delete-group (CSI 1.12, CreateVolumeGroupSnapshot and DeleteVolumeGroupSnapshot): copies of several volumes as they
//! are at one moment, all or none.
//!
//! Every file system that is written to is frozen before the first copy begins and thawed after the last has ended, so that no copy shows a
//! write that came after one which another copy lacks. The copies lie under their disposable names until all of them are durable; then
//! the group's record is written, which carries its members' records whole. Before that record there is no group, and what a killed run left
//! is a handful of temporary files; from it on, any later run ends what was begun (`finish.rs`): a retry, the start of a server, gc.

mod delete;
mod finish;
mod take;

use std::path::{Path, PathBuf};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{ErrorKind, Host, HostError};
use crate::model::observed::ObservedImage;
use crate::model::record::{GroupRecord, GroupState, Recorded, SnapshotRecord};
use crate::model::{GroupId, ObjectRef};
use crate::state::VolumeLock;

pub(super) use delete::delete_group;
pub use finish::finish_left;
pub(super) use finish::{finish, members, spoken_for, unfinished};
pub(super) use take::snapshot_group;

use super::LocalDriver;
use super::session::{host_failure, state_error};
use super::snapshot::is_snapshot_of;

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
