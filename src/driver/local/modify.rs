//! modify (CSI 1.12, ControllerModifyVolume): what can change in place does, and the record takes the new spec. Size is expand's.

use crate::driver::{Refusal, Result};
use crate::model::action::{Outcome, StageRequest};
use crate::model::record::{FormatMark, Recorded, VolumeRecord};
use crate::model::{Allocate, Backing, Done, LoopDevice, Owner, Probe, VolumeSpec};

use super::own::{self, Own};
use super::session::Session;
use super::{LocalDriver, guard, stage};

pub(super) fn modify(driver: &LocalDriver, spec: &VolumeSpec) -> Result<Outcome> {
    let mut s = driver.open(&spec.id)?;
    let mut record = s.existing()?;
    s.owned_by(&record, &spec.owner)?;
    let is = as_device(&s, &mut record, spec)?;
    guard::compatible(&s, &is, spec, Refusal::Incompatible)?;
    modify_locked(&mut s, record, spec)
}

/// The spec as it is, with what differs only in the manifest's words: another path to the same device, another file system that its
/// owner has made on it already.
fn as_device(s: &Session<'_>, record: &mut VolumeRecord, wanted: &VolumeSpec) -> Result<VolumeSpec> {
    let mut is = record.spec.clone();
    let (Backing::Device(was), Backing::Device(asked)) = (&mut is.backing, &wanted.backing) else { return Ok(is) };
    let now = guard::device(s, asked)?;
    if was.path != asked.path {
        let before = s.host().device(&was.path).ok().flatten();
        let own = Own::of(s, Some(record))?;
        if before.is_some_and(|before| before.block == now.block) || own.shows(s, now.block)? {
            was.path.clone_from(&asked.path);
        }
    }
    if is.fs_type() != wanted.fs_type()
        && let (Some(fs), Probe::Known(found)) = (wanted.fs_type(), s.host().probe(&asked.path))
        && found.kind == fs.as_str()
        && let Some(was) = &mut is.fs
    {
        was.fs_type = fs;
        record.fs_uuid = found.uuid.and_then(|uuid| uuid.parse().ok());
        record.format = FormatMark::Done;
    }
    Ok(is)
}

pub(super) fn modify_locked(s: &mut Session<'_>, mut record: VolumeRecord, spec: &VolumeSpec) -> Result<Outcome> {
    let mut notes = Vec::new();
    let was = s.record.present().cloned().unwrap_or_else(|| record.clone());
    let own = Own::of(s, Some(&record))?;
    many_to_one(s, &own, spec)?;
    record.spec = merged(&was.spec, spec);
    // A modified volume is one its manifest was applied to.
    record.rebuilt = false;
    let mut done = if was == record { Done::Already } else { Done::Changed };
    if let Backing::Image(backing) = record.spec.backing.clone() {
        let image = guard::image(s, &record, &backing)?;
        let identity = guard::identity_of(&record.spec, record.fs_uuid, backing.sector_size);
        let set = s.host().set_identity(&image.path, &identity).map_err(|error| s.fail(error))?;
        let was_full = was.spec.backing.as_image().is_some_and(|image| image.allocate == Allocate::Full);
        if backing.allocate == Allocate::Full && (!was_full || image.allocated < image.size) {
            let allocated = s.host().allocate_image(&image.path, image.file).map_err(|error| s.fail(error))?;
            if allocated == Done::Changed {
                done = Done::Changed;
            }
            if own::loop_of(s, &record)?.is_some() && !was_full {
                notes.push("discards reach the file until the next attach; it stays full from then on".to_owned());
            }
        }
        if set == Done::Changed {
            done = Done::Changed;
        }
    }
    // Over gRPC it is staged with what NodeStageVolume asked for as well, and takes new options at its next stage.
    let by_manifest = record.spec.owner != Owner::Csi;
    if by_manifest && remount(s, &mut record, &own, &mut notes)? == Done::Changed {
        done = Done::Changed;
    }
    // After the machine was changed: what failed or was killed on the way still differs from what is recorded, and is done again.
    s.put_record(record, true)?;
    Ok(Outcome { done, notes })
}

/// The spec as wanted, with what modify does not change: the size, the source, the sector size.
fn merged(is: &VolumeSpec, wanted: &VolumeSpec) -> VolumeSpec {
    let mut spec = wanted.clone();
    if let (Some(has), Some(asked)) = (is.capacity, &mut spec.capacity) {
        asked.required = has.required;
    }
    if let (Backing::Image(was), Backing::Image(image)) = (&is.backing, &mut spec.backing) {
        image.sector_size = was.sector_size;
    }
    spec.source.clone_from(&is.source);
    spec
}

/// An access mode that allows one publish, while there are more.
fn many_to_one(s: &Session<'_>, own: &Own, spec: &VolumeSpec) -> Result<()> {
    let Recorded::Present(run) = &s.run else { return Ok(()) };
    if spec.access_mode.allows_many() {
        return Ok(());
    }
    let mut live = Vec::new();
    for target in run.publishes.keys() {
        if !own.stack(s, target)?.ours.is_empty() {
            live.push(target.display().to_string());
        }
    }
    if live.len() <= 1 {
        return Ok(());
    }
    Err(s.refuse(
        Refusal::Incompatible,
        format!("access mode {} allows one publish, and it has {}: {}", spec.access_mode, live.len(), live.join(", ")),
        "unpublish all but one first",
    ))
}

/// Brings the stage's options, and owner and mode of its root, to what the record says.
fn remount(s: &mut Session<'_>, record: &mut VolumeRecord, own: &Own, notes: &mut Vec<String>) -> Result<Done> {
    if record.spec.is_raw() {
        return Ok(Done::Already);
    }
    let run = s.run_or_new()?;
    let path = run.staging_path.clone().unwrap_or_else(|| s.layout().staging_path(&s.id));
    if own.stack(s, &path)?.top().is_none() {
        return Ok(Done::Already);
    }
    let request = StageRequest {
        id: s.id.clone(),
        staging_path: path.clone(),
        mount_options: record.spec.mount_options.clone(),
        capability: None,
    };
    let options = stage::options(s, &record.spec, record.spec.access_mode.read_only(), &request.mount_options)?;
    let node = own::loop_of(s, record)?.map(|device: LoopDevice| (device.node(), device.block));
    let mount = stage::fs_mount(s, record, &request, options, node)?;
    let mut done = s.host().remount(&mount).map_err(|error| s.fail(error))?;
    let mut run = run;
    run.staging_path = Some(path.clone());
    run.stage_options.clone_from(&request.mount_options);
    s.put_run(run)?;
    if stage::own_root(s, record, &path, (false, None), notes)? == Done::Changed {
        done = Done::Changed;
    }
    Ok(done)
}
