//! Deleting a group: all of its snapshots or none, and each file says that it was begun before one is gone.

use std::collections::BTreeSet;
use std::path::Path;

use crate::driver::{DriverError, Result};
use crate::host::{Host, HostError};
use crate::model::action::{DeleteGroupRequest, Outcome};
use crate::model::record::{GroupRecord, GroupState, ImageIdentity};
use crate::model::{Approval, Done, Loss, ObjectRef};
use crate::state::VolumeLock;

use super::finish::finish;
use super::{lock, recorded, says_member};
use crate::driver::local::session::{host_failure, state_error};
use crate::driver::local::{LocalDriver, deleted, guard, snapshot};

pub(in crate::driver::local) fn delete_group(driver: &LocalDriver, request: &DeleteGroupRequest) -> Result<Outcome> {
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
