//! The places of connections. When all are taken, whoever has been silent the longest leaves for a newcomer: first those that never called,
//! since helpers of orchestrators keep an idle connection for hours and some end when they lose it. Who has a call running never leaves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::limits::{ANSWERED, CONNECTIONS, QUIET};

/// How long a newcomer waits for the place that somebody leaves for it: he is given [`LEAVING`] to do so.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long whoever leaves has to answer that he does.
pub const LEAVING: Duration = Duration::from_millis(200);

/// All places.
pub struct Seats {
    free: Arc<Semaphore>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    seats: BTreeMap<u64, Arc<Seat>>,
}

/// The place of one connection, and what it does there.
#[derive(Debug)]
pub struct Seat {
    used: Mutex<Use>,
    leave: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    /// Calls that run.
    calls: usize,
    /// Whether there ever was one.
    called: bool,
    /// When it came, when the last call ended, or when a caller last sent or took something.
    silent_since: Instant,
    /// Whether bytes wait for the caller to take those before them.
    stalled: bool,
    /// Whether it was told to leave.
    leaving: bool,
}

/// A place that is taken; dropping it gives it back.
pub struct Taking {
    seats: Arc<Seats>,
    number: u64,
    seat: Arc<Seat>,
    _place: OwnedSemaphorePermit,
}

/// A call that runs on a connection; dropping it ends it.
#[derive(Debug)]
pub struct Busy(Arc<Seat>);

impl Seats {
    /// As many as there are connections served.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(CONNECTIONS)), taken: Mutex::default() })
    }

    /// How many are taken.
    pub fn open(&self) -> usize {
        CONNECTIONS - self.free.available_permits()
    }

    /// A place, if need be one that somebody leaves; `None` when nobody can.
    pub async fn take(self: Arc<Self>) -> Option<Taking> {
        let place = match self.free.clone().try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                self.make_one_leave(Instant::now()).then_some(())?;
                timeout(PATIENCE, self.free.clone().acquire_owned()).await.ok()?.ok()?
            }
        };
        let used = Use { calls: 0, called: false, silent_since: Instant::now(), stalled: false, leaving: false };
        let seat = Arc::new(Seat { used: Mutex::new(used), leave: Notify::new() });
        let number = {
            let mut taken = self.taken();
            taken.next += 1;
            let number = taken.next;
            taken.seats.insert(number, seat.clone());
            number
        };
        Some(Taking { seats: self, number, seat, _place: place })
    }

    /// Tells the one who is needed least to leave; whether there is any.
    fn make_one_leave(&self, now: Instant) -> bool {
        let taken = self.taken();
        let idle = taken.seats.values().filter_map(|seat| Some((seat.used().idle(now)?, seat)));
        let Some((_, seat)) = idle.min_by_key(|(order, _)| *order) else { return false };
        seat.used().leaving = true;
        seat.leave.notify_one();
        true
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Use {
    /// Where it stands among those who may have to leave, the first being who leaves first; `None` where it may not.
    fn idle(&self, now: Instant) -> Option<(bool, Instant)> {
        let silent = now.saturating_duration_since(self.silent_since);
        let quiet = if self.called { ANSWERED } else { QUIET };
        let idle = self.calls == 0 && !self.stalled && !self.leaving && silent >= quiet;
        idle.then_some((self.called, self.silent_since))
    }
}

impl Seat {
    fn used(&self) -> MutexGuard<'_, Use> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when it is to leave.
    pub async fn told_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Whether no call runs.
    pub fn is_idle(&self) -> bool {
        self.used().calls == 0
    }

    /// The caller has sent something.
    pub fn heard(&self) {
        let mut used = self.used();
        if used.called {
            used.silent_since = Instant::now();
        }
    }

    /// Something was written for the caller, or has to wait until he has taken what was written before.
    pub fn wrote(&self, waits: bool) {
        let mut used = self.used();
        used.stalled = waits;
        if used.called && !waits {
            used.silent_since = Instant::now();
        }
    }

    /// A call begins.
    pub fn begin(self: &Arc<Self>) -> Busy {
        let mut used = self.used();
        used.calls += 1;
        used.called = true;
        Busy(self.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut used = self.0.used();
        used.calls -= 1;
        used.silent_since = Instant::now();
    }
}

impl Taking {
    /// The place itself.
    pub fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.seats.taken().seats.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_never_called_leaves_first_then_who_is_silent_longest_and_nobody_who_calls() {
        let begun = Instant::now();
        let after = |seconds: u64| begun + Duration::from_secs(seconds);
        let used =
            |calls, called, since| Use { calls, called, silent_since: after(since), stalled: false, leaving: false };
        let all = [
            ("called long ago", used(0, true, 0)),
            ("never called, came late", used(0, false, 20)),
            ("never called, came early", used(0, false, 10)),
            ("calls", used(1, true, 0)),
            ("has just come", used(0, false, 99)),
            ("had its answer a moment ago", used(0, true, 80)),
            ("has not taken its answer", Use { stalled: true, ..used(0, true, 0) }),
            ("leaves already", Use { leaving: true, ..used(0, false, 0) }),
        ];

        let mut order: Vec<_> = all.iter().filter_map(|(who, used)| Some((used.idle(after(100))?, *who))).collect();
        order.sort();

        let order: Vec<_> = order.into_iter().map(|(_, who)| who).collect();
        assert_eq!(order, ["never called, came early", "never called, came late", "called long ago"]);
    }
}
