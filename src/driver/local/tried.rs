//! Mount options that a volume is to have from now on, tried on a scratch file system before anything is taken down for them: what this
//! kernel takes, it alone can say.

use crate::driver::{Refusal, Result};
use crate::host::{ErrorKind, FormatRequest, NewImage, TrialRequest};
use crate::model::mount_options::MountKind;
use crate::model::record::VolumeRecord;
use crate::model::{Capacity, FsUuid, SectorSize, VolumeSpec, remount};

use super::session::Session;
use super::{growth, stage};

/// As large as any of the file systems needs to be.
const MOST: Capacity = Capacity::mib(512);

/// Refuses options that only a new mount takes and this kernel does not. What keeps it from being asked refuses nothing.
pub(super) fn options(s: &Session<'_>, record: &VolumeRecord, wanted: &VolumeSpec) -> Result<()> {
    let (Some(fs), Some(kind)) = (&wanted.fs, MountKind::of(wanted)) else { return Ok(()) };
    let is = &record.spec.mount_options;
    // What somebody else made may have features of which nobody here knows, and which the options need.
    let known = !record.adopted && !record.rebuilt && record.spec.source.is_none();
    if !known || remount::only_at_mount(kind, is, &wanted.mount_options).is_empty() {
        return Ok(());
    }
    let part = growth::files(s, record)?.scratch;
    let sector_size = wanted.backing.as_image().map_or_else(SectorSize::default, |image| image.sector_size);
    let request = TrialRequest {
        part: part.clone(),
        fs: fs.fs_type,
        options: stage::options(s, wanted, false, &wanted.mount_options)?,
        sector_size,
        discard: true,
    };
    let size = wanted.required().map_or(MOST, |size| size.min(MOST));
    let format = FormatRequest {
        path: part.clone(),
        fs: fs.fs_type,
        uuid: FsUuid::random(),
        label: None,
        options: record.spec.fs.as_ref().map_or_else(Vec::new, |fs| fs.mkfs_options.clone()),
        sector_size,
        fresh_image: true,
        discard: true,
        block: None,
        resume: false,
        template: false,
    };
    let made = s.host().create_image(&NewImage { part: part.clone(), size, full: false });
    let verdict = match made.and_then(|_| s.host().format(&format, s.lock.own())) {
        Ok(_) => s.host().try_filesystem(&request),
        Err(_) => Ok(()),
    };
    // One that stays is removed with the next trial, or by the next apply of its project.
    let _ = s.host().remove_image(&part, None);
    let Err(error) = verdict else { return Ok(()) };
    if error.kind != ErrorKind::Unsupported {
        return Ok(());
    }
    let new = wanted.mount_options.iter().filter(|option| !is.contains(option));
    let new: Vec<&str> = new.map(String::as_str).collect();
    let said = if error.cause.is_empty() { String::new() } else { format!(": {}", error.cause) };
    Err(s.refuse(
        Refusal::Unsupported,
        format!("this kernel does not mount {} with {}{said}; nothing was changed", fs.fs_type, new.join(", ")),
        "leave that out of mount_options",
    ))
}
