//! Runs the steps of an approved plan on a pool of its own.
//!
//! A worker that ends a step tells the scheduler and goes on with a step that is ready now, usually the next one of the same volume;
//! further ready steps are spawned for other workers to steal. The thread that called only waits: for the end, for a request to
//! stop, for steps that take long. The scheduler's mutex is held for its bookkeeping alone, never while a step runs, an event
//! is told or the pool is asked for anything that could wait.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::driver::{Driver, DriverError};
use crate::host::{ErrorKind, HostError};
use crate::model::action::Outcome;
use crate::plan::{ApprovedPlan, Step};
use crate::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use crate::sync::{Mutex, MutexGuard, PoisonError};

use super::engine::Panicked;
use super::event::{Event, EventSink, StepFailure, Summary};
use super::lanes::{Limits, lane_of};
use super::options::{OnError, Options};
use super::pool::{self, Scope, ThreadPool};
use super::schedule::{Scheduler, Task};
use super::signal::Stop;

/// Why the waiting thread wakes up.
enum Wake {
    Finished,
    Stop,
}

/// What the workers share.
struct State {
    scheduler: Scheduler,
    summary: Summary,
    /// Running steps: when each began and when it is next reported as slow.
    running: BTreeMap<usize, (Instant, Instant)>,
}

struct Run<'a> {
    steps: &'a [Step],
    driver: &'a dyn Driver,
    events: &'a dyn EventSink,
    options: &'a Options,
    stop: &'a Stop,
    state: Mutex<State>,
    wake: Sender<Wake>,
}

/// Runs every step it can: each after those it depends on, at most `options.parallelism` at once. A failed or panicked step skips what
/// depends on it. Returns when nothing runs any more.
pub fn execute(
    plan: &ApprovedPlan,
    driver: &dyn Driver,
    options: &Options,
    events: &dyn EventSink,
    stop: &Stop,
) -> Summary {
    let begun = Instant::now();
    let steps = plan.steps();
    let desired = &plan.plan().desired;
    let task = |step: &Step| Task { after: step.after.clone(), lane: lane_of(step, desired) };
    let scheduler = Scheduler::new(steps.iter().map(task).collect(), Limits::here(options.parallelism.get()));
    let state = State { scheduler, summary: Summary::default(), running: BTreeMap::new() };
    let (wake, woken) = channel();
    let asked = wake.clone();
    stop.when_requested(move || {
        // Nobody listens any more when the run has ended.
        let _ = asked.send(Wake::Stop);
    });
    let run = Run { steps, driver, events, options, stop, state: Mutex::new(state), wake };
    if stop.is_requested() {
        run.interrupt();
    }
    match pool::build(options.parallelism.get().min(steps.len().max(1))) {
        Ok(pool) => run.on(&pool, &woken),
        Err(error) => run.give_up(&format!("no thread could be started: {error}")),
    }
    let mut summary = run.state.into_inner().unwrap_or_else(PoisonError::into_inner).summary;
    summary.done.sort_unstable_by_key(|(index, ..)| *index);
    summary.failed.sort_unstable_by_key(|failure| failure.step);
    summary.skipped.sort_unstable_by_key(|(index, _)| *index);
    summary.took = begun.elapsed();
    summary
}

impl Run<'_> {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells an event. A renderer that panics must not stop storage work half-way.
    fn tell(&self, event: &Event<'_>) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.events.event(event)));
    }

    fn on(&self, pool: &ThreadPool, woken: &Receiver<Wake>) {
        pool.in_place_scope(|scope| {
            let first = self.ready(&mut self.lock());
            if first.is_empty() && self.lock().scheduler.is_finished() {
                return;
            }
            first.into_iter().for_each(|index| self.spawn(scope, index));
            self.wait(woken);
        });
    }

    /// Everything that may begin now; it counts as running from here on. Once a stop is asked for that is nothing, even before the
    /// waiting thread has woken up to skip the rest.
    fn ready(&self, state: &mut State) -> Vec<usize> {
        if self.stop.is_requested() {
            return Vec::new();
        }
        let ready: Vec<_> = std::iter::from_fn(|| state.scheduler.begin()).collect();
        if let Some(limit) = self.options.step_timeout {
            let now = Instant::now();
            state.running.extend(ready.iter().map(|&index| (index, (now, now + limit))));
        }
        ready
    }

    fn spawn<'scope>(&'scope self, scope: &Scope<'scope>, index: usize) {
        scope.spawn(move |scope| self.work(scope, index));
    }

    /// Runs a step, then one of those that became ready, and so on.
    fn work<'scope>(&'scope self, scope: &Scope<'scope>, mut index: usize) {
        loop {
            let mut ready = self.step(index).into_iter();
            let Some(next) = ready.next() else { break };
            if ready.len() > 0 {
                // What another thread is given may be of the volume that is kept here.
                self.driver.settle();
            }
            ready.for_each(|other| self.spawn(scope, other));
            index = next;
        }
        self.driver.settle();
    }

    /// Runs one step to its end and answers what may begin thereafter.
    fn step(&self, index: usize) -> Vec<usize> {
        let step = &self.steps[index];
        self.tell(&Event::Started { step });
        let begun = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| self.driver.run_in_chain(&step.action)))
            .unwrap_or_else(|panic| Err(panicked(step, panic.as_ref())));
        let took = begun.elapsed();
        match &result {
            Ok(Outcome { done, notes }) => {
                tracing::info!(step = %step.id(), verb = %step.verb(), object = %step.object(), ?done, ?took, "step ended");
                self.tell(&Event::Finished { step, done: *done, notes, took });
            }
            Err(error) => {
                tracing::info!(step = %step.id(), verb = %step.verb(), object = %step.object(), ?took, %error, "step failed");
                self.tell(&Event::Failed { step, error, took });
            }
        }
        self.ended(index, result)
    }

    fn ended(&self, index: usize, result: Result<Outcome, DriverError>) -> Vec<usize> {
        let (skipped, ready, finished) = {
            let mut state = self.lock();
            state.running.remove(&index);
            let goes_on = matches!(result, Ok(_) | Err(DriverError::Unfinished(_)));
            let dependents = state.scheduler.complete(index, goes_on);
            let mut skipped = Vec::new();
            match result {
                Ok(Outcome { done, notes }) => state.summary.done.push((index, done, notes)),
                Err(error) => {
                    let because = self.failed(index);
                    state.summary.failed.push(StepFailure { step: index, error });
                    if self.options.on_error == OnError::Stop {
                        skipped.push((state.scheduler.halt(), format!("stopped since {because}")));
                    }
                    skipped.insert(0, (dependents, because));
                }
            }
            skipped.iter().for_each(|(steps, because)| state.skip(steps, because));
            let ready = self.ready(&mut state);
            (skipped, ready, state.scheduler.is_finished())
        };
        skipped.iter().for_each(|(steps, because)| self.tell_skipped(steps, because));
        if finished {
            // The waiting thread leaves only after this, or after it saw that all is finished.
            let _ = self.wake.send(Wake::Finished);
        }
        ready
    }

    fn failed(&self, failed: usize) -> String {
        let step = &self.steps[failed];
        format!("{} {} {} failed", step.id(), step.verb(), step.object())
    }

    fn tell_skipped(&self, skipped: &[usize], because: &str) {
        for &index in skipped {
            self.tell(&Event::Skipped { step: &self.steps[index], because });
        }
    }

    fn give_up(&self, because: &str) {
        let mut state = self.lock();
        let skipped = state.scheduler.halt();
        state.skip(&skipped, because);
        drop(state);
        self.tell_skipped(&skipped, because);
    }

    fn interrupt(&self) {
        self.lock().summary.interrupted = true;
        self.tell(&Event::Interrupted);
        self.give_up("interrupted");
    }

    /// Waits for the end, tells what takes long, and stops when asked to.
    fn wait(&self, woken: &Receiver<Wake>) {
        loop {
            let wake = match self.next_slow() {
                None => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => woken.recv_timeout(wait),
            };
            match wake {
                Ok(Wake::Stop) => {
                    if !self.lock().summary.interrupted {
                        self.interrupt();
                    }
                    if self.lock().scheduler.is_finished() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.tell_slow(),
                Ok(Wake::Finished) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// How long until a step has to be told of as slow; with a timeout, looked up again at least each such time, since steps begin
    /// while this thread sleeps.
    fn next_slow(&self) -> Option<Duration> {
        let limit = self.options.step_timeout?;
        let now = Instant::now();
        let next = self.lock().running.values().map(|&(_, due)| due.saturating_duration_since(now)).min();
        Some(next.unwrap_or(limit).min(limit))
    }

    fn tell_slow(&self) {
        let now = Instant::now();
        let mut slow = Vec::new();
        for (&index, (begun, due)) in &mut self.lock().running {
            if *due <= now {
                let running = now - *begun;
                *due = now + running;
                slow.push((index, running));
            }
        }
        for (index, running) in slow {
            self.tell(&Event::Slow { step: &self.steps[index], running });
        }
    }
}

impl State {
    fn skip(&mut self, skipped: &[usize], because: &str) {
        self.summary.skipped.extend(skipped.iter().map(|&index| (index, because.to_owned())));
    }
}

fn panicked(step: &Step, panic: &(dyn Any + Send)) -> DriverError {
    let cause = Panicked::from(panic).to_string();
    let error = HostError::new(ErrorKind::Other, step.verb().as_str(), step.object().to_string(), cause);
    let help = "please report it; running the same command again is safe and goes on where this one stopped".to_owned();
    DriverError::Host { object: step.object(), error: Box::new(error), help: Some(help), undo: None }
}
