//! What an execution tells while it runs and when it has ended. Renderers listen; nothing flows back.

use std::time::Duration;

use crate::driver::DriverError;
use crate::model::Done;
use crate::plan::Step;

/// One thing that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step began.
    Started {
        /// Which.
        step: &'a Step,
    },
    /// A step ended well.
    Finished {
        /// Which.
        step: &'a Step,
        /// Whether it changed anything.
        done: Done,
        /// What the user should know.
        notes: &'a [String],
        /// How long it took.
        took: Duration,
    },
    /// A step failed.
    Failed {
        /// Which.
        step: &'a Step,
        /// Why.
        error: &'a DriverError,
        /// How long it took.
        took: Duration,
    },
    /// A step was not begun.
    Skipped {
        /// Which.
        step: &'a Step,
        /// Why: the failed step it depends on, or the interruption.
        because: &'a str,
    },
    /// A step takes longer than the time given for one; it is not killed.
    Slow {
        /// Which.
        step: &'a Step,
        /// How long it has been running.
        running: Duration,
    },
    /// The user asked to stop; running steps are finished.
    Interrupted,
}

/// Listens to events, from many threads.
pub trait EventSink: Sync {
    /// Takes one event.
    fn event(&self, event: &Event<'_>);
}

/// A step that failed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    /// Index of the step.
    pub step: usize,
    /// Why.
    pub error: DriverError,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Indices of steps that ended well, with whether they changed anything and their notes, sorted.
    pub done: Vec<(usize, Done, Vec<String>)>,
    /// Steps that failed, sorted.
    pub failed: Vec<StepFailure>,
    /// Indices of steps never begun, with the reason, sorted.
    pub skipped: Vec<(usize, String)>,
    /// Whether the user stopped it.
    pub interrupted: bool,
    /// How long all took.
    pub took: Duration,
}
