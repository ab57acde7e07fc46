//! Volumes that are frozen though csictl copies nothing: somebody else's fsfreeze, or a mark that got lost with the run directory. Whoever
//! writes to one waits and cannot be killed, so it is shown as drift and ended by a step of a plan, never in passing: it may be a backup's.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::host::Observe;
use crate::model::{Backing, Done, Layout, Mount, VolumeId, VolumeSpec};

use super::session::Session;

/// How long those who waited for a write are given to end after a thaw: somebody may have killed them meanwhile.
const WRITERS_END: Duration = Duration::from_secs(2);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(20);
/// What a thaw is called in an outcome.
pub(super) const NOTE: &str = "its file system was frozen, and every write to it waited: thawed";

/// Whether a volume's mount is frozen by nobody who works on it with csictl: there is no mark of it. One that appears or goes meanwhile is
/// somebody's at work.
pub(super) fn is_left(host: &dyn Observe, layout: &Layout, id: &VolumeId, mount: &Mount) -> bool {
    let frozen = || host.frozen(mount) == Some(true);
    let marked = || host.stat(&layout.frozen_mark(id)).is_ok_and(|mark| mark.is_some());
    frozen() && !marked() && frozen()
}

/// Whether the file system of a volume is its own, and so csictl's to thaw: a directory's is the host's.
pub(super) const fn is_own(spec: &VolumeSpec) -> bool {
    matches!(spec.backing, Backing::Image(_) | Backing::Device(_))
}

/// Thaws what is seen at a path, which is the volume's own.
pub(super) fn thaw(s: &Session<'_>, path: &Path) -> Done {
    if s.record.present().is_some_and(|record| !is_own(&record.spec)) {
        return Done::Already;
    }
    s.host().thaw(path).unwrap_or(Done::Already)
}

/// Gives those who waited for a write time to end; answers whether it is worth trying again.
pub(super) fn writers_end(thawed: Option<Instant>) -> bool {
    let worth = thawed.is_some_and(|thawed| thawed.elapsed() < WRITERS_END);
    if worth {
        sleep(AGAIN);
    }
    worth
}
