//! What one verb leaves to the next of the same volume on the same thread: the lock, never released in between, and the records, which
//! nobody else can have changed meanwhile. Only for steps of a plan, where the thread goes on at once; a verb called singly keeps nothing.
//! Mounts and loop devices are never kept: others change them without our lock, so every verb looks at them itself.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::driver::{Driver, Result};
use crate::model::VolumeId;
use crate::model::action::{Action, Outcome};
use crate::model::record::{Recorded, RunRecord, VolumeRecord};
use crate::state::VolumeLock;

use super::LocalDriver;
use super::session::Session;

/// A locked volume between two verbs.
struct Kept {
    id: VolumeId,
    lock: VolumeLock,
    record: Recorded<VolumeRecord>,
    run: Recorded<RunRecord>,
}

/// The threads that run steps of a plan now, with what each has kept.
#[derive(Default)]
pub(super) struct Chains(Mutex<HashMap<ThreadId, Option<Kept>>>);

impl Chains {
    fn of_threads(&self) -> MutexGuard<'_, HashMap<ThreadId, Option<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs one step. Only what unpublish has is of use to the verb that follows it: another unpublish, or unstage.
pub(super) fn run(driver: &LocalDriver, action: &Action) -> Result<Outcome> {
    let id = match action {
        Action::Unpublish(request) => &request.id,
        Action::Unstage(request) => &request.id,
        _ => {
            settle(driver);
            return driver.run(action);
        }
    };
    let other = {
        let mut threads = driver.chains.of_threads();
        let kept = threads.entry(thread::current().id()).or_default();
        kept.take_if(|kept| kept.id != *id)
    };
    // Never two volumes' locks at once: the other is let go before this one is asked for.
    drop(other);
    driver.run(action)
}

/// Lets go of what this thread keeps.
pub(super) fn settle(driver: &LocalDriver) {
    let kept = driver.chains.of_threads().remove(&thread::current().id());
    drop(kept);
}

/// The session that this thread kept of a volume.
pub(super) fn take<'a>(driver: &'a LocalDriver, id: &VolumeId) -> Option<Session<'a>> {
    let mut threads = driver.chains.of_threads();
    let kept = threads.get_mut(&thread::current().id())?.take_if(|kept| kept.id == *id)?;
    Some(Session { driver, id: kept.id, lock: kept.lock, record: kept.record, run: kept.run })
}

/// Keeps a session for the next step on this thread, if it runs steps; else it ends here.
pub(super) fn keep(session: Session<'_>) {
    let Session { driver, id, lock, record, run } = session;
    if let Some(kept) = driver.chains.of_threads().get_mut(&thread::current().id()) {
        *kept = Some(Kept { id, lock, record, run });
    }
}
