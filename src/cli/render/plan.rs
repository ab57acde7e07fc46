//! A plan as text. The layout is a contract (docs/plan.md shows it): header, drift, changes, steps, summary, approvals.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::time::Duration;

use super::status::drift_line;
use super::style::{BOLD, DIM, GREEN, Painted, RED, YELLOW, count};
use crate::model::ObjectRef;
use crate::plan::{Change, ChangeKind, DataFate, Plan, Risk, Step};

/// The column at which `data: …` ends a change's line, and the header's right part begins.
const RIGHT: usize = 69;
/// Width of an object's name in lists.
const OBJECT: usize = 18;
/// Width of an object's name among the steps.
const STEP_OBJECT: usize = 17;
/// Blanks before `data: …`, also behind a line that is longer than usual.
const GAP: usize = 4;

/// What a plan's text needs besides the plan.
#[derive(Debug, Clone)]
pub struct PlanView<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// This machine's name.
    pub host: &'a str,
    /// How long looking took.
    pub observed_in: Duration,
    /// The right end of the header: `plan: nothing is changed`.
    pub heading: &'a str,
    /// The command that would apply it, `csictl apply shop.toml`.
    pub command: &'a str,
    /// Whether losses are approved with `--delete-data` there, as `destroy` does, instead of `--approve`.
    pub delete_data: bool,
}

/// The plan as text, without a newline at its end.
pub fn text(view: &PlanView<'_>) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_plan(&mut out, view);
    out.truncate(out.trim_end().len());
    out
}

/// The one line for a plan that holds nothing.
pub fn no_changes(plan: &Plan) -> String {
    let desired = &plan.desired;
    let (volumes, pods) = (count(desired.volumes.len(), "volume"), count(desired.pods.len(), "pod"));
    format!("no changes: {volumes} and {pods} match {}", desired.manifest)
}

fn write_plan(out: &mut String, view: &PlanView<'_>) -> fmt::Result {
    let plan = view.plan;
    let nothing = plan.is_empty() && plan.drift.is_empty() && plan.refused.is_empty();
    if nothing && plan.unknown.is_empty() {
        writeln!(out, "{}", no_changes(plan))?;
        return notes(out, plan);
    }
    header(out, view)?;
    drift(out, plan)?;
    notes(out, plan)?;
    unknown(out, plan)?;
    refused(out, plan)?;
    changes(out, plan)?;
    steps(out, plan)?;
    summary(out, plan)?;
    approvals(out, view)
}

fn header(out: &mut String, view: &PlanView<'_>) -> fmt::Result {
    let plan = view.plan;
    let left = format!("csictl {}   project {}   host {}", env!("CARGO_PKG_VERSION"), plan.desired.project, view.host);
    const LEFT: usize = RIGHT - 2;
    writeln!(out, "{left:<LEFT$}  {}", Painted(DIM, view.heading))?;
    let seen = plan
        .changes
        .iter()
        .filter(|change| matches!(change.object, ObjectRef::Volume(_)) && change.kind != ChangeKind::Create)
        .count();
    writeln!(
        out,
        "observed {}, {} in {} ms",
        count(seen, "volume"),
        count(plan.desired.pods.len(), "pod"),
        view.observed_in.as_millis()
    )
}

fn section(out: &mut String, title: &str) -> fmt::Result {
    writeln!(out, "\n{}", Painted(BOLD, title))
}

fn drift(out: &mut String, plan: &Plan) -> fmt::Result {
    if plan.drift.is_empty() {
        return Ok(());
    }
    section(out, "drift")?;
    for drift in &plan.drift {
        writeln!(out, "{}", drift_line(drift))?;
    }
    Ok(())
}

fn lines(out: &mut String, title: &str, sign: Painted<&str>, lines: &[(ObjectRef, String)]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    section(out, title)?;
    let sign = sign.to_string();
    for (object, line) in lines {
        let object = object.to_string();
        writeln!(out, "  {sign} {object:<OBJECT$} {line}")?;
    }
    Ok(())
}

fn notes(out: &mut String, plan: &Plan) -> fmt::Result {
    lines(out, "notes", Painted(DIM, "*"), &plan.notes)
}

fn unknown(out: &mut String, plan: &Plan) -> fmt::Result {
    lines(out, "unknown", Painted(YELLOW, "?"), &plan.unknown)
}

fn refused(out: &mut String, plan: &Plan) -> fmt::Result {
    if plan.refused.is_empty() {
        return Ok(());
    }
    section(out, "refused")?;
    for refused in &plan.refused {
        let object = refused.object.to_string();
        writeln!(out, "  {} {object:<OBJECT$} {}", Painted(RED, "x"), refused.message)?;
        writeln!(
            out,
            "    {:<OBJECT$} {}",
            "",
            Painted(DIM, format_args!("{} (csictl::guard::{})", refused.help, refused.code))
        )?;
    }
    Ok(())
}

/// The sign of a change, right-aligned in three columns, with its style.
pub fn sign(kind: ChangeKind) -> (&'static str, clap::builder::styling::Style) {
    match kind {
        ChangeKind::Create => ("  +", GREEN),
        ChangeKind::Change => ("  ~", YELLOW),
        ChangeKind::Replace => ("-/+", RED),
        ChangeKind::Delete => ("  -", RED),
        ChangeKind::Release => ("  .", DIM),
        ChangeKind::Unchanged => ("   ", DIM),
    }
}

fn changes(out: &mut String, plan: &Plan) -> fmt::Result {
    let shown: Vec<_> = plan.changes.iter().filter(|change| change.kind != ChangeKind::Unchanged).collect();
    if shown.is_empty() {
        return Ok(());
    }
    section(out, "changes")?;
    shown.into_iter().try_for_each(|change| write_change(out, change))
}

fn write_change(out: &mut String, change: &Change) -> fmt::Result {
    let (sign, style) = sign(change.kind);
    let object = change.object.to_string();
    let mut middle = change.title.clone();
    if let Some(comment) = &change.comment {
        let _ = write!(middle, "   # {comment}");
    }
    let left = format!("{object:<OBJECT$} {middle}");
    const LEFT: usize = RIGHT - GAP - 4;
    write!(out, "{} {left:<LEFT$}", Painted(style, sign))?;
    match (change.data, &change.object) {
        // A pod has no data of its own.
        (_, ObjectRef::Group(_) | ObjectRef::Pod(_) | ObjectRef::Pool(_)) => {}
        (DataFate::None, _) => write!(out, "    data: none")?,
        (DataFate::Kept, _) => write!(out, "    data: kept")?,
        (DataFate::Scratch, _) => write!(out, "    data: scratch")?,
        (DataFate::Lost, _) => write!(out, "    data: {}", Painted(RED.bold(), "LOST"))?,
    }
    trim(out);
    writeln!(out)?;
    for (what, value) in &change.details {
        writeln!(out, "        {what:<14} {value}")?;
    }
    Ok(())
}

/// Takes blanks off the end of the last line.
fn trim(out: &mut String) {
    out.truncate(out.trim_end_matches(' ').len());
}

fn steps(out: &mut String, plan: &Plan) -> fmt::Result {
    if plan.steps.is_empty() {
        return Ok(());
    }
    section(out, &format!("steps ({}, longest chain {})", plan.steps.len(), plan.longest_chain()))?;
    let id_width = plan.steps.len().to_string().len() + 1;
    plan.steps.iter().try_for_each(|step| write_step(out, plan, step, id_width))
}

fn write_step(out: &mut String, plan: &Plan, step: &Step, id_width: usize) -> fmt::Result {
    let mut object = step.object().to_string();
    if let Some(path) = &step.path {
        let _ = write!(object, " {}", place(step, path));
    }
    write!(out, "  {:<id_width$}  {:<10} {object:<STEP_OBJECT$}", step.id(), step.verb())?;
    if !step.after.is_empty() {
        let after: Vec<_> = step.after.iter().map(|&index| plan.steps[index].id()).collect();
        write!(out, " {}", Painted(DIM, format_args!("<- {}", after.join(" "))))?;
    }
    match step.risk {
        Risk::None => {}
        Risk::Offline => write!(out, "   {}", Painted(YELLOW, format_args!("offline: {}", step.reason)))?,
        Risk::DataLoss => write!(out, "   {}", Painted(RED.bold(), "data loss"))?,
    }
    trim(out);
    writeln!(out)
}

/// Where a publish goes: `pod.web:/path`.
pub fn place(step: &Step, path: &std::path::Path) -> String {
    match &step.pod {
        Some(pod) => format!("pod.{pod}:{}", path.display()),
        None => path.display().to_string(),
    }
}

fn summary(out: &mut String, plan: &Plan) -> fmt::Result {
    let counts = plan.summary();
    let named = [
        (counts.create, "to create"),
        (counts.change, "to change"),
        (counts.replace, "to replace"),
        (counts.delete, "to delete"),
        (counts.release, "to release"),
        (counts.unchanged, "unchanged"),
    ];
    let mut parts: Vec<_> = named.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let refused: BTreeSet<_> = plan.refused.iter().map(|refused| &refused.object).collect();
    let unknown: BTreeSet<_> = plan.unknown.iter().map(|(object, _)| object).collect();
    for (n, what) in [(refused.len(), "refused"), (unknown.len(), "unknown")] {
        if n > 0 {
            parts.push(format!("{n} {what}"));
        }
    }
    if parts.is_empty() {
        // Only publishes change, say.
        parts.push(count(plan.steps.len(), "step"));
    }
    writeln!(out, "\nplan: {}", parts.join(", "))
}

fn approvals(out: &mut String, view: &PlanView<'_>) -> fmt::Result {
    let losses = view.plan.losses();
    if losses.is_empty() || !view.plan.refused.is_empty() {
        return Ok(());
    }
    let steps = Painted(RED, count(losses.len(), "step"));
    if losses.len() == 1 {
        writeln!(out, "{steps} loses data and needs its own approval:")?;
    } else {
        writeln!(out, "{steps} lose data and need their own approvals:")?;
    }
    write!(out, "  {}", view.command)?;
    if view.delete_data {
        write!(out, " --delete-data")?;
    }
    for missing in &losses {
        match (&missing.object, view.delete_data) {
            (ObjectRef::Volume(id), true) => write!(out, " {}", id.short())?,
            _ => write!(out, " --approve {}={}", missing.object, missing.loss)?,
        }
    }
    writeln!(out)
}
