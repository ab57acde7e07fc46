//! Mounts that a plan takes down only to bring them back, and what it says where a process uses one of them. Who uses them is not part of
//! the first look, since it takes a look at every process: [`pauses`] says whether it is worth one, the answer goes into
//! [`ObservedVolume::held`](crate::model::observed::ObservedVolume::held), and the next plan judges it.

use std::collections::HashSet;
use std::path::Path;

use crate::model::observed::Observed;
use crate::model::{Action, Mount, ObjectRef, VolumeId, shell_word};

use super::course::{Course, Make};
use super::guards::refuse;
use super::{Plan, Refused};

/// A mount that goes and comes back.
#[derive(Debug, Clone, Copy)]
pub struct Pause<'a> {
    /// Whose it is.
    pub volume: &'a VolumeId,
    /// The mount.
    pub mount: &'a Mount,
    /// Whether the whole volume pauses, and not this mount alone.
    pub whole: bool,
}

/// Every mount that goes and comes back.
pub fn pauses<'a>(plan: &Plan, observed: &'a Observed) -> Vec<Pause<'a>> {
    let mut down: HashSet<&VolumeId> = HashSet::new();
    let mut up: HashSet<&VolumeId> = HashSet::new();
    let mut gone: HashSet<&Path> = HashSet::new();
    let mut back: HashSet<&Path> = HashSet::new();
    for step in &plan.steps {
        match &step.action {
            Action::Unstage(request) => drop(down.insert(&request.id)),
            Action::Detach(id) => drop(down.insert(id)),
            Action::Unpublish(request) => drop(gone.insert(&request.target)),
            Action::Publish(publish) => {
                up.insert(&publish.volume);
                back.insert(&publish.target);
            }
            _ => {}
        }
    }
    let mut pauses = Vec::new();
    for (id, seen) in observed.volumes.iter().filter(|(id, _)| up.contains(id)) {
        let whole = down.contains(id);
        let published = seen.published.iter().filter(|publish| {
            let target = publish.target.as_path();
            gone.contains(target) && (whole || back.contains(target))
        });
        pauses.extend(published.map(|publish| Pause { volume: id, mount: &publish.mount, whole }));
        let staged = seen.staged.as_ref().filter(|_| whole);
        pauses.extend(staged.map(|staged| Pause { volume: id, mount: &staged.mount, whole }));
    }
    pauses
}

/// Refuses a pause that a process stands in the way of.
pub(super) fn busy(course: &Course<'_>) -> Option<Refused> {
    let replaced = matches!(course.make, Make::Replace | Make::Exchange);
    let whole = course.up() && (course.cycle.is_some() || replaced);
    let (target, holders) = course.seen.held.iter().find(|(at, _)| whole || course.again.contains_key(at))?;
    let (path, why) = (target.display(), reason(course, target));
    let message = format!("{path} is in use by {holders}, and would have to be taken down for a while: {why}");
    let help = format!(
        "end them, or have them leave it, and try again; csictl who {} shows them",
        shell_word(&path.to_string())
    );
    Some(refuse("busy", &ObjectRef::Volume(course.id.clone()), message, help))
}

/// Why a mount goes and comes back.
pub(super) fn reason(course: &Course<'_>, target: &Path) -> String {
    match (&course.cycle, course.again.get(target)) {
        _ if matches!(course.make, Make::Replace | Make::Exchange) => "it is replaced".to_owned(),
        (Some(reason), _) | (None, Some(reason)) => reason.clone(),
        (None, None) => "it changes".to_owned(),
    }
}
