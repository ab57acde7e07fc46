//! Whether the kernel can use a file system that was made with options of a user's own, asked before its image gets a name: an image that no
//! kernel mounts could only be let go of by name afterwards. The kernel is asked for the superblock and nothing is mounted anywhere.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsopen};

use super::errors::wrong;
use super::{loops, options};
use crate::host::{ErrorKind, Result, TrialRequest};

const ACT: &str = "try to mount";

/// Asks the kernel for the superblock of an image in the making, and lets it go.
///
/// # Errors
/// The kernel refuses the file system or the options, with what it says. What only keeps it from being asked is no error.
pub fn filesystem(request: &TrialRequest) -> Result<()> {
    let Ok(attached) = loops::attach_in_the_making(&request.part, request.sector_size, request.discard) else {
        return Ok(());
    };
    let data = options::split(&request.options).data;
    let verdict = superblock(request.fs.as_str(), &attached.device.node(), &data);
    let (index, file) = (attached.device.index, attached.device.backing);
    drop(attached);
    // It goes with its last user; the volume's own attach is to find none that is about to go.
    let _ = loops::detach(index, file);
    match verdict {
        Err((Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::NODEV | Errno::SRCH | Errno::NOPKG, said)) => {
            Err(wrong(ErrorKind::Unsupported, ACT, &request.part, said))
        }
        _ => Ok(()),
    }
}

/// A superblock that is let go at once; a refusal with the messages that the kernel has for it.
pub fn superblock(fs_type: &str, source: &Path, data: &str) -> std::result::Result<(), (Errno, String)> {
    let fs = fsopen(fs_type, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|error| (error, error.to_string()))?;
    let ask = || -> rustix::io::Result<()> {
        fsconfig_set_string(fs.as_fd(), "source", source)?;
        for option in split_data(data) {
            match option.split_once('=') {
                Some((key, value)) => fsconfig_set_string(fs.as_fd(), key, value.trim_matches('"'))?,
                None => fsconfig_set_flag(fs.as_fd(), option)?,
            }
        }
        fsconfig_create(fs.as_fd())
    };
    let Err(error) = ask() else { return Ok(()) };
    let mut lines = Vec::new();
    let mut line = [0u8; 1024];
    // One read is one message; ENODATA ends them.
    while let Ok(length @ 1..) = rustix::io::read(&fs, &mut line) {
        let text = String::from_utf8_lossy(&line[..length]);
        lines.push(text.trim_end().trim_start_matches(['e', 'w', 'i']).trim_start().to_owned());
    }
    Err((error, if lines.is_empty() { String::new() } else { lines.join("; ") }))
}

/// Splits at commas that are not in quotes.
fn split_data(data: &str) -> Vec<&str> {
    let mut quoted = false;
    let parts = data.split(move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_split_outside_quotes() {
        assert_eq!(split_data("a,context=\"x:y,z\",b=1,"), ["a", "context=\"x:y,z\"", "b=1"]);
        assert!(split_data("").is_empty());
    }
}
