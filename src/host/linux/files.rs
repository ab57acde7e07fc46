//! Plain looks at files and directories, and the making and removing of single directories.

use std::fs::{self, DirBuilder, File, FileType};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::errors::{failed, wrong};
use super::{loops, sys};
use crate::host::{ErrorKind, FileFacts, FileKind, FsUsage, HostError, Result};
use crate::model::{BlockId, Done};

/// What lies at a path, not following a last link.
pub fn stat(path: &Path) -> Result<Option<FileFacts>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(facts(&metadata))),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(failed("look at", path)(error)),
    }
}

/// Opens a file of csictl's own by its name. Whoever may write to the directory may have put something else there: a link is not followed, a
/// pipe not waited for.
pub fn open_regular(act: &'static str, path: &Path, write: bool) -> Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = File::options().read(true).write(write).custom_flags(flags).open(path);
    let in_the_way = |facts: &fs::Metadata| not_a_file(act, path, facts.file_type());
    match opened {
        Ok(file) => {
            let facts = file.metadata().map_err(failed(act, path))?;
            if facts.is_file() { Ok(file) } else { Err(in_the_way(&facts)) }
        }
        Err(error) => match fs::symlink_metadata(path) {
            Ok(facts) if !facts.is_file() => Err(in_the_way(&facts)),
            _ => Err(failed(act, path)(error)),
        },
    }
}

/// What lies where a file of csictl's own belongs.
pub fn not_a_file(act: &'static str, path: &Path, sort: FileType) -> HostError {
    let what = match () {
        () if sort.is_dir() => "a directory",
        () if sort.is_symlink() => "a symbolic link",
        () if sort.is_fifo() => "a pipe",
        () if sort.is_socket() => "a socket",
        () => "a device",
    };
    wrong(ErrorKind::Foreign, act, path, format!("{what} lies where csictl keeps a file of its own: remove it"))
}

/// Removes what a killed run left at a name that is csictl's own.
pub fn remove_own(act: &'static str, path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|error| match fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => not_a_file(act, path, facts.file_type()),
        _ => failed(act, path)(error),
    })
}

/// Nothing there: the path, or a directory on the way.
pub fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR))
}

fn facts(metadata: &fs::Metadata) -> FileFacts {
    /// `st_blocks` counts these, whatever the file system's block is (stat(2)).
    const STAT_BLOCK: u64 = 512;
    let sort = metadata.file_type();
    let kind = match () {
        () if sort.is_file() => FileKind::File,
        () if sort.is_dir() => FileKind::Directory,
        () if sort.is_symlink() => FileKind::Link,
        () if sort.is_block_device() => FileKind::Block,
        () => FileKind::Other,
    };
    let (major, minor) = sys::device_numbers(metadata.rdev());
    FileFacts {
        kind,
        file: loops::file_id(metadata),
        device: (sort.is_block_device() || sort.is_char_device()).then_some(BlockId { major, minor }),
        size: metadata.size(),
        allocated: metadata.blocks() * STAT_BLOCK,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mode: metadata.mode() & 0o7777,
        modified: metadata.mtime(),
        modified_nanos: metadata.mtime_nsec(),
    }
}

/// Makes a directory and its missing parents with this mode.
pub fn make_dir(path: &Path, mode: u32) -> Result<Done> {
    const ACT: &str = "make directory";
    match fs::metadata(path) {
        Ok(there) if there.is_dir() => return Ok(Done::Already),
        Ok(_) => return Err(wrong(ErrorKind::Exists, ACT, path, "something that is not a directory is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(ACT, path)(error)),
    }
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !path.exists()).collect();
    for path in missing.into_iter().rev() {
        match DirBuilder::new().mode(mode).create(path) {
            // What the umask took is given back, to the very directory just made.
            Ok(()) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let made =
                    rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(ACT, path)(error.into()))?;
                let _ = rustix::fs::fchmod(&made, Mode::from_raw_mode(mode));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(failed(ACT, path)(error)),
        }
    }
    Ok(Done::Changed)
}

/// Removes one empty directory.
pub fn remove_dir(path: &Path) -> Result<Done> {
    const ACT: &str = "remove directory";
    match fs::remove_dir(path) {
        Ok(()) => Ok(Done::Changed),
        Err(error) if is_missing(&error) && fs::symlink_metadata(path).is_err() => Ok(Done::Already),
        // rmdir(2) may say EEXIST for it.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTEMPTY | libc::EEXIST)) => {
            Err(wrong(ErrorKind::NotEmpty, ACT, path, "it is not empty"))
        }
        Err(error) => Err(failed(ACT, path)(error)),
    }
}

/// Whether a directory has no entries. Its links tell most that has: one from its name, one from itself and, on many file systems,
/// one from each directory in it. Reading a directory in which others remove things waits for them.
pub fn is_empty(path: &Path) -> Result<bool> {
    const ACT: &str = "look into";
    let metadata = fs::symlink_metadata(path).map_err(failed(ACT, path))?;
    if !metadata.is_dir() || metadata.nlink() > 2 {
        return Ok(false);
    }
    let mut entries = fs::read_dir(path).map_err(failed(ACT, path))?;
    entries.next().transpose().map(|entry| entry.is_none()).map_err(failed(ACT, path))
}

/// Use of the file system at `path`.
pub fn usage(path: &Path) -> Result<FsUsage> {
    let facts = rustix::fs::statvfs(path).map_err(|error| failed("measure", path)(error.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(facts.f_frsize);
    Ok(FsUsage {
        total: bytes(facts.f_blocks),
        used: bytes(facts.f_blocks.saturating_sub(facts.f_bfree)),
        free: bytes(facts.f_bfree),
        available: bytes(facts.f_bavail),
        inodes: facts.f_files,
        inodes_used: facts.f_files.saturating_sub(facts.f_ffree),
    })
}
