//! Whole executions of a small graph with a failing step.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

use shuttle::sync::{Arc, Mutex};

use crate::driver::{Driver, DriverError, Refusal, Result};
use crate::exec::event::{Event, EventSink, Summary};
use crate::exec::options::Options;
use crate::exec::run::execute;
use crate::exec::signal::Stop;
use crate::model::action::{
    AttachRequest, CreateRequest, DeleteRequest, DeleteSnapshotRequest, ExpandRequest, Outcome, StageRequest,
    UnpublishRequest, UnstageRequest,
};
use crate::model::{Action, Desired, Done, ObjectRef, PublishSpec, SnapshotSpec, VolumeId, VolumeSpec};
use crate::plan::{ApprovedPlan, Plan, Risk, Step};

/// Each step by name, with those it comes after. `bad` fails.
const GRAPH: [(&str, &[usize]); 7] =
    [("a", &[]), ("b", &[0]), ("bad", &[0]), ("after-bad", &[2]), ("c", &[1]), ("lone", &[]), ("both", &[3, 4])];
const DONE: [usize; 4] = [0, 1, 4, 5];
const FAILED: [usize; 1] = [2];
const SKIPPED: [usize; 2] = [3, 6];

fn plan() -> ApprovedPlan {
    let step = |(index, (name, after)): (usize, &(&str, &[usize]))| Step {
        index,
        action: Action::Detach(format!("p.{name}").parse().unwrap()),
        pod: None,
        path: None,
        after: after.to_vec(),
        risk: Risk::None,
        reason: String::new(),
    };
    let plan = Plan {
        desired: Desired::empty("p".parse().unwrap(), "p.toml".to_owned()),
        changes: vec![],
        drift: vec![],
        notes: vec![],
        unknown: vec![],
        refused: vec![],
        steps: GRAPH.iter().enumerate().map(step).collect(),
    };
    plan.approve(&BTreeSet::new()).unwrap()
}

/// Notes which step ran after which, and gives way in the middle of each.
#[derive(Default)]
struct Steps {
    ran: Mutex<Vec<String>>,
    stop_at: Option<(&'static str, Stop)>,
}

impl Driver for Steps {
    fn detach(&self, id: &VolumeId) -> Result<Outcome> {
        shuttle::thread::yield_now();
        if let Some((_, stop)) = self.stop_at.as_ref().filter(|(name, _)| *name == id.short()) {
            stop.request();
        }
        self.ran.lock().unwrap().push(id.short().to_owned());
        if id.short() == "bad" {
            let object = ObjectRef::Volume(id.clone());
            return Err(DriverError::refused(Refusal::Busy, object, "it is in use", "stop what uses it"));
        }
        Ok(Done::Changed.into())
    }

    fn create(&self, _: &CreateRequest) -> Result<Outcome> {
        unreachable!()
    }
    fn attach(&self, _: &AttachRequest) -> Result<Outcome> {
        unreachable!()
    }
    fn stage(&self, _: &StageRequest) -> Result<Outcome> {
        unreachable!()
    }
    fn publish(&self, _: &PublishSpec) -> Result<Outcome> {
        unreachable!()
    }
    fn unpublish(&self, _: &UnpublishRequest) -> Result<Outcome> {
        unreachable!()
    }
    fn unstage(&self, _: &UnstageRequest) -> Result<Outcome> {
        unreachable!()
    }
    fn expand(&self, _: &ExpandRequest) -> Result<Outcome> {
        unreachable!()
    }
    fn modify(&self, _: &VolumeSpec) -> Result<Outcome> {
        unreachable!()
    }
    fn snapshot(&self, _: &SnapshotSpec) -> Result<Outcome> {
        unreachable!()
    }
    fn delete_snapshot(&self, _: &DeleteSnapshotRequest) -> Result<Outcome> {
        unreachable!()
    }
    fn release(&self, _: &VolumeId) -> Result<Outcome> {
        unreachable!()
    }
    fn delete(&self, _: &DeleteRequest) -> Result<Outcome> {
        unreachable!()
    }
}

/// How often each step was told of as begun and as ended.
#[derive(Default)]
struct Told(Mutex<BTreeMap<String, (usize, usize)>>);

impl EventSink for Told {
    fn event(&self, event: &Event<'_>) {
        let mut told = self.0.lock().unwrap();
        let mut count = |step: &Step, begun: usize, ended: usize| {
            let counts = told.entry(step.id()).or_default();
            *counts = (counts.0 + begun, counts.1 + ended);
        };
        match event {
            Event::Started { step } => count(step, 1, 0),
            Event::Finished { step, .. } | Event::Failed { step, .. } | Event::Skipped { step, .. } => {
                count(step, 0, 1);
            }
            Event::Slow { .. } | Event::Interrupted => {}
        }
    }
}

fn indices(summary: &Summary) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    (
        summary.done.iter().map(|(index, ..)| *index).collect(),
        summary.failed.iter().map(|failure| failure.step).collect(),
        summary.skipped.iter().map(|(index, _)| *index).collect(),
    )
}

fn run(steps: &Steps, stop: &Stop) -> Summary {
    let options = Options { parallelism: NonZeroUsize::new(3).unwrap(), ..Options::default() };
    let told = Told::default();
    let summary = execute(&plan(), steps, &options, &told, stop);
    let ran = steps.ran.lock().unwrap().clone();
    for (index, (name, after)) in GRAPH.iter().enumerate() {
        let at = |name: &str| ran.iter().position(|other| other == name);
        assert!(ran.iter().filter(|other| other == name).count() <= 1, "{name} ran twice: {ran:?}");
        let Some(place) = at(name) else { continue };
        for before in *after {
            assert!(
                at(GRAPH[*before].0).is_some_and(|earlier| earlier < place),
                "step {index} came too early: {ran:?}"
            );
        }
    }
    for (step, counts) in told.0.lock().unwrap().iter() {
        assert!(counts.0 <= 1 && counts.1 == 1, "{step} was told of {counts:?} times");
    }
    summary
}

pub fn every_step_ends_once() {
    let summary = run(&Steps::default(), &Stop::new());
    assert_eq!(indices(&summary), (DONE.to_vec(), FAILED.to_vec(), SKIPPED.to_vec()));
}

pub fn a_stop_ends_the_run() {
    let stop = Stop::new();
    let steps = Steps { stop_at: Some(("b", stop.clone())), ..Steps::default() };
    let asker = Arc::new(stop.clone());
    let other = shuttle::thread::spawn(move || asker.is_requested());
    let summary = run(&steps, &stop);
    other.join().unwrap();
    let (done, failed, skipped) = indices(&summary);
    let mut all = [done.clone(), failed, skipped].concat();
    all.sort_unstable();
    assert_eq!(all, (0..GRAPH.len()).collect::<Vec<_>>(), "every step is done, failed or skipped");
    assert!(done.contains(&0) && done.contains(&1), "what ran was finished");
    assert!(summary.interrupted);
}
