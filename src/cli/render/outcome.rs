//! How an execution ended: one line when all is well; else the three lists (done, failed, skipped) and the next command to
//! type. With `-o json`, `csictl.apply/1`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
///
/// Long lists of what was done and skipped are folded, unless `all` of them is asked for: what failed, and why, is to be seen.
pub fn text(steps: &[Step], summary: &Summary, past: &str, next: &str, all: bool) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = write_text(&mut out, steps, summary, (past, next), all);
    out.truncate(out.trim_end().len());
    out
}

/// The most lines of a list that is not folded.
const LISTED: usize = 16;

fn write_text(
    out: &mut String,
    steps: &[Step],
    summary: &Summary,
    (past, next): (&str, &str),
    all: bool,
) -> fmt::Result {
    let took = summary.took.as_millis();
    if summary.failed.is_empty() && summary.skipped.is_empty() {
        notes(out, steps, summary)?;
        return writeln!(out, "{}: {} in {took} ms", Painted(GREEN, past), count(summary.done.len(), "step"));
    }
    if !summary.done.is_empty() {
        writeln!(out, "{}", Painted(BOLD, format_args!("done ({})", summary.done.len())))?;
        if all || summary.done.len() <= LISTED {
            for (index, ..) in &summary.done {
                line(out, &steps[*index], Painted(GREEN, "+"))?;
            }
        } else {
            done_by_verb(out, steps, summary)?;
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
        if all || summary.skipped.len() <= LISTED {
            for (index, reason) in &summary.skipped {
                line(out, &steps[*index], Painted(YELLOW, "-"))?;
                writeln!(out, "      {}", Painted(DIM, reason))?;
            }
        } else {
            skipped_by_cause(out, summary)?;
        }
    }
    if !all && summary.done.len().max(summary.skipped.len()) > LISTED {
        writeln!(out, "{}", Painted(DIM, "-v lists every step"))?;
    }
    let stopped = if summary.interrupted { "interrupted" } else { "not all done" };
    writeln!(out, "{}: to finish what is missing, type", Painted(RED, stopped))?;
    writeln!(out, "  {next}")
}

fn done_by_verb(out: &mut String, steps: &[Step], summary: &Summary) -> fmt::Result {
    let mut verbs: BTreeMap<Verb, usize> = BTreeMap::new();
    summary.done.iter().for_each(|(index, ..)| *verbs.entry(steps[*index].verb()).or_default() += 1);
    for (verb, times) in verbs {
        writeln!(out, "  {} {times:<4} {verb}", Painted(GREEN, "+"))?;
    }
    Ok(())
}

fn skipped_by_cause(out: &mut String, summary: &Summary) -> fmt::Result {
    let mut causes: Vec<(&str, usize)> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for (_, cause) in &summary.skipped {
        let place = *places.entry(cause).or_insert_with(|| {
            causes.push((cause, 0));
            causes.len() - 1
        });
        causes[place].1 += 1;
    }
    for (cause, times) in causes {
        writeln!(out, "  {} {times:<4} {}", Painted(YELLOW, "-"), Painted(DIM, cause))?;
    }
    Ok(())
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
    // Attach and stage may have found the same.
    let mut said = BTreeSet::new();
    for (index, _, notes) in &summary.done {
        for note in notes.iter().filter(|note| said.insert((steps[*index].object(), (*note).clone()))) {
            writeln!(out, "  * {}: {note}", steps[*index].object())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::progress::fixtures;

    #[test]
    fn long_lists_are_counted_by_cause() {
        let step = fixtures::steps().remove(0);
        let steps: Vec<Step> = (0..40).map(|index| Step { index, ..step.clone() }).collect();
        let cause = |index: usize| if index < 30 { "s1 detach volume.db failed" } else { "s2 detach volume.db failed" };
        let summary = Summary {
            done: (0..20).map(|index| (index, Done::Changed, Vec::new())).collect(),
            skipped: (20..40).map(|index| (index, cause(index).to_owned())).collect(),
            ..Summary::default()
        };

        let folded =
            anstream::adapter::strip_str(&text(&steps, &summary, "applied", "csictl apply m.toml", false)).to_string();
        let all = text(&steps, &summary, "applied", "csictl apply m.toml", true);

        let expected = "\
done (20)
  + 20   detach
skipped (20)
  - 10   s1 detach volume.db failed
  - 10   s2 detach volume.db failed
-v lists every step
not all done: to finish what is missing, type
  csictl apply m.toml";
        assert_eq!(folded, expected);
        assert!(all.lines().count() > 60, "{all}");
        assert_eq!(json(&steps, &summary).matches("\"reason\"").count(), 20);
    }
}
