//! Single actions on the same lanes as plans, for a caller that must not block: a gRPC handler hands its work over and awaits the
//! reply; when the call is abandoned the work is not.
//!
//! Its threads sleep until there is work for them. A work-stealing pool's threads look around for a while before they sleep, which a server,
//! whose work comes one call at a time, pays for with a good part of a core.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::lanes::{Lane, Lanes, Limits};
use super::pool;
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
    closed: bool,
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
    queues: Mutex<Queues>,
    /// Something may begin, or the threads are to end.
    work: Condvar,
    idle: Condvar,
}

/// Its last clone: the threads end with it, after the work that waits.
struct Threads(Arc<Shared>);

/// Threads and their lanes; clones share them. In each lane work begins in the order in which it was handed over.
#[derive(Clone)]
pub struct Engine(Arc<Threads>);

impl Engine {
    /// Room for this many pieces of work at once.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn new(parallelism: NonZeroUsize) -> io::Result<Self> {
        Self::with_limits(Limits::here(parallelism.get()))
    }

    fn with_limits(limits: Limits) -> io::Result<Self> {
        let queues = Queues { lanes: Lanes::new(limits), waiting: Default::default(), closed: false };
        let shared = Arc::new(Shared { queues: Mutex::new(queues), work: Condvar::new(), idle: Condvar::new() });
        // Ends the threads that were started when a further one cannot be.
        let threads = Threads(shared.clone());
        for index in 0..limits.total {
            let shared = shared.clone();
            pool::start_thread(index, move || shared.work())?;
        }
        Ok(Self(Arc::new(threads)))
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
        self.shared().work.notify_one();
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.shared().lock()
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
            queues = self.shared().idle.wait_timeout(queues, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// How many run and how many wait, by lane; for metrics.
    pub fn load(&self, lane: Lane) -> (usize, usize) {
        let queues = self.lock();
        (queues.lanes.running(lane), queues.waiting[lane.index()].len())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's life: whatever may begin, one after the other, until the engine is gone and nothing waits.
    fn work(&self) {
        let mut queues = self.lock();
        loop {
            if let Some((lane, job)) = queues.admit() {
                drop(queues);
                // A reply that panics is the caller's defect; the place in the lane is given back all the same.
                let _ = catch_unwind(AssertUnwindSafe(job));
                queues = self.lock();
                queues.lanes.leave(lane);
                if queues.is_idle() {
                    self.idle.notify_all();
                }
                if queues.closed {
                    // Each thread has to see that nothing is left.
                    self.work.notify_all();
                }
            } else if queues.closed && queues.waiting.iter().all(VecDeque::is_empty) {
                return;
            } else {
                queues = self.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.work.notify_all();
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
