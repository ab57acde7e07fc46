//! The pool of `src/exec/pool.rs` with shuttle's threads in place of rayon's: as many workers, the same two ways to give them work.

use std::collections::VecDeque;
use std::convert::Infallible;

use crate::sync::{Condvar, Mutex};

/// Never: shuttle's threads are always there.
pub type ThreadPoolBuildError = Infallible;

pub struct ThreadPool {
    threads: usize,
}

type Work<'scope> = Box<dyn FnOnce(&Scope<'scope>) + Send + 'scope>;

/// Work whose borrowed data outlives it.
pub struct Scope<'scope> {
    state: Mutex<State<'scope>>,
    changed: Condvar,
}

struct State<'scope> {
    waiting: VecDeque<Work<'scope>>,
    running: usize,
    closed: bool,
}

#[expect(clippy::unnecessary_wraps, reason = "as rayon's")]
pub fn build(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    Ok(ThreadPool { threads })
}

#[expect(clippy::unnecessary_wraps, reason = "as the real one")]
pub fn start_thread(_: usize, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    shuttle::thread::spawn(work);
    Ok(())
}

impl ThreadPool {
    pub fn in_place_scope<'scope, R>(&self, op: impl FnOnce(&Scope<'scope>) -> R) -> R {
        let state = State { waiting: VecDeque::new(), running: 0, closed: false };
        let scope = Scope { state: Mutex::new(state), changed: Condvar::new() };
        shuttle::thread::scope(|threads| {
            for _ in 0..self.threads {
                threads.spawn(|| scope.work());
            }
            let answer = op(&scope);
            scope.state.lock().unwrap().closed = true;
            scope.changed.notify_all();
            answer
        })
    }
}

impl<'scope> Scope<'scope> {
    pub fn spawn(&self, work: impl FnOnce(&Scope<'scope>) + Send + 'scope) {
        self.state.lock().unwrap().waiting.push_back(Box::new(work));
        self.changed.notify_all();
    }

    fn work(&self) {
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(work) = state.waiting.pop_front() {
                state.running += 1;
                drop(state);
                work(self);
                state = self.state.lock().unwrap();
                state.running -= 1;
                self.changed.notify_all();
            } else if state.closed && state.running == 0 {
                return;
            } else {
                state = self.changed.wait(state).unwrap();
            }
        }
    }
}
