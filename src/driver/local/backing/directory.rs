//! A directory of the host. csictl may make it, and only what it made does it ever change the owner of.

use crate::driver::local::session::Session;
use crate::driver::{Refusal, Result};
use crate::host::FileKind;
use crate::model::{DirectoryBacking, Done, FileId};

/// Permissions of a directory csictl makes (Kubernetes hostPath DirectoryOrCreate).
const MODE: u32 = 0o755;

/// The directory, proven to be one and no link.
pub fn check(s: &Session<'_>, backing: &DirectoryBacking) -> Result<Option<FileId>> {
    let Some(facts) = s.host().stat(&backing.path).map_err(|error| s.fail(error))? else { return Ok(None) };
    if facts.kind == FileKind::Directory {
        return Ok(Some(facts.file));
    }
    let what = if facts.kind == FileKind::Link { "a symbolic link" } else { "no directory" };
    Err(s.refuse(
        Refusal::UnsafePath,
        format!("{} is {what}", backing.path.display()),
        "name the real directory in directory.path",
    ))
}

/// The directory, which has to be there.
pub fn require(s: &Session<'_>, backing: &DirectoryBacking) -> Result<FileId> {
    check(s, backing)?.ok_or_else(|| {
        s.refuse(
            Refusal::NotFound,
            format!("directory {} is not there", backing.path.display()),
            "make it, or set directory.create = true",
        )
    })
}

/// Makes it where asked; answers whether it had to be made.
pub fn ensure(s: &Session<'_>, backing: &DirectoryBacking) -> Result<Done> {
    if check(s, backing)?.is_some() {
        return Ok(Done::Already);
    }
    if backing.create {
        return s.host().make_dir(&backing.path, MODE).map_err(|error| s.fail(error));
    }
    require(s, backing).map(|_| Done::Already)
}
