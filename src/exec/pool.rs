//! The threads. A rayon pool of our own, since rayon's global one has a thread a core and ours mostly wait for the kernel: 320 steps of
//! 10 ms took 1617, 405 and 104 ms with 2, 8 and 32 threads on two cores. `tests/concurrency` has another pool in its place.

use std::io;

use rayon::ThreadPoolBuilder;
pub use rayon::{Scope, ThreadPool, ThreadPoolBuildError};

/// A pool of `threads` threads, or of fewer where the machine does not give that many (a task limit of a container, say).
///
/// # Errors
/// When not even one thread can be started.
pub fn build(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    let built = ThreadPoolBuilder::new().num_threads(threads).thread_name(|index| format!("step-{index}")).build();
    match built {
        Err(_) if threads > 1 => build(threads / 2),
        built => built,
    }
}

/// A thread of the engine's, which ends with its work.
///
/// # Errors
/// When the machine gives none.
pub fn start_thread(index: usize, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(format!("call-{index}")).spawn(work).map(drop)
}
