//! What threads of csictl wait on and share: the standard library's. They are named in one place so that `tests/concurrency` can put
//! shuttle's in their place, which run the same sources under a randomised scheduler.

pub use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
