//! A plan as `csictl.plan/1`. Its fields are a contract: scripts read them, docs/json.md lists them.

use serde::Serialize;

use crate::model::Verb;
use crate::plan::{Drift, Plan, PlanSummary, Risk};

/// The document.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    project: String,
    summary: PlanSummary,
    steps: Vec<StepDocument>,
    drift: Vec<&'a Drift>,
    refused: Vec<RefusedDocument<'a>>,
    unknown: Vec<NoteDocument<'a>>,
    notes: Vec<NoteDocument<'a>>,
}

#[derive(Debug, Serialize)]
struct StepDocument {
    id: String,
    verb: Verb,
    object: String,
    pod: Option<String>,
    path: Option<String>,
    after: Vec<String>,
    risk: Risk,
    reason: String,
}

#[derive(Debug, Serialize)]
struct RefusedDocument<'a> {
    object: String,
    code: String,
    message: &'a str,
    help: &'a str,
}

#[derive(Debug, Serialize)]
struct NoteDocument<'a> {
    object: String,
    message: &'a str,
}

/// The plan as a document.
pub fn document(plan: &Plan) -> Document<'_> {
    let steps = plan
        .steps
        .iter()
        .map(|step| StepDocument {
            id: step.id(),
            verb: step.verb(),
            object: step.object().to_string(),
            pod: step.pod.as_ref().map(ToString::to_string),
            path: step.path.as_ref().map(|path| path.display().to_string()),
            after: step.after.iter().map(|&index| plan.steps[index].id()).collect(),
            risk: step.risk,
            reason: step.reason.clone(),
        })
        .collect();
    let mut drift: Vec<_> = plan.drift.iter().collect();
    drift.sort();
    let refused = plan
        .refused
        .iter()
        .map(|refused| RefusedDocument {
            object: refused.object.to_string(),
            code: format!("csictl::guard::{}", refused.code),
            message: &refused.message,
            help: &refused.help,
        })
        .collect();
    Document {
        schema: "csictl.plan/1",
        project: plan.desired.project.to_string(),
        summary: plan.summary(),
        steps,
        drift,
        refused,
        unknown: note_documents(&plan.unknown),
        notes: note_documents(&plan.notes),
    }
}

fn note_documents(notes: &[(crate::model::ObjectRef, String)]) -> Vec<NoteDocument<'_>> {
    notes.iter().map(|(object, message)| NoteDocument { object: object.to_string(), message }).collect()
}
