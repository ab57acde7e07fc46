//! create (CSI 1.12, CreateVolume): the record and the backing; a volume that was released comes back; a lost record is made
//! anew from what its image says of itself.

use std::collections::BTreeMap;

use crate::driver::{Refusal, Result};
use crate::model::action::{CreateRequest, Outcome};
use crate::model::record::{FormatMark, Recorded, VolumeRecord};
use crate::model::{Backing, CapacityRange, Difference, Done, Loss, Owner, Ownership, VolumeSpec};

use super::backing::{device, directory, image};
use super::own::Own;
use super::session::Session;
use super::{LocalDriver, deleted, guard, neighbours, now};

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
                return retried(&mut s, &record, first.difference(retry, record.spec.fs_type()), spec, notes);
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
        adopted: false,
        disk: None,
        image: None,
        attach_mark: false,
        made_directory: false,
        made_targets: BTreeMap::new(),
        shown_at: BTreeMap::new(),
        applied_ownership: Ownership::default(),
        modifying: false,
        growing: None,
        grown: None,
        asked: None,
        attachment: None,
        removing: None,
        released: false,
        rebuilt: false,
        created_at: now(),
    }
}

fn new(s: &mut Session<'_>, mut record: VolumeRecord, lost: bool, notes: &mut Vec<String>) -> Result<()> {
    match record.spec.backing.clone() {
        Backing::Image(backing) => {
            let path = backing.image_path(&s.id);
            let found = s.host().image(&path).map_err(|error| s.fail(error))?;
            if !lost {
                deleted::not_marked(s.driver, &s.object(), &path, found.is_some())?;
            }
            match found {
                Some(found) => {
                    notes.push(format!("{} was there and says it is this volume: adopted", path.display()));
                    image::adopt(s, record, &found)
                }
                None => image::make(s, record, &backing, notes),
            }
        }
        Backing::Device(backing) => {
            let found = guard::device(s, &backing)?;
            record.disk = Some(found.disk);
            if lost {
                device::adopt(s, &backing, &mut record);
            }
            neighbours::claim(s, &record)
        }
        Backing::Directory(backing) => {
            // Written before it is made, so that what a killed run made is known to be csictl's.
            record.made_directory = directory::check(s, &backing)?.is_none() && backing.create;
            neighbours::claim(s, &record)?;
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
        merged.removing = None;
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
                let was = record.spec.backing.as_image();
                kept.sector_size = was.map_or(kept.sector_size, |image| image.sector_size);
                // What is still to be allocated is modify's to do, and to write down.
                kept.allocate = was.map_or(kept.allocate, |image| image.allocate);
            }
            let found = guard::image(s, record, backing)?;
            let says = found.identity.as_ref().is_some_and(|identity| identity.protected);
            if says != merged.spec.prevent_destroy {
                let sector_size = found.identity.as_ref().map_or(backing.sector_size, |identity| identity.sector_size);
                let identity = guard::identity_now(&found, &merged.spec, merged.fs_uuid, sector_size);
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
    difference: Option<Difference>,
    spec: &VolumeSpec,
    mut notes: Vec<String>,
) -> Result<Outcome> {
    if let Some(what) = difference.or_else(|| other_capacity(&record.spec, spec)) {
        return Err(differs(s, record, &what));
    }
    let done = again(s, record, &record.spec, &mut notes);
    if done.is_err() && record.image.is_none() {
        undo(s, &record.spec);
    }
    Ok(Outcome { done: done?, notes })
}

/// The capacity asked for, where what is there is not in it.
fn other_capacity(is: &VolumeSpec, asked: &VolumeSpec) -> Option<Difference> {
    let (has, range) = (is.required()?, asked.capacity?);
    if has >= range.required && range.limit.is_none_or(|limit| has <= limit) {
        return None;
    }
    let least = format!("at least {}", range.required);
    let asked = range.limit.map_or_else(|| least.clone(), |limit| format!("{least} and at most {limit}"));
    Some(Difference { field: "capacity".to_owned(), is: has.to_string(), asked })
}

fn differs(s: &Session<'_>, record: &VolumeRecord, what: &Difference) -> crate::driver::DriverError {
    s.refuse(
        Refusal::Exists,
        format!("volume {} ('{}') exists already and differs: its {what}", s.id, record.spec.name),
        "ask for what is there, or choose another name",
    )
}

/// What a repeated CreateVolume call has to repeat; a manifest's changes are modify's and expand's.
fn same_request(s: &Session<'_>, record: &VolumeRecord, spec: &VolumeSpec) -> Result<()> {
    if spec.owner != Owner::Csi || record.rebuilt {
        return Ok(());
    }
    let (is, asked) = (&record.spec, spec);
    let other = |field: &str, is: String, asked: String| {
        (is != asked).then(|| Difference { field: field.to_owned(), is, asked })
    };
    let made = |spec: &VolumeSpec| match &spec.fs {
        Some(fs) => format!(
            "{} with label '{}' and options [{}]",
            fs.fs_type,
            fs.label.as_deref().unwrap_or(""),
            fs.mkfs_options.join(" ")
        ),
        None => "none".to_owned(),
    };
    let backing = |spec: &VolumeSpec| match &spec.backing {
        Backing::Image(image) => format!("image, allocate={}", image.allocate.as_str()),
        other => format!("{other:?}"),
    };
    let difference = other_capacity(is, asked)
        .or_else(|| other("access mode", is.access_mode.to_string(), asked.access_mode.to_string()))
        .or_else(|| other("mount options", is.mount_options.join(","), asked.mount_options.join(",")))
        .or_else(|| other("file system", made(is), made(asked)))
        .or_else(|| other("backing", backing(is), backing(asked)));
    difference.map_or(Ok(()), |what| Err(differs(s, record, &what)))
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
    neighbours::free(s, &record)?;
    record.created_at.clone_from(&old.created_at);
    record.made_targets.clone_from(&old.made_targets);
    record.shown_at.clone_from(&old.shown_at);
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
                        device::erase(s, device, old)?;
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
