//! Guards of an existing device: it has to be the disk that is expected and was used, and nothing on it is formatted unasked.

use crate::model::observed::{ObservedBacking, ObservedDevice};
use crate::model::record::{FormatMark, VolumeRecord};
use crate::model::{Backing, DeviceBacking, FormatPolicy, ObjectRef, Probe, VolumeSpec};
use crate::plan::Refused;
use crate::plan::course::{Course, Make};

use super::content::formatted;
use super::refuse;

/// Vendors round: a device's size may differ from the expected one by this part of it (one per cent).
const SIZE_TOLERANCE: u64 = 100;
pub(super) fn device(
    course: &Course<'_>,
    backing: &DeviceBacking,
    device: &ObservedDevice,
    object: &ObjectRef,
) -> Vec<Refused> {
    let mut refused = identity(backing, device, object);
    let path = backing.path.display();
    if let Some(staged) = course.seen.staged.as_ref().filter(|staged| staged.mount.device != device.block) {
        let message = format!("{path} is {} now, what is staged is {}", device.block, staged.mount.device);
        let help = "take the volume down (csictl destroy), check which device is the right one, apply again";
        refused.push(refuse("wrong-identity", object, message, help));
    }
    if let Some(publish) = course.seen.published.iter().find(|publish| publish.stale) {
        let message =
            format!("{path} is {} now, what is shown at {} is another", device.block, publish.target.display());
        let help = "take the volume down (csictl destroy), check which device is the right one, apply again";
        refused.push(refuse("wrong-identity", object, message, help));
    }
    if let Some((message, help)) = device.is_an_image(&backing.path) {
        refused.push(refuse("foreign", object, message, help));
    }
    if !device.holders.is_empty() && course.seen.staged.is_none() && course.seen.published.is_empty() {
        let message = format!("{path} is in use: {}", device.holders.join(", "));
        refused.push(refuse("busy", object, message, "free it first; csictl who shows the processes"));
    }
    let replaced = course.make == Make::Replace;
    let recorded = course.record.filter(|record| matches!(record.spec.backing, Backing::Device(_)));
    let erases = recorded.filter(|record| replaced && was_at(record, backing));
    let formatted_once = recorded.filter(|record| record.format == FormatMark::Done);
    match (erases, formatted_once) {
        (Some(record), _) => refused.extend(erased(course, record, backing, device, object)),
        (None, Some(record)) if !replaced => refused.extend(formatted(course, record, object)),
        (None, None) if course.seen.staged.is_none() => {
            refused.extend(recorded.and_then(|record| another_raw_disk(record, backing, device, object)));
            refused.extend(first_use(&course.spec, course, device, object));
        }
        _ => {}
    }
    refused
}

fn was_at(record: &VolumeRecord, backing: &DeviceBacking) -> bool {
    matches!(&record.spec.backing, Backing::Device(was) if was.path == backing.path)
}

/// A raw volume's bytes do not say whose they are, so its disk does.
fn another_raw_disk(
    record: &VolumeRecord,
    backing: &DeviceBacking,
    device: &ObservedDevice,
    object: &ObjectRef,
) -> Option<Refused> {
    if !was_at(record, backing) {
        return None;
    }
    let (message, help) = record.raw_elsewhere(&backing.path, &device.disk)?;
    Some(refuse("wrong-identity", object, message, help))
}

/// What an approval lets go of is the volume's, and not whatever the path leads to by now.
fn erased(
    course: &Course<'_>,
    record: &VolumeRecord,
    backing: &DeviceBacking,
    device: &ObservedDevice,
    object: &ObjectRef,
) -> Option<Refused> {
    let probe = course.seen.probe.as_ref()?;
    if course.seen.staged.is_some() || record.is_on(&device.disk, probe) {
        return None;
    }
    let (message, help) = record.stands_elsewhere(&backing.path.display().to_string(), probe);
    Some(refuse("wrong-identity", object, message, help))
}

fn identity(backing: &DeviceBacking, device: &ObservedDevice, object: &ObjectRef) -> Vec<Refused> {
    let expect = &backing.expect;
    let mut wrong = Vec::new();
    if let Some(size) = expect.size.filter(|size| size.get().abs_diff(device.size.get()) > size.get() / SIZE_TOLERANCE)
    {
        wrong.push(format!("size {size} expected, {} found", device.size));
    }
    for (what, expected, found) in [("serial", &expect.serial, &device.serial), ("wwn", &expect.wwn, &device.wwn)] {
        if let Some(expected) = expected.as_ref().filter(|expected| found.as_ref() != Some(expected)) {
            wrong.push(format!("{what} {expected} expected, {} found", found.as_deref().unwrap_or("none")));
        }
    }
    if wrong.is_empty() {
        return Vec::new();
    }
    let message = format!("{} is not the device expected: {}", backing.path.display(), wrong.join(", "));
    vec![refuse("wrong-identity", object, message, "correct device.path or device.expect; nothing is written to it")]
}

/// A device csictl has not formatted: blank, or already what is asked for.
fn first_use(spec: &VolumeSpec, course: &Course<'_>, device: &ObservedDevice, object: &ObjectRef) -> Option<Refused> {
    let fs = spec.fs.as_ref()?;
    let begun = course.record.filter(|record| record.format == FormatMark::Begun).and_then(|record| record.fs_uuid);
    match course.seen.probe.as_ref()? {
        Probe::Known(signature) if begun.is_none() && signature.kind == fs.fs_type.as_str() => None,
        // What a killed mkfs of ours left is made again, where that is allowed; one that came to its end is used.
        left if course.record.is_some_and(|record| record.may_be_resumed(fs.fs_type, &device.disk, left)) => {
            let kept = course.record.and_then(|record| {
                let protects = VolumeRecord { spec: spec.clone(), ..record.clone() };
                protects.keeps_remains(fs.format)
            });
            let (code, why) = kept.filter(|_| left.known().is_none())?;
            let (message, help) = VolumeRecord::remains_are_kept("it", left, why);
            Some(refuse(code, object, message, help))
        }
        left if begun.is_some_and(|uuid| left.is_half_made(fs.fs_type, uuid)) => {
            let (message, help) = VolumeRecord::remains_elsewhere("it", left);
            Some(refuse("wrong-identity", object, message, help))
        }
        Probe::Blank if fs.format == FormatPolicy::IfBlank => None,
        Probe::Blank => {
            let message = format!("it is blank and fs.format = \"never\": there is no {} to mount", fs.fs_type);
            Some(refuse("not-blank", object, message, "make the file system, or set fs.format = \"if-blank\""))
        }
        other => {
            let message = format!("it is not blank and is not formatted: it holds {other}");
            let help = "a file system that is there is used if fs.type names it; zero it yourself (blkdiscard --zeroout) if its data may go";
            Some(refuse("not-blank", object, message, help))
        }
    }
}

/// What is on a device that becomes, or is, a volume without a file system of csictl's; what a mkfs left that is made again.
pub(in crate::plan) fn found_there(course: &Course<'_>) -> Option<String> {
    let ObservedBacking::Device(device) = &course.seen.backing else { return None };
    let found = course.seen.probe.as_ref().filter(|found| !found.is_blank() && course.seen.staged.is_none())?;
    if course.spec.is_raw() {
        return course.record.is_none().then(|| format!("it holds {found} already: its user gets that as it is"));
    }
    let fs = course.spec.fs_type()?;
    course.record.filter(|record| record.may_be_resumed(fs, &device.disk, found)).map(|_| {
        format!(
            "a mkfs of csictl's was interrupted on it and left {found}: it is formatted again, unless what is there came to its end or lies where no mkfs writes"
        )
    })
}

/// What a device holds already and is used as it is.
pub(in crate::plan) fn adopted(course: &Course<'_>) -> Option<String> {
    let fs = course.spec.fs.as_ref().filter(|_| matches!(course.spec.backing, Backing::Device(_)))?;
    let unmarked = course.record.is_none_or(|record| record.format == FormatMark::None);
    let found = course.seen.probe.as_ref().and_then(Probe::known);
    let found = found.filter(|found| unmarked && course.seen.staged.is_none() && found.kind == fs.fs_type.as_str())?;
    let label = found.label.as_deref().unwrap_or_default();
    let differs = fs.label.as_ref().filter(|wanted| label != wanted.as_str());
    let kept = differs.map_or_else(String::new, |wanted| format!(", and keeps its label '{label}' (not '{wanted}')"));
    Some(format!("it holds {} already: that is used as it is{kept}", fs.fs_type))
}
