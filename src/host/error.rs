//! What can go wrong at the machine: which act, on which object, why, and what sort of failure it is, so that upper layers
//! decide by kind and people read the rest.

use std::path::PathBuf;

use thiserror::Error;

/// The sorts of failure upper layers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Something that should be there is not.
    NotFound,
    /// Something is there already.
    Exists,
    /// In use: EBUSY.
    Busy,
    /// A directory that should be empty is not.
    NotEmpty,
    /// No space, or a quota.
    NoSpace,
    /// A read-only file system.
    ReadOnly,
    /// A privilege is missing.
    Permission,
    /// The kernel or a tool lacks a feature.
    Unsupported,
    /// A helper program is not installed.
    MissingTool,
    /// A helper program failed.
    ToolFailed,
    /// Somebody else holds the lock.
    LockHeld,
    /// What is there is not ours: a foreign mount, loop or file.
    Foreign,
    /// A link, or a path that leaves its trusted root.
    UnsafePath,
    /// Storage that is not blank would be formatted, or blank storage mounted.
    NotBlank,
    /// What was written could not be read back as it should be.
    Verify,
    /// Growing a file system was tried on a copy and comes to nothing sound: of the original nothing was changed.
    Ungrowable,
    /// Bad data: a corrupt file, an impossible value.
    Invalid,
    /// It took longer than allowed.
    TimedOut,
    /// The device or file system answers with I/O errors.
    Io,
    /// Anything else.
    Other,
}

/// A failure of one host verb.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{act} {}: {cause}", object.display())]
pub struct HostError {
    /// The sort.
    pub kind: ErrorKind,
    /// What was tried: `attach`, `mount`, `write record`…
    pub act: &'static str,
    /// The path it was tried on.
    pub object: PathBuf,
    /// The cause in words: the errno's text, the kernel's log line, the tool's last line.
    pub cause: String,
    /// The errno, where there is one.
    pub errno: Option<i32>,
    /// Everything the tool said.
    pub tool_output: Option<String>,
}

impl HostError {
    /// Whether it is more than one file can have there (EFBIG), however much is free.
    pub fn is_file_too_large(&self) -> bool {
        self.errno == Some(libc::EFBIG)
    }

    /// A failure with no errno.
    pub fn new(kind: ErrorKind, act: &'static str, object: impl Into<PathBuf>, cause: impl Into<String>) -> Self {
        Self { kind, act, object: object.into(), cause: cause.into(), errno: None, tool_output: None }
    }

    /// A failed system call.
    pub fn io(act: &'static str, object: impl Into<PathBuf>, error: &std::io::Error) -> Self {
        let errno = error.raw_os_error();
        Self { kind: kind_of(error), act, object: object.into(), cause: plain(error), errno, tool_output: None }
    }

    /// The same failure with what a tool said.
    #[must_use]
    pub fn with_output(mut self, output: impl Into<String>) -> Self {
        self.tool_output = Some(output.into());
        self
    }
}

/// The error's text without Rust's "(os error N)".
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn kind_of(error: &std::io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR | libc::ENXIO | libc::ENODEV) => ErrorKind::NotFound,
        Some(libc::EEXIST) => ErrorKind::Exists,
        Some(libc::EBUSY | libc::ETXTBSY) => ErrorKind::Busy,
        Some(libc::ENOTEMPTY) => ErrorKind::NotEmpty,
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => ErrorKind::NoSpace,
        Some(libc::EROFS) => ErrorKind::ReadOnly,
        Some(libc::EPERM | libc::EACCES) => ErrorKind::Permission,
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::ENOTTY) => ErrorKind::Unsupported,
        Some(libc::ELOOP | libc::EXDEV) => ErrorKind::UnsafePath,
        Some(libc::ETIMEDOUT) => ErrorKind::TimedOut,
        Some(libc::EIO | libc::EUCLEAN | libc::ESHUTDOWN) => ErrorKind::Io,
        _ => ErrorKind::Other,
    }
}
