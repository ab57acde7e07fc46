//! Small files (records), replaced as a whole: written to `.NAME.tmp` beside the old one, flushed, renamed, and the rename
//! flushed too. Without the first flush a power cut leaves an empty file, without the second it loses the rename.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, fstat, fstatfs, openat, renameat, renameat_with, stat, unlinkat,
};
use rustix::io::Errno;

use super::commit::Commits;
use super::errors::{failed, refused, wrong};
use crate::host::{ErrorKind, Result};
use crate::model::Done;

/// Permissions of records.
const MODE: u32 = 0o600;
/// No record is longer; a file that is, is none.
const LONGEST: u64 = 16 << 20;
/// Names tried for a file that is set aside.
const ASIDE_TRIES: u32 = 10_000;

/// The whole of a small file; `None` when it is missing. A link in its place is not followed.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    const ACT: &str = "read";
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(refused(ACT, path)(error)),
    };
    let metadata = file.metadata().map_err(failed(ACT, path))?;
    if !metadata.is_file() || metadata.len() > LONGEST {
        return Err(wrong(ErrorKind::Invalid, ACT, path, "it is not a small file"));
    }
    read_whole(file, usize::try_from(metadata.len()).unwrap_or_default()).map(Some).map_err(failed(ACT, path))
}

/// The content of a file that should have `length` bytes. Asked for one more, a regular file that gives just these has no more: thousands of
/// records are read without a call that only finds their end.
fn read_whole(mut file: File, length: usize) -> std::io::Result<Vec<u8>> {
    let mut content = vec![0; length + 1];
    let read = loop {
        match file.read(&mut content) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            answer => break answer?,
        }
    };
    content.truncate(read);
    if read != length {
        file.take(LONGEST).read_to_end(&mut content)?;
    }
    Ok(content)
}

/// Replaces a small file as a whole.
pub fn write(commits: &Commits, path: &Path, content: &[u8], durable: bool) -> Result<()> {
    const ACT: &str = "write";
    let (directory, name) = open_directory_of(ACT, path)?;
    let writer = durable.then(|| commits.join(directory.as_fd())).transpose().map_err(failed(ACT, path))?;
    let temporary = temporary_name(name);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let create = || openat(&directory, &temporary, flags, Mode::from_raw_mode(MODE));
    let file = match create() {
        Err(Errno::EXIST) => {
            // A killed run's; records are written under their volume's lock, so nobody is at it now.
            super::files::remove_own(ACT, &path.with_file_name(&temporary))?;
            create()
        }
        answer => answer,
    };
    let mut file = File::from(file.map_err(refused(ACT, path))?);
    let mut replace = || -> Result<()> {
        file.write_all(content).map_err(failed(ACT, path))?;
        if let Some(writer) = &writer {
            writer.commit(file.as_fd()).map_err(failed(ACT, path))?;
        }
        renameat(&directory, &temporary, &directory, name).map_err(refused(ACT, path))
    };
    if let Err(error) = replace() {
        let _ = unlinkat(&directory, &temporary, AtFlags::empty());
        return Err(error);
    }
    match &writer {
        Some(writer) => writer.commit(directory.as_fd()).map_err(failed(ACT, path)),
        None => Ok(()),
    }
}

/// Appends a line to a small file that is there, ends with a whole line and stays small, in one call: a kill finds it done or not begun.
pub fn append(path: &Path, line: &[u8], most: u64) -> Result<Done> {
    const ACT: &str = "append to";
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        // A link in its place is not written through; replacing the file replaces the link.
        Err(Errno::NOENT | Errno::LOOP) => return Ok(Done::Already),
        Err(error) => return Err(refused(ACT, path)(error)),
    };
    let metadata = file.metadata().map_err(failed(ACT, path))?;
    let length = metadata.len();
    if !metadata.is_file() || length == 0 || length + line.len() as u64 > most {
        return Ok(Done::Already);
    }
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1).map_err(failed(ACT, path))?;
    if last != *b"\n" {
        return Ok(Done::Already);
    }
    let written = (&file).write(line).map_err(failed(ACT, path))?;
    if written != line.len() {
        return Err(wrong(
            ErrorKind::NoSpace,
            ACT,
            path,
            "only a part of the line could be written; what was before it counts",
        ));
    }
    Ok(Done::Changed)
}

/// Removes a small file.
pub fn remove(commits: &Commits, path: &Path, durable: bool) -> Result<Done> {
    const ACT: &str = "remove";
    let (directory, name) = match open_directory_of(ACT, path) {
        Err(error) if error.errno == Some(libc::ENOENT) => return Ok(Done::Already),
        answer => answer?,
    };
    let writer = durable.then(|| commits.join(directory.as_fd())).transpose().map_err(failed(ACT, path))?;
    match unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Done::Already),
        Err(error) => return Err(refused(ACT, path)(error)),
    }
    if let Some(writer) = &writer {
        writer.commit(directory.as_fd()).map_err(failed(ACT, path))?;
    }
    Ok(Done::Changed)
}

/// Flushes what was unlinked from a directory, unless the next flush at `before` does: a journal that both have keeps the order of what is
/// done (ext4, xfs). btrfs flushes one directory without another.
pub fn settle_removal(commits: &Commits, directory: &Path, before: &Path) -> Result<()> {
    const ACT: &str = "flush";
    const IN_ORDER: [i64; 2] = [libc::EXT4_SUPER_MAGIC, libc::XFS_SUPER_MAGIC];
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::empty()).map_err(refused(ACT, directory))?;
    let is = fstat(&opened).map_err(refused(ACT, directory))?;
    let same = stat(before).map_err(refused(ACT, before))?.st_dev == is.st_dev;
    if same && IN_ORDER.contains(&fstatfs(&opened).map_err(refused(ACT, directory))?.f_type) {
        return Ok(());
    }
    let writer = commits.join(opened.as_fd()).map_err(failed(ACT, directory))?;
    writer.commit(opened.as_fd()).map_err(failed(ACT, directory))
}

/// Moves a file into `directory` under its own name, or with a number behind it where that is taken.
pub fn set_aside(path: &Path, directory: &Path) -> Result<PathBuf> {
    const ACT: &str = "set aside";
    super::files::make_dir(directory, 0o700)?;
    let name = path.file_name().ok_or_else(|| wrong(ErrorKind::Invalid, ACT, path, "it has no name"))?;
    for number in 0..ASIDE_TRIES {
        let mut candidate = name.to_owned();
        if number > 0 {
            candidate.push(format!(".{number}"));
        }
        let to = directory.join(candidate);
        match renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
            Ok(()) => {
                if let Ok(opened) = File::open(directory) {
                    opened.sync_all().map_err(failed(ACT, directory))?;
                }
                return Ok(to);
            }
            Err(Errno::EXIST) => {}
            Err(error) => return Err(refused(ACT, path)(error)),
        }
    }
    Err(wrong(ErrorKind::Exists, ACT, directory, format!("it has {ASIDE_TRIES} files of that name; remove some")))
}

/// The opened directory that holds `path`, readable so that it can be flushed, and the last name.
pub fn open_directory_of<'a>(act: &'static str, path: &'a Path) -> Result<(OwnedFd, &'a OsStr)> {
    let name = path.file_name().ok_or_else(|| wrong(ErrorKind::Invalid, act, path, "it has no name"))?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, above, flags, Mode::empty()).map_err(refused(act, above))?;
    Ok((directory, name))
}

/// `.NAME.tmp`.
fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    temporary
}

/// The names in a directory, sorted; none when it is missing.
pub fn list(directory: &Path) -> Result<Vec<OsString>> {
    const ACT: &str = "list";
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        answer => answer.map_err(failed(ACT, directory))?,
    };
    let names: std::io::Result<Vec<OsString>> = entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    let mut names = names.map_err(failed(ACT, directory))?;
    names.sort();
    Ok(names)
}
