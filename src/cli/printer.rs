//! The one way out of the program: results to stdout, everything else to stderr.
//!
//! All text goes through here because three things are decided once for all of it: whether colour stays in (`--color`, `NO_COLOR`,
//! `CLICOLOR_FORCE`), how it shares the terminal with progress bars (they are lifted while a line is written; indicatif's own
//! `println` is swallowed when stderr is no terminal), and what a reader that went away means (`csictl plan | head -1` ends
//! quietly, it does not panic, and an apply whose reader left still finishes its work).

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::mem;
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use anstream::adapter::strip_str;
use anstream::{AutoStream, ColorChoice};
use indicatif::MultiProgress;

/// What `--color` was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set; `CLICOLOR_FORCE` turns it on everywhere.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// Where one of the two streams goes and how it fares.
struct Stream {
    to: Mutex<Box<dyn Write + Send>>,
    /// Text in its order, not written yet: whoever is at it writes what others put here meanwhile, so that no step waits for a terminal.
    waiting: Mutex<String>,
    color: bool,
    terminal: bool,
    failed: Mutex<Option<ErrorKind>>,
}

impl Stream {
    fn new(to: impl Write + Send + 'static, color: bool, terminal: bool) -> Self {
        Self { to: Mutex::new(Box::new(to)), waiting: Mutex::default(), color, terminal, failed: Mutex::new(None) }
    }

    /// Writes and flushes, or leaves it to the thread that is writing now; after the first failure nothing more is written.
    fn write(&self, text: &str) {
        let waiting = || self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.color {
            waiting().push_str(text);
        } else {
            let plain = strip_str(text).to_string();
            waiting().push_str(&plain);
        }
        // Looked at again after letting go: who came just before that has left it to this thread.
        while !waiting().is_empty() {
            let mut to = match self.to.try_lock() {
                Ok(to) => to,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return,
            };
            let text = mem::take(&mut *waiting());
            if self.failure().is_none()
                && let Err(error) = to.write_all(text.as_bytes()).and_then(|()| to.flush())
            {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.kind());
            }
        }
    }

    fn failure(&self) -> Option<ErrorKind> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all that users see, from any thread; clones share everything.
#[derive(Clone)]
pub struct Printer(Arc<Shared>);

struct Shared {
    stdout: Stream,
    stderr: Stream,
    quiet: bool,
    bars: RwLock<Option<MultiProgress>>,
}

impl Printer {
    /// The process's own stdout and stderr; with `quiet`, [`Printer::note`] says nothing.
    pub fn new(color: Color, quiet: bool) -> Self {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let choose = |automatic: ColorChoice| match color {
            Color::Auto => automatic != ColorChoice::Never,
            Color::Always => true,
            Color::Never => false,
        };
        let (out_color, err_color) = (choose(AutoStream::choice(&stdout)), choose(AutoStream::choice(&stderr)));
        let (out_terminal, err_terminal) = (stdout.is_terminal(), stderr.is_terminal());
        Self::with_streams(
            Stream::new(stdout, out_color, out_terminal),
            Stream::new(stderr, err_color, err_terminal),
            quiet,
        )
    }

    /// Writes to these in place of the process's own; neither counts as a terminal. For tests and for tools that embed the commands.
    pub fn to(
        stdout: impl Write + Send + 'static,
        stderr: impl Write + Send + 'static,
        color: bool,
        quiet: bool,
    ) -> Self {
        Self::with_streams(Stream::new(stdout, color, false), Stream::new(stderr, color, false), quiet)
    }

    fn with_streams(stdout: Stream, stderr: Stream, quiet: bool) -> Self {
        Self(Arc::new(Shared { stdout, stderr, quiet, bars: RwLock::new(None) }))
    }

    /// A result: one or more lines on stdout. The last newline is added.
    pub fn out(&self, text: impl Display) {
        self.put(&self.0.stdout, &format!("{text}\n"));
    }

    /// A result that ends in its own newline: a JSON document, a completion script.
    pub fn out_raw(&self, text: &str) {
        self.put(&self.0.stdout, text);
    }

    /// An error, a warning or a question: lines on stderr that `-q` does not silence.
    pub fn err(&self, text: impl Display) {
        self.put(&self.0.stderr, &format!("{text}\n"));
    }

    /// Something good to know: lines on stderr that `-q` silences.
    pub fn note(&self, text: impl Display) {
        if !self.0.quiet {
            self.err(text);
        }
    }

    /// A question without its newline, on stderr, where the answer is typed behind it.
    pub fn prompt(&self, text: impl Display) {
        self.put(&self.0.stderr, &text.to_string());
    }

    fn put(&self, stream: &Stream, text: &str) {
        // The bars are lifted even for stdout: both streams usually are the same terminal.
        match &*self.0.bars.read().unwrap_or_else(PoisonError::into_inner) {
            Some(bars) => bars.suspend(|| stream.write(text)),
            None => stream.write(text),
        }
    }

    /// Shares the terminal with these bars until [`Printer::without_bars`].
    pub fn with_bars(&self, bars: MultiProgress) {
        *self.0.bars.write().unwrap_or_else(PoisonError::into_inner) = Some(bars);
    }

    /// The bars are gone.
    pub fn without_bars(&self) {
        *self.0.bars.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether colour is kept on stdout: for whoever has to choose a theme or a width of its own.
    pub fn out_color(&self) -> bool {
        self.0.stdout.color
    }

    /// Whether colour is kept on stderr.
    pub fn err_color(&self) -> bool {
        self.0.stderr.color
    }

    /// Whether stdout is a terminal.
    pub fn out_is_terminal(&self) -> bool {
        self.0.stdout.terminal
    }

    /// Whether stderr is a terminal.
    pub fn err_is_terminal(&self) -> bool {
        self.0.stderr.terminal
    }

    /// Whether `-q` was given.
    pub fn is_quiet(&self) -> bool {
        self.0.quiet
    }

    /// Whether whoever read stdout has gone away; a loop that prints for ever (`status --watch`) ends then.
    pub fn reader_gone(&self) -> bool {
        self.0.stdout.failure() == Some(ErrorKind::BrokenPipe)
    }

    /// How stdout fared, asked once at the end: a reader that went away is fine, a result that could not be written is not.
    ///
    /// # Errors
    /// The first failure of a write to stdout (a full disk behind a redirection), unless it was EPIPE.
    pub fn finish(&self) -> io::Result<()> {
        match self.0.stdout.failure() {
            None | Some(ErrorKind::BrokenPipe) => Ok(()),
            Some(kind) => Err(kind.into()),
        }
    }
}

/// Log lines on stderr, above the bars like everything else.
impl Write for Printer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(&self.0.stderr, &String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that tests can read.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Captured(std::sync::Arc<Mutex<Vec<u8>>>);

#[cfg(test)]
impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

#[cfg(test)]
impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn results_go_to_stdout_and_all_else_to_stderr() {
        let (out, err) = (Captured::default(), Captured::default());
        let printer = Printer::to(out.clone(), err.clone(), false, false);
        printer.out("result");
        printer.err("error");
        printer.note("note");
        assert_eq!(out.text(), "result\n");
        assert_eq!(err.text(), "error\nnote\n");
    }

    #[test]
    fn quiet_silences_notes_only() {
        let (out, err) = (Captured::default(), Captured::default());
        let printer = Printer::to(out.clone(), err.clone(), false, true);
        printer.out("result");
        printer.err("error");
        printer.note("note");
        assert_eq!(out.text(), "result\n");
        assert_eq!(err.text(), "error\n");
    }

    #[test]
    fn colour_is_stripped_where_it_is_not_wanted() {
        for (color, expected) in [(false, "ü red\n"), (true, "ü \u{1b}[31mred\u{1b}[0m\n")] {
            let out = Captured::default();
            Printer::to(out.clone(), io::sink(), color, false).out("ü \u{1b}[31mred\u{1b}[0m");
            assert_eq!(out.text(), expected);
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure_but_a_full_disk_is() {
        for (kind, gone, fine) in [(ErrorKind::BrokenPipe, true, true), (ErrorKind::StorageFull, false, false)] {
            let printer = Printer::to(Failing(kind), io::sink(), false, false);
            printer.out("lost");
            printer.out("lost as well");
            assert_eq!(printer.reader_gone(), gone, "{kind}");
            assert_eq!(printer.finish().is_ok(), fine, "{kind}");
        }
    }

    #[test]
    fn log_lines_take_the_same_way() {
        let err = Captured::default();
        let mut log = Printer::to(io::sink(), err.clone(), false, true);
        writeln!(log, "a log line").unwrap();
        assert_eq!(err.text(), "a log line\n");
    }

    #[test]
    fn lines_are_written_while_bars_are_up() {
        let err = Captured::default();
        let printer = Printer::to(io::sink(), err.clone(), false, false);
        printer.with_bars(MultiProgress::with_draw_target(indicatif::ProgressDrawTarget::hidden()));
        printer.err("above the bars");
        printer.without_bars();
        assert_eq!(err.text(), "above the bars\n");
    }
}
