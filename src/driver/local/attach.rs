//! attach (CSI 1.12, ControllerPublishVolume): a loop device for an image. The kernel takes one away by itself when the last user
//! goes (AUTOCLEAR), and this process holds it until a mount does; a raw block volume's stays, since a bound node holds nothing.

use crate::driver::{Refusal, Result};
use crate::host::AttachLoop;
use crate::model::action::{AttachRequest, Outcome};
use crate::model::record::{FormatMark, VolumeRecord};
use crate::model::{Allocate, Attachment, Backing, Capacity, Done, ImageBacking, LoopDevice, Owner};

use super::session::Session;
use super::{LocalDriver, guard};

/// A volume's loop device.
pub(super) struct Attached {
    pub device: LoopDevice,
    pub done: Done,
}

pub(super) fn attach(driver: &LocalDriver, request: &AttachRequest) -> Result<Outcome> {
    let mut s = driver.open(&request.id)?;
    drop(driver.take_unstaged(&request.id));
    let record = s.existing()?;
    in_use(&s, &record)?;
    published_elsewhere(&s, &record, request.attachment.as_ref())?;
    let mut notes = Vec::new();
    let mut done = match record.spec.backing.clone() {
        Backing::Image(backing) => {
            let attached = attach_image(&mut s, record.clone(), &backing, request.read_only)?;
            if backing.direct_io && !attached.device.direct_io {
                notes.push("direct I/O was refused by the pool's file system: buffered I/O is used".to_owned());
            }
            attached.done
        }
        Backing::Device(backing) => {
            guard::device(&s, &backing)?;
            Done::Already
        }
        Backing::Directory(_) | Backing::Tmpfs(_) => Done::Already,
    };
    if let (Some(attachment), Some(recorded)) = (&request.attachment, s.record.present())
        && recorded.attachment.is_none()
    {
        let published = VolumeRecord { attachment: Some(attachment.clone()), ..recorded.clone() };
        s.put_record(published, true)?;
        done = Done::Changed;
    }
    Ok(Outcome { done, notes })
}

/// Refuses what an earlier ControllerPublishVolume keeps from being done (CSI 1.12: another node is FAILED_PRECONDITION, the same node with
/// other arguments ALREADY_EXISTS).
fn published_elsewhere(s: &Session<'_>, record: &VolumeRecord, asked: Option<&Attachment>) -> Result<()> {
    let (Some(is), Some(asked)) = (&record.attachment, asked) else { return Ok(()) };
    if is == asked {
        return Ok(());
    }
    let (refusal, how) = if is.node == asked.node {
        (Refusal::Exists, " already, with another capability or another readonly")
    } else {
        (Refusal::NotReady, "")
    };
    Err(s.refuse(refusal, format!("it is published to node '{}'{how}", is.node), "unpublish it from there first"))
}

/// Refuses a volume that left its manifest.
pub(super) fn in_use(s: &Session<'_>, record: &VolumeRecord) -> Result<()> {
    if record.released {
        return Err(s.refuse(
            Refusal::NotReady,
            format!("volume {} was released: no manifest declares it", s.id),
            "declare it again and apply",
        ));
    }
    Ok(())
}

/// Writes down the size that an expand which was cut short has given the image: the loop device gets it now, a file system at its stage.
/// An orchestrator is told of what there is; what a manifest asks for stays what it asks for, as a plan has judged it.
fn settle_growth(s: &mut Session<'_>, size: Capacity) -> Result<()> {
    let Some(mut record) = s.record.present().filter(|record| record.growing.is_some()).cloned() else { return Ok(()) };
    record.growing = None;
    if record.spec.owner != Owner::Csi {
        record.grown = Some(size).filter(|size| Some(*size) > record.spec.required());
    } else if let Some(range) = &mut record.spec.capacity {
        range.required = range.required.max(size);
        range.limit = range.limit.filter(|limit| *limit >= range.required);
    }
    s.put_record(record, true)
}

/// Attaches the image, or adopts the loop device it is attached to.
pub(super) fn attach_image(
    s: &mut Session<'_>,
    mut record: VolumeRecord,
    backing: &ImageBacking,
    read_only: bool,
) -> Result<Attached> {
    let image = guard::image(s, &record, backing)?;
    let raw = record.spec.is_raw();
    if raw && !record.attach_mark {
        record.attach_mark = true;
        s.put_record(record.clone(), true)?;
    }
    if record.image != Some(image.file) || record.format == FormatMark::Begun {
        // Brought back from a backup, or never noted down by a run that was killed: it says itself that it is the one. It got its name
        // only when its file system was whole, so whatever a power cut took from the record, it is never made again.
        record.image = Some(image.file);
        if record.format == FormatMark::Begun {
            record.format = FormatMark::Done;
        }
        s.put_record(record, false)?;
    }
    settle_growth(s, image.size)?;
    if backing.allocate == Allocate::Full && image.allocated < image.size {
        // It became full while discards still reached the file; from this attach on none does.
        s.host().allocate_image(&image.path, image.file).map_err(|error| s.fail(error))?;
    }
    let request = AttachLoop {
        path: image.path.clone(),
        file: image.file,
        read_only,
        autoclear: !raw,
        direct_io: backing.direct_io,
        sector_size: backing.sector_size,
        discard: backing.allocate == Allocate::Sparse,
        hint: s.hint(),
        id: s.id.clone(),
    };
    let attached = s.host().attach_loop(&request).map_err(|error| s.fail(error))?;
    let mut device = attached.device;
    let mut done = if attached.adopted { Done::Already } else { Done::Changed };
    if device.read_only != read_only {
        return Err(s.refuse(
            Refusal::Incompatible,
            format!(
                "{} is attached {}, asked is {}",
                device.node().display(),
                access(device.read_only),
                access(read_only)
            ),
            "one loop device serves all of a volume's publishes: unpublish and detach it first",
        ));
    }
    if device.size > image.size.get() {
        return Err(s.refuse(
            Refusal::WrongIdentity,
            format!("{} was cut to {} while attached to {}", image.path.display(), image.size, device.node().display()),
            s.way(
                "take the volume down (csictl destroy) and restore the image from a backup",
                "unpublish and unstage it, and restore the image from a backup",
            ),
        ));
    }
    if device.size < image.size.get() {
        // An expansion that was killed between file and loop.
        s.host().resize_loop(device.index, image.file).map_err(|error| s.fail(error))?;
        device.size = image.size.get();
        done = Done::Changed;
    }
    if raw {
        // It stays without being held; a hold would only keep it from being detached.
        drop(attached.hold);
        let mut run = s.run_or_new()?;
        run.loop_index = Some(device.index);
        s.put_run(run)?;
    } else {
        s.driver.hold(&s.id, device.index, attached.hold);
    }
    Ok(Attached { device, done })
}

const fn access(read_only: bool) -> &'static str {
    if read_only { "read-only" } else { "read-write" }
}
