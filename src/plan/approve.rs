//! The gate between a plan and its execution: a step that loses data passes only with an approval of its own.

use std::collections::BTreeSet;

use crate::model::{Action, Approval, Loss, ObjectRef};

use super::{Plan, Risk, Step};

/// A loss that nobody approved yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingApproval {
    /// Whose data.
    pub object: ObjectRef,
    /// What would happen to it.
    pub loss: Loss,
}

/// A plan whose losses are all approved and that holds no refusal. There is no other way to make one than [`Plan::approve`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovedPlan {
    plan: Plan,
}

impl ApprovedPlan {
    /// The plan, its actions carrying their approvals.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.plan.steps
    }
}

/// Which loss a step causes, where it causes one.
fn loss_of(step: &Step) -> Option<MissingApproval> {
    if step.risk != Risk::DataLoss {
        return None;
    }
    let loss = match &step.action {
        Action::Create(_) => Loss::Wipe,
        _ => Loss::Delete,
    };
    Some(MissingApproval { object: step.object(), loss })
}

impl Plan {
    /// Every loss in it, by object.
    pub fn losses(&self) -> BTreeSet<MissingApproval> {
        self.steps.iter().filter_map(loss_of).collect()
    }

    /// Passes the gate with these approvals.
    ///
    /// # Errors
    /// The losses that none of them covers; the plan is not changed.
    ///
    /// # Panics
    /// Never by itself; callers have to look at [`Plan::refused`] first, a plan with refusals is a programming error here.
    pub fn approve(mut self, approvals: &BTreeSet<Approval>) -> Result<ApprovedPlan, Vec<MissingApproval>> {
        assert!(self.refused.is_empty(), "a plan with refusals never reaches its approval");
        let covers = |loss: &MissingApproval| Approval { object: loss.object.clone(), loss: loss.loss };
        let missing: Vec<_> = self.losses().into_iter().filter(|loss| !approvals.contains(&covers(loss))).collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        for step in &mut self.steps {
            let approval = loss_of(step).map(|loss| covers(&loss));
            match &mut step.action {
                Action::Create(request) => request.approval = approval,
                Action::Delete(request) => request.approval = approval,
                Action::DeleteSnapshot(request) => request.approval = approval,
                _ => {}
            }
        }
        Ok(ApprovedPlan { plan: self })
    }
}
