//! Who uses what a plan would take down for a while: looked for once, for all such mounts, and only where a plan has any.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use crate::driver::DriverError;
use crate::host::{Holder, Observe, UsedMount};
use crate::model::{BlockId, Desired, Layout, Mount, MountTable, Observed, Verb, VolumeId};
use crate::plan::{self, Intent, Plan};
use crate::state::VolumeLock;

/// The most holders one refusal names; `who` names all.
const NAMED: usize = 5;

/// Plans, with what has to be known of processes for it; also what was seen, then. `hold` keeps a volume that is to pause from any
/// other csictl while one looks.
///
/// # Errors
/// Another csictl works on a volume that is to pause, for longer than one waits.
pub fn plan<'a>(
    observer: &dyn Observe,
    desired: &Desired,
    observed: &'a Observed,
    layout: &Layout,
    intent: &Intent,
    hold: &dyn Fn(&VolumeId) -> Result<Option<VolumeLock>, DriverError>,
) -> Result<(Plan, Cow<'a, Observed>), DriverError> {
    let plan = plan::plan(desired, observed, layout, intent);
    let pauses = plan::pause::pauses(&plan, observed);
    if pauses.is_empty() {
        return Ok((plan, Cow::Borrowed(observed)));
    }
    // Held while one looks: another csictl at work on the volume is waited for, and is no user of it.
    let paused: BTreeSet<&VolumeId> = pauses.iter().map(|pause| pause.volume).collect();
    let locks = paused.into_iter().map(hold).collect::<Result<Vec<_>, _>>()?;
    let mounts: Vec<_> = pauses.iter().map(|pause| UsedMount { mount: pause.mount, whole: pause.whole }).collect();
    // What cannot be known is met on the way, and what was taken down by then comes back.
    let Ok(mut users) = observer.users(&mounts) else { return Ok((plan, Cow::Borrowed(observed))) };
    for (users, upon) in users.iter_mut().zip(upon(observer, &plan, &mounts)) {
        users.extend(upon);
    }
    let mut seen = Cow::Borrowed(observed);
    for (pause, users) in pauses.iter().zip(&users).filter(|(_, users)| !users.is_empty()) {
        if let Some(volume) = seen.to_mut().volumes.get_mut(pause.volume) {
            volume.held.push((pause.mount.target.clone(), described(users)));
        }
    }
    drop(locks);
    Ok(match seen {
        Cow::Borrowed(_) => (plan, seen),
        Cow::Owned(_) => (plan::plan(desired, &seen, layout, intent), seen),
    })
}

/// What is mounted upon each of these mounts and does not go with the plan.
fn upon(observer: &dyn Observe, plan: &Plan, mounts: &[UsedMount<'_>]) -> Vec<Option<Holder>> {
    let Ok(table) = observer.mount_table() else { return vec![None; mounts.len()] };
    let downs = plan.steps.iter().filter(|step| step.verb() == Verb::Unpublish);
    let going: BTreeSet<&Path> = downs.filter_map(|step| step.path.as_deref()).collect();
    let going = Going::of(&table, going);
    let by_target: BTreeMap<&Path, &Mount> = table.iter().map(|mount| (mount.target.as_path(), mount)).collect();
    let found = |used: &UsedMount<'_>| {
        let at = used.mount.target.as_path();
        let below = by_target.range(at..).skip_while(|(path, _)| **path == at);
        let below = below.take_while(|(path, _)| path.starts_with(at));
        let stays = below.filter(|(_, mount)| !going.takes(mount));
        let what: Vec<_> = stays.map(|(path, _)| path.display().to_string()).collect();
        let holder = Holder { pid: Holder::NO_PROCESS, command: String::new(), mount_namespace: 0, what };
        (!holder.what.is_empty()).then_some(holder)
    };
    mounts.iter().map(found).collect()
}

/// Mounts that a plan takes away.
struct Going<'a> {
    table: &'a MountTable,
    targets: BTreeSet<&'a Path>,
    /// What lies on a shared mount: the kernel takes the copies on its peers away along with it.
    copied: HashSet<Place>,
}

/// A place in a file system, and the file system that is mounted there.
type Place = (BlockId, PathBuf, BlockId);

impl<'a> Going<'a> {
    fn of(table: &'a MountTable, targets: BTreeSet<&'a Path>) -> Self {
        let mut going = Self { table, targets, copied: HashSet::new() };
        let gone = table.iter().filter(|mount| going.targets.contains(mount.target.as_path()));
        going.copied = gone.filter_map(|mount| going.place(mount)).collect();
        going
    }

    fn takes(&self, mount: &Mount) -> bool {
        self.targets.contains(mount.target.as_path())
            || self.place(mount).is_some_and(|place| self.copied.contains(&place))
    }

    /// Where in the file system below it a mount lies, if what happens there is passed on to peers.
    fn place(&self, mount: &Mount) -> Option<Place> {
        let below = self.table.with_id(mount.parent).filter(|below| below.shared)?;
        let inside = mount.target.strip_prefix(&below.target).ok()?;
        Some((below.device, below.root.join(inside), mount.device))
    }
}

fn described(users: &[Holder]) -> String {
    let word = |holder: &Holder| match holder.pid {
        Holder::NO_PROCESS => format!("what is mounted on it ({})", holder.what.join(", ")),
        pid => format!("{} (pid {pid}: {})", holder.command, holder.what.join(", ")),
    };
    let mut words: Vec<String> = users.iter().take(NAMED).map(word).collect();
    if users.len() > words.len() {
        words.push(format!("{} more", users.len() - words.len()));
    }
    words.join(", ")
}
