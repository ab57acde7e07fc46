//! Where growing unmounted ext4 keeps its two files, and what a growth that was cut short has left to do: it is done before anybody gets
//! at the file system.

use std::path::{Path, PathBuf};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{ErrorKind, GrowthFiles, HostError};
use crate::model::record::VolumeRecord;
use crate::model::{Backing, Capacity, Done, FsType};

use super::session::{Session, with_help};

/// Refuses a size to which no file system of that type could be grown.
pub(super) fn is_enough(s: &Session<'_>, fs: Option<FsType>, from: Capacity, to: Capacity) -> Result<()> {
    match fs.and_then(FsType::grown_least).filter(|least| to > from && to < *least) {
        None => Ok(()),
        Some(least) => Err(s.refuse(
            Refusal::OutOfRange,
            format!("the kernel resizes no btrfs to less than {least}"),
            format!("ask for {least} or more, or leave it at {from}"),
        )),
    }
}

/// Whether a file system of that type can be grown to that size.
pub(super) fn can_reach(fs: Option<FsType>, to: Capacity) -> bool {
    fs.and_then(FsType::grown_least).is_none_or(|least| to >= least)
}

/// A growth that failed, as the refusal it is where it was only tried.
pub(super) fn failed(s: &Session<'_>, has: Capacity, error: HostError) -> DriverError {
    if error.kind != ErrorKind::Ungrowable {
        return s.fail(error);
    }
    let help = format!("ask for another size, or for the {has} that it has");
    s.refuse(Refusal::OutOfRange, format!("{}; nothing was changed", error.cause), help)
}

/// The files of a growth: beside an image; a device's among the records.
pub(super) fn files(s: &Session<'_>, record: &VolumeRecord) -> Result<GrowthFiles> {
    if let Backing::Image(backing) = &record.spec.backing {
        return Ok(GrowthFiles { scratch: backing.part_path(&s.id), log: backing.growth_path(&s.id) });
    }
    let folder = s.layout().growth();
    s.host().make_dir(&folder, 0o700).map_err(|error| s.fail(error))?;
    Ok(GrowthFiles { scratch: folder.join(format!(".{}.img.part", s.id)), log: log(s, record) })
}

fn log(s: &Session<'_>, record: &VolumeRecord) -> PathBuf {
    match &record.spec.backing {
        Backing::Image(backing) => backing.growth_path(&s.id),
        _ => s.layout().growth().join(format!(".{}.img.grow", s.id)),
    }
}

/// Whether a growth of it was cut short.
pub(super) fn is_pending(s: &Session<'_>, record: &VolumeRecord) -> Result<bool> {
    if record.spec.fs_type() != Some(FsType::Ext4) {
        return Ok(false);
    }
    let found = s.host().stat(&log(s, record)).map_err(|error| s.fail(error))?;
    Ok(found.is_some())
}

/// Carries out what is left of a growth, on its device or on the image that is not attached.
pub(super) fn finish(s: &Session<'_>, record: &VolumeRecord, node: &Path) -> Result<Done> {
    if !is_pending(s, record)? {
        return Ok(Done::Already);
    }
    let log = log(s, record);
    s.host().finish_growth(node, &log).map_err(|error| {
        if error.kind == ErrorKind::Foreign {
            let help = format!("see what it is, and remove it: ls -ld {}", log.display());
            return s.refuse(Refusal::Foreign, error.to_string(), help);
        }
        if error.kind == ErrorKind::Verify {
            // The device it was looked at through may be gone by the time somebody reads this.
            let file = record.spec.backing.as_image().map_or_else(|| node.to_owned(), |image| image.image_path(&s.id));
            let help = format!(
                "check it with 'e2fsck -fn {}'; if that finds nothing wrong, remove {}: it is then used with the size it has",
                file.display(),
                log.display()
            );
            return s.refuse(Refusal::WrongIdentity, error.to_string(), help);
        }
        with_help(
            s.fail(error),
            s.way(
                "the next apply that can write to it finishes it; its data is not touched by that",
                "the same call finishes it once it can be written to; its data is not touched by that",
            ),
        )
    })
}

/// Forgets a growth together with the image it was of.
pub(super) fn forget(s: &Session<'_>, record: &VolumeRecord) -> Result<()> {
    if is_pending(s, record)? {
        s.host().remove_small(&log(s, record), true).map_err(|error| s.fail(error))?;
    }
    Ok(())
}
