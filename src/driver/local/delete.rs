//! delete (CSI 1.12, DeleteVolume) and release: what becomes of a volume that nobody wants any more. Only images are unlinked, and only those
//! that say they are this volume's; a device or directory is forgotten and keeps its bytes.

use crate::driver::{Refusal, Result};
use crate::model::action::{DeleteRequest, Outcome};
use crate::model::record::{FormatMark, Recorded, VolumeRecord};
use crate::model::{Backing, Done, Loss, VolumeId};

use super::backing::image;
use super::session::Session;
use super::unpublish::forget_targets;
use super::{LocalDriver, create, deleted, growth, guard, own, rebuild};

pub(super) fn delete(driver: &LocalDriver, request: &DeleteRequest) -> Result<Outcome> {
    let mut s = driver.open(&request.id)?;
    if matches!(s.record, Recorded::Absent) {
        return Ok(Done::Already.into());
    }
    if rebuild::is_lost(&s.record) && !rebuild::rebuild(&mut s)? {
        return Err(s.refuse(
            Refusal::Protected,
            format!(
                "its record {} is damaged and no image says it is this volume",
                s.layout().volume_record(&s.id).display()
            ),
            "put its image back, or create it again first: that makes the record anew",
        ));
    }
    let mut record = s.existing()?;
    if driver.unprotected.contains(&s.id) && image_is_gone(&s, &record)? {
        // The protection was lifted, and there is no image left that could be told so.
        record.spec.prevent_destroy = false;
    }
    guard::may_lose(&s, &record, Loss::Delete, request.approval.as_ref())?;
    unused(&s, &record)?;
    if let Backing::Image(backing) = record.spec.backing.clone() {
        let (path, was) = (backing.image_path(&s.id), record.image.or(record.removing));
        if s.host().stat(&path).map_err(|error| s.fail(error))?.is_none() {
            deleted::pool_is_there(driver, &s.object(), &path, was)?;
            if record.image.is_some() {
                // It may come back, from a backup or by who moved it away: then it is nobody's any more.
                deleted::mark(driver, &s.object(), &path)?;
            }
        }
        let finished = record.clone();
        // From here on the record is that of a volume never finished: killed after the image is gone, it is no loss but an
        // image still to be made, or a record still to be removed.
        record.removing = was;
        record.image = None;
        record.format = FormatMark::None;
        s.put_record(record.clone(), true)?;
        if let Err(error) = image::remove(&s, &finished, &backing) {
            // An image that is gone is one that is still to be made, however its removal ended.
            if s.host().stat(&path).is_ok_and(|there| there.is_some()) {
                let _ = s.put_record(finished, true);
            }
            return Err(error);
        }
    }
    if let Backing::Device(backing) = &record.spec.backing {
        // It keeps its bytes, and so it may not be left half grown.
        growth::finish(&s, &record, &backing.path)?;
    }
    forget_targets(&s, &mut record, None)?;
    s.store().remove_run(&s.id).map_err(|error| s.fail(error))?;
    s.store().remove_volume(&s.id).map_err(|error| s.fail(error))?;
    Ok(Done::Changed.into())
}

/// Whether the file that was its image is in its place no more.
fn image_is_gone(s: &Session<'_>, record: &VolumeRecord) -> Result<bool> {
    let (Some(backing), Some(was)) = (record.spec.backing.as_image(), record.image) else { return Ok(false) };
    let there = s.host().stat(&backing.image_path(&s.id)).map_err(|error| s.fail(error))?;
    Ok(there.is_none_or(|there| there.file != was))
}

pub(super) fn release(driver: &LocalDriver, id: &VolumeId) -> Result<Outcome> {
    let mut s = driver.open(id)?;
    if matches!(s.record, Recorded::Absent) {
        return Ok(Done::Already.into());
    }
    let mut record = s.existing()?;
    unused(&s, &record)?;
    forget_targets(&s, &mut record, None)?;
    if never_made(&s, &record)? {
        s.store().remove_run(&s.id).map_err(|error| s.fail(error))?;
        s.store().remove_volume(&s.id).map_err(|error| s.fail(error))?;
        return Ok(Done::Changed.into());
    }
    record.released = true;
    let done = if s.record.present() == Some(&record) { Done::Already } else { Done::Changed };
    s.put_record(record, true)?;
    Ok(done.into())
}

/// Whether nothing of it ever came to be: its image never got its name, and no file of it is there, finished or not.
fn never_made(s: &Session<'_>, record: &VolumeRecord) -> Result<bool> {
    let Backing::Image(backing) = &record.spec.backing else { return Ok(false) };
    if !record.is_unmade() {
        return Ok(false);
    }
    let path = backing.image_path(&s.id);
    for file in [&path, &backing.part_path(&s.id), &backing.growth_path(&s.id)] {
        if s.host().stat(file).map_err(|error| s.fail(error))?.is_some() {
            return Ok(false);
        }
    }
    // Where its pool's file system is not mounted, nobody can say; the record stays.
    Ok(deleted::pool_is_there(s.driver, &s.object(), &path, None).is_ok())
}

/// Refuses while anything of the machine still shows the volume.
fn unused(s: &Session<'_>, record: &VolumeRecord) -> Result<()> {
    create::taken_down(s, record)?;
    if let Some(attachment) = &record.attachment {
        return Err(s.refuse(
            Refusal::NotReady,
            format!("it is published to node '{}'", attachment.node),
            "let its orchestrator take it away there first (ControllerUnpublishVolume)",
        ));
    }
    if let Some(device) = own::loop_of(s, record)? {
        return Err(s.refuse(
            Refusal::NotReady,
            format!("it is still attached to {}", device.node().display()),
            "unpublish, unstage and detach it first",
        ));
    }
    Ok(())
}
