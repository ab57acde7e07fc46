//! Watching a directory: which of its names may have changed since it was asked last. Asked, not told: whoever keeps something in memory that
//! lies in files asks before each answer, and the kernel has noted every change the moment it was made.

use std::collections::BTreeSet;
use std::ffi::OsString;

/// What may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// These names; none when nothing changed.
    Names(BTreeSet<OsString>),
    /// Anything: look at all of it again.
    All,
}

/// A watch over one directory.
pub trait DirectoryWatch: Send {
    /// What may have changed since the last call, or since the watch began. The first answer of a watch is [`Changes::All`].
    fn changes(&mut self) -> Changes;
}

/// The watch of a host that cannot watch.
#[derive(Debug)]
pub struct Unwatched;

impl DirectoryWatch for Unwatched {
    fn changes(&mut self) -> Changes {
        Changes::All
    }
}
