//! Exit codes: the whole list, and which error leads to which. Scripts rely on them; the README has the same table.

use std::process::ExitCode;

use crate::driver::{DriverError, Refusal};
use crate::exec::Summary;
use crate::host::{ErrorKind, HostError};
use crate::model::Done;

/// How csictl ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, or nothing to do.
    Done,
    /// Failed.
    Failed,
    /// `plan --detailed-exitcode`: there are changes.
    Changes,
    /// The same, and some of them lose data.
    DataLoss,
    /// `status --check`: something drifted.
    Drift,
    /// A guard said no.
    Refused,
    /// Some steps ended well, some failed.
    Partial,
    /// Another csictl holds a lock.
    Locked,
    /// The command line is wrong (not clap's 2, which `plan` uses).
    Usage,
    /// The manifest is invalid.
    Invalid,
    /// A tool or a kernel feature is missing.
    Missing,
    /// A privilege is missing.
    Privilege,
    /// `csi`: the server answered with this gRPC code (1 to 16).
    Rpc(u8),
    /// SIGHUP: the terminal is gone.
    HungUp,
    /// SIGINT.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

/// What is added to a gRPC code.
const RPC: u8 = 100;

impl Exit {
    /// What the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Changes => 2,
            Self::DataLoss => 3,
            Self::Drift => 4,
            Self::Refused => 5,
            Self::Partial => 6,
            Self::Locked => 7,
            Self::Usage => 64,
            Self::Invalid => 65,
            Self::Missing => 69,
            Self::Privilege => 77,
            Self::Rpc(code) => RPC.saturating_add(code),
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    /// Where a failure of the machine leads.
    pub const fn of_host(error: &HostError) -> Self {
        match error.kind {
            ErrorKind::LockHeld => Self::Locked,
            ErrorKind::Permission => Self::Privilege,
            ErrorKind::Unsupported | ErrorKind::MissingTool => Self::Missing,
            ErrorKind::Busy | ErrorKind::Foreign | ErrorKind::UnsafePath | ErrorKind::NotBlank => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// Where a failed verb leads when it is all that happened.
    pub fn of_driver(error: &DriverError) -> Self {
        match error {
            DriverError::Refused { refusal, .. } => Self::of_refusal(refusal.code()),
            DriverError::LockHeld { .. } => Self::Locked,
            DriverError::Host { error, .. } => Self::of_host(error),
            DriverError::Unfinished(error) => Self::of_driver(error),
        }
    }

    /// Where a guard leads: 5, but for what this machine or this version cannot do at all.
    pub fn of_refusal(code: &str) -> Self {
        if code == Refusal::NewerRecord.code() || code == Refusal::Unsupported.code() {
            Self::Missing
        } else {
            Self::Refused
        }
    }

    /// Where an execution leads. What is met on the way: 5 for a guard, else 7 for a lock, else 6 if anything was done, else 1.
    /// `signal` is the one that stopped it.
    pub fn of_summary(summary: &Summary, signal: Option<Self>) -> Self {
        if let (true, Some(signal)) = (summary.interrupted, signal) {
            return signal;
        }
        if summary.failed.is_empty() {
            return if summary.skipped.is_empty() { Self::Done } else { Self::Failed };
        }
        let exits = || summary.failed.iter().map(|failure| Self::of_driver(&failure.error));
        if exits().any(|exit| exit == Self::Refused) {
            return Self::Refused;
        }
        if exits().any(|exit| exit == Self::Locked) {
            return Self::Locked;
        }
        if summary.done.iter().any(|(_, done, _)| *done == Done::Changed) {
            return Self::Partial;
        }
        Self::Failed
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::StepFailure;
    use crate::model::{ObjectRef, VolumeId};

    fn object() -> ObjectRef {
        ObjectRef::Volume("shop.db".parse::<VolumeId>().unwrap())
    }

    fn guard() -> DriverError {
        DriverError::refused(Refusal::NotBlank, object(), "holds ext4", "wipe it")
    }

    fn lock() -> DriverError {
        DriverError::LockHeld { object: object() }
    }

    fn machine() -> DriverError {
        DriverError::host(object(), HostError::new(ErrorKind::Io, "mount", "/x", "Input/output error"))
    }

    #[test]
    fn what_is_met_on_the_way_has_its_order() {
        let cases = [
            (vec![], true, Exit::Done),
            (vec![machine()], false, Exit::Failed),
            (vec![machine()], true, Exit::Partial),
            (vec![machine(), lock()], true, Exit::Locked),
            (vec![lock(), guard(), machine()], true, Exit::Refused),
        ];
        for (errors, changed, exit) in cases {
            let failed = errors.into_iter().map(|error| StepFailure { step: 1, error }).collect();
            let done = if changed { vec![(0, Done::Changed, vec![])] } else { vec![] };
            let summary = Summary { done, failed, ..Summary::default() };
            assert_eq!(Exit::of_summary(&summary, None), exit, "{summary:?}");
        }
    }

    #[test]
    fn a_signal_says_which() {
        let summary = Summary { interrupted: true, ..Summary::default() };
        assert_eq!(Exit::of_summary(&summary, Some(Exit::Terminated)), Exit::Terminated);
    }

    #[test]
    fn missing_tools_and_rights_have_their_own_codes() {
        for (kind, exit) in [
            (ErrorKind::MissingTool, Exit::Missing),
            (ErrorKind::Permission, Exit::Privilege),
            (ErrorKind::LockHeld, Exit::Locked),
            (ErrorKind::Io, Exit::Failed),
        ] {
            assert_eq!(Exit::of_host(&HostError::new(kind, "mount", "/x", "why")), exit);
        }
        assert_eq!(Exit::of_refusal("newer-record"), Exit::Missing);
    }
}
