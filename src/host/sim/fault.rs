//! Faults on demand: every call that may change something is an effect with a number; at a number it can fail, or the process can
//! die before it, in the middle of it, or just after it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::host::{ErrorKind, HostError};

/// Where in an effect the fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum When {
    /// Before anything of it happened.
    Before,
    /// In the middle, where it has one: a half-made file system, a copy without its end, a rename that is not flushed.
    Half,
    /// After all of it happened, before the caller heard of it.
    After,
}

impl When {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Before, Self::Half, Self::After];
}

/// One effect that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// Its number in its process, from 0.
    pub index: u64,
    /// The verb, as errors name it.
    pub act: &'static str,
    /// The path it acted on.
    pub object: PathBuf,
    /// Whether the machine is different because of it, as far as its caller was told.
    pub changed: bool,
    /// How it failed, where it did.
    pub failed: Option<ErrorKind>,
}

/// What happens at one effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Fail(When, ErrorKind),
    Crash(When),
}

/// One running program's view: whether it lives, and what is to befall it.
#[derive(Debug, Clone, Default)]
pub(super) struct Process {
    pub dead: bool,
    pub count: u64,
    pub faults: BTreeMap<u64, Fate>,
    /// Every effect from this number on fails with this.
    pub fail_from: Option<(u64, ErrorKind)>,
}

impl Process {
    pub(super) fn next(&mut self) -> (u64, Option<Fate>) {
        let index = self.count;
        self.count += 1;
        let lasting = self.fail_from.filter(|(from, _)| index >= *from).map(|(_, kind)| Fate::Fail(When::Before, kind));
        (index, self.faults.remove(&index).or(lasting))
    }
}

const DEAD: &str = "this process was killed (simulated)";

/// The answer of every call of a process that was killed.
pub(super) fn dead(act: &'static str, object: PathBuf) -> HostError {
    HostError::new(ErrorKind::Other, act, object, DEAD)
}

/// Whether an error only says that the simulated process is dead.
pub fn is_crash(error: &HostError) -> bool {
    error.cause == DEAD
}

/// Whether the machine is different now, from a verb's answer.
pub(super) trait Changed {
    fn changed(&self) -> bool;
}

impl Changed for crate::model::Done {
    fn changed(&self) -> bool {
        *self == Self::Changed
    }
}

impl Changed for (bool, crate::model::LoopDevice, u64) {
    fn changed(&self) -> bool {
        !self.0
    }
}

impl Changed for Vec<PathBuf> {
    fn changed(&self) -> bool {
        !self.is_empty()
    }
}

macro_rules! always_changed {
    ($($type:ty),*) => { $(impl Changed for $type {
        fn changed(&self) -> bool {
            true
        }
    })* };
}

always_changed!((), u64, PathBuf, crate::model::FileId, crate::host::Formatted, crate::host::CopyMethod);
