//! create (CSI 1.12, CreateVolume): the record and the backing; a volume that was released comes back; a lost record is made
//! anew from what its image says of itself.

use std::collections::BTreeMap;

use crate::driver::{Refusal, Result};
use crate::model::action::{CreateRequest, Outcome};
use crate::model::record::{FormatMark, Recorded, VolumeRecord};
use crate::model::{Backing, CapacityRange, Done, Loss, Owner, Ownership, VolumeSpec};

use super::backing::{device, directory, image};
use super::own::Own;
use super::session::Session;
use super::{LocalDriver, guard, now};

pub(super) fn create(driver: &LocalDriver, request: &CreateRequest) -> Result<Outcome> {
    let spec = &request.spec;
    let mut s = driver.open(&spec.id)?;
    let mut notes = Vec::new();
    s.same_namespace()?;
    let lost = matches!(s.record, Recorded::Corrupt { .. });
    if lost && !super::rebuild::rebuild_near(&mut s, spec.backing.as_image())? {
        s.store().set_volume_aside(&s.id).map_err(|error| super::session::state_error(&s.object(), error))?;
        s.record = Recorded::Absent;
    }
    let done = match s.record.clone() {
        Recorded::Newer { version } => return Err(s.newer(version)),
        Recorded::Unknown { cause } => return Err(s.unreadable(&cause)),
        Recorded::Present(record) => {
            s.owned_by(&record, &spec.owner)?;
            if let (Some(first), Some(retry)) = (&record.asked, &request.asked) {
                return retried(&mut s, &record, first.difference(retry), spec, notes);
            }
            if request.replaces && !is_replaced(&s, &record, spec) {
                replace(&mut s, &record, request, &mut notes)?
            } else {
                let done = again(&mut s, &record, spec, &mut notes)?;
                remember(&mut s, request)?;
                done
            }
        }
        Recorded::Absent | Recorded::Corrupt { .. } => {
            let record = VolumeRecord { asked: request.asked.clone(), ..fresh(spec) };
            let made = new(&mut s, record, lost, &mut notes);
            if let (Err(_), Some(_), false) = (&made, &request.asked, lost) {
                // A manifest's next apply goes on where this one failed; an orchestrator may never come back, and has no volume to delete.
                undo(&mut s, spec);
            }
            made?;
            Done::Changed
        }
    };
    Ok(Outcome { done, notes })
}

/// The record of a volume of which nothing is made yet.
fn fresh(spec: &VolumeSpec) -> VolumeRecord {
    VolumeRecord {
        spec: spec.clone(),
        fs_uuid: None,
        format: FormatMark::None,
        image: None,
        attach_mark: false,
        made_directory: false,
        made_targets: BTreeMap::new(),
        applied_ownership: Ownership::default(),
        asked: None,
        attachment: None,
        released: false,
        rebuilt: false,
        created_at: now(),
    }
}

fn new(s: &mut Session<'_>, mut record: VolumeRecord, lost: bool, notes: &mut Vec<String>) -> Result<()> {
    match record.spec.backing.clone() {
        Backing::Image(backing) => {
            let path = backing.image_path(&s.id);
            match s.host().image(&path).map_err(|error| s.fail(error))? {
                Some(found) => {
                    notes.push(format!("{} was there and says it is this volume: adopted", path.display()));
                    image::adopt(s, record, &found)
                }
                None => image::make(s, record, &backing, notes),
            }
        }
        Backing::Device(backing) => {
            guard::device(s, &backing)?;
            if lost {
                device::adopt(s, &backing, &mut record);
            }
            s.put_record(record, true)
        }
        Backing::Directory(backing) => {
            // Written before it is made, so that what a killed run made is known to be csictl's.
            record.made_directory = directory::check(s, &backing)?.is_none() && backing.create;
            s.put_record(record, true)?;
            directory::ensure(s, &backing).map(drop)
        }
        Backing::Tmpfs(_) => s.put_record(record, true),
    }
}

/// A volume that is recorded: what a killed run left undone is done, a released or rebuilt one is taken back.
fn again(s: &mut Session<'_>, record: &VolumeRecord, spec: &VolumeSpec, notes: &mut Vec<String>) -> Result<Done> {
    let mut is = record.spec.clone();
    let unfinished = matches!(is.backing, Backing::Image(_)) && record.image.is_none();
    if record.rebuilt || unfinished {
        is.source.clone_from(&spec.source);
    }
    guard::compatible(s, &is, spec, Refusal::Exists)?;
    same_request(s, record, spec)?;
    let mut merged = record.clone();
    if record.released || record.rebuilt || unfinished {
        merged.spec = spec.clone();
        if !unfinished {
            keep_capacity(s, &record.spec, &mut merged.spec)?;
        }
        merged.released = false;
        merged.rebuilt = false;
    }
    let mut done = Done::Already;
    match &spec.backing {
        Backing::Image(backing) if unfinished => {
            let path = backing.image_path(&s.id);
            match s.host().image(&path).map_err(|error| s.fail(error))? {
                Some(found) => image::adopt(s, merged, &found)?,
                None => image::make(s, merged, backing, notes)?,
            }
            return Ok(Done::Changed);
        }
        Backing::Image(backing) => {
            if let Backing::Image(kept) = &mut merged.spec.backing {
                kept.sector_size = record.spec.backing.as_image().map_or(kept.sector_size, |image| image.sector_size);
            }
            let found = guard::image(s, record, backing)?;
            let says = found.identity.as_ref().is_some_and(|identity| identity.protected);
            if says != merged.spec.prevent_destroy {
                let sector_size = found.identity.as_ref().map_or(backing.sector_size, |identity| identity.sector_size);
                let identity = guard::identity_of(&merged.spec, merged.fs_uuid, sector_size);
                s.host().set_identity(&found.path, &identity).map_err(|error| s.fail(error))?;
                done = Done::Changed;
            }
        }
        Backing::Device(backing) => {
            guard::device(s, backing)?;
        }
        Backing::Directory(backing) => done = directory::ensure(s, backing)?,
        Backing::Tmpfs(_) => {}
    }
    if merged != *record {
        s.put_record(merged, true)?;
        done = Done::Changed;
    }
    Ok(done)
}

/// A volume that an orchestrator asks for and whose record was rebuilt knows again what was asked.
fn remember(s: &mut Session<'_>, request: &CreateRequest) -> Result<()> {
    match (s.record.present(), &request.asked) {
        (Some(record), Some(asked)) if record.asked.is_none() => {
            let record = VolumeRecord { asked: Some(asked.clone()), ..record.clone() };
            s.put_record(record, true)
        }
        _ => Ok(()),
    }
}

/// Takes away what a failed creation left, if the machine lets us; the failure that led here is the one that tells.
fn undo(s: &mut Session<'_>, spec: &VolumeSpec) {
    let Backing::Image(backing) = &spec.backing else { return };
    if matches!(s.host().image(&backing.image_path(&s.id)), Ok(None))
        && s.host().remove_image(&backing.part_path(&s.id), None).is_ok()
        && s.store().remove_volume(&s.id).is_ok()
    {
        s.record = Recorded::Absent;
    }
}

/// The same call again (CSI 1.12, CreateVolume): the volume as it is by now, if the call asks for what the first one asked for. What a
/// killed server left undone is done, as it was asked for then.
fn retried(
    s: &mut Session<'_>,
    record: &VolumeRecord,
    difference: Option<&str>,
    spec: &VolumeSpec,
    mut notes: Vec<String>,
) -> Result<Outcome> {
    let fits = match (record.spec.required(), spec.capacity) {
        (Some(has), Some(range)) => has >= range.required && range.limit.is_none_or(|limit| has <= limit),
        _ => true,
    };
    if let Some(what) = difference.or((!fits).then_some("capacity")) {
        return Err(s.refuse(
            Refusal::Exists,
            format!("volume {} ('{}') exists already and differs in its {what}", s.id, record.spec.name),
            "ask for what is there, or choose another name",
        ));
    }
    let done = again(s, record, &record.spec, &mut notes);
    if done.is_err() && record.image.is_none() {
        undo(s, &record.spec);
    }
    Ok(Outcome { done: done?, notes })
}

/// What a repeated CreateVolume call has to repeat; a manifest's changes are modify's and expand's.
fn same_request(s: &Session<'_>, record: &VolumeRecord, spec: &VolumeSpec) -> Result<()> {
    if spec.owner != Owner::Csi || record.rebuilt {
        return Ok(());
    }
    let (is, asked) = (&record.spec, spec);
    let has = is.required();
    let fits = match (has, asked.capacity) {
        (Some(has), Some(range)) => has >= range.required && range.limit.is_none_or(|limit| has <= limit),
        _ => true,
    };
    let backing_differs = match (&is.backing, &asked.backing) {
        (Backing::Image(is), Backing::Image(asked)) => is.allocate != asked.allocate,
        (is, asked) => is != asked,
    };
    let difference = if !fits {
        Some("capacity")
    } else if is.access_mode != asked.access_mode {
        Some("access mode")
    } else if is.mount_options != asked.mount_options {
        Some("mount options")
    } else if is.fs != asked.fs {
        Some("file system options")
    } else if backing_differs {
        Some("parameters")
    } else {
        None
    };
    difference.map_or(Ok(()), |what| {
        Err(s.refuse(
            Refusal::Exists,
            format!("volume {} ('{}') exists already with another {what}", s.id, is.name),
            "ask for what is there, or choose another name",
        ))
    })
}

/// The size stays what it is; expand changes it.
fn keep_capacity(s: &Session<'_>, is: &VolumeSpec, spec: &mut VolumeSpec) -> Result<()> {
    let (Some(has), Some(asked)) = (is.capacity, spec.capacity) else { return Ok(()) };
    if asked.required < has.required && !matches!(s.record.present(), Some(record) if record.rebuilt) {
        return Err(s.refuse(
            Refusal::OutOfRange,
            format!("it has {}, asked is {}: a volume never shrinks", has.required, asked.required),
            format!("ask for at least {}", has.required),
        ));
    }
    spec.capacity = Some(CapacityRange { required: has.required.min(asked.required), limit: asked.limit });
    Ok(())
}

/// Whether the replacement was made already: the record says what is asked, and what it says is there. A record that asks for no change
/// but has lost what is behind it is still replaced.
fn is_replaced(s: &Session<'_>, record: &VolumeRecord, spec: &VolumeSpec) -> bool {
    if record.released || record.rebuilt || !guard::fixed_differences(&record.spec, spec).is_empty() {
        return false;
    }
    match &record.spec.backing {
        Backing::Image(backing) => guard::image(s, record, backing).is_ok(),
        Backing::Device(backing) => record.format != FormatMark::Done || !s.host().probe(&backing.path).is_blank(),
        Backing::Directory(_) | Backing::Tmpfs(_) => true,
    }
}

/// Puts something blank in place of what the record describes, whose loss was approved.
fn replace(s: &mut Session<'_>, old: &VolumeRecord, request: &CreateRequest, notes: &mut Vec<String>) -> Result<Done> {
    guard::may_lose(s, old, Loss::Wipe, request.approval.as_ref())?;
    taken_down(s, old)?;
    let mut record = fresh(&request.spec);
    record.created_at.clone_from(&old.created_at);
    record.made_targets.clone_from(&old.made_targets);
    let old_image = old.spec.backing.as_image().map(|backing| (backing, backing.image_path(&s.id)));
    if let (Some((backing, path)), Some(file)) = (&old_image, old.image) {
        image::not_attached(s, file, path)?;
        if let Some(found) = s.host().image(&backing.image_path(&s.id)).map_err(|error| s.fail(error))? {
            image::not_attached(s, found.file, path)?;
        }
    }
    match request.spec.backing.clone() {
        Backing::Image(backing) => {
            let elsewhere = old_image.filter(|(_, path)| *path != backing.image_path(&s.id));
            let elsewhere = elsewhere.map(|(old_backing, _)| (old, old_backing));
            image::replace(s, record, &backing, elsewhere, notes)?;
        }
        backing => {
            // What is to come is looked at while what is there can still be gone back to.
            match &backing {
                Backing::Device(device) => {
                    let same = matches!(&old.spec.backing, Backing::Device(was) if was.path == device.path);
                    if same {
                        device::erase(s, device)?;
                    } else {
                        device::ready(s, device, &record)?;
                    }
                }
                Backing::Directory(path) if path.create => drop(directory::check(s, path)?),
                Backing::Directory(path) => drop(directory::require(s, path)?),
                Backing::Image(_) | Backing::Tmpfs(_) => {}
            }
            if let Some((old_backing, _)) = old_image {
                image::remove(s, old, old_backing)?;
            }
            new(s, record, false, notes)?;
        }
    }
    Ok(Done::Changed)
}

/// Refuses while the volume is staged or published.
pub(super) fn taken_down(s: &Session<'_>, record: &VolumeRecord) -> Result<()> {
    let own = Own::of(s, Some(record))?;
    let mut places = vec![s.layout().staging_path(&s.id)];
    if let Some(run) = s.run.present() {
        places.extend(run.staging_path.clone());
        places.extend(run.publishes.keys().cloned());
    }
    places.extend(record.made_targets.keys().cloned());
    for place in places {
        if !own.stack(s, &place)?.ours.is_empty() {
            return Err(s.refuse(
                Refusal::NotReady,
                format!("it is still mounted at {}", place.display()),
                "unpublish and unstage it first",
            ));
        }
    }
    Ok(())
}
