//! How much a plan does, in numbers: the last line of its text and the `summary` of its JSON. Counts volumes and snapshots, not steps.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ChangeKind, Plan};

/// Volumes and snapshots by what becomes of them, without those that are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanSummary {
    /// To be made.
    pub create: usize,
    /// To be changed, data untouched.
    pub change: usize,
    /// To be made anew, data lost.
    pub replace: usize,
    /// To be deleted, data lost.
    pub delete: usize,
    /// To be let go, data kept.
    pub release: usize,
    /// As they should be.
    pub unchanged: usize,
    /// With at least one drift, whatever becomes of them.
    pub drift: usize,
}

impl Plan {
    /// The numbers of this plan.
    pub fn summary(&self) -> PlanSummary {
        let mut summary = PlanSummary::default();
        let refused: BTreeSet<_> = self.refused.iter().map(|refused| &refused.object).collect();
        let unknown: BTreeSet<_> = self.unknown.iter().map(|(object, _)| object).collect();
        for change in &self.changes {
            // What is refused becomes nothing, and what is unknown is not said to be as it should be.
            let unsettled = change.kind == ChangeKind::Unchanged && unknown.contains(&change.object);
            if refused.contains(&change.object) || unsettled {
                continue;
            }
            *match change.kind {
                ChangeKind::Create => &mut summary.create,
                ChangeKind::Change => &mut summary.change,
                ChangeKind::Replace => &mut summary.replace,
                ChangeKind::Delete => &mut summary.delete,
                ChangeKind::Release => &mut summary.release,
                ChangeKind::Unchanged => &mut summary.unchanged,
            } += 1;
        }
        summary.drift = self.drift.iter().map(|drift| &drift.object).collect::<BTreeSet<_>>().len();
        summary
    }
}
