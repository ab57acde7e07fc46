//! Small helpers that turn the errors of system calls into [`HostError`]s with their object and cause.

use std::io;
use std::path::{Path, PathBuf};

use crate::host::{ErrorKind, HostError};

/// For `map_err`: a failed call, on this object.
pub fn failed(act: &'static str, object: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> HostError {
    move |error| HostError::io(act, object, &error)
}

/// For `map_err` after a rustix call.
pub fn refused(act: &'static str, object: impl Into<PathBuf>) -> impl FnOnce(rustix::io::Errno) -> HostError {
    move |error| HostError::io(act, object, &error.into())
}

/// A failure of ours, in words.
pub fn wrong(kind: ErrorKind, act: &'static str, object: &Path, cause: impl Into<String>) -> HostError {
    HostError::new(kind, act, object, cause)
}
