//! modify (CSI 1.12, ControllerModifyVolume): what can change in place does, and the record takes the new spec. Size is expand's.

use crate::driver::{Refusal, Result};
use crate::model::action::{Outcome, StageRequest};
use crate::model::record::{FormatMark, Recorded, RunRecord, VolumeRecord};
use crate::model::{Allocate, Backing, Done, LoopDevice, Owner, Ownership, Probe, VolumeSpec};

use super::own::{self, Own};
use super::session::Session;
use super::{LocalDriver, guard, ownership, publish, ready, stage, tried};

pub(super) fn modify(driver: &LocalDriver, spec: &VolumeSpec) -> Result<Outcome> {
    let mut s = driver.open(&spec.id)?;
    let mut record = s.existing()?;
    s.owned_by(&record, &spec.owner)?;
    let is = as_device(&s, &mut record, spec)?;
    guard::compatible(&s, &is, spec, Refusal::Incompatible)?;
    modify_locked(&mut s, record, spec)
}

/// The spec as it is, with what differs only in the manifest's words: another path to the same device, another file system that its
/// owner has made on that disk already.
fn as_device(s: &Session<'_>, record: &mut VolumeRecord, wanted: &VolumeSpec) -> Result<VolumeSpec> {
    let mut is = record.spec.clone();
    let (Backing::Device(was), Backing::Device(asked)) = (&mut is.backing, &wanted.backing) else { return Ok(is) };
    let now = guard::device(s, asked)?;
    if was.path != asked.path {
        let before = s.host().device(&was.path).ok().flatten();
        let own = Own::of(s, Some(record))?;
        let same = match before {
            Some(before) => before.block == now.block,
            // Its old name is gone, which is why another is given.
            None => record.disk.as_ref().is_some_and(|disk| disk.is(&now.disk)),
        };
        if same || own.shows(s, now.block)? {
            was.path.clone_from(&asked.path);
        }
    }
    if is.fs_type() != wanted.fs_type()
        && !record.was_on_another(&now.disk)
        && let (Some(fs), Probe::Known(found)) = (wanted.fs_type(), s.host().probe(&asked.path))
        && found.kind == fs.as_str()
        && let Some(was) = &mut is.fs
    {
        was.fs_type = fs;
        record.fs_uuid = found.uuid.and_then(|uuid| uuid.parse().ok());
        record.format = FormatMark::Done;
        // csictl did not make it, and leaves it as it is.
        record.adopted = true;
    }
    Ok(is)
}

pub(super) fn modify_locked(s: &mut Session<'_>, record: VolumeRecord, spec: &VolumeSpec) -> Result<Outcome> {
    let mut notes = Vec::new();
    let was = s.record.present().cloned().unwrap_or_else(|| record.clone());
    let own = Own::of(s, Some(&record))?;
    many_to_one(s, &own, spec)?;
    tried::options(s, &record, spec)?;
    // A modified volume is one its manifest was applied to.
    let mut wanted = VolumeRecord { spec: merged(&was.spec, spec), rebuilt: false, modifying: false, ..record };
    if was.modifying || spec.ownership == Ownership::default() {
        // Which owner and mode it was left with is not known, or not csictl's any more.
        wanted.applied_ownership = Ownership::default();
    }
    let mut done = if was == wanted { Done::Already } else { Done::Changed };
    // Until everything is done the record keeps the spec that is known to be in force, with a mark that it may not be.
    if done == Done::Changed {
        s.put_record(VolumeRecord { modifying: true, ..was.clone() }, true)?;
    }
    if allocate(s, &was, &wanted, &mut notes)? == Done::Changed {
        done = Done::Changed;
    }
    // Over gRPC it is staged with what NodeStageVolume asked for as well, and takes new options at its next stage.
    let by_manifest = wanted.spec.owner != Owner::Csi;
    if by_manifest && remount(s, &was, &mut wanted, &own, &mut notes)? == Done::Changed {
        done = Done::Changed;
    }
    s.put_record(wanted, true)?;
    Ok(Outcome { done, notes })
}

/// What the image says of itself, and its bytes where they are to be reserved now.
fn allocate(s: &Session<'_>, was: &VolumeRecord, wanted: &VolumeRecord, notes: &mut Vec<String>) -> Result<Done> {
    let Backing::Image(backing) = &wanted.spec.backing else { return Ok(Done::Already) };
    let image = guard::image(s, wanted, backing)?;
    let identity = guard::identity_now(&image, &wanted.spec, wanted.fs_uuid, backing.sector_size);
    let mut done = s.host().set_identity(&image.path, &identity).map_err(|error| s.fail(error))?;
    let was_full = was.spec.backing.as_image().is_some_and(|image| image.allocate == Allocate::Full);
    if backing.allocate == Allocate::Full && (!was_full || image.allocated < image.size) {
        let allocated = s.host().allocate_image(&image.path, image.file).map_err(|error| s.fail(error))?;
        if allocated == Done::Changed {
            done = Done::Changed;
        }
        if own::loop_of(s, wanted)?.is_some() && !was_full {
            notes.push("discards reach the file until the next attach; it stays full from then on".to_owned());
        }
    }
    Ok(done)
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

/// Brings the options of the stage and of what is published from it, and owner and mode of its root, to what the record says.
fn remount(
    s: &mut Session<'_>,
    was: &VolumeRecord,
    record: &mut VolumeRecord,
    own: &Own,
    notes: &mut Vec<String>,
) -> Result<Done> {
    if record.spec.is_raw() {
        return Ok(Done::Already);
    }
    let run = s.run_or_new()?;
    let path = run.staging_path.clone().unwrap_or_else(|| s.layout().staging_path(&s.id));
    let Some(staged) = own.stack(s, &path)?.top().map(|mount| mount.device) else { return Ok(Done::Already) };
    let request = StageRequest {
        id: s.id.clone(),
        staging_path: path.clone(),
        mount_options: record.spec.mount_options.clone(),
        capability: None,
    };
    let options = stage::options(s, &record.spec, record.spec.access_mode.read_only(), &request.mount_options)?;
    let writable = ready::is_writable(&options);
    let node = own::loop_of(s, record)?.map(|device: LoopDevice| (device.node(), device.block));
    let mount = stage::fs_mount(s, record, &request, options, node)?;
    // Written before, so that an option that a killed run left on it is known to be there.
    let intent =
        RunRecord { staging_path: Some(path.clone()), stage_options: request.mount_options.clone(), ..run.clone() };
    s.put_run(intent)?;
    let remounted = s.host().remount(&mount);
    if remounted.is_err() {
        // The first error is the one that tells; an option too many on record costs a new mount, no more.
        let _ = s.put_run(run);
    }
    let mut done = remounted.map_err(|error| s.busy(error, staged, Some(&path)))?;
    if publish::change_flags(s, record, own)? == Done::Changed {
        done = Done::Changed;
    }
    let changed = was.modifying || was.spec.ownership != record.spec.ownership;
    let mounted = ownership::Mounted { new: changed, writable };
    if ownership::own_root(s, record, &path, mounted, None, notes)? == Done::Changed {
        done = Done::Changed;
    }
    Ok(done)
}
