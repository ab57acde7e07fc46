//! Who uses what a plan would take down for a while: looked for once, for all such mounts, and only where a plan has any.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;

use crate::driver::DriverError;
use crate::host::{Holder, Observe, UsedMount};
use crate::model::{Desired, Layout, Observed, Verb, VolumeId};
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
    let targets: BTreeSet<&Path> = table.iter().map(|mount| mount.target.as_path()).collect();
    let found = |used: &UsedMount<'_>| {
        let at = used.mount.target.as_path();
        let below = targets.range(at..).skip_while(|path| **path == at).take_while(|path| path.starts_with(at));
        let what: Vec<_> = below.filter(|path| !going.contains(*path)).map(|path| path.display().to_string()).collect();
        let holder = Holder { pid: Holder::NO_PROCESS, command: String::new(), mount_namespace: 0, what };
        (!holder.what.is_empty()).then_some(holder)
    };
    mounts.iter().map(found).collect()
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
