//! Making a file system: prove that nothing is lost, make it, read it back.
//!
//! What lies there has to be blank. The one exception is what csictl itself began under the same UUID before it was killed
//! ([`FormatRequest::resume`]); that is erased first, so that no mkfs ever has to be forced. The exit status of a mkfs says
//! nothing: `mkfs.btrfs` has exited 0 with a superblock it could not write.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::SeekFrom;

use super::files::open_regular;
use super::patience::patiently;
use super::probe::{filesystem_size, probe, probe_one, view};
use super::{device, erase, ext_superblock, ext_template, mkfs, remains};
use crate::host::{ErrorKind, FormatRequest, Formatted, HostError, Lock, Result};
use crate::model::{Capacity, FsType, Probe};

const ACT: &str = "format";

/// Makes a file system on a device or in an image and verifies it. A mkfs that takes longer than `limit` is ended.
///
/// # Errors
/// Not blank, unreadable, a failed mkfs, or a result that is not what was asked for.
pub fn format(request: &FormatRequest, lock: &Lock, limit: Option<Duration>) -> Result<Formatted> {
    mkfs::check(request)?;
    // A link may turn at any moment; the kernel's own node of a device leads to it for as long as it is there.
    let node = request.block.map(|block| device::node(block, &request.path)).transpose()?;
    let request = &FormatRequest { path: node.unwrap_or_else(|| request.path.clone()), ..request.clone() };
    let path = &request.path;
    let file = if request.fresh_image { open_regular(ACT, path, true) } else { open(path, true) }?;
    // That a file is fresh is the caller's word; what may be assumed of it is only what the file system below says.
    let fresh_image = prove_blank(&file, request, lock, limit)?;
    let request = &FormatRequest { fresh_image, ..request.clone() };
    // A device is opened by each mkfs for itself alone.
    let image = file.metadata().is_ok_and(|facts| facts.is_file()).then_some(file);
    let formatted = match &image {
        Some(file) if request.fresh_image && request.fs == FsType::Ext4 && request.template => {
            ext_template::format(request, file, lock, limit)?
        }
        image => {
            mkfs::run(request, image.as_ref(), lock, limit)?;
            Formatted::Mkfs
        }
    };
    let file = image.map_or_else(|| open(&request.path, false), Ok)?;
    if !request.fresh_image {
        // An image is flushed when it gets its name; a device has to say now what it could not write.
        file.sync_all().map_err(|error| HostError::io(ACT, &request.path, &error))?;
    }
    verify(&file, request)?;
    Ok(formatted)
}

/// The size the file system on a device or in an image gives itself.
///
/// # Errors
/// No sound superblock of that type, or it could not be read.
pub fn size(path: &Path, fs: FsType) -> Result<Capacity> {
    let act = "read the file-system size of";
    let file = File::open(path).map_err(|error| HostError::io(act, path, &error))?;
    match filesystem_size(&file, fs) {
        Ok(Some(bytes)) => Ok(Capacity::bytes(bytes)),
        Ok(None) => Err(HostError::new(ErrorKind::Invalid, act, path, format!("there is no sound {fs} superblock"))),
        Err(failure) => Err(HostError::new(ErrorKind::Io, act, path, failure.to_string())),
    }
}

/// Opens for reading, or for writing where nobody else may have it: a block device in use answers EBUSY.
pub(super) fn open(path: &Path, exclusive: bool) -> Result<File> {
    let failed = |error: std::io::Error| HostError::io(ACT, path, &error);
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let device = std::fs::metadata(path).map_err(failed)?.file_type().is_block_device();
    if exclusive {
        let flags = if device { libc::O_NONBLOCK | libc::O_EXCL } else { libc::O_NONBLOCK };
        options.write(true).custom_flags(flags);
    }
    patiently(|error: &std::io::Error| error.raw_os_error() == Some(libc::EBUSY), || options.open(path)).map_err(failed)
}

/// Answers whether every byte is known to be zero, and not only those where a signature could lie.
fn prove_blank(file: &File, request: &FormatRequest, lock: &Lock, limit: Option<Duration>) -> Result<bool> {
    let path = &request.path;
    if request.fresh_image && is_untouched(file) {
        return Ok(true);
    }
    let found = probe(file);
    match &found {
        Probe::Blank => return Ok(false),
        Probe::Unreadable { .. } => {
            return Err(HostError::new(ErrorKind::Io, ACT, path, format!("it can't be proven blank: {found}")));
        }
        _ if !request.resume || !found.is_half_made(request.fs, request.uuid) => {
            let cause = format!("it is not blank: {found}; nothing that is not proven blank is ever formatted");
            return Err(HostError::new(ErrorKind::NotBlank, ACT, path, cause));
        }
        Probe::Known(_) | Probe::Ambiguous(_) => {}
    }
    if let Some(at) = remains::somebody_elses(file, request, lock, limit)? {
        let cause = format!(
            "it is not blank: a mkfs of csictl's was interrupted there, but at byte {at} lies what no mkfs of {} writes; it is left alone",
            request.fs
        );
        return Err(HostError::new(ErrorKind::NotBlank, ACT, path, cause));
    }
    erase::erase(file, path)?;
    Ok(false)
}

/// A regular file in which nothing was ever written: one call instead of reading it.
fn is_untouched(file: &File) -> bool {
    let regular = file.metadata().is_ok_and(|facts| facts.is_file() && facts.size() > 0);
    regular && rustix::fs::seek(file, SeekFrom::Data(0)) == Err(rustix::io::Errno::NXIO)
}

/// Reads back what was made.
fn verify(file: &File, request: &FormatRequest) -> Result<()> {
    let wrong = |cause: String| Err(HostError::new(ErrorKind::Verify, ACT, &request.path, cause));
    let found = match probe_one(file, request.fs) {
        Ok(Some(found)) => found,
        Ok(None) => return wrong(format!("no sound {} superblock is there after mkfs", request.fs)),
        Err(failure) => return wrong(failure.to_string()),
    };
    let uuid = request.uuid.to_string();
    if found.kind != request.fs.as_str() || found.uuid.as_ref() != Some(&uuid) {
        return wrong(format!("{found} is there after mkfs, not {} {uuid}", request.fs));
    }
    let label = request.label.as_deref().map(str::trim_end).filter(|label| !label.is_empty());
    if found.label.as_deref() != label {
        return wrong(format!("the label is {:?} after mkfs, not {label:?}", found.label));
    }
    if request.fs == FsType::Ext4 {
        let superblock = ext_superblock::read(file, ext_superblock::PRIMARY);
        if !superblock.is_ok_and(|found| found.is_some_and(|found| ext_superblock::remounts_read_only(&found))) {
            return wrong("errors=remount-ro is not in the superblock after mkfs".to_owned());
        }
    }
    let device = view::ReadAt::size(file).map_err(|error| HostError::io(ACT, &request.path, &error))?;
    match filesystem_size(file, request.fs) {
        Ok(Some(size)) if size <= device => Ok(()),
        size => wrong(format!("the file system has a size of {size:?} on {device} bytes after mkfs")),
    }
}
