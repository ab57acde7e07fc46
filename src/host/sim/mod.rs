//! A machine in memory: the test double for [`crate::host::Host`]. It mounts, attaches, formats and copies as strictly as the
//! kernel where that matters, keeps a second copy of its files with what a power cut would leave, and can make any effect
//! fail, or kill its process before, in the middle of, or after it.
//!
//! Way in: [`SimHost::new`]; then the verbs, and between them what tests do to a machine: [`SimHost::crash_at`],
//! [`SimHost::fail_at`], [`SimHost::revive`], [`SimHost::reboot`], [`SimHost::power_cut`], [`SimHost::check`]. A handle is one
//! process; clones of it are the same process, [`SimHost::spawn`] is another one on the same machine.
//!
//! What it knows of the world: `/` is ext4 (8:1) of 1 TiB without reflink, `/dev` a devtmpfs, `/run` a tmpfs. Mounted btrfs shows
//! a device number of its own, as it does in mountinfo. Inode numbers are given out again at once.

mod boot;
mod check;
mod data;
mod fault;
mod files;
mod formats;
mod images;
mod knobs;
mod loops;
mod machine;
mod mounts;
mod observe;
#[cfg(test)]
mod tests;
mod tree;
mod verbs;
mod walk;

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{HostError, Result};
use fault::{Changed, Fate, dead};
use machine::Machine;

pub use fault::{Effect, When, is_crash};
pub use knobs::DiskSpec;
pub use tree::{Content, FsImage};

/// One process's view of a simulated machine.
#[derive(Clone)]
pub struct SimHost {
    inner: Arc<Inner>,
    process: u64,
}

struct Inner {
    machine: Mutex<Machine>,
    /// Somebody let go of something.
    changed: Condvar,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, machine: MutexGuard<'a, Machine>, at_most: Duration) -> MutexGuard<'a, Machine> {
        match self.changed.wait_timeout(machine, at_most) {
            Ok((machine, _)) => machine,
            Err(poisoned) => poisoned.into_inner().0,
        }
    }
}

impl std::fmt::Debug for SimHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimHost(process {})", self.process)
    }
}

impl Default for SimHost {
    fn default() -> Self {
        Self::new()
    }
}

impl SimHost {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.inner.lock()
    }

    /// Looks at the machine; a dead process sees nothing.
    fn look<T>(&self, act: &'static str, object: &Path, look: impl FnOnce(&Machine) -> Result<T>) -> Result<T> {
        let machine = self.machine();
        match machine.processes.get(&self.process) {
            Some(process) if !process.dead => look(&machine),
            _ => Err(dead(act, object.to_owned())),
        }
    }

    /// Runs one effect, or what a fault leaves of it. `run` is told whether only the first half of it happens.
    fn effect<T: Changed>(
        &self,
        act: &'static str,
        object: &Path,
        run: impl FnOnce(&mut Machine, bool) -> Result<T>,
    ) -> Result<T> {
        let mut machine = self.machine();
        let (index, fate) = match machine.processes.get_mut(&self.process) {
            Some(process) if !process.dead => process.next(),
            _ => return Err(dead(act, object.to_owned())),
        };
        let injected = |kind| HostError::new(kind, act, object, format!("injected {kind:?}"));
        let result = match fate {
            None => run(&mut machine, false),
            Some(Fate::Fail(when, kind)) => {
                if when != When::Before {
                    // What was opened is closed again on the way out.
                    let first = machine.next_token;
                    let _lost = run(&mut machine, when == When::Half);
                    machine.tokens.retain(|token| token.id < first);
                    machine.settle();
                }
                Err(injected(kind))
            }
            Some(Fate::Crash(when)) => {
                if when != When::Before {
                    let _lost = run(&mut machine, when == When::Half);
                }
                Err(dead(act, object.to_owned()))
            }
        };
        let crash = matches!(fate, Some(Fate::Crash(..)));
        let effect = Effect {
            index,
            act,
            object: object.to_owned(),
            changed: result.as_ref().is_ok_and(Changed::changed),
            failed: result.as_ref().err().map(|error| error.kind),
        };
        machine.effects.push(effect);
        if crash {
            machine.kill(self.process);
        }
        drop(machine);
        self.inner.changed.notify_all();
        result
    }
}
