//! Taking a mount away: only the topmost one, only when it is the one meant, and believed only after a second look.
//!
//! The target is named as an entry of its opened parent, for the look as for the act: a descriptor of the target itself would be of
//! the mount, and keep it busy, and by its path alone somebody could exchange a parent between the two. umount2 with
//! UMOUNT_NOFOLLOW refuses a link in its place.

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount as umount2};

use super::errors::{refused, wrong};
use super::lookup::Top;
use super::patience::patiently;
use super::{lookup, path, who};
use crate::host::{ErrorKind, HostError, Result, Unmount};
use crate::model::{Done, Mount};

const ACT: &str = "unmount";
/// Holders named in the message of a busy mount.
const NAMED: usize = 5;

/// Takes away the topmost mount at the target if it is the one meant.
pub fn unmount(request: &Unmount) -> Result<Done> {
    let (parent, name) = match path::open_parent(ACT, &request.trusted_root, &request.target) {
        Err(error) if error.errno == Some(libc::ENOENT) => return Ok(Done::Already),
        answer => answer?,
    };
    let Some(Top { mount: top, key }) = lookup::top_at(parent.as_fd(), &name, &request.target)? else {
        return Ok(Done::Already);
    };
    if !is_meant(request, &top) {
        let cause = format!(
            "{} ({}, device {}) is mounted there, which is not the one meant; it was left alone",
            top.source.display(),
            top.fs_type,
            top.device
        );
        return Err(wrong(ErrorKind::Foreign, ACT, &request.target, cause));
    }
    match patiently(
        |error| *error == Errno::BUSY,
        || umount2(path::proc_path(&parent).join(&name), UnmountFlags::NOFOLLOW),
    ) {
        Ok(()) => {}
        // Not a mount point any more, or no such path: somebody else took it away, or put a link there.
        Err(Errno::INVAL | Errno::NOENT) => {}
        Err(Errno::BUSY) => return Err(busy(request, &top)),
        Err(error) => return Err(refused(ACT, &request.target)(error)),
    }
    match lookup::place_of(key, parent.as_fd(), &name, &request.target)? {
        None => {}
        Some(place) if place == request.target => {
            return Err(wrong(ErrorKind::Verify, ACT, &request.target, "the mount is still there"));
        }
        // A rename that had begun before it was mounted may end after.
        Some(place) => {
            let cause =
                format!("the path was exchanged meanwhile: what was mounted there is at {} now", place.display());
            return Err(wrong(ErrorKind::UnsafePath, ACT, &request.target, cause));
        }
    }
    Ok(Done::Changed)
}

fn is_meant(request: &Unmount, mount: &Mount) -> bool {
    mount.device == request.expect && request.root.as_ref().is_none_or(|root| mount.root == *root)
}

fn busy(request: &Unmount, mount: &Mount) -> HostError {
    let holders = who::holders(mount.device, Some(&request.target)).unwrap_or_default();
    let named: Vec<String> = holders.iter().take(NAMED).map(who::describe).collect();
    let more = holders.len().saturating_sub(NAMED);
    let cause = match (named.is_empty(), more) {
        (true, _) => {
            "it is in use, by no process that can be seen (a loop device, swap file or mount on it?)".to_owned()
        }
        (false, 0) => format!("it is in use by {}", named.join(", ")),
        (false, more) => format!("it is in use by {} and {more} more", named.join(", ")),
    };
    HostError { errno: Some(libc::EBUSY), ..wrong(ErrorKind::Busy, ACT, &request.target, cause) }
}
