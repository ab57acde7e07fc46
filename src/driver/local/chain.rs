//! What one verb leaves to the next of the same volume on the same thread: the lock, never released in between, and the records, which
//! nobody else can have changed meanwhile. Only for steps of a plan, where the thread goes on at once; a verb called singly keeps nothing.
//! The boot-scoped record is written once for both, by unstage, which mostly removes it: a kill in between leaves what a kill between an
//! unmount and its record leaves. Mounts and loop devices are never kept: others change them without our lock, so every verb looks at them itself.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
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
    unwritten: BTreeSet<PathBuf>,
}

impl Kept {
    /// Ends here: what no verb that follows will write down is written now.
    fn end(self, driver: &LocalDriver) {
        if !self.unwritten.is_empty() {
            write_down(self.into_session(driver));
        }
    }

    fn into_session(self, driver: &LocalDriver) -> Session<'_> {
        let Self { id, lock, record, run, unwritten } = self;
        Session { driver, id, lock, record, run, unwritten, thawed: Cell::default() }
    }
}

fn write_down(mut session: Session<'_>) {
    let run = session.run.present().cloned();
    match session.put_less(None, run) {
        Ok(notes) => notes.iter().for_each(|note| tracing::warn!("{}: {note}", session.id)),
        Err(error) => tracing::warn!("taken down, but that is not written down: {error}"),
    }
}

/// The threads that run steps of a plan now, with what each has kept.
#[derive(Default)]
pub(super) struct Chains(Mutex<HashMap<ThreadId, Option<Kept>>>);

impl Chains {
    fn of_threads(&self) -> MutexGuard<'_, HashMap<ThreadId, Option<Kept>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten(&self) -> BTreeSet<PathBuf> {
        let threads = self.of_threads();
        threads
            .get(&thread::current().id())
            .and_then(Option::as_ref)
            .map_or_else(BTreeSet::new, |kept| kept.unwritten.clone())
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
    if let Some(other) = other {
        other.end(driver);
    }
    let unwritten = driver.chains.unwritten();
    let result = driver.run(action);
    if result.is_err() && !unwritten.is_empty() {
        forget(driver, id, &unwritten);
    }
    result
}

/// Takes from the boot-scoped record what was unpublished before the verb that would have written it down failed.
fn forget(driver: &LocalDriver, id: &VolumeId, unpublished: &BTreeSet<PathBuf>) {
    settle(driver);
    let Ok(mut session) = driver.open(id) else { return };
    if let Recorded::Present(run) = &mut session.run {
        run.publishes.retain(|target, _| !unpublished.contains(target));
        session.unwritten.clone_from(unpublished);
        write_down(session);
    }
}

/// Lets go of what this thread keeps.
pub(super) fn settle(driver: &LocalDriver) {
    let kept = driver.chains.of_threads().remove(&thread::current().id());
    if let Some(kept) = kept.flatten() {
        kept.end(driver);
    }
}

/// The session that this thread kept of a volume.
pub(super) fn take<'a>(driver: &'a LocalDriver, id: &VolumeId) -> Option<Session<'a>> {
    let mut threads = driver.chains.of_threads();
    let kept = threads.get_mut(&thread::current().id())?.take_if(|kept| kept.id == *id)?;
    drop(threads);
    Some(kept.into_session(driver))
}

/// Whether this thread runs steps of a plan, so that a session may be kept.
pub(super) fn runs_here(driver: &LocalDriver) -> bool {
    driver.chains.of_threads().contains_key(&thread::current().id())
}

/// Keeps a session for the next step on this thread, if it runs steps; else it ends here.
pub(super) fn keep(session: Session<'_>) {
    let Session { driver, id, lock, record, run, unwritten, thawed: _ } = session;
    if let Some(kept) = driver.chains.of_threads().get_mut(&thread::current().id()) {
        *kept = Some(Kept { id, lock, record, run, unwritten });
    }
}
