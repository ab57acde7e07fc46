//! Progress as lines on stderr, one for each step that ended: for logs and pipes.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use super::{describe, lasted};
use crate::cli::printer::Printer;
use crate::cli::problem::Problem;
use crate::cli::render::style::{GREEN, Painted, RED, YELLOW};
use crate::exec::{Event, EventSink};
use crate::model::Done;

/// Writes a line an event; `-q` silences it.
pub struct Plain<'a> {
    printer: &'a Printer,
    /// Causes for which a skipped step was told of: what follows one failed step may be hundreds, and the outcome counts them.
    told: Mutex<HashSet<String>>,
}

impl<'a> Plain<'a> {
    /// Through this printer.
    pub fn new(printer: &'a Printer) -> Self {
        Self { printer, told: Mutex::default() }
    }

    fn is_told(&self, event: &Event<'_>) -> bool {
        let Event::Skipped { because, .. } = event else { return false };
        !self.told.lock().unwrap_or_else(PoisonError::into_inner).insert((*because).to_owned())
    }
}

/// The lines for an event; a beginning has none.
pub(super) fn line(event: &Event<'_>) -> Option<String> {
    Some(match event {
        Event::Started { .. } => return None,
        Event::Finished { step, done, notes, took } => {
            let done = match done {
                Done::Changed => "done",
                Done::Already => "done (was so already)",
            };
            let text = format!("{}: {}, {}", describe(step), Painted(GREEN, done), lasted(*took));
            notes.iter().fold(text, |text, note| format!("{text}\n  note: {note}"))
        }
        Event::Failed { step, error, took } => {
            let problem = Problem::of_driver(error);
            let text = format!("{}: {} after {}: {problem}", describe(step), Painted(RED, "failed"), lasted(*took));
            problem.causes.iter().fold(text, |text, cause| format!("{text}\n  | {cause}"))
        }
        Event::Skipped { step, because } => {
            format!("{}: {}, {because}", describe(step), Painted(YELLOW, "skipped"))
        }
        Event::Slow { step, running } => {
            format!("{}: {} after {}", describe(step), Painted(YELLOW, "still running"), lasted(*running))
        }
        Event::Interrupted => {
            let interrupted = Painted(YELLOW, "interrupted");
            format!("{interrupted}: running steps end, no more are begun; a second time leaves at once")
        }
    })
}

impl EventSink for Plain<'_> {
    fn event(&self, event: &Event<'_>) {
        if let Some(line) = line(event).filter(|_| !self.is_told(event)) {
            self.printer.note(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::super::fixtures;
    use super::*;
    use crate::cli::printer::Captured;
    use crate::driver::DriverError;
    use crate::host::{ErrorKind, HostError};

    #[test]
    fn each_end_is_one_line() {
        let steps = fixtures::steps();
        let (step, took) = (&steps[0], Duration::from_millis(12));
        let error = DriverError::host(
            step.object(),
            HostError::new(ErrorKind::Busy, "detach", "/dev/loop7", "the device is in use"),
        );
        let notes = ["direct I/O was refused".to_owned()];
        let err = Captured::default();
        let printer = Printer::to(io::sink(), err.clone(), false, false);
        let plain = Plain::new(&printer);
        for event in [
            Event::Started { step },
            Event::Finished { step, done: Done::Changed, notes: &notes, took },
            Event::Finished { step, done: Done::Already, notes: &[], took },
            Event::Slow { step, running: Duration::from_secs(30) },
            Event::Failed { step, error: &error, took },
            Event::Skipped { step: &steps[2], because: "s1 detach volume.db failed" },
            Event::Skipped { step: &steps[1], because: "s1 detach volume.db failed" },
        ] {
            plain.event(&event);
        }
        let expected = "\
s1 detach volume.db: done, 12 ms
  note: direct I/O was refused
s1 detach volume.db: done (was so already), 12 ms
s1 detach volume.db: still running after 30 s
s1 detach volume.db: failed after 12 ms: volume.db: detach /dev/loop7 failed
  | the device is in use
s3 detach volume.db at pod.web:/srv/db: skipped, s1 detach volume.db failed
";
        assert_eq!(err.text(), expected);
    }
}
