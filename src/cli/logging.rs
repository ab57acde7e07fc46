//! Log lines on stderr: `-v` or `CSICTL_LOG` choose how many, `--log-format` their form. Under systemd each line begins with
//! its syslog priority, so that journald files it rightly.

use std::fmt;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, format};
use tracing_subscriber::registry::LookupSpan;

use super::args::{Global, LogFormat};
use super::printer::Printer;

/// Chooses levels a module, as `info` or `csictl::host=debug`.
const VARIABLE: &str = "CSICTL_LOG";

/// Begins logging. A second call, in tests that run several commands, changes nothing.
///
/// A server tells of each call unless it is told to be quiet: its log is all that its users see of it.
pub fn start(global: &Global, serves: bool, printer: &Printer) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) if !serves => LevelFilter::WARN,
        (_, 0) => LevelFilter::INFO,
        (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let variable = std::env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let filter = match variable {
        // What was typed wins over what was exported.
        Some(value) if global.verbose == 0 && !global.quiet => EnvFilter::new(value),
        _ => quiet(level).into_iter().fold(EnvFilter::default().add_directive(level.into()), EnvFilter::add_directive),
    };
    let journald = std::env::var_os("JOURNAL_STREAM").is_some();
    let printer = printer.clone();
    let writer = move || printer.clone();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false);
    // Only ever fails when a subscriber is there already.
    let _ = match global.log_format {
        LogFormat::Json => builder.json().event_format(Prioritized { journald, inner: format().json() }).try_init(),
        LogFormat::Text if journald => {
            builder.event_format(Prioritized { journald, inner: format().without_time() }).try_init()
        }
        LogFormat::Text => builder.try_init(),
    };
}

/// The transport's own lines: each frame is one. Only where everything is asked for.
fn quiet(level: LevelFilter) -> Vec<Directive> {
    let noisy = ["h2", "hyper", "hyper_util", "tonic", "tower", "tokio_util", "mio"];
    let noisy = noisy.iter().filter(|_| level == LevelFilter::DEBUG);
    noisy.filter_map(|target| format!("{target}=info").parse().ok()).collect()
}

/// Lines with a syslog priority in front, `<3>`, where journald reads them.
struct Prioritized<F> {
    journald: bool,
    inner: F,
}

/// The syslog priority of a level (sd-daemon(3)).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if self.journald {
            write!(writer, "<{}>", priority(*event.metadata().level()))?;
        }
        self.inner.format_event(context, writer, event)
    }
}
