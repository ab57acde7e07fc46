//! Progress on a terminal: one bar for all steps and below it a line for each that runs. Failures, and what else a user should not
//! miss, are printed above at once and stay.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::plain;
use super::tally::Tally;
use crate::cli::printer::Printer;
use crate::exec::{Event, EventSink};
use crate::plan::Step;

/// How often the bar is drawn anew: often enough to look alive.
const TICK: Duration = Duration::from_millis(100);
/// The running steps are part of the one bar, so that one thread ticks for all of them.
const TEMPLATE: &str = "{spinner} [{bar:30}] {pos}/{len} steps, {counts}, {elapsed}{running}";

/// Draws on a terminal until it is dropped.
pub struct Tty<'a> {
    printer: &'a Printer,
    bar: ProgressBar,
    tally: Arc<Mutex<Tally>>,
}

impl<'a> Tty<'a> {
    /// On stderr, sharing it with the printer's lines.
    pub fn on_stderr(printer: &'a Printer, steps: &[Step]) -> Self {
        Self::on(ProgressDrawTarget::stderr(), printer, steps)
    }

    fn on(target: ProgressDrawTarget, printer: &'a Printer, steps: &[Step]) -> Self {
        let bars = MultiProgress::with_draw_target(target);
        let tally = Arc::new(Mutex::new(Tally::new(steps)));
        let (counted, running) = (tally.clone(), tally.clone());
        let counts = move |_: &ProgressState, text: &mut dyn Write| {
            let _ = text.write_str(&lock(&counted).words());
        };
        let lines = move |_: &ProgressState, text: &mut dyn Write| {
            for line in lock(&running).lines() {
                let _ = write!(text, "\n  {line}");
            }
        };
        let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed");
        let bar = bars.add(ProgressBar::new(steps.len() as u64));
        bar.set_style(style.with_key("counts", counts).with_key("running", lines).progress_chars("=> "));
        printer.with_bars(bars);
        bar.enable_steady_tick(TICK);
        Self { printer, bar, tally }
    }
}

fn lock(tally: &Mutex<Tally>) -> std::sync::MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventSink for Tty<'_> {
    fn event(&self, event: &Event<'_>) {
        // A statement of its own: drawing, on another thread as well, takes this mutex while it holds the bar's.
        let ended = lock(&self.tally).take(event);
        if ended {
            self.bar.inc(1);
        }
        let stays = match event {
            Event::Failed { .. } | Event::Slow { .. } | Event::Interrupted => true,
            Event::Finished { notes, .. } => !notes.is_empty(),
            Event::Started { .. } | Event::Skipped { .. } => false,
        };
        if let Some(line) = plain::line(event).filter(|_| stays) {
            self.printer.err(line);
        }
    }
}

impl Drop for Tty<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
        self.printer.without_bars();
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use indicatif::TermLike;

    use super::super::fixtures;
    use super::*;
    use crate::cli::printer::Captured;
    use crate::driver::DriverError;
    use crate::model::Done;

    /// A terminal that keeps all that was ever drawn.
    #[derive(Debug, Clone, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            100
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(&format!("{text}\n"))
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_bar_counts_running_steps_have_lines_and_failures_stay_above() {
        let steps = fixtures::steps();
        let (screen, err) = (Screen::default(), Captured::default());
        let printer = Printer::to(io::sink(), err.clone(), false, false);
        let tty = Tty::on(ProgressDrawTarget::term_like(Box::new(screen.clone())), &printer, &steps);
        let took = Duration::from_millis(5);
        tty.event(&Event::Started { step: &steps[0] });
        tty.event(&Event::Started { step: &steps[1] });
        tty.event(&Event::Finished { step: &steps[0], done: Done::Changed, notes: &[], took });
        tty.event(&Event::Failed {
            step: &steps[1],
            error: &DriverError::LockHeld { object: steps[1].object() },
            took,
        });
        tty.event(&Event::Started { step: &steps[2] });
        tty.bar.force_draw();
        let drawn = screen.0.lock().unwrap().clone();
        let last = drawn.rsplit_once('[').unwrap().1;
        assert!(last.contains("2/3 steps, 0 of 2 volumes finished, 1 failed"), "{drawn}");
        assert!(last.contains("  s3 detach volume.db at pod.web:/srv/db "), "{drawn}");
        assert!(!last.contains("s1 detach") && !last.contains("s2 detach"), "{drawn}");
        drop(tty);
        let failure = "s2 detach volume.logs: failed after 5 ms: volume.logs: another csictl holds its lock\n";
        assert_eq!(err.text(), failure);
    }
}
