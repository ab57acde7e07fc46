//! Progress as JSON on stderr, one object a line, schema `csictl.event/1`. Every line has every key; what does not apply is null.

use std::time::Duration;

use serde::Serialize;

use crate::cli::printer::Printer;
use crate::cli::problem::Problem;
use crate::exec::{Event, EventSink};
use crate::model::{Done, Verb};
use crate::plan::Step;

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    schema: &'static str,
    /// When it was told, RFC 3339.
    at: String,
    event: &'static str,
    id: Option<String>,
    verb: Option<Verb>,
    object: Option<String>,
    pod: Option<&'a str>,
    path: Option<String>,
    done: Option<Done>,
    notes: &'a [String],
    error: Option<Problem>,
    reason: Option<&'a str>,
    duration_ms: Option<u64>,
}

impl<'a> Line<'a> {
    fn new(event: &'static str, at: String, step: Option<&'a Step>) -> Self {
        Self {
            schema: "csictl.event/1",
            at,
            event,
            id: step.map(Step::id),
            verb: step.map(Step::verb),
            object: step.map(|step| step.object().to_string()),
            pod: step.and_then(|step| step.pod.as_ref()).map(crate::model::Name::as_str),
            path: step.and_then(|step| step.path.as_ref()).map(|path| path.display().to_string()),
            done: None,
            notes: &[],
            error: None,
            reason: None,
            duration_ms: None,
        }
    }

    fn of(event: &'a Event<'_>, at: String) -> Self {
        match event {
            Event::Started { step } => Self::new("started", at, Some(step)),
            Event::Finished { step, done, notes, took } => {
                Self { done: Some(*done), notes, duration_ms: millis(*took), ..Self::new("finished", at, Some(step)) }
            }
            Event::Failed { step, error, took } => Self {
                error: Some(Problem::of_driver(error)),
                duration_ms: millis(*took),
                ..Self::new("failed", at, Some(step))
            },
            Event::Skipped { step, because } => Self { reason: Some(because), ..Self::new("skipped", at, Some(step)) },
            Event::Slow { step, running } => {
                Self { duration_ms: millis(*running), ..Self::new("slow", at, Some(step)) }
            }
            Event::Interrupted => Self::new("interrupted", at, None),
        }
    }
}

fn millis(duration: Duration) -> Option<u64> {
    u64::try_from(duration.as_millis()).ok()
}

/// Writes an object an event; not silenced by `-q`, since it was asked for by name.
pub struct Json<'a> {
    printer: &'a Printer,
}

impl<'a> Json<'a> {
    /// Through this printer.
    pub const fn new(printer: &'a Printer) -> Self {
        Self { printer }
    }
}

impl EventSink for Json<'_> {
    fn event(&self, event: &Event<'_>) {
        let line = Line::of(event, jiff::Timestamp::now().to_string());
        let text = serde_json::to_string(&line).expect("a line has string keys only");
        self.printer.err(text);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::fixtures;
    use super::*;
    use crate::cli::printer::Captured;
    use crate::driver::DriverError;

    #[test]
    fn each_event_is_one_object_with_every_key() {
        let steps = fixtures::steps();
        let err = Captured::default();
        let printer = Printer::to(io::sink(), err.clone(), false, true);
        let json = Json::new(&printer);
        let took = Duration::from_millis(3);
        json.event(&Event::Started { step: &steps[2] });
        json.event(&Event::Finished { step: &steps[2], done: Done::Already, notes: &[], took });
        json.event(&Event::Skipped { step: &steps[0], because: "s2 failed" });
        let error = DriverError::LockHeld { object: steps[0].object() };
        json.event(&Event::Failed { step: &steps[0], error: &error, took });
        json.event(&Event::Interrupted);
        let lines: Vec<serde_json::Value> =
            err.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let keys = |line: &serde_json::Value| line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert!(lines.iter().all(|line| keys(line) == keys(&lines[0]) && line["schema"] == "csictl.event/1"));
        let seen: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(seen, ["started", "finished", "skipped", "failed", "interrupted"]);
        assert_eq!((&lines[0]["path"], &lines[0]["pod"]), (&"/srv/db".into(), &"web".into()));
        assert_eq!((&lines[1]["done"], &lines[1]["duration_ms"]), (&"already".into(), &3.into()));
        assert_eq!((&lines[2]["reason"], &lines[4]["id"]), (&"s2 failed".into(), &serde_json::Value::Null));
        assert_eq!(lines[3]["error"]["code"], "csictl::lock::held");
        assert!(lines[0]["at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }
}
