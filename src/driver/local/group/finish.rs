//! Ending what was begun with a group: its snapshots get their names and records, or all of them go. Any later run may do it: a retry, the
//! start of a server, gc.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::driver::Result;
use crate::host::{Host, HostError, Place};
use crate::model::record::{GroupRecord, GroupState, Recorded};
use crate::model::{GroupId, Layout, ObjectRef, SnapshotId};
use crate::state::{Reader, Store, VolumeLock};

use super::{not_a_member, part_of, says_member};
use crate::driver::local::deleted;
use crate::driver::local::session::{host_failure, state_error};
use crate::driver::local::snapshot::is_snapshot_of;

/// Ends what was begun with a group whose lock, or the global one, the caller holds: gives its snapshots their names and records, or
/// takes them all away.
pub(in crate::driver::local) fn finish(host: &dyn Host, layout: &Layout, mut record: GroupRecord) -> Result<()> {
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
pub(in crate::driver::local) fn unfinished(reader: &Reader<'_>) -> std::result::Result<Vec<GroupId>, HostError> {
    let ids = reader.group_ids()?;
    let half = |id: &GroupId| reader.group(id).present().is_some_and(|record| record.state != GroupState::Ready);
    Ok(ids.into_iter().filter(half).collect())
}

/// The temporary files that are more than that: a group's record says that they are its snapshots.
pub(in crate::driver::local) fn spoken_for(reader: &Reader<'_>) -> std::result::Result<BTreeSet<PathBuf>, HostError> {
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
pub(in crate::driver::local) fn members(reader: &Reader<'_>) -> std::result::Result<BTreeSet<SnapshotId>, HostError> {
    let mut members = BTreeSet::new();
    for id in reader.group_ids()? {
        if let Recorded::Present(record) = reader.group(&id) {
            members.extend(record.members.into_iter().map(|member| member.id));
        }
    }
    Ok(members)
}
