//! delete (CSI 1.12, DeleteVolume) and release: what becomes of a volume that nobody wants any more. Only images are unlinked, and only those
//! that say they are this volume's; a device or directory is forgotten and keeps its bytes.

use std::path::Path;

use crate::driver::{Refusal, Result};
use crate::host::FileKind;
use crate::model::action::{DeleteRequest, Outcome};
use crate::model::record::{FormatMark, Recorded, VolumeRecord};
use crate::model::{Backing, Done, ImageBacking, Loss, VolumeId};

use super::backing::image;
use super::session::Session;
use super::unpublish::forget_targets;
use super::{LocalDriver, create, growth, guard, own, rebuild};

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
    guard::may_lose(&s, &record, Loss::Delete, request.approval.as_ref())?;
    unused(&s, &record)?;
    if let Backing::Image(backing) = record.spec.backing.clone() {
        pool_is_there(&s, &record, &backing)?;
        let finished = record.clone();
        // From here on the record is that of a volume never finished: killed after the image is gone, it is no loss but an
        // image still to be made, or a record still to be removed.
        record.image = None;
        record.format = FormatMark::None;
        s.put_record(record.clone(), true)?;
        if let Err(error) = image::remove(&s, &finished, &backing) {
            let _ = s.put_record(finished, true);
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

/// Refuses to take an image for gone that only cannot be seen: its pool's file system is not mounted, or another one lies there. The record
/// is all that tells of it then, and it would come back with the pool.
fn pool_is_there(s: &Session<'_>, record: &VolumeRecord, backing: &ImageBacking) -> Result<()> {
    let Some(was) = record.image else { return Ok(()) };
    let stat = |path: &Path| s.host().stat(path).map_err(|error| s.fail(error));
    if stat(&backing.image_path(&s.id))?.is_some() {
        return Ok(());
    }
    let is = stat(&backing.pool_path)?;
    if is.is_some_and(|is| is.kind == FileKind::Directory && is.file.device == was.device) {
        return Ok(());
    }
    let pool = backing.pool_path.display();
    let why = if is.is_none() { "is not there" } else { "is not the one that holds its image" };
    Err(s.refuse(
        Refusal::NotReady,
        format!("its pool {pool} {why}: the image can't be deleted, and would come back with the pool"),
        format!(
            "mount the pool at {pool} first; if its image is lost for good, remove the record {}",
            s.layout().volume_record(&s.id).display()
        ),
    ))
}

pub(super) fn release(driver: &LocalDriver, id: &VolumeId) -> Result<Outcome> {
    let mut s = driver.open(id)?;
    if matches!(s.record, Recorded::Absent) {
        return Ok(Done::Already.into());
    }
    let mut record = s.existing()?;
    unused(&s, &record)?;
    forget_targets(&s, &mut record, None)?;
    record.released = true;
    let done = if s.record.present() == Some(&record) { Done::Already } else { Done::Changed };
    s.put_record(record, true)?;
    Ok(done.into())
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
