//! What comes back after a run in which a volume that was only to pause could not be taken down: its other mounts are gone by then, and
//! the way up, which waited for what failed, was never begun. The steps here put back what was, from what was seen before. A volume that was
//! down and is to grow, but cannot, comes up with the size it has: whoever boots a machine wants the data first.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::model::observed::Observed;
use crate::model::{Action, ObjectRef, Verb, VolumeId};

use super::{Plan, Step};

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Well.
    Done,
    /// It failed.
    Failed,
    /// A guard of its verb said no, before anything was changed.
    Refused,
    /// It was never begun.
    Skipped,
}

/// What was gone from the machine when the run ended.
struct Gone<'a> {
    ended: &'a [Ended],
    targets: HashMap<&'a Path, &'a Step>,
    stages: HashMap<&'a VolumeId, &'a Step>,
    loops: HashMap<&'a VolumeId, &'a Step>,
    /// Volumes whose growth was refused: nothing of them was changed.
    ungrown: HashSet<&'a VolumeId>,
}

impl Gone<'_> {
    fn is_done(&self, step: Option<&&Step>) -> bool {
        step.is_some_and(|step| self.ended[step.index] == Ended::Done)
    }

    /// Whether a step of the way up would bring something that was there and is gone, or that was down and only waited for its growth.
    fn brings(&self, step: &Step) -> bool {
        let was_down = |id: &VolumeId, taken: Option<&&Step>| taken.is_none() && self.ungrown.contains(id);
        match &step.action {
            Action::Publish(publish) => {
                let taken = self.targets.get(publish.target.as_path());
                self.is_done(taken) || was_down(&publish.volume, taken)
            }
            Action::Stage(request) => {
                let taken = self.stages.get(&request.id);
                self.is_done(taken) || was_down(&request.id, taken)
            }
            Action::Attach(request) => {
                let (stage, device) = (self.stages.get(&request.id), self.loops.get(&request.id));
                self.is_done(stage) || self.is_done(device) || was_down(&request.id, stage.or(device))
            }
            _ => false,
        }
    }

    /// Whether a step of the way up would bring what was never taken away.
    fn is_there(&self, step: &Step) -> bool {
        let taken = match &step.action {
            Action::Publish(publish) => self.targets.get(publish.target.as_path()),
            Action::Stage(request) => self.stages.get(&request.id),
            Action::Attach(request) => self.stages.get(&request.id).or_else(|| self.loops.get(&request.id)),
            _ => None,
        };
        taken.is_some() && !self.is_done(taken)
    }
}

/// The steps that put it back, numbered anew, and for each the index it has in the plan that was run; empty where nothing can be put back as
/// it was. A volume that was changed on the way stays down: the next apply knows more of it.
pub fn back(plan: &Plan, observed: &Observed, ended: &[Ended]) -> (Plan, Vec<usize>) {
    let mut gone =
        Gone { ended, targets: HashMap::new(), stages: HashMap::new(), loops: HashMap::new(), ungrown: HashSet::new() };
    let mut changed: HashSet<ObjectRef> = HashSet::new();
    for step in &plan.steps {
        match &step.action {
            Action::Unpublish(request) => drop(gone.targets.insert(&request.target, step)),
            Action::Unstage(request) => drop(gone.stages.insert(&request.id, step)),
            Action::Detach(id) => drop(gone.loops.insert(id, step)),
            Action::Expand(request) if ended[step.index] == Ended::Refused => drop(gone.ungrown.insert(&request.id)),
            Action::Modify(_) if ended[step.index] == Ended::Refused => {}
            _ if ended[step.index] != Ended::Skipped => drop(changed.insert(step.object())),
            _ => {}
        }
    }
    let mut chosen: HashSet<usize> = HashSet::new();
    // In the order of the plan, so that what a step stands on is chosen before it.
    for step in &plan.steps {
        let object = step.object();
        if ended[step.index] != Ended::Skipped || changed.contains(&object) || !gone.brings(step) {
            continue;
        }
        let stands = step.after.iter().map(|&before| &plan.steps[before]).all(|before| {
            let upward = matches!(before.verb(), Verb::Publish | Verb::Stage | Verb::Attach);
            match ended[before.index] {
                Ended::Done => true,
                _ if upward => chosen.contains(&before.index) || gone.is_there(before),
                // What was to change its volume did not; what was to be taken away is there.
                _ => {
                    before.object() == object || matches!(before.verb(), Verb::Unpublish | Verb::Unstage | Verb::Detach)
                }
            }
        });
        if stands {
            chosen.insert(step.index);
        }
    }
    let mut places: Vec<usize> = chosen.into_iter().collect();
    places.sort_unstable();
    let number: HashMap<usize, usize> = places.iter().enumerate().map(|(new, &old)| (old, new)).collect();
    let steps = places.iter().map(|old| {
        let step = &plan.steps[*old];
        let after = step.after.iter().filter_map(|before| number.get(before).copied()).collect();
        Step { index: number[old], action: as_it_was(&step.action, observed), after, ..step.clone() }
    });
    let put_back = Plan { steps: steps.collect(), ..plan.clone() };
    (put_back, places)
}

/// What a step of the way up would have done before anything was to change.
fn as_it_was(action: &Action, observed: &Observed) -> Action {
    let seen = |id: &VolumeId| observed.volumes.get(id);
    let mut action = Cow::Borrowed(action);
    match action.to_mut() {
        Action::Publish(publish) => {
            let run = seen(&publish.volume).and_then(|seen| seen.run.as_ref());
            if let Some(was) = run.and_then(|run| run.publishes.get(&publish.target)) {
                publish.clone_from(was);
            }
        }
        Action::Stage(request) => {
            if let Some(record) = seen(&request.id).and_then(|seen| seen.record.present()) {
                request.mount_options.clone_from(&record.spec.mount_options);
            }
        }
        Action::Attach(request) => {
            if let Some(device) = seen(&request.id).and_then(|seen| seen.loop_device.as_ref()) {
                request.read_only = device.read_only;
            }
        }
        _ => {}
    }
    action.into_owned()
}
