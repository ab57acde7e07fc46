//! Why a record could not be read, written or locked.

use std::path::PathBuf;

use thiserror::Error;

use crate::host::HostError;

/// A failure of the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StateError {
    /// The machine failed.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Somebody else kept the lock for longer than allowed.
    #[error("another csictl holds the lock {}", .0.display())]
    LockHeld(PathBuf),
    /// A directory others could write records into.
    #[error("{} {problem}", path.display())]
    Insecure {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A document that is no export, or one that does not fit what is there.
    #[error("{0}")]
    Document(String),
}
