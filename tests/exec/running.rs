//! Whole executions with a driver of ours in place of the real one: it sleeps, fails, panics and counts as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use csictl::driver::{Driver, DriverError, Refusal, Result};
use csictl::exec::{Event, EventSink, OnError, Options, Stop, Summary, execute};
use csictl::model::action::{
    AttachRequest, CreateRequest, DeleteRequest, DeleteSnapshotRequest, ExpandRequest, Outcome, StageRequest,
    UnpublishRequest, UnstageRequest,
};
use csictl::model::{Action, Desired, Done, PublishSpec, SnapshotSpec, VolumeId, VolumeSpec};
use csictl::plan::{ApprovedPlan, Plan, Risk, Step};

/// What the driver does with one volume.
#[derive(Clone, Copy)]
enum Act {
    Sleep(Duration),
    Fail,
    Unfinished,
    Panic,
}

type OnCall = Box<dyn Fn(&str) + Send + Sync>;

/// A driver that only knows detach, which is all these plans ask for: an action with nothing but a name.
#[derive(Default)]
struct Fake {
    acts: BTreeMap<String, Act>,
    order: Mutex<Vec<String>>,
    running: AtomicUsize,
    most: AtomicUsize,
    on_call: Option<OnCall>,
}

impl Fake {
    fn with(acts: &[(&str, Act)]) -> Self {
        Self { acts: acts.iter().map(|(name, act)| ((*name).to_owned(), *act)).collect(), ..Self::default() }
    }

    fn order(&self) -> Vec<String> {
        self.order.lock().unwrap().clone()
    }
}

impl Driver for Fake {
    fn detach(&self, id: &VolumeId) -> Result<Outcome> {
        let name = id.short().to_owned();
        self.most.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.order.lock().unwrap().push(name.clone());
        if let Some(on_call) = &self.on_call {
            on_call(&name);
        }
        let act = self.acts.get(&name).copied();
        if let Some(Act::Sleep(time)) = act {
            std::thread::sleep(time);
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        let object = csictl::model::ObjectRef::Volume(id.clone());
        let failed = DriverError::refused(Refusal::Busy, object, "it is in use", "stop what uses it");
        match act {
            Some(Act::Fail) => Err(failed),
            Some(Act::Unfinished) => Err(DriverError::Unfinished(Box::new(failed))),
            Some(Act::Panic) => panic!("told to"),
            _ => Ok(Done::Changed.into()),
        }
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

/// Keeps what was told, as words.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl EventSink for Told {
    fn event(&self, event: &Event<'_>) {
        let word = match event {
            Event::Started { step } => format!("started {}", step.id()),
            Event::Finished { step, .. } => format!("finished {}", step.id()),
            Event::Failed { step, .. } => format!("failed {}", step.id()),
            Event::Skipped { step, because } => format!("skipped {}: {because}", step.id()),
            Event::Slow { step, .. } => format!("slow {}", step.id()),
            Event::Interrupted => "interrupted".to_owned(),
        };
        self.0.lock().unwrap().push(word);
    }
}

impl Told {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A plan of detaches: a name and the steps (from 0) that it comes after.
fn plan(steps: &[(&str, &[usize])]) -> ApprovedPlan {
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
        steps: steps.iter().enumerate().map(step).collect(),
    };
    plan.approve(&BTreeSet::new()).unwrap()
}

fn options(parallelism: usize) -> Options {
    Options { parallelism: NonZeroUsize::new(parallelism).unwrap(), ..Options::default() }
}

fn indices(summary: &Summary) -> (Vec<usize>, Vec<usize>, Vec<usize>) {
    (
        summary.done.iter().map(|(index, ..)| *index).collect(),
        summary.failed.iter().map(|failure| failure.step).collect(),
        summary.skipped.iter().map(|(index, _)| *index).collect(),
    )
}

const DIAMOND: [(&str, &[usize]); 4] = [("a", &[]), ("b", &[0]), ("c", &[0]), ("d", &[1, 2])];

#[test]
fn an_empty_plan_ends_at_once() {
    let summary = execute(&plan(&[]), &Fake::default(), &options(4), &Told::default(), &Stop::new());
    assert_eq!(indices(&summary), (vec![], vec![], vec![]));
}

#[test]
fn steps_run_after_those_they_depend_on() {
    for parallelism in [1, 2, 16] {
        let driver = Fake::default();
        let summary = execute(&plan(&DIAMOND), &driver, &options(parallelism), &Told::default(), &Stop::new());
        assert_eq!(indices(&summary), (vec![0, 1, 2, 3], vec![], vec![]));
        let order = driver.order();
        assert_eq!((order[0].as_str(), order[3].as_str()), ("a", "d"), "{order:?}");
    }
}

#[test]
fn one_at_a_time_everything_is_told_in_order() {
    let told = Told::default();
    execute(&plan(&DIAMOND), &Fake::default(), &options(1), &told, &Stop::new());
    let expected: Vec<_> = (1..=4).flat_map(|id| [format!("started s{id}"), format!("finished s{id}")]).collect();
    assert_eq!(told.all(), expected);
}

#[test]
fn waiting_steps_run_beside_each_other_up_to_the_limit() {
    let names: Vec<_> = (0..32).map(|index| format!("v{index}")).collect();
    let steps: Vec<(&str, &[usize])> = names.iter().map(|name| (name.as_str(), &[][..])).collect();
    let acts: Vec<_> = names.iter().map(|name| (name.as_str(), Act::Sleep(Duration::from_millis(50)))).collect();
    let driver = Fake::with(&acts);
    let summary = execute(&plan(&steps), &driver, &options(8), &Told::default(), &Stop::new());
    assert_eq!(summary.done.len(), 32);
    assert_eq!(driver.most.load(Ordering::SeqCst), 8);
}

#[test]
fn a_failure_skips_what_depends_on_it_and_nothing_else() {
    let steps: [(&str, &[usize]); 5] = [("a", &[]), ("b", &[0]), ("c", &[1]), ("x", &[]), ("y", &[3])];
    let told = Told::default();
    let summary = execute(&plan(&steps), &Fake::with(&[("a", Act::Fail)]), &options(1), &told, &Stop::new());
    assert_eq!(indices(&summary), (vec![3, 4], vec![0], vec![1, 2]));
    assert_eq!(summary.skipped[0].1, "s1 detach volume.a failed");
    assert_eq!(
        told.all()[..4],
        ["started s1", "failed s1", "skipped s2: s1 detach volume.a failed", "skipped s3: s1 detach volume.a failed"]
    );
}

#[test]
fn what_failed_after_all_that_others_wait_for_was_there_skips_nothing() {
    let steps: [(&str, &[usize]); 3] = [("a", &[]), ("b", &[0]), ("c", &[1])];
    let fake = Fake::with(&[("a", Act::Unfinished)]);
    let summary = execute(&plan(&steps), &fake, &options(1), &Told::default(), &Stop::new());
    assert_eq!(indices(&summary), (vec![1, 2], vec![0], vec![]));
    assert_eq!(summary.failed[0].error.to_string(), "volume.a: it is in use");
}

#[test]
fn on_error_stop_begins_nothing_more() {
    let steps: [(&str, &[usize]); 3] = [("a", &[]), ("b", &[0]), ("x", &[])];
    let options = Options { on_error: OnError::Stop, ..options(1) };
    let summary = execute(&plan(&steps), &Fake::with(&[("a", Act::Fail)]), &options, &Told::default(), &Stop::new());
    assert_eq!(indices(&summary), (vec![], vec![0], vec![1, 2]));
    assert_eq!(summary.skipped[1].1, "stopped since s1 detach volume.a failed");
}

#[test]
fn a_panic_is_a_failed_step() {
    for parallelism in [1, 4] {
        let steps: [(&str, &[usize]); 3] = [("a", &[]), ("b", &[0]), ("x", &[])];
        let driver = Fake::with(&[("a", Act::Panic)]);
        let summary = execute(&plan(&steps), &driver, &options(parallelism), &Told::default(), &Stop::new());
        assert_eq!(indices(&summary), (vec![2], vec![0], vec![1]));
        let error = summary.failed[0].error.to_string();
        assert!(error.contains("volume.a") && error.contains("a defect in csictl: told to"), "{error}");
    }
}

#[test]
fn a_request_to_stop_lets_running_steps_end() {
    let stop = Stop::new();
    let asks = stop.clone();
    let driver = Fake {
        acts: [("a".to_owned(), Act::Sleep(Duration::from_millis(100)))].into(),
        on_call: Some(Box::new(move |_| asks.request())),
        ..Fake::default()
    };
    let told = Told::default();
    let summary = execute(&plan(&DIAMOND), &driver, &options(4), &told, &stop);
    assert_eq!(indices(&summary), (vec![0], vec![], vec![1, 2, 3]));
    assert!(summary.interrupted);
    assert_eq!(told.all()[..2], ["started s1", "interrupted"]);
}

#[test]
fn asked_to_stop_before_it_began_it_does_nothing() {
    let stop = Stop::new();
    stop.request();
    let driver = Fake::default();
    let summary = execute(&plan(&DIAMOND), &driver, &options(4), &Told::default(), &stop);
    assert_eq!(indices(&summary), (vec![], vec![], vec![0, 1, 2, 3]));
    assert!(summary.interrupted && driver.order().is_empty());
}

#[test]
fn a_slow_step_is_told_of_and_left_alone() {
    let driver = Fake::with(&[("b", Act::Sleep(Duration::from_millis(400)))]);
    let told = Told::default();
    let options = Options { step_timeout: Some(Duration::from_millis(50)), ..options(2) };
    let summary = execute(&plan(&DIAMOND), &driver, &options, &told, &Stop::new());
    assert_eq!(summary.done.len(), 4);
    let slow = told.all().iter().filter(|word| *word == "slow s2").count();
    assert!((1..=4).contains(&slow), "told at 50, 100, 200 and 400 ms at most: {slow}");
}

#[test]
fn a_renderer_that_panics_stops_no_work() {
    struct Broken;
    impl EventSink for Broken {
        fn event(&self, _: &Event<'_>) {
            panic!("cannot draw");
        }
    }
    let summary = execute(&plan(&DIAMOND), &Fake::default(), &options(2), &Broken, &Stop::new());
    assert_eq!(summary.done.len(), 4);
}
