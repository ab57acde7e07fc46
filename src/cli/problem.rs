//! Why a command did not do what it was asked, in the one form that both people and JSON are shown: code, message, causes,
//! help, place. Every lower layer's error becomes one of these here and nowhere else.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::exit::Exit;
use crate::driver::DriverError;
use crate::host::{ErrorKind, HostError};
use crate::manifest::ManifestErrors;
use crate::plan::Refused;
use crate::state::StateError;

/// The answer of a command.
pub type Result<T> = std::result::Result<T, Failure>;

/// One error, as `csictl.error/1` and `csictl.apply/1` have it. Null is not absent: every field is always there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `csictl::…`; `csictl explain` knows each.
    pub code: String,
    /// What went wrong with what.
    pub message: String,
    /// Why, from the nearest cause to the last.
    pub causes: Vec<String>,
    /// What to do next.
    pub help: Option<String>,
    /// The file it is about.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<usize>,
    /// Column, from 1.
    pub column: Option<usize>,
    /// What stands at each place of the file it is about, the first being its own.
    pub labels: Vec<Label>,
}

/// One place of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Label {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What stands there.
    pub text: String,
}

impl Problem {
    /// An error with a code below `csictl::`.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: format!("csictl::{code}"),
            message: message.into(),
            causes: Vec::new(),
            help: None,
            file: None,
            line: None,
            column: None,
            labels: Vec::new(),
        }
    }

    /// With what to do next.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// A file that could not be read or written.
    pub fn file(act: &str, path: &Path, error: &std::io::Error) -> Self {
        let host = HostError::io("", path, error);
        let mut problem = Self::new("cli::file", format!("cannot {act} {}", path.display())).cause(host.cause);
        problem.file = Some(path.display().to_string());
        problem.help = Some(match error.kind() {
            std::io::ErrorKind::NotFound => "check the path".to_owned(),
            std::io::ErrorKind::PermissionDenied => "check the permissions, or run as root".to_owned(),
            _ => "see the cause above".to_owned(),
        });
        problem
    }

    /// A failed verb.
    pub fn of_driver(error: &DriverError) -> Self {
        match error {
            DriverError::Refused { refusal, object, message, help } => {
                Self::new(&format!("guard::{}", refusal.code()), format!("{object}: {message}")).help(help)
            }
            DriverError::LockHeld { object } => {
                Self::new("lock::held", format!("{object}: another csictl holds its lock"))
                    .help("wait for it to end, or wait longer with --lock-timeout 5m")
            }
            DriverError::Host { object, error, help, undo } => {
                let mut problem = Self::of_host(error);
                problem.message = format!("{object}: {}", problem.message);
                if let Some(undo) = undo {
                    problem.causes.push(format!("undoing the half-done work failed as well: {undo}"));
                }
                problem.help = help.clone().or(problem.help);
                problem
            }
            DriverError::Unfinished(error) => Self::of_driver(error),
        }
    }

    /// A failure of the machine.
    pub fn of_host(error: &HostError) -> Self {
        let (code, help) = host_code(error.kind);
        let message = format!("{} {} failed", error.act, error.object.display());
        let mut problem = Self::new(&format!("host::{code}"), message).cause(&error.cause).help(help);
        if let Some(output) = &error.tool_output {
            problem.causes.extend(output.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned));
            // The last line of what a tool said is often its cause; once is enough.
            problem.causes.dedup();
        }
        problem
    }

    /// What a plan refuses.
    pub fn of_refused(refused: &Refused) -> Self {
        let message = if refused.message.starts_with(&refused.object.to_string()) {
            refused.message.clone()
        } else {
            format!("{}: {}", refused.object, refused.message)
        };
        Self::new(&format!("guard::{}", refused.code), message).help(&refused.help)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// The code of a sort of failure and the general way on, for errors that bring no help of their own.
pub(super) const fn host_code(kind: ErrorKind) -> (&'static str, &'static str) {
    match kind {
        ErrorKind::NotFound => ("not-found", "make it, or correct the path, and apply again"),
        ErrorKind::Exists => ("exists", "move it away, and apply again"),
        ErrorKind::Busy => ("busy", "'csictl who' names the processes; stop them and apply again"),
        ErrorKind::NotEmpty => ("not-empty", "empty the directory, and apply again"),
        ErrorKind::NoSpace => ("no-space", "free some space, or use a pool on a larger file system, and apply again"),
        ErrorKind::ReadOnly => ("read-only", "remount it writable; the kernel log may say why it is read-only"),
        ErrorKind::Permission => (
            "permission",
            "run as root; where you do, 'csictl doctor' names what is missing, and lsattr an immutable file (chattr -i)",
        ),
        ErrorKind::Unsupported => ("unsupported", "'csictl doctor' names what this machine lacks"),
        ErrorKind::MissingTool => ("missing-tool", "'csictl doctor' names the package to install"),
        ErrorKind::ToolFailed => ("tool-failed", "the tool's own words are above; apply again once it is put right"),
        ErrorKind::LockHeld => ("lock-held", "wait for the other csictl, or wait longer with --lock-timeout 5m"),
        ErrorKind::Foreign => ("foreign", "csictl only touches what it made; move it away, and apply again"),
        ErrorKind::UnsafePath => ("unsafe-path", "replace the link by a real directory, and apply again"),
        ErrorKind::NotBlank => ("not-blank", "nothing is ever formatted unless proven blank; look at it with blkid -p"),
        ErrorKind::Verify => ("verify", "the storage may be failing: look at the kernel log, then apply again"),
        ErrorKind::Ungrowable => ("ungrowable", "nothing was changed; ask for another size, or for the one it has"),
        ErrorKind::Invalid => ("invalid", "see the cause; 'csictl doctor' may tell more"),
        ErrorKind::TimedOut => ("timed-out", "look for a stuck process or device, then apply again"),
        ErrorKind::Io => ("io", "the device or file system fails: look at the kernel log and check the hardware"),
        ErrorKind::Other => ("other", "see the cause; apply again to finish what is missing"),
    }
}

/// What ends a command early.
#[derive(Debug)]
pub enum Failure {
    /// Errors in a manifest, each with its place in the text.
    Manifest(Box<ManifestErrors>),
    /// Anything else, with the exit code it leads to.
    Problems(Exit, Vec<Problem>),
    /// The report is already written (a failed apply's lists): only the exit code is left.
    Reported(Exit),
}

impl Failure {
    /// One problem.
    pub fn new(exit: Exit, problem: Problem) -> Self {
        Self::Problems(exit, vec![problem])
    }

    /// A command line that parses but makes no sense.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new(Exit::Usage, Problem::new("cli::usage", message).help(help))
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Manifest(_) => Exit::Invalid,
            Self::Problems(exit, _) | Self::Reported(exit) => *exit,
        }
    }
}

impl From<ManifestErrors> for Failure {
    fn from(errors: ManifestErrors) -> Self {
        Self::Manifest(Box::new(errors))
    }
}

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::new(Exit::of_host(&error), Problem::of_host(&error))
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::new(Exit::of_driver(&error), Problem::of_driver(&error))
    }
}

impl From<StateError> for Failure {
    fn from(error: StateError) -> Self {
        let problem = |code, message: String| Problem::new(code, message);
        match error {
            StateError::Host(error) => error.into(),
            StateError::LockHeld(_) => {
                let help = "wait for it to end, or wait longer with --lock-timeout 5m";
                Self::new(Exit::Locked, problem("lock::held", error.to_string()).help(help))
            }
            StateError::Insecure { ref path, .. } => {
                let help = format!("it holds what csictl trusts: chown root: {0} && chmod 0700 {0}", path.display());
                Self::new(Exit::Refused, problem("state::insecure", error.to_string()).help(help))
            }
            StateError::Document(message) => {
                let help = "records are never overwritten: see which of both is right";
                Self::new(Exit::Refused, problem("state::bad-document", message).help(help))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tools_words_become_causes_once() {
        let error = HostError::new(ErrorKind::ToolFailed, "mkfs.ext4", "/dev/loop7", "Device size is zero")
            .with_output("Device size is zero\n\nmke2fs 1.47\n");
        let problem = Problem::of_host(&error);
        assert_eq!(problem.message, "mkfs.ext4 /dev/loop7 failed");
        assert_eq!(problem.causes, ["Device size is zero", "mke2fs 1.47"]);
        assert_eq!(problem.code, "csictl::host::tool-failed");
    }
}
