//! Durability shared by many threads. Each file system has one queue: whoever finds nobody flushing becomes the leader and
//! flushes for all who were waiting by then; whoever comes meanwhile is in the next batch. A lone waiter's file is fsynced; for
//! several one syncfs costs about as much as a single fsync.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use rustix::fs::{OFlags, fsync, openat, syncfs};

use crate::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The queues, one a file system.
#[derive(Debug, Default)]
pub struct Commits {
    queues: Mutex<HashMap<u64, Arc<Queue>>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The batch that begins when the flush that runs now has ended.
    next: Arc<Batch>,
    /// How many wait for it.
    waiting: usize,
    flushing: bool,
    /// Open since before any of the writers wrote: syncfs reports only write errors that came after its descriptor was opened.
    file_system: Option<Arc<OwnedFd>>,
    writers: usize,
    #[cfg(test)]
    flushes: usize,
}

/// The answer of one flush: the errno, if it failed.
#[derive(Debug, Default)]
struct Batch(OnceLock<Option<i32>>);

/// A writer's membership, to be taken before it writes.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
}

impl Commits {
    /// Joins the queue of the file system that `directory` lies on.
    ///
    /// # Errors
    /// The directory can't be opened for reading.
    pub fn join(&self, directory: BorrowedFd<'_>) -> io::Result<Writer> {
        let device = rustix::fs::fstat(directory)?.st_dev;
        let queue = Arc::clone(lock(&self.queues).entry(device).or_default());
        {
            let mut state = lock(&queue.state);
            if state.file_system.is_none() {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let opened = openat(directory, c".", flags, rustix::fs::Mode::empty())?;
                state.file_system = Some(Arc::new(opened));
            }
            state.writers += 1;
        }
        Ok(Writer { queue })
    }
}

impl Writer {
    /// Returns when what was written to `file` (or, for a directory, what was renamed in it) before this call is durable.
    ///
    /// # Errors
    /// What the flush said; everyone in the batch gets it.
    pub fn commit(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let mut state = lock(&self.queue.state);
        let mine = Arc::clone(&state.next);
        state.waiting += 1;
        loop {
            if let Some(answer) = mine.0.get() {
                return answer.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)));
            }
            state = if state.flushing {
                self.queue.done.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.lead(state, file)
            };
        }
    }

    fn lead<'a>(&'a self, mut state: MutexGuard<'a, State>, file: BorrowedFd<'_>) -> MutexGuard<'a, State> {
        let batch = std::mem::take(&mut state.next);
        let alone = std::mem::take(&mut state.waiting) == 1;
        let file_system = state.file_system.clone();
        state.flushing = true;
        drop(state);
        let answer = match file_system {
            Some(file_system) if !alone => syncfs(file_system.as_fd()),
            _ => fsync(file),
        };
        let mut state = lock(&self.queue.state);
        state.flushing = false;
        #[cfg(test)]
        {
            state.flushes += 1;
        }
        let _ = batch.0.set(answer.err().map(rustix::io::Errno::raw_os_error));
        self.queue.done.notify_all();
        state
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut state = lock(&self.queue.state);
        state.writers -= 1;
        if state.writers == 0 {
            // An idle server must not keep the pool's file system busy.
            state.file_system = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const WRITERS: usize = 16;

    #[test]
    fn one_flush_serves_all_who_waited_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let directory = File::open(folder.path()).unwrap();
        let commits = Commits::default();
        let first = commits.join(directory.as_fd()).unwrap();
        // As if a flush were running: whoever comes now waits for the next one.
        lock(&first.queue.state).flushing = true;
        thread::scope(|scope| {
            for number in 0..WRITERS {
                let file = File::create(folder.path().join(number.to_string())).unwrap();
                let writer = commits.join(directory.as_fd()).unwrap();
                scope.spawn(move || writer.commit(file.as_fd()).unwrap());
            }
            while lock(&first.queue.state).waiting < WRITERS {
                thread::sleep(Duration::from_millis(1));
            }
            lock(&first.queue.state).flushing = false;
            first.queue.done.notify_all();
        });
        assert_eq!(lock(&first.queue.state).flushes, 1);
    }
}
