//! What is seen while a plan runs. Each renderer listens to the executor's events and writes through the printer; which one it is
//! depends on `--progress`, and with `auto` on whether stderr is a terminal.

pub mod json;
pub mod plain;
mod tally;
pub mod tty;

use std::time::Duration;

use crate::cli::printer::Printer;
use crate::cli::render::plan::place;
use crate::exec::{Event, EventSink};
use crate::plan::Step;

/// What `--progress` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Progress {
    /// [`Progress::Tty`] where stderr is a terminal, else [`Progress::Plain`].
    #[default]
    Auto,
    /// One bar, and a line for each of the steps that run.
    Tty,
    /// A line for each step that ended.
    Plain,
    /// A JSON object for each event, `csictl.event/1`.
    Json,
    /// Nothing.
    None,
}

impl Progress {
    /// The listener for one execution of these steps. Dropping it takes its bar away.
    pub fn listen<'a>(self, printer: &'a Printer, steps: &[Step]) -> Box<dyn EventSink + Send + 'a> {
        match self {
            Self::Auto if printer.err_is_terminal() && !printer.is_quiet() => {
                Box::new(tty::Tty::on_stderr(printer, steps))
            }
            Self::Tty => Box::new(tty::Tty::on_stderr(printer, steps)),
            Self::Auto | Self::Plain => Box::new(plain::Plain::new(printer)),
            Self::Json => Box::new(json::Json::new(printer)),
            Self::None => Box::new(Silent),
        }
    }
}

/// Listens and says nothing.
pub struct Silent;

impl EventSink for Silent {
    fn event(&self, _: &Event<'_>) {}
}

/// A step as people read it: `s4 publish volume.db to pod.web:/srv/db`.
fn describe(step: &Step) -> String {
    let mut text = format!("{} {} {}", step.id(), step.verb(), step.object());
    if let Some(path) = &step.path {
        text = format!("{text} at {}", place(step, path));
    }
    text
}

/// A duration as people read it: three figures are enough.
fn lasted(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..=9 => format!("{:.1} s", duration.as_secs_f64()),
        10..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
pub(crate) mod fixtures {
    use std::path::PathBuf;

    use crate::model::Action;
    use crate::plan::{Risk, Step};

    /// The steps of a small plan: all of them detaches, since those need nothing but a name. The last one has a pod and a path.
    pub(crate) fn steps() -> Vec<Step> {
        let step = |(index, (volume, after)): (usize, (&str, Vec<usize>))| Step {
            index,
            action: Action::Detach(format!("p.{volume}").parse().unwrap()),
            pod: (index == 2).then(|| "web".parse().unwrap()),
            path: (index == 2).then(|| PathBuf::from("/srv/db")),
            after,
            risk: Risk::None,
            reason: String::new(),
        };
        [("db", vec![]), ("logs", vec![]), ("db", vec![0])].into_iter().enumerate().map(step).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_and_durations_read_well() {
        let steps = fixtures::steps();
        assert_eq!(describe(&steps[0]), "s1 detach volume.db");
        assert_eq!(describe(&steps[2]), "s3 detach volume.db at pod.web:/srv/db");
        for (millis, text) in [(0, "0 ms"), (999, "999 ms"), (1500, "1.5 s"), (59_999, "59 s"), (61_000, "1 min 1 s")] {
            assert_eq!(lasted(Duration::from_millis(millis)), text);
        }
        assert_eq!(lasted(Duration::from_secs(3 * 3600 + 120)), "3 h 2 min");
    }
}
