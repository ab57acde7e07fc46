//! Single actions on the same lanes as plans, for a caller that must not block: a gRPC handler hands its work over and awaits the
//! reply; when the call is abandoned the work is not.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::lanes::{Lane, Lanes, Limits};
use super::pool::{self, ThreadPool, ThreadPoolBuildError};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// The work panicked: what it said, if anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Panicked(pub String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a defect in csictl: {}", self.0)
    }
}

impl std::error::Error for Panicked {}

impl From<&(dyn Any + Send)> for Panicked {
    fn from(panic: &(dyn Any + Send)) -> Self {
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self(said.unwrap_or("it panicked without a word").to_owned())
    }
}

struct Queues {
    lanes: Lanes,
    waiting: [VecDeque<Job>; 3],
}

impl Queues {
    /// The next job that may begin, with its lane; its place is taken.
    fn admit(&mut self) -> Option<(Lane, Job)> {
        Lane::ALL.into_iter().find_map(|lane| {
            let waits = !self.waiting[lane.index()].is_empty();
            (waits && self.lanes.enter(lane)).then(|| self.waiting[lane.index()].pop_front().map(|job| (lane, job)))?
        })
    }

    fn is_idle(&self) -> bool {
        self.lanes.total() == 0 && self.waiting.iter().all(VecDeque::is_empty)
    }
}

struct Shared {
    pool: ThreadPool,
    queues: Mutex<Queues>,
    idle: Condvar,
}

/// A pool and its lanes; clones share them. In each lane work begins in the order in which it was handed over.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

impl Engine {
    /// Room for this many pieces of work at once.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(parallelism: NonZeroUsize) -> Result<Self, ThreadPoolBuildError> {
        Self::with_limits(Limits::here(parallelism.get()))
    }

    fn with_limits(limits: Limits) -> Result<Self, ThreadPoolBuildError> {
        let queues = Queues { lanes: Lanes::new(limits), waiting: Default::default() };
        let pool = pool::build(limits.total)?;
        Ok(Self(Arc::new(Shared { pool, queues: Mutex::new(queues), idle: Condvar::new() })))
    }

    /// Runs `work` when its lane has room, then `reply` with what it answered, on the same thread. Returns at once.
    pub fn submit<T>(
        &self,
        lane: Lane,
        work: impl FnOnce() -> T + Send + 'static,
        reply: impl FnOnce(Result<T, Panicked>) + Send + 'static,
    ) {
        let job = move || reply(catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic.as_ref().into()));
        self.lock().waiting[lane.index()].push_back(Box::new(job));
        self.start();
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives everything that may begin to the pool.
    fn start(&self) {
        loop {
            // A statement of its own: the mutex is free again before the pool is touched.
            let admitted = self.lock().admit();
            let Some((lane, job)) = admitted else { return };
            let engine = self.clone();
            self.0.pool.spawn(move || {
                // A reply that panics is the caller's defect; the place in the lane is given back all the same.
                let _ = catch_unwind(AssertUnwindSafe(job));
                engine.ended(lane);
            });
        }
    }

    fn ended(&self, lane: Lane) {
        let idle = {
            let mut queues = self.lock();
            queues.lanes.leave(lane);
            queues.is_idle()
        };
        if idle {
            self.0.idle.notify_all();
        }
        self.start();
    }

    /// Waits until nothing runs or waits, at most `limit`; whether it came to that. For a server that ends.
    pub fn drain(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut queues = self.lock();
        while !queues.is_idle() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            queues = self.0.idle.wait_timeout(queues, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// How many run and how many wait, by lane; for metrics.
    pub fn load(&self, lane: Lane) -> (usize, usize) {
        let queues = self.lock();
        (queues.lanes.running(lane), queues.waiting[lane.index()].len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn engine(total: usize) -> Engine {
        Engine::with_limits(Limits::new(total, 2)).unwrap()
    }

    #[test]
    fn ten_long_copies_delay_no_kernel_call() {
        let engine = engine(4);
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        for _ in 0..10 {
            let gate = gate.clone();
            let wait = move || {
                let open = gate.0.lock().unwrap();
                drop(gate.1.wait_while(open, |open| !*open).unwrap());
            };
            engine.submit(Lane::Copy, wait, |_| {});
        }
        let (answer, answers) = channel();
        for number in 0..100 {
            let answer = answer.clone();
            engine.submit(Lane::Kernel, move || number, move |number| answer.send(number).unwrap());
        }
        for _ in 0..100 {
            answers.recv_timeout(PATIENCE).expect("kernel calls pass by the copies").unwrap();
        }
        assert_eq!(engine.load(Lane::Copy), (1, 9));
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        assert!(engine.drain(PATIENCE), "the copies end too");
    }

    #[test]
    fn work_that_panics_is_answered_and_gives_its_place_back() {
        let engine = engine(1);
        let (answer, answers) = channel();
        for word in ["one", "two"] {
            let answer = answer.clone();
            let work = move || {
                if word == "one" {
                    std::panic::panic_any(word);
                }
                word
            };
            engine.submit(Lane::Mkfs, work, move |reply| answer.send(reply).unwrap());
        }
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), Err(Panicked("one".to_owned())));
        assert_eq!(answers.recv_timeout(PATIENCE).unwrap(), Ok("two"));
    }

    #[test]
    fn draining_gives_up_when_work_does_not_end() {
        let engine = engine(2);
        let (end, ends) = channel::<()>();
        engine.submit(Lane::Kernel, move || ends.recv_timeout(PATIENCE), |_| {});
        assert!(!engine.drain(Duration::from_millis(20)));
        end.send(()).unwrap();
        assert!(engine.drain(PATIENCE));
    }
}
