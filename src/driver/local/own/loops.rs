//! The loop device of an image, found by the file behind it, and taken away.

use std::path::Path;

use crate::driver::Result;
use crate::driver::local::guard;
use crate::driver::local::session::Session;
use crate::host::{ErrorKind, FileKind};
use crate::model::record::VolumeRecord;
use crate::model::{Done, FileId, LoopDevice};

/// The loop device of an image: of the file at its path, if that is the volume's; else, of the file it was when this boot's record was
/// written. An inode number alone proves nothing: once freed, it is given to another file.
pub(in crate::driver::local) fn loop_of(s: &Session<'_>, record: &VolumeRecord) -> Result<Option<LoopDevice>> {
    Ok(loop_and_whether_former(s, record)?.map(|(device, _)| device))
}

pub(super) fn loop_and_whether_former(s: &Session<'_>, record: &VolumeRecord) -> Result<Option<(LoopDevice, bool)>> {
    let Some(backing) = record.spec.backing.as_image() else { return Ok(None) };
    let path = backing.image_path(&s.id);
    if let Some(file) = image_of(s, record, &path)
        && let Some(device) = s.host().loop_of_image(&path, file, s.hint()).map_err(|error| s.fail(error))?
    {
        return Ok(Some((device, false)));
    }
    if let Some(device) = loop_on_dead(s, record, &path) {
        return Ok(Some((device, false)));
    }
    Ok(former_loop(s, record)?.map(|device| (device, true)))
}

/// The loop device of an image whose pool has died. The kernel tells no inode any more; but it is the device that this boot's record names,
/// and was opened by the image's own name.
fn loop_on_dead(s: &Session<'_>, record: &VolumeRecord, path: &Path) -> Option<LoopDevice> {
    let (file, index) = (record.image?, s.run.present()?.loop_index?);
    s.host().stat(path).is_err().then(|| s.host().loop_on_dead(index, path, file))?
}

/// Takes the loop device of an image away. Behind one whose pool has died the kernel tells no file any more, only its path.
pub(in crate::driver::local) fn detach(s: &Session<'_>, record: &VolumeRecord, device: &LoopDevice) -> Result<Done> {
    let mut detached = s.host().detach_loop(device.index, device.backing);
    if let (Err(error), Some(backing)) = (&detached, record.spec.backing.as_image())
        && error.kind == ErrorKind::Io
    {
        detached = s.host().detach_dead(device.index, &backing.image_path(&s.id), device.backing);
    }
    detached.map_err(|error| s.busy(error, device.block, None))
}

/// The file at an image's path, if that is the volume's: the one recorded, or one that says so itself.
fn image_of(s: &Session<'_>, record: &VolumeRecord, path: &Path) -> Option<FileId> {
    let there = s.host().stat(path).ok().flatten()?;
    if there.kind == FileKind::File && record.image == Some(there.file) {
        return Some(there.file);
    }
    let image = s.host().image(path).ok().flatten()?;
    let is_it = record.image == Some(image.file) || guard::is_image_of(image.identity.as_ref(), &record.spec);
    is_it.then_some(image.file)
}

/// The loop device that still shows the file the image was before it was replaced or unlinked.
pub(in crate::driver::local) fn former_loop(s: &Session<'_>, record: &VolumeRecord) -> Result<Option<LoopDevice>> {
    let index = s.run.present().and_then(|run| run.loop_index);
    let (Some(file), Some(index)) = (record.image, index) else { return Ok(None) };
    let device = s.host().loop_of(file, Some(index)).map_err(|error| s.fail(error))?;
    Ok(device.filter(|device| device.index == index))
}
