//! expand (CSI 1.12, ControllerExpandVolume and NodeExpandVolume): file, then loop, then file system, each only if it is too
//! small, so that a killed expansion is finished by the next one. What cannot be finished is not begun.

use std::path::PathBuf;

use crate::driver::{Refusal, Result};
use crate::host::{ErrorKind, GrowRequest};
use crate::model::action::{ExpandRequest, Outcome};
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{Allocate, Backing, Capacity, Done, FsType, ImageBacking, LoopDevice, Owner};

use super::own::{self, Own};
use super::session::{Session, with_help};
use super::{LocalDriver, growth, guard, modify, room};

pub(super) fn expand(driver: &LocalDriver, request: &ExpandRequest) -> Result<Outcome> {
    let mut s = driver.open(&request.id)?;
    let record = s.existing()?;
    if let Some(owner) = &request.owner {
        s.owned_by(&record, owner)?;
    }
    let to = request.to.rounded_up();
    // Over gRPC each call brings its own limit; that of the creation held for the creation.
    if record.spec.owner != Owner::Csi
        && let Some(limit) = record.spec.capacity.and_then(|range| range.limit)
        && to > limit
    {
        return Err(s.refuse(
            Refusal::OutOfRange,
            format!("{to} is more than its limit {limit}"),
            "raise capacity.limit first",
        ));
    }
    match record.spec.backing.clone() {
        Backing::Image(backing) => expand_image(&mut s, record, &backing, to),
        Backing::Tmpfs(backing) if to <= backing.size => Ok(Done::Already.into()),
        Backing::Tmpfs(_) => {
            let mut spec = record.spec.clone();
            spec.backing = Backing::Tmpfs(crate::model::TmpfsBacking { size: to });
            modify::modify_locked(&mut s, record, &spec)
        }
        Backing::Device(_) | Backing::Directory(_) => Err(s.refuse(
            Refusal::Unsupported,
            format!("a {} has the size it has", record.spec.backing.kind()),
            "grow the device itself; the next stage grows its file system",
        )),
    }
}

fn expand_image(
    s: &mut Session<'_>,
    mut record: VolumeRecord,
    backing: &ImageBacking,
    asked: Capacity,
) -> Result<Outcome> {
    let image = guard::image(s, &record, backing)?;
    let (file, size) = guard::size_of(&image);
    let to = asked.max(size);
    growth::is_enough(s, record.spec.fs_type(), size, to)?;
    let mut device = own::loop_of(s, &record)?;
    let mount_point = mounted_at(s, &record)?;
    // Held by no mount, and not by this process, it goes any moment, and may be another image's before it was grown through.
    let stays = record.spec.is_raw() || mount_point.is_some() || s.driver.held_index(&s.id).is_some();
    if let Some(going) = device.take_if(|device| !stays && device.autoclear) {
        guard::not_the_last(s, &record, &going, &going.node().display().to_string())?;
        own::detach(s, &record, &going)?;
    }
    let fs = record.spec.fs_type();
    can_grow(s, fs, mount_point.is_some(), size < to)?;
    let _room = if to > size {
        guard::pool_is_private(s.driver, &s.object(), &backing.pool_path)?;
        let takes = [room::Takes::volume(&s.id, &backing.pool_path, to)];
        room::take(s.driver, &s.object(), s.id.as_str(), &record.spec.owner, &takes)?
    } else {
        None
    };
    if to > size && fs == Some(FsType::Ext4) && mount_point.is_none() {
        let node = device.as_ref().map_or_else(|| image.path.clone(), LoopDevice::node);
        let files = Some(growth::files(s, &record)?);
        let request = GrowRequest { device: node, fs: FsType::Ext4, mount_point: None, files };
        s.host().try_growth(&request, to, s.lock.own()).map_err(|error| growth::failed(s, size, error))?;
    }
    // The file system no longer fills it, so the next stage has to look.
    s.driver.take_verified(&s.id);
    if to > size {
        // It counts in its pool from here on, whatever becomes of this run.
        s.put_record(VolumeRecord { growing: Some(to), ..record.clone() }, true)?;
    }
    let resized = s.host().resize_image(&image.path, file, to, backing.allocate == Allocate::Full);
    let mut done = match resized {
        Ok(done) => done,
        Err(error) => {
            let is = s.host().stat(&image.path).ok().flatten();
            if is.is_some_and(|is| is.file == file && is.size == size.get()) {
                // Nothing was begun after all. If that cannot be written down, the next expand does.
                let _ = s.put_record(record, false);
            }
            return Err(no_space(s, error));
        }
    };
    record.growing = None;
    if let Some(device) = &device
        && (done == Done::Changed || device.size < to.get())
    {
        done = changed(done, s.host().resize_loop(device.index, file).map_err(|error| s.fail(error))?);
    }
    if let Some(fs) = fs {
        done = changed(done, grow(s, &record, fs, &image.path, device.as_ref(), mount_point)?);
    }
    if let Some(range) = &mut record.spec.capacity {
        // An orchestrator is told what there is; of a manifest's volume that is larger than asked for, what is asked for stays asked for.
        range.required = if record.spec.owner == Owner::Csi { to } else { asked.max(range.required) };
        range.limit = range.limit.filter(|limit| *limit >= to);
    }
    record.grown = record.grown.map(|grown| grown.max(to)).filter(|grown| Some(*grown) > record.spec.required());
    if s.record.present() != Some(&record) {
        s.put_record(record, true)?;
        done = Done::Changed;
    }
    Ok(done.into())
}

fn changed(before: Done, now: Done) -> Done {
    if before == Done::Changed { before } else { now }
}

/// Refuses before the first change what could not be carried to its end.
fn can_grow(s: &Session<'_>, fs: Option<FsType>, mounted: bool, grows: bool) -> Result<()> {
    if grows && mounted && fs == Some(FsType::Ext4) && !s.facts()?.can_grow_ext4_online {
        return Err(s.refuse(
            Refusal::Unsupported,
            "ext4 cannot grow while mounted here: CAP_SYS_RESOURCE is missing; nothing was changed",
            s.way(
                "unpublish and unstage it first (apply does, as an offline step), or run csictl with that capability",
                "unpublish and unstage it first, then expand it; or give the server that capability",
            ),
        ));
    }
    Ok(())
}

/// Where its file system is mounted: the staging path, or a target that outlived it.
fn mounted_at(s: &Session<'_>, record: &VolumeRecord) -> Result<Option<PathBuf>> {
    if record.spec.is_raw() {
        return Ok(None);
    }
    let own = Own::of(s, Some(record))?;
    let mut places = vec![s.layout().staging_path(&s.id)];
    if let Recorded::Present(run) = &s.run {
        places.extend(run.staging_path.clone());
        places.extend(run.publishes.keys().cloned());
    }
    for place in places {
        if own.stack(s, &place)?.top().is_some() {
            return Ok(Some(place));
        }
    }
    Ok(None)
}

fn grow(
    s: &Session<'_>,
    record: &VolumeRecord,
    fs: FsType,
    image: &std::path::Path,
    device: Option<&LoopDevice>,
    mount_point: Option<PathBuf>,
) -> Result<Done> {
    if mount_point.is_none() && fs != FsType::Ext4 {
        // Their tools grow only what is mounted: the next stage does it.
        return Ok(Done::Already);
    }
    let node = device.map_or_else(|| image.to_owned(), LoopDevice::node);
    let online_ext4 = fs == FsType::Ext4 && mount_point.is_some();
    if online_ext4 && !s.facts()?.can_grow_ext4_online {
        // The file did not grow now; a file system left small by another run grows at its next stage.
        return Ok(Done::Already);
    }
    let files = if mount_point.is_none() { Some(growth::files(s, record)?) } else { None };
    s.host()
        .grow_filesystem(&GrowRequest { device: node, fs, mount_point, files }, s.lock.own())
        .map_err(|error| s.fail(error))
}

fn no_space(s: &Session<'_>, error: crate::host::HostError) -> crate::driver::DriverError {
    let full = error.kind == ErrorKind::NoSpace;
    let failed = s.fail(error);
    if full { failed } else { with_help(failed, "nothing was changed; see csictl doctor") }
}
