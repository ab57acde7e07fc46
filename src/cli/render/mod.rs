//! What users read: plans, status, tables, trees, errors, as text and as JSON. Pure functions from values to strings; the
//! printer writes them and takes color out where it is not wanted.

pub mod diagnostics;
pub mod graph;
pub mod outcome;
pub mod plan;
pub mod plan_json;
pub mod progress;
pub mod style;

use serde::Serialize;

use crate::model::ObjectRef;
use crate::plan::{ChangeKind, Plan};

/// How many volumes and snapshots meet which fate; pods and pools are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Made.
    pub create: usize,
    /// Changed in place.
    pub change: usize,
    /// Made anew, contents lost.
    pub replace: usize,
    /// Deleted.
    pub delete: usize,
    /// Let go with data kept.
    pub release: usize,
    /// Left alone.
    pub unchanged: usize,
    /// Found different from what csictl left.
    pub drift: usize,
}

impl Counts {
    /// Counted in a plan.
    pub fn of(plan: &Plan) -> Self {
        let counted = |object: &ObjectRef| matches!(object, ObjectRef::Volume(_) | ObjectRef::Snapshot(_));
        let mut counts = Self::default();
        for change in plan.changes.iter().filter(|change| counted(&change.object)) {
            *match change.kind {
                ChangeKind::Create => &mut counts.create,
                ChangeKind::Change => &mut counts.change,
                ChangeKind::Replace => &mut counts.replace,
                ChangeKind::Delete => &mut counts.delete,
                ChangeKind::Release => &mut counts.release,
                ChangeKind::Unchanged => &mut counts.unchanged,
            } += 1;
        }
        let mut drifted: Vec<_> = plan.drift.iter().map(|drift| &drift.object).filter(|o| counted(o)).collect();
        drifted.sort_unstable();
        drifted.dedup();
        counts.drift = drifted.len();
        counts
    }
}

/// A JSON document on its own lines, with its newline.
pub fn json(document: &impl Serialize) -> String {
    // None of the documents has a map with keys that are no strings, the only thing that can fail.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    text.push('\n');
    text
}
