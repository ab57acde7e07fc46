//! Why a verb did not do what it was asked: a guard said no, somebody else holds the lock, or the machine failed. `cli` turns
//! these into reports and exit codes, `csi` into gRPC codes; nobody else does.

use thiserror::Error;

use crate::host::HostError;
use crate::model::{Loss, ObjectRef};

/// A guard that said no. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Storage that is not blank would have been formatted.
    NotBlank,
    /// The storage looks blank though csictl formatted it once.
    LostFilesystem,
    /// The device, image or file system is not the one it should be.
    WrongIdentity,
    /// It is protected (`prevent_destroy`, or its record was rebuilt).
    Protected,
    /// It is in use.
    Busy,
    /// It would lose data and nobody approved.
    Unapproved,
    /// It belongs to another project, or to gRPC, or to nobody we know.
    Foreign,
    /// Another mount namespace that still lives holds its mounts.
    OtherNamespace,
    /// The access mode, or an earlier call, does not allow it (CSI 1.12: incompatible arguments).
    Incompatible,
    /// It exists already with other properties.
    Exists,
    /// It is not there.
    NotFound,
    /// Something has to be done first (stage before publish, unpublish before unstage).
    NotReady,
    /// No space is left, or a limit would be passed.
    NoSpace,
    /// A size that can't be: smaller than it is, or than its source, or than the file system's minimum.
    OutOfRange,
    /// The record was written by a newer csictl.
    NewerRecord,
    /// This machine cannot do it (ext4 online growth without CAP_SYS_RESOURCE).
    Unsupported,
    /// It is one of a group of snapshots, which goes only as a whole.
    GroupMember,
    /// A path that is a link, or leaves its trusted root.
    UnsafePath,
}

impl Refusal {
    /// The last part of its error code: `csictl::guard::not-blank`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotBlank => "not-blank",
            Self::LostFilesystem => "lost-filesystem",
            Self::WrongIdentity => "wrong-identity",
            Self::Protected => "protected",
            Self::Busy => "busy",
            Self::Unapproved => "unapproved",
            Self::Foreign => "foreign",
            Self::OtherNamespace => "other-namespace",
            Self::Incompatible => "incompatible",
            Self::Exists => "exists",
            Self::NotFound => "not-found",
            Self::NotReady => "not-ready",
            Self::NoSpace => "no-space",
            Self::OutOfRange => "out-of-range",
            Self::NewerRecord => "newer-record",
            Self::Unsupported => "unsupported",
            Self::GroupMember => "group-member",
            Self::UnsafePath => "unsafe-path",
        }
    }
}

/// A failed verb.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DriverError {
    /// A guard said no.
    #[error("{object}: {message}")]
    Refused {
        /// Which guard.
        refusal: Refusal,
        /// What it was asked for.
        object: ObjectRef,
        /// What is in the way, with the place.
        message: String,
        /// What to do next.
        help: String,
    },
    /// Somebody else works on it.
    #[error("{object}: another csictl holds its lock")]
    LockHeld {
        /// What is locked.
        object: ObjectRef,
    },
    /// The machine failed.
    #[error("{object}: {error}")]
    Host {
        /// What it was asked for.
        object: ObjectRef,
        /// What failed.
        #[source]
        error: Box<HostError>,
        /// What to do next.
        help: Option<String>,
        /// What failed as well while undoing the half-done work.
        undo: Option<Box<HostError>>,
    },
    /// What waits for it may go on, since that is there; the rest of what was asked failed.
    #[error(transparent)]
    Unfinished(Box<DriverError>),
}

impl DriverError {
    /// A refusal.
    pub fn refused(refusal: Refusal, object: ObjectRef, message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Refused { refusal, object, message: message.into(), help: help.into() }
    }

    /// A loss that nobody approved.
    pub fn unapproved(object: ObjectRef, loss: Loss, message: impl Into<String>) -> Self {
        let help = format!("approve it by name: --approve {object}={loss}");
        Self::refused(Refusal::Unapproved, object, message, help)
    }

    /// A failure of the machine.
    pub fn host(object: ObjectRef, error: HostError) -> Self {
        Self::Host { object, error: Box::new(error), help: None, undo: None }
    }
}
