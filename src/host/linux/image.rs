//! Image files: made under a temporary name nobody takes for an image, grown only with the space at hand, put in place
//! without ever covering another, removed only when they are the file meant.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FallocateFlags, RenameFlags, fallocate, renameat_with, unlinkat};
use rustix::io::Errno;

use super::commit::Commits;
use super::errors::{failed, refused, wrong};
use super::parts::Parts;
use super::{files, identity, loops, small};
use crate::host::{ErrorKind, HostError, NewImage, Place, Result};
use crate::model::observed::ObservedImage;
use crate::model::{Capacity, Done, FileId};

/// An image as it lies there.
pub fn observe(path: &Path) -> Result<Option<ObservedImage>> {
    let Some(facts) = files::stat(path)? else { return Ok(None) };
    if facts.kind != crate::host::FileKind::File {
        return Err(wrong(ErrorKind::Foreign, "look at image", path, "it is not a regular file"));
    }
    Ok(Some(ObservedImage {
        path: path.to_owned(),
        file: facts.file,
        size: Capacity::bytes(facts.size),
        allocated: Capacity::bytes(facts.allocated),
        identity: identity::read(path)?,
    }))
}

/// Makes a new image at its temporary name.
pub fn create(parts: &Parts, image: &NewImage) -> Result<FileId> {
    const ACT: &str = "create image";
    let file = parts.create(ACT, &image.part)?;
    let size = image.size.get();
    let fill = || -> Result<FileId> {
        if image.full {
            allocate(&file, 0, size, ACT, &image.part)?;
        } else {
            file.set_len(size).map_err(failed(ACT, &image.part))?;
        }
        Ok(loops::file_id(&file.metadata().map_err(failed(ACT, &image.part))?))
    };
    fill().inspect_err(|_| {
        // What could not be filled must not keep the space it got.
        let _ = fs::remove_file(&image.part);
        parts.let_go(&image.part);
    })
}

/// Allocates bytes, and says how many are there when they are too few.
pub fn allocate(file: &File, from: u64, length: u64, act: &'static str, path: &Path) -> Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), from, length) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP) => {
                let cause = "the pool's file system cannot reserve space; use allocate = \"sparse\" or another pool";
                return Err(wrong(ErrorKind::Unsupported, act, path, cause));
            }
            Err(error @ (Errno::NOSPC | Errno::DQUOT)) => {
                let free = files::usage(path.parent().unwrap_or(path)).map_or(0, |usage| usage.free);
                let (need, free) = (Capacity::bytes(length), Capacity::bytes(free));
                let failure = refused(act, path)(error);
                return Err(HostError {
                    cause: format!("{}: it needs {need}, {free} are free", failure.cause),
                    ..failure
                });
            }
            Err(error) => return Err(refused(act, path)(error)),
        }
    }
}

/// Opens an image for a change, if it is the file meant.
pub fn open_ours(act: &'static str, path: &Path, file: FileId, write: bool) -> Result<File> {
    let opened = files::open_regular(act, path, write)?;
    let metadata = opened.metadata().map_err(failed(act, path))?;
    expect(act, path, &metadata, file)?;
    Ok(opened)
}

fn expect(act: &'static str, path: &Path, found: &fs::Metadata, expected: FileId) -> Result<()> {
    let id = loops::file_id(found);
    if id == expected && found.is_file() {
        return Ok(());
    }
    Err(wrong(ErrorKind::Foreign, act, path, format!("it is another file now: expected {expected}, found {id}")))
}

/// Gives an image more bytes.
pub fn resize(path: &Path, file: FileId, size: Capacity, full: bool) -> Result<Done> {
    const ACT: &str = "resize image";
    let opened = open_ours(ACT, path, file, true)?;
    let before = opened.metadata().map_err(failed(ACT, path))?.len();
    let size = size.get();
    if before == size {
        return Ok(Done::Already);
    }
    if size < before {
        return Err(wrong(
            ErrorKind::Invalid,
            ACT,
            path,
            format!("it has {before} bytes: an image is never cut to {size}"),
        ));
    }
    if full {
        // Allocating past the end grows the file only when all of it could be had; nothing changes on ENOSPC but spare blocks.
        if let Err(error) = allocate(&opened, before, size - before, ACT, path) {
            let _ = opened.set_len(before);
            return Err(error);
        }
    } else {
        opened.set_len(size).map_err(failed(ACT, path))?;
    }
    opened.sync_all().map_err(failed(ACT, path))?;
    Ok(Done::Changed)
}

/// Allocates every byte of an image.
pub fn allocate_all(path: &Path, file: FileId) -> Result<Done> {
    const ACT: &str = "allocate image";
    let opened = open_ours(ACT, path, file, true)?;
    let before = opened.metadata().map_err(failed(ACT, path))?;
    allocate(&opened, 0, before.len(), ACT, path)?;
    opened.sync_all().map_err(failed(ACT, path))?;
    let after = opened.metadata().map_err(failed(ACT, path))?;
    Ok(if after.blocks() == before.blocks() { Done::Already } else { Done::Changed })
}

/// Puts a finished image in its place, durably.
pub fn place(commits: &Commits, parts: &Parts, part: &Path, path: &Path, place: &Place) -> Result<()> {
    const ACT: &str = "place image";
    let (directory, _) = small::open_directory_of(ACT, path)?;
    let writer = commits.join(directory.as_fd()).map_err(failed(ACT, path))?;
    let finished = files::open_regular(ACT, part, false)?;
    writer.commit(finished.as_fd()).map_err(failed(ACT, part))?;
    parts.is_ours(ACT, part)?;
    let placed = match place {
        Place::New => rename_new(part, path),
        Place::Replace(old) => replace(part, path, *old),
    };
    parts.let_go(part);
    placed?;
    writer.commit(directory.as_fd()).map_err(failed(ACT, path))
}

fn rename_new(part: &Path, path: &Path) -> Result<()> {
    const ACT: &str = "place image";
    match renameat_with(CWD, part, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Err(wrong(ErrorKind::Exists, ACT, path, "a file is there already; it was left alone")),
        // vfat and some network file systems: a link has the same promise, where there are links.
        Err(Errno::INVAL) => {
            fs::hard_link(part, path).map_err(failed(ACT, path))?;
            fs::remove_file(part).map_err(failed(ACT, part))
        }
        answer => answer.map_err(refused(ACT, path)),
    }
}

/// Exchanges the two names and looks which file came back before it is unlinked: nobody can slip a third one in between.
fn replace(part: &Path, path: &Path, old: FileId) -> Result<()> {
    const ACT: &str = "replace image";
    match renameat_with(CWD, part, CWD, path, RenameFlags::EXCHANGE) {
        Err(Errno::NOENT) if fs::symlink_metadata(path).is_err() => return rename_new(part, path),
        answer => answer.map_err(refused(ACT, path))?,
    }
    let came_back = fs::symlink_metadata(part).map_err(failed(ACT, part))?;
    if let Err(error) = expect(ACT, path, &came_back, old) {
        renameat_with(CWD, part, CWD, path, RenameFlags::EXCHANGE).map_err(refused(ACT, path))?;
        return Err(error);
    }
    fs::remove_file(part).map_err(failed(ACT, part))
}

/// Unlinks an image if it is the file meant, and one at a temporary name if nobody else is making it.
pub fn remove(parts: &Parts, path: &Path, file: Option<FileId>) -> Result<Done> {
    const ACT: &str = "remove image";
    let unfinished = path.extension() == Some(OsStr::new("part"));
    let _kept = if unfinished { parts.to_take_away(ACT, path)? } else { None };
    let there = match fs::symlink_metadata(path) {
        Err(error) if files::is_missing(&error) => return Ok(Done::Already),
        answer => answer.map_err(failed(ACT, path))?,
    };
    if let Some(file) = file {
        expect(ACT, path, &there, file)?;
    } else if !there.is_file() {
        return Err(files::not_a_file(ACT, path, there.file_type()));
    }
    match unlinkat(CWD, path, AtFlags::empty()) {
        Ok(()) => Ok(Done::Changed),
        Err(Errno::NOENT) => Ok(Done::Already),
        Err(error) => Err(refused(ACT, path)(error)),
    }
}
