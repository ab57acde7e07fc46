//! What is on a device or in an image file: [`Probe`], with evidence. Own code, because `blkid` answers "nothing found" and
//! "could not read" with one exit code, and storage has been destroyed by that.
//!
//! A probe reads a fixed set of byte ranges ([`view`]): the first 516 KiB, the last 512 to 768 KiB, and a few blocks between
//! where copies of superblocks lie. One file a family of signatures then looks at those bytes. The rules:
//!
//! - One range that cannot be read, or comes short, and the answer is [`Probe::Unreadable`]; so does a device of no bytes.
//! - [`Probe::Blank`] needs every one of those bytes to be zero, and those of some 500 pages spread over the rest: a head that was erased
//!   by accident leaves a file system that can be rescued. Data that no family knows is [`Probe::Ambiguous`] with the
//!   kind [`UNRECOGNISED`]: it may be a file system this program has not heard of, or a plain file. `blkid` would call it empty.
//! - A signature is *sound* when its own checksum (or, where it has none, its fields) agrees. One sound signature is
//!   [`Probe::Known`], several that contradict each other are ambiguous.
//! - What is not sound (a damaged superblock with its magic intact, a backup without its primary) never makes anything known,
//!   but keeps it from being blank: ambiguous, unless something sound is there.
//! - A sound ext, XFS or btrfs owns what lies inside it from [`OWNED_FROM`] on: a file's content may look like a RAID
//!   superblock or a partition table, and whoever may write files must not decide how the volume is seen.

pub mod view;

mod btrfs;
mod erofs;
mod exfat;
pub(crate) mod ext;
mod f2fs;
mod fat;
mod gpt;
mod iso9660;
mod luks;
mod lvm;
mod mbr;
mod md;
mod ntfs;
mod squashfs;
mod swap;
mod xfs;
mod zfs;

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

pub use crate::model::probe::UNRECOGNISED;
use crate::model::{FsType, Probe, Signature};

use view::View;
pub use view::{ReadAt, ReadFailure};

/// From here on a sound file system owns the bytes inside it; before, a second signature contradicts it. No file system of
/// the three keeps file content in its first 8 KiB.
const OWNED_FROM: u64 = 8192;

/// One signature and how far it is to be trusted.
#[derive(Debug)]
struct Finding {
    signature: Signature,
    /// Its checksum, or where it has none its fields, agree.
    sound: bool,
    /// For file systems that own what lies inside them: their size in bytes.
    owns: Option<u64>,
}

impl Finding {
    fn new(kind: &str, offset: u64, magic: &[u8]) -> Self {
        let signature = Signature { kind: kind.to_owned(), uuid: None, label: None, offset, magic: magic.to_owned() };
        Self { signature, sound: true, owns: None }
    }

    fn uuid(mut self, uuid: Option<String>) -> Self {
        self.signature.uuid = uuid;
        self
    }

    fn label(mut self, label: Option<String>) -> Self {
        self.signature.label = label;
        self
    }

    fn sound(mut self, sound: bool) -> Self {
        self.sound = sound;
        self
    }

    fn owns(mut self, bytes: u64) -> Self {
        self.owns = Some(bytes);
        self
    }
}

type Found = Result<Option<Finding>, ReadFailure>;

/// The families; the partition tables come last because they look at boot sectors that FAT, NTFS and exFAT share.
const FAMILIES: [fn(&View<'_>) -> Found; 15] = [
    ext::find,
    xfs::find,
    btrfs::find,
    swap::find,
    lvm::find,
    luks::find,
    squashfs::find,
    iso9660::find,
    fat::find,
    ntfs::find,
    exfat::find,
    zfs::find,
    erofs::find,
    f2fs::find,
    gpt::find,
];

/// What is on `reader`. Never fails: that something could not be read is an answer.
pub fn probe(reader: &dyn ReadAt) -> Probe {
    match try_probe(reader) {
        Ok(probe) => probe,
        Err(ReadFailure { offset, cause }) => Probe::Unreadable { offset, cause },
    }
}

/// What is on the device or in the image file at `path`; a last symbolic link is followed.
pub fn probe_path(path: &Path) -> Probe {
    match open(path) {
        Ok(file) => probe(&file),
        Err(error) => Probe::Unreadable { offset: 0, cause: error.to_string() },
    }
}

/// Opens a device or image file for reading; anything else (a directory, a fifo) is refused without waiting for it.
fn open(path: &Path) -> std::io::Result<File> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || kind.is_block_device() {
        return Ok(file);
    }
    Err(std::io::Error::other("it is neither a regular file nor a block device"))
}

fn try_probe(reader: &dyn ReadAt) -> Result<Probe, ReadFailure> {
    let view = View::load(reader)?;
    // Most of what is probed is blank, and a run of zeros holds no signature.
    let Some((offset, bytes)) = view.first_data() else {
        let sampled = view::sampled_data(reader)?;
        let found = sampled.map(|(offset, bytes)| Finding::new(UNRECOGNISED, offset, &bytes).signature);
        return Ok(found.map_or(Probe::Blank, |found| Probe::Ambiguous(vec![found])));
    };
    let mut findings = Vec::new();
    for family in FAMILIES {
        findings.extend(family(&view)?);
    }
    findings.extend(md::find(&view)?);
    if !findings.iter().any(|finding| mbr::BOOT_SECTOR_KINDS.contains(&finding.signature.kind.as_str())) {
        findings.extend(mbr::find(&view)?);
    }
    if findings.is_empty() {
        return Ok(Probe::Ambiguous(vec![Finding::new(UNRECOGNISED, offset, bytes).signature]));
    }
    Ok(judge(findings))
}

/// One answer from all that was found.
fn judge(findings: Vec<Finding>) -> Probe {
    let (sound, damaged): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| finding.sound);
    let content = |at: u64| {
        let inside = |owner: &Finding| owner.signature.offset < at && owner.owns.is_some_and(|end| at < end);
        at >= OWNED_FROM && sound.iter().any(inside)
    };
    let mut left: Vec<Signature> =
        sound.iter().map(|finding| &finding.signature).filter(|s| !content(s.offset)).cloned().collect();
    match left.len() {
        0 => Probe::Ambiguous(damaged.into_iter().map(|finding| finding.signature).collect()),
        1 => Probe::Known(left.remove(0)),
        _ => Probe::Ambiguous(left),
    }
}

/// Whether `reader` holds exactly this file system, looking at its own superblock only: after a mkfs or a copy on storage
/// that was blank, where nothing else can be.
///
/// # Errors
/// A place that could not be read.
pub fn probe_one(reader: &dyn ReadAt, fs: FsType) -> Result<Option<Signature>, ReadFailure> {
    let view = View::on_demand(reader)?;
    let finding = match fs {
        FsType::Ext4 => ext::find(&view)?,
        FsType::Xfs => xfs::find(&view)?,
        FsType::Btrfs => btrfs::find_all(&view)?,
    };
    Ok(finding.filter(|finding| finding.sound).map(|finding| finding.signature))
}

/// The size in bytes that a file system's own superblock gives it; `None` where there is no sound superblock of that type.
///
/// # Errors
/// A place that could not be read.
pub fn filesystem_size(reader: &dyn ReadAt, fs: FsType) -> Result<Option<u64>, ReadFailure> {
    let view = View::on_demand(reader)?;
    let finding = match fs {
        FsType::Ext4 => ext::find(&view)?,
        FsType::Xfs => xfs::find(&view)?,
        FsType::Btrfs => btrfs::find(&view)?,
    };
    Ok(finding.filter(|finding| finding.sound).and_then(|finding| finding.owns))
}

#[cfg(test)]
mod tests;
