//! Binding: open_tree(CLONE) makes a copy of a mount that is nowhere yet, mount_setattr gives it its flags there, move_mount puts
//! it in place. There is no moment in which a read-only bind is writable, which MS_BIND followed by a remount can't say.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, StatxFlags, statx};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use super::errors::{failed, refused, wrong};
use super::landing::{Landing, propagation_bits};
use super::{lookup, mount, options, path, sys};
use crate::host::{BindMount, ErrorKind, FsMount, Result};
use crate::model::{BlockId, Done, Propagation, PublishKind};

const ACT: &str = "bind";

/// Binds a directory of a staged mount, or a device node, to a target that exists.
pub fn bind(request: &BindMount) -> Result<()> {
    let source = match request.kind {
        PublishKind::Mount => open_staged(request)?,
        PublishKind::Device => open_node(request)?,
    };
    let mut attributes = options::attributes(&request.options, always(request));
    attributes.propagation = propagation_bits(request.propagation);
    let (from, _) = lookup::mount_of(source.as_fd(), &request.source)?;
    let landing = Landing::open(ACT, &request.trusted_root, &request.target)?;
    place(source.as_fd(), &attributes, &landing, &request.source)?;
    landing.settle(request.propagation, |mount| mount.device == from.device).map(drop)
}

/// Flags that a bind has whatever its options are.
fn always(request: &BindMount) -> u64 {
    let read_only = if request.read_only { sys::attr::RDONLY } else { 0 };
    read_only
        | match request.kind {
            PublishKind::Mount => sys::attr::NOSUID | sys::attr::NODEV,
            // nodev would refuse to open the very node that is published.
            PublishKind::Device => sys::attr::NOSUID | sys::attr::NOEXEC,
        }
}

/// Gives a bind that is there its flags, those it has and is not asked for taken away in the same call.
pub fn change_flags(request: &BindMount) -> Result<Done> {
    const ACT: &str = "change the flags of";
    let fd = path::open_target(ACT, &request.trusted_root, &request.target)?;
    let (before, is_root) = lookup::mount_of(fd.as_fd(), &request.target)?;
    if !is_root || before.target != request.target {
        return Err(wrong(ErrorKind::NotFound, ACT, &request.target, "nothing is mounted there"));
    }
    if before.device != request.expect {
        let cause =
            format!("the file system of device {} is mounted there, not that of {}", before.device, request.expect);
        return Err(wrong(ErrorKind::Foreign, ACT, &request.target, cause));
    }
    let attributes = exactly(options::attributes(&request.options, always(request)));
    sys::mount_setattr(fd.as_fd(), &attributes).map_err(failed(ACT, &request.target))?;
    let (after, _) = lookup::mount_of(fd.as_fd(), &request.target)?;
    Ok(if before.options == after.options { Done::Already } else { Done::Changed })
}

/// The same attributes, with all others cleared.
fn exactly(mut attributes: sys::MountAttr) -> sys::MountAttr {
    use sys::attr;
    let all = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NODIRATIME | attr::NOSYMFOLLOW;
    attributes.clear |= (all & !attributes.set) | attr::ATIME_MASK;
    attributes
}

/// A directory of the staged mount: the path has to be a mount of the device meant, never the plain directory below it.
fn open_staged(request: &BindMount) -> Result<OwnedFd> {
    let fd = mount::open_directory(ACT, &request.source)?;
    let (staged, is_root) = lookup::mount_of(fd.as_fd(), &request.source)?;
    if !is_root {
        return Err(wrong(
            ErrorKind::Foreign,
            ACT,
            &request.source,
            "nothing is mounted there; the volume is not staged",
        ));
    }
    if staged.device != request.expect {
        let cause =
            format!("the file system of device {} is mounted there, not that of {}", staged.device, request.expect);
        return Err(wrong(ErrorKind::Foreign, ACT, &request.source, cause));
    }
    match &request.sub_path {
        Some(sub_path) => path::open_sub_path(fd.as_fd(), sub_path, &request.source),
        None => Ok(fd),
    }
}

/// A device node, which has to be the device meant and, for a read-only bind, has to refuse writes itself.
fn open_node(request: &BindMount) -> Result<OwnedFd> {
    use rustix::fs::{CWD, Mode, OFlags, openat};
    // The stable names of a device are links. Which device it has to be is known, so where they lead is judged by what is found there.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let fd = openat(CWD, &request.source, flags, Mode::empty()).map_err(refused(ACT, &request.source))?;
    let facts = statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map_err(refused(ACT, &request.source))?;
    let found = BlockId { major: facts.stx_rdev_major, minor: facts.stx_rdev_minor };
    if FileType::from_raw_mode(facts.stx_mode.into()) != FileType::BlockDevice || found != request.expect {
        let cause = format!("it is not block device {}", request.expect);
        return Err(wrong(ErrorKind::Foreign, ACT, &request.source, cause));
    }
    if request.read_only {
        // A read-only bind of a node does not stop anybody from writing to the device (the mount's flag is about the inode).
        let readable = openat(CWD, path::proc_path(&fd), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(refused(ACT, &request.source))?;
        if !sys::block_read_only(readable.as_fd()).map_err(failed(ACT, &request.source))? {
            let cause =
                "the device takes writes, and a read-only bind of its node would not stop them; attach it read-only";
            return Err(wrong(ErrorKind::Invalid, ACT, &request.source, cause));
        }
    }
    Ok(fd)
}

/// A directory volume: its tree, seen at the staging path.
pub fn directory(request: &FsMount) -> Result<()> {
    const ACT: &str = "mount";
    let source = mount::open_directory(ACT, &request.source)?;
    let (from, _) = lookup::mount_of(source.as_fd(), &request.source)?;
    if let Some(expect) = request.expect {
        let facts =
            statx(&source, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map_err(refused(ACT, &request.source))?;
        let found = BlockId { major: facts.stx_dev_major, minor: facts.stx_dev_minor };
        if found != expect && from.device != expect {
            let cause = format!("the directory lies on device {found}, not on {expect}");
            return Err(wrong(ErrorKind::Foreign, ACT, &request.source, cause));
        }
    }
    let mut attributes = directory_attributes(request, false);
    let propagation = if request.shared { Propagation::Bidirectional } else { Propagation::None };
    attributes.propagation = propagation_bits(propagation);
    let landing = Landing::open(ACT, &request.trusted_root, &request.target)?;
    place(source.as_fd(), &attributes, &landing, &request.source)?;
    landing.settle(propagation, |mount| mount.device == from.device).map(drop)
}

/// The flags of a directory volume's mount; in place also those that are no longer asked for are cleared.
pub fn directory_attributes(request: &FsMount, in_place: bool) -> sys::MountAttr {
    let attributes = options::attributes(&request.options, 0);
    if in_place { exactly(attributes) } else { attributes }
}

/// Clones what `source` is open on, gives the clone its flags while nobody sees it, and moves it onto the landing.
fn place(source: BorrowedFd<'_>, attributes: &sys::MountAttr, landing: &Landing<'_>, object: &Path) -> Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(source, c"", flags).map_err(refused(landing.act, object))?;
    sys::mount_setattr(tree.as_fd(), attributes).map_err(failed(landing.act, object))?;
    let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, c"", &landing.fd, c"", how).map_err(refused(landing.act, landing.target))
}
