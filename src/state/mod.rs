//! What csictl remembers: records of volumes and snapshots, the locks that keep two csictl apart, and the document that
//! carries all of it to another machine.
//!
//! A record holds what the kernel cannot tell; the kernel is the truth for everything else. Way in: [`Reader`] for those who
//! plan and report, [`Store`] for the verbs, [`VolumeLock`] before any of them.

pub mod error;
pub mod lock;
pub mod record;
pub mod store;
pub mod sweep;
pub mod transfer;

pub use error::StateError;
pub use lock::{GlobalLock, VolumeLock};
pub use store::{Reader, Store};
pub use sweep::sweep;
