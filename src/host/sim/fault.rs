//! Faults on demand: every call that may change something is an effect with a number; at a number it can fail, or the process can
//! die before it, in the middle of it, or just after it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::host::{ErrorKind, HostError};

use super::SimHost;

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

impl SimHost {
    /// Effect `n` of this process, counted from 0, fails with this kind of error and does nothing.
    pub fn fail_at(&self, n: u64, kind: ErrorKind) {
        self.fault(n, Fate::Fail(When::Before, kind));
    }

    /// Effect `n` of this process fails having done a part of its work, or all of it.
    pub fn fail_at_when(&self, n: u64, kind: ErrorKind, when: When) {
        self.fault(n, Fate::Fail(when, kind));
    }

    /// Every effect from `n` on fails.
    pub fn fail_from(&self, n: u64, kind: ErrorKind) {
        if let Some(process) = self.machine().processes.get_mut(&self.process) {
            process.fail_from = Some((n, kind));
        }
    }

    /// This process is killed at effect `n`: that one and everything later is answered with an error that
    /// [`super::is_crash`] knows.
    pub fn crash_at(&self, n: u64, when: When) {
        self.fault(n, Fate::Crash(when));
    }

    fn fault(&self, n: u64, fate: Fate) {
        if let Some(process) = self.machine().processes.get_mut(&self.process) {
            process.faults.insert(n, fate);
        }
    }

    /// Whether this process was killed.
    pub fn is_dead(&self) -> bool {
        self.machine().processes.get(&self.process).is_none_or(|process| process.dead)
    }

    /// How many effects this process has tried.
    pub fn count(&self) -> u64 {
        self.machine().processes.get(&self.process).map_or(0, |process| process.count)
    }

    /// Every effect tried on this machine by any process, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.machine().effects.clone()
    }

    /// Forgets the effects so far.
    pub fn clear_effects(&self) {
        self.machine().effects.clear();
    }
}
