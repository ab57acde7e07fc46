//! What the global flags mean: where records are, how results are written, who may change the machine. Commands get it
//! ready-made and never look at a flag that all of them share.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args::{Cli, ColorArg, Output, ProgressArg};
use super::printer::{Color, Printer};
use super::problem::{Failure, Problem, Result};
use super::render::progress::Progress;
use crate::driver::local::observe::{Scope, observe};
use crate::host::linux::{LinuxHost, LinuxObserve};
use crate::host::{ErrorKind, Host, Observe};
pub use crate::model::shell_word;
use crate::model::{Desired, Layout, Observed};
use crate::state::{Reader, StateError};

/// What was seen, and how long looking took.
pub struct Looked {
    /// What was seen.
    pub observed: Observed,
    /// How long it took.
    pub took: Duration,
}

/// Everything that holds for the whole run.
pub struct Context {
    /// The way out.
    pub printer: Printer,
    /// Where records and mounts are.
    pub layout: Layout,
    /// How results are written.
    pub output: Output,
    /// How progress is shown.
    pub progress: Progress,
    /// Steps at once.
    pub parallelism: NonZeroUsize,
    /// How long a lock is waited for.
    pub lock_timeout: Duration,
    /// When a step counts as slow.
    pub step_timeout: Option<Duration>,
    /// Whether all is to be told.
    pub verbose: bool,
    /// Global flags to repeat in the commands csictl tells users to type.
    pub repeat: String,
}

impl Context {
    /// From the flags.
    ///
    /// # Errors
    /// An output format the command does not have.
    pub fn new(cli: &Cli) -> Result<Self> {
        let global = &cli.global;
        let more = cli.command.more_outputs();
        if !matches!(global.output, Output::Text | Output::Json) && !more.contains(&global.output) {
            let has: Vec<_> = [Output::Text, Output::Json].iter().chain(more).map(|output| output.as_str()).collect();
            let (name, output) = (cli.command.name(), global.output.as_str());
            return Err(Failure::usage(
                format!("'{name}' has no output format '{output}'"),
                format!("use -o {}", has.join(", -o ")),
            ));
        }
        let color = match global.color {
            ColorArg::Auto => Color::Auto,
            ColorArg::Always => Color::Always,
            ColorArg::Never => Color::Never,
        };
        Ok(Self {
            printer: Printer::new(color, global.quiet),
            layout: Layout::new(real(&global.state_dir)?, real(&global.run_dir)?),
            output: global.output,
            progress: match global.progress {
                ProgressArg::Auto => Progress::Auto,
                ProgressArg::Tty => Progress::Tty,
                ProgressArg::Plain => Progress::Plain,
                ProgressArg::Json => Progress::Json,
                ProgressArg::None => Progress::None,
            },
            parallelism: NonZeroUsize::new(global.parallelism).unwrap_or(NonZeroUsize::MIN),
            lock_timeout: global.lock_timeout,
            step_timeout: global.step_timeout,
            verbose: global.verbose > 0,
            repeat: repeat(&global.state_dir, &global.run_dir),
        })
    }

    /// The reading half of this machine: all that commands hold which must not change anything.
    pub fn observer(&self) -> Box<dyn Observe> {
        Box::new(LinuxObserve::new())
    }

    /// This machine, to be changed.
    pub fn host(&self) -> Arc<dyn Host> {
        Arc::new(LinuxHost::with_step_timeout(self.step_timeout))
    }

    /// Looks at the machine: at what a manifest declares and its project owns, or at everything.
    ///
    /// # Errors
    /// Only what makes looking pointless; what can't be read of single volumes is part of the answer.
    pub fn look(&self, observer: &dyn Observe, desired: Option<&Desired>) -> Result<Looked> {
        let begun = Instant::now();
        let scope = desired.map_or(Scope::Everything, Scope::Project);
        let observed = observe(observer, &self.layout, scope)?;
        let took = begun.elapsed();
        tracing::info!(
            volumes = observed.volumes.len(),
            snapshots = observed.snapshots.len(),
            ?took,
            state = %self.layout.state.display(),
            "looked at the machine"
        );
        Ok(Looked { observed, took })
    }

    /// Refuses before the first step what each step would refuse: directories of records that others may write to.
    ///
    /// # Errors
    /// The directory and what is wrong with it.
    pub fn check_state(&self, observer: &dyn Observe) -> Result<()> {
        match Reader::new(observer, &self.layout).check() {
            Err(StateError::Host(error)) if error.kind == ErrorKind::Permission => Ok(()),
            checked => Ok(checked?),
        }
    }

    /// Whether results are JSON.
    pub fn json(&self) -> bool {
        self.output == Output::Json
    }

    /// A command to type: `csictl apply shop.toml`, with the flags that matter.
    pub fn command(&self, words: &str) -> String {
        format!("csictl {words}{}", self.repeat)
    }
}

/// Where a directory really is: one that moved to a larger disk and left a link behind is as good as one that did not.
fn real(path: &Path) -> Result<PathBuf> {
    let path = absolute(path)?;
    Ok(if path.is_symlink() { path.canonicalize().unwrap_or(path) } else { path })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path)
        .map_err(|error| Failure::new(super::exit::Exit::Usage, Problem::file("find the directory", path, &error)))
}

/// Directories given as flags: the next command needs them too. Those from the environment are still there then.
fn repeat(state: &Path, run: &Path) -> String {
    let given = |flag: &str| std::env::args().any(|word| word == flag || word.starts_with(&format!("{flag}=")));
    let mut words = String::new();
    for (flag, path) in [("--state-dir", state), ("--run-dir", run)] {
        if given(flag) {
            words.push_str(&format!(" {flag} {}", shell_word(&path.display().to_string())));
        }
    }
    words
}
