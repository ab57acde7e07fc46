//! Errors as gRPC codes (CSI 1.12, "Error Scheme" and the tables of each RPC). The only place that maps them.

use tonic::{Code, Status};

use crate::driver::{DriverError, Refusal};
use crate::host::{ErrorKind, HostError};

/// The status of a failed verb. Its message has the cause and, behind a full stop, what to do next.
pub fn of(error: &DriverError) -> Status {
    match error {
        DriverError::LockHeld { .. } => Status::aborted(format!("{error}; try again")),
        DriverError::Refused { refusal, help, .. } => Status::new(of_refusal(*refusal), sentence(error, help)),
        DriverError::Host { error: cause, help, .. } => {
            Status::new(of_kind(cause.kind), sentence(error, help.as_deref().unwrap_or("")))
        }
        DriverError::Unfinished(error) => of(error),
    }
}

/// The status of a look at the machine that failed.
pub fn of_host(error: &HostError) -> Status {
    Status::new(of_kind(error.kind), error.to_string())
}

fn sentence(error: &DriverError, help: &str) -> String {
    if help.is_empty() { error.to_string() } else { format!("{error}. {help}") }
}

fn of_refusal(refusal: Refusal) -> Code {
    match refusal {
        Refusal::NotFound => Code::NotFound,
        Refusal::Exists => Code::AlreadyExists,
        Refusal::NoSpace => Code::ResourceExhausted,
        Refusal::OutOfRange => Code::OutOfRange,
        Refusal::UnsafePath | Refusal::GroupMember => Code::InvalidArgument,
        Refusal::NotBlank
        | Refusal::LostFilesystem
        | Refusal::WrongIdentity
        | Refusal::Protected
        | Refusal::Busy
        | Refusal::Unapproved
        | Refusal::Foreign
        | Refusal::OtherNamespace
        | Refusal::Incompatible
        | Refusal::NotReady
        | Refusal::NewerRecord
        | Refusal::Unsupported => Code::FailedPrecondition,
    }
}

fn of_kind(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::NoSpace => Code::ResourceExhausted,
        ErrorKind::LockHeld => Code::Aborted,
        ErrorKind::Busy | ErrorKind::Foreign | ErrorKind::NotBlank | ErrorKind::ReadOnly => Code::FailedPrecondition,
        ErrorKind::UnsafePath => Code::InvalidArgument,
        ErrorKind::TimedOut => Code::DeadlineExceeded,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectRef;

    fn object() -> ObjectRef {
        ObjectRef::Volume("shop.db".parse().unwrap())
    }

    #[test]
    fn a_held_lock_is_aborted_so_that_the_orchestrator_retries() {
        assert_eq!(of(&DriverError::LockHeld { object: object() }).code(), Code::Aborted);
    }

    #[test]
    fn a_refusal_carries_its_help() {
        let status = of(&DriverError::refused(Refusal::Busy, object(), "it is published", "unpublish it first"));
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "volume.db: it is published. unpublish it first");
    }

    #[test]
    fn a_full_host_is_resource_exhausted() {
        let error = HostError::new(ErrorKind::NoSpace, "allocate", "/pool/x.img", "No space left on device");
        assert_eq!(of(&DriverError::host(object(), error)).code(), Code::ResourceExhausted);
    }
}
