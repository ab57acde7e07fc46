//! Growing unmounted ext4 so that nothing can be lost, whatever fails or is killed at whatever moment.
//!
//! resize2fs and e2fsck write to a file system in place, a superblock even word by word: one failed write, or a kill between two,
//! leaves something that no kernel mounts. So neither ever gets at the volume. They work on a scratch file that holds a copy of its
//! metadata; only when a check finds the grown file system there clean is what has to change in the volume written to a log
//! ([`log`]). Until that log is whole and durable the volume is as it was, after that it is carried out, again and again if need be,
//! until it is done.

mod log;
mod scratch;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use super::ext_superblock::{self, PRIMARY, Superblock};
use super::format::open;
use super::fs_uuid::{Attach, replay_journal};
use super::helper::{Helper, Ran};
use super::parts;
use super::probe::view::ReadAt;
use super::small;
use crate::host::{ErrorKind, GrowthFiles, HostError, Lock, Result};
use crate::model::{Capacity, Done, FsType};

pub use log::finish;

const ACT: &str = "grow";
/// Zeros are written where they have to be, not punched: a hole in the scratch file means that nobody wrote there
/// (e2fsprogs, `lib/ext2fs/unix_io.c`).
const WRITE_ZEROS: [(&str, &str); 1] = [("UNIX_IO_NOZEROOUT", "1")];

/// What a file has at least of data where anything was written.
const PAGE: usize = 4096;

/// What is copied for the tools to work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copied {
    /// What describes the files, not what is in them: enough where no block has to move.
    Metadata,
    /// Everything.
    Whole,
}

/// Grows the ext4 on an unmounted device, or in an image that is not attached, to all of it.
///
/// # Errors
/// Those of [`settle`]; once that has written the log, an error means that [`finish`] has to carry it out before anybody uses the volume.
pub fn grow(device: &Path, files: &GrowthFiles, lock: &Lock, attach: Attach<'_>) -> Result<()> {
    let target = settle(device, files, lock, attach)?;
    log::carry_out(device, &target, &files.log).map(drop)
}

/// Tries the growth out and writes down what it changes: up to here nothing of the volume is. Answers the volume, opened so that nobody
/// mounts it.
///
/// # Errors
/// It is damaged, there is no room for scratch file or log, a tool failed, what comes of it is not clean
/// ([`ErrorKind::Ungrowable`]): the volume is as it was.
pub fn settle(device: &Path, files: &GrowthFiles, lock: &Lock, attach: Attach<'_>) -> Result<File> {
    work(device, files, None, lock, attach)
}

/// Tries out whether it could be grown to a size that its image does not have yet; nothing is written down.
///
/// # Errors
/// Those of [`settle`].
pub fn try_out(device: &Path, files: &GrowthFiles, to: u64, lock: &Lock, attach: Attach<'_>) -> Result<()> {
    work(device, files, Some(to), lock, attach).map(drop)
}

fn work(device: &Path, files: &GrowthFiles, tried: Option<u64>, lock: &Lock, attach: Attach<'_>) -> Result<File> {
    if ext_superblock::needs_recovery(&superblock(device, &open(device, false)?)?) {
        // The kernel's own replay can be cut short at any point; that of e2fsck can't.
        replay_journal(device, FsType::Ext4, attach)?;
    }
    let target = open(device, true)?;
    let before = superblock(device, &target)?;
    let size = match tried {
        Some(size) => size,
        None => target.size().map_err(|error| HostError::io(ACT, device, &error))?,
    };
    let block = ext_superblock::block_size(&before);
    let work = Work { device, target: &target, before: &before, size, logs: tried.is_none(), block, files, lock };
    // Which of several blocks in a page of the scratch file were written, nobody can tell.
    let whole = block < PAGE || ext_superblock::has_errors(&before) || ext_superblock::blocks_move(&before, size);
    let settled = if whole {
        work.on(Copied::Whole)
    } else {
        match work.on(Copied::Metadata) {
            Ok(false) => work.on(Copied::Whole),
            answer => answer,
        }
    };
    // Where that fails, the next growth and the next apply of its project remove it.
    let _ = std::fs::remove_file(&files.scratch);
    match settled {
        Ok(true) => Ok(target),
        Ok(false) => Err(ungrowable(device, size, "what resize2fs makes of a copy is not clean")),
        Err(error) => {
            // One that is not whole stands for nothing.
            let _ = std::fs::remove_file(&files.log);
            Err(error)
        }
    }
}

fn ungrowable(device: &Path, size: u64, why: &str) -> HostError {
    let cause = format!("its ext4 cannot become {}: {why}", Capacity::bytes(size));
    HostError::new(ErrorKind::Ungrowable, ACT, device, cause)
}

/// Whether a tool failed for what the machine did not give it, and may succeed another time.
fn is_of_the_system(output: &str) -> bool {
    let errnos = [
        libc::EIO,
        libc::ENOMEM,
        libc::EINTR,
        libc::EBUSY,
        libc::EMFILE,
        libc::EROFS,
        libc::ENOSPC,
        libc::EBADF,
        libc::EACCES,
        libc::ENOENT,
    ];
    errnos.iter().any(|errno| {
        // Both use the words of strerror(3); ours has its number behind them.
        let words = std::io::Error::from_raw_os_error(*errno).to_string();
        output.contains(words.split(" (os error").next().unwrap_or(&words))
    })
}

fn superblock(device: &Path, file: &File) -> Result<Superblock> {
    let read = ext_superblock::read(file, PRIMARY).map_err(|error| HostError::io(ACT, device, &error))?;
    read.ok_or_else(|| {
        let shown = device.display();
        let cause =
            format!("its superblock is damaged; look with 'e2fsck -n {shown}', repair with 'e2fsck -f {shown}'");
        HostError::new(ErrorKind::Invalid, ACT, device, cause)
    })
}

/// One growth.
struct Work<'a> {
    device: &'a Path,
    target: &'a File,
    before: &'a Superblock,
    size: u64,
    /// Whether it is carried out afterwards, and not only tried.
    logs: bool,
    block: usize,
    files: &'a GrowthFiles,
    lock: &'a Lock,
}

impl Work<'_> {
    /// Grows a copy and logs what differs. `false` when this copy will not do: more has to be copied.
    fn on(&self, copied: Copied) -> Result<bool> {
        let scratch = &self.files.scratch;
        let whole = copied == Copied::Whole;
        let file = match copied {
            Copied::Metadata => {
                let file = parts::create(ACT, scratch)?;
                let tool = self.tool("e2image", &file);
                let ran = tool.run(["-r".as_ref(), self.device.as_os_str(), tool.place().as_os_str()])?;
                self.succeeded(&ran)?;
                file.set_len(self.size).map_err(|error| HostError::io(ACT, scratch, &error))?;
                // What e2image lost or made up must not be taken for the growth's doing.
                if !scratch::is_part_of(&file, self.target, self.block, scratch, self.device)? {
                    return Ok(false);
                }
                file
            }
            Copied::Whole => scratch::copy(self.target, self.device, scratch, self.size)?,
        };
        let preen = ["-f", if whole { "-p" } else { "-n" }];
        let checked = self.check(&file, &preen)?;
        match checked.status.code() {
            Some(0) => {}
            Some(1) if whole => {}
            Some(code) if whole && code & 4 != 0 => {
                let shown = self.device.display();
                let cause = format!("it has errors that are not safe to repair by itself; run 'e2fsck -f {shown}'");
                return Err(HostError { cause, ..checked.failure(ACT, self.device) });
            }
            Some(code) if !whole && code & 4 != 0 => return Ok(false),
            _ => return Err(checked.failure(ACT, self.device)),
        }
        // Forced, since it would ask for the check that has just been made.
        let tool = self.tool("resize2fs", &file);
        let place = tool.place();
        let said = ["-f".as_ref(), "-p".as_ref(), "--".as_ref(), place.as_os_str()];
        let ran = tool.run_with(said, &WRITE_ZEROS)?;
        self.succeeded(&ran).map_err(|error| match (error.kind, ran.status.code()) {
            (ErrorKind::ToolFailed, Some(_)) if whole && !is_of_the_system(&ran.output) => {
                let why = format!("resize2fs refuses it for a copy: {}", error.cause);
                HostError { tool_output: error.tool_output, ..ungrowable(self.device, self.size, &why) }
            }
            _ => error,
        })?;
        let moved = ["Relocating blocks", "Scanning inode table"].iter().any(|pass| ran.output.contains(pass));
        if moved && !whole {
            return Ok(false);
        }
        let checked = self.check(&file, &["-f", "-n"])?;
        match checked.status.code() {
            Some(0) => {}
            Some(code) if code & 4 != 0 => return Ok(false),
            // Killed, or it could not read: that says nothing of the copy.
            _ => return Err(checked.failure(ACT, self.device)),
        }
        if !self.logs {
            return Ok(true);
        }
        let grown = log::Grown {
            scratch: &file,
            target: self.target,
            device: self.device,
            uuid: ext_superblock::uuid(self.before),
            block: self.block,
            in_doubt: if whole { 0 } else { ext_superblock::size(self.before) },
        };
        log::write(&grown, self.files)
    }

    /// One that works on the scratch file, opened.
    fn tool<'a>(&'a self, tool: &'static str, scratch: &'a File) -> Helper<'a> {
        let (object, file) = (&self.files.scratch, Some(scratch.as_fd()));
        Helper { tool, act: ACT, object, file, lock: self.lock.file(), limit: None }
    }

    fn check(&self, scratch: &File, options: &[&str]) -> Result<Ran> {
        let tool = self.tool("e2fsck", scratch);
        let place = tool.place();
        let arguments = options.iter().map(AsRef::as_ref).chain([std::ffi::OsStr::new("--"), place.as_os_str()]);
        tool.run_with(arguments, &WRITE_ZEROS)
    }

    fn succeeded(&self, ran: &Ran) -> Result<()> {
        if ran.status.success() {
            return Ok(());
        }
        let mut error = ran.failure(ACT, self.device);
        if ran.output.contains("No space left") {
            error.kind = ErrorKind::NoSpace;
            error.cause =
                format!("there is no room for {}, on which its growth is tried out", self.files.scratch.display());
        }
        Err(error)
    }
}

/// Whether a growth was begun and has still to be carried out.
pub fn is_pending(log: &Path) -> Result<bool> {
    Ok(super::files::stat(log)?.is_some())
}

/// Removes a log for good: what it says may never be done again once the volume is in use.
fn forget(log: &Path) -> Result<Done> {
    let (directory, _) = small::open_directory_of(ACT, log)?;
    match std::fs::remove_file(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Done::Already),
        answer => answer.map_err(|error| HostError::io(ACT, log, &error))?,
    }
    rustix::fs::fsync(directory).map_err(|errno| HostError::io(ACT, log, &errno.into()))?;
    Ok(Done::Changed)
}

#[cfg(test)]
mod tests {
    use super::is_of_the_system;

    #[test]
    fn what_the_machine_refuses_is_told_from_what_cannot_be() {
        for (said, system) in [
            ("resize2fs: Input/output error while trying to resize x", true),
            ("resize2fs: No space left on device while trying to resize x", true),
            ("resize2fs: Attempt to read block from filesystem resulted in short read", false),
            ("resize2fs: Not enough reserved gdt blocks for resizing", false),
        ] {
            assert_eq!(is_of_the_system(said), system, "{said}");
        }
    }
}
