//! How an execution ended: one line when all is well; else the three lists (done, failed, skipped) and the next command to
//! type. With `-o json`, `csictl.apply/1`.

use std::fmt::{self, Write};

use serde::Serialize;

use super::plan::place;
use super::style::{BOLD, DIM, GREEN, Painted, RED, YELLOW, count};
use crate::cli::problem::Problem;
use crate::exec::Summary;
use crate::model::{Done, Verb};
use crate::plan::Step;

#[derive(Debug, Serialize)]
struct Document {
    schema: &'static str,
    done: Vec<DoneStep>,
    failed: Vec<FailedStep>,
    skipped: Vec<SkippedStep>,
    duration_ms: u64,
}

#[derive(Debug, Serialize)]
struct DoneStep {
    id: String,
    verb: Verb,
    object: String,
    changed: bool,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct FailedStep {
    id: String,
    verb: Verb,
    object: String,
    error: Problem,
}

#[derive(Debug, Serialize)]
struct SkippedStep {
    id: String,
    verb: Verb,
    object: String,
    reason: String,
}

/// The outcome as `csictl.apply/1`.
pub fn json(steps: &[Step], summary: &Summary) -> String {
    let head = |index: usize| (steps[index].id(), steps[index].verb(), steps[index].object().to_string());
    let document = Document {
        schema: "csictl.apply/1",
        done: summary
            .done
            .iter()
            .map(|(index, done, notes)| {
                let (id, verb, object) = head(*index);
                DoneStep { id, verb, object, changed: *done == Done::Changed, notes: notes.clone() }
            })
            .collect(),
        failed: summary
            .failed
            .iter()
            .map(|failure| {
                let (id, verb, object) = head(failure.step);
                FailedStep { id, verb, object, error: Problem::of_driver(&failure.error) }
            })
            .collect(),
        skipped: summary
            .skipped
            .iter()
            .map(|(index, reason)| {
                let (id, verb, object) = head(*index);
                SkippedStep { id, verb, object, reason: reason.clone() }
            })
            .collect(),
        duration_ms: u64::try_from(summary.took.as_millis()).unwrap_or(u64::MAX),
    };
    super::json(&document)
}

/// The outcome as text. `past` is the command's verb in the past (`applied`), `next` the command to type after a failure.
pub fn text(steps: &[Step], summary: &Summary, past: &str, next: &str) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_text(&mut out, steps, summary, past, next);
    out.truncate(out.trim_end().len());
    out
}

fn write_text(out: &mut String, steps: &[Step], summary: &Summary, past: &str, next: &str) -> fmt::Result {
    let took = summary.took.as_millis();
    if summary.failed.is_empty() && summary.skipped.is_empty() {
        notes(out, steps, summary)?;
        return writeln!(out, "{}: {} in {took} ms", Painted(GREEN, past), count(summary.done.len(), "step"));
    }
    if !summary.done.is_empty() {
        writeln!(out, "{}", Painted(BOLD, format_args!("done ({})", summary.done.len())))?;
        for (index, ..) in &summary.done {
            line(out, &steps[*index], Painted(GREEN, "+"))?;
        }
        notes(out, steps, summary)?;
    }
    if !summary.failed.is_empty() {
        writeln!(out, "{}", Painted(BOLD, format_args!("failed ({})", summary.failed.len())))?;
        for failure in &summary.failed {
            line(out, &steps[failure.step], Painted(RED, "x"))?;
            problem(out, &Problem::of_driver(&failure.error))?;
        }
    }
    if !summary.skipped.is_empty() {
        writeln!(out, "{}", Painted(BOLD, format_args!("skipped ({})", summary.skipped.len())))?;
        for (index, reason) in &summary.skipped {
            line(out, &steps[*index], Painted(YELLOW, "-"))?;
            writeln!(out, "      {}", Painted(DIM, reason))?;
        }
    }
    let stopped = if summary.interrupted { "interrupted" } else { "not all done" };
    writeln!(out, "{}: to finish what is missing, type", Painted(RED, stopped))?;
    writeln!(out, "  {next}")
}

fn line(out: &mut String, step: &Step, sign: Painted<&str>) -> fmt::Result {
    let place = step.path.as_ref().map(|path| format!("  {}", place(step, path))).unwrap_or_default();
    writeln!(out, "  {sign} {:<4} {:<10} {}{place}", step.id(), step.verb(), step.object())
}

fn problem(out: &mut String, problem: &Problem) -> fmt::Result {
    writeln!(out, "      {} ({})", problem.message, problem.code)?;
    for cause in &problem.causes {
        writeln!(out, "      | {cause}")?;
    }
    match &problem.help {
        Some(help) => writeln!(out, "      help: {help}"),
        None => Ok(()),
    }
}

fn notes(out: &mut String, steps: &[Step], summary: &Summary) -> fmt::Result {
    for (index, _, notes) in &summary.done {
        for note in notes {
            writeln!(out, "  * {}: {note}", steps[*index].object())?;
        }
    }
    Ok(())
}
