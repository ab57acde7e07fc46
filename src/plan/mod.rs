//! From what is wanted and what was seen to a graph of steps. Pure: the same two values give the same plan, and nothing here can
//! reach the machine.
//!
//! Way in: `diff::plan` makes a [`Plan`]; [`Plan::approve`] turns it into an [`ApprovedPlan`], the only thing the executor runs.

pub mod approve;
pub mod around;
pub mod back;
pub mod diff;
pub mod drift;
pub mod fingerprint;
pub mod intent;
pub mod pause;
pub mod phase;
pub mod summary;

mod change;
mod copies;
mod course;
mod decide;
mod describe;
mod devices;
mod draft;
mod emit;
mod graph;
mod guards;
mod imperative;
mod neighbours;
mod nesting;
mod options;
mod orchestrated;
mod pools;
mod targets;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{Action, Desired, Name, ObjectRef, Verb};

pub use approve::{ApprovedPlan, MissingApproval};
pub use around::around;
pub use diff::plan;
pub use fingerprint::fingerprint;
pub use intent::Intent;
pub use phase::Phase;
pub use summary::PlanSummary;

/// What running a step puts at stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Nothing.
    None,
    /// The volume is not usable, or its writes pause, while the step runs.
    Offline,
    /// Data is lost.
    DataLoss,
}

/// One verb on one object: a node of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its place in [`Plan::steps`], from 0; shown from 1 (`s1`).
    pub index: usize,
    /// What is done.
    pub action: Action,
    /// The pod, for publish and unpublish.
    pub pod: Option<Name>,
    /// The path, for publish and unpublish.
    pub path: Option<PathBuf>,
    /// Steps that have to be done before, by index, sorted.
    pub after: Vec<usize>,
    /// What it puts at stake.
    pub risk: Risk,
    /// Why it is there, for people.
    pub reason: String,
}

impl Step {
    /// Its id as shown: `s1` is the first.
    pub fn id(&self) -> String {
        format!("s{}", self.index + 1)
    }

    /// Its verb.
    pub fn verb(&self) -> Verb {
        self.action.verb()
    }

    /// What it acts on.
    pub fn object(&self) -> ObjectRef {
        self.action.object()
    }
}

/// What becomes of one object, as the text of a plan shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// `+`
    Create,
    /// `~`
    Change,
    /// `-/+`
    Replace,
    /// `-`
    Delete,
    /// `.`
    Release,
    /// Not shown.
    Unchanged,
}

/// What becomes of the data of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DataFate {
    /// There is none, or it is not touched.
    None,
    /// It is kept.
    Kept,
    /// It is lost.
    Lost,
    /// It is memory and was never meant to last.
    Scratch,
}

/// One object of a plan with the lines that explain its change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What changes.
    pub object: ObjectRef,
    /// How.
    pub kind: ChangeKind,
    /// In a word: `create`, `expand online`, `replace`…
    pub title: String,
    /// Why, shown behind a `#`.
    pub comment: Option<String>,
    /// What becomes of its data.
    pub data: DataFate,
    /// Lines of (what, value): `("capacity", "10 GiB -> 20 GiB")`.
    pub details: Vec<(String, String)>,
}

/// A difference that came from outside csictl.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Drift {
    /// What drifted.
    pub object: ObjectRef,
    /// Which part of it: `mount`, `mount_options`, `device`, `image`, `loop`…
    pub what: String,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
}

/// A guard that can be judged before the first effect and says no: with any of these nothing is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The error code's last part, as `driver::Refusal::code` has it.
    pub code: &'static str,
    /// What is refused.
    pub object: ObjectRef,
    /// What is in the way, with the place.
    pub message: String,
    /// What to do next.
    pub help: String,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it leads to.
    pub desired: Desired,
    /// Every object, changed or not, in order of kind and name.
    pub changes: Vec<Change>,
    /// What drifted.
    pub drift: Vec<Drift>,
    /// What the user should know though nothing is wrong (`hides 3 files`, "a volume was grown elsewhere").
    pub notes: Vec<(ObjectRef, String)>,
    /// What could not be read, so that nothing is planned for it.
    pub unknown: Vec<(ObjectRef, String)>,
    /// What is refused.
    pub refused: Vec<Refused>,
    /// The graph, in an order in which it could be run one by one.
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The number of steps on the longest chain.
    pub fn longest_chain(&self) -> usize {
        let mut depth = vec![0_usize; self.steps.len()];
        for step in &self.steps {
            depth[step.index] = 1 + step.after.iter().map(|&before| depth[before]).max().unwrap_or(0);
        }
        depth.into_iter().max().unwrap_or(0)
    }
}
