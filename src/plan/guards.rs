//! Everything that can be refused before the first effect, with what is in the way and what to do about it. The driver holds the
//! same guards again when it acts; these exist so that a plan says no before anything was done.

use std::path::Path;

use crate::model::mount_namespace::OUT_OF_REACH_HELP;
use crate::model::observed::{ObservedBacking, ObservedDevice, ObservedImage};
use crate::model::record::{FormatMark, Recorded, VolumeRecord};
use crate::model::{
    BTRFS_GROWN_LEAST, Backing, Capacity, DeviceBacking, FormatPolicy, FsType, ObjectRef, Owner, Probe, SectorSize,
    Signature, VolumeId, VolumeSpec,
};

use super::Refused;
use super::course::{Course, End, Make};

/// Vendors round: a device's size may differ from the expected one by this part of it (one per cent).
const SIZE_TOLERANCE: u64 = 100;

/// A refusal.
pub(super) fn refuse(code: &'static str, object: &ObjectRef, message: String, help: impl Into<String>) -> Refused {
    Refused { code, object: object.clone(), message, help: help.into() }
}

pub(super) fn changed_source(object: &ObjectRef, was: &str, now: &str) -> Refused {
    let message = format!("it was made from {was}, the manifest says {now}; a source acts at creation only");
    refuse("incompatible", object, message, "put the source back, or declare a new volume with the new source")
}

pub(super) fn moved(object: &ObjectRef, what: &str, was: &Path, now: &Path) -> Refused {
    let message =
        format!("its {what} would change from {} to {}, and csictl moves no data", was.display(), now.display());
    let help = format!("put the {what} back; or declare a new volume there, copy the data, and remove this one");
    refuse("incompatible", object, message, help)
}

pub(super) fn sector_size(object: &ObjectRef, was: SectorSize, now: SectorSize) -> Refused {
    let message = format!("its sector size is {} for life, the manifest says {}", was.bytes(), now.bytes());
    refuse("incompatible", object, message, "put sector_size back, or declare a new volume")
}

pub(super) fn too_small(object: &ObjectRef, wanted: Capacity, than: Capacity, what: &str) -> Refused {
    let message = format!("{wanted} is asked for and {than} is {what}; a volume never shrinks below that");
    refuse("out-of-range", object, message, format!("ask for at least {than} ({} bytes)", than.get()))
}

/// Whether a file system can be grown to a size, which its kernel may find too small.
pub(super) fn may_grow_to(fs: Option<FsType>, to: Capacity) -> bool {
    fs.and_then(FsType::grown_least).is_none_or(|least| to >= least)
}

pub(super) fn grown_too_little(object: &ObjectRef, to: Capacity) -> Refused {
    let message = format!("{to} is asked for, and the kernel resizes no btrfs to less than {BTRFS_GROWN_LEAST}");
    refuse("out-of-range", object, message, format!("ask for {BTRFS_GROWN_LEAST} or more, or for the size it has"))
}

pub(super) fn protected(object: &ObjectRef, record: Option<&VolumeRecord>, act: &str) -> Refused {
    if record.is_some_and(|record| record.rebuilt && !record.spec.prevent_destroy) {
        let message = format!("its record was rebuilt and counts as protected: it cannot be {act}");
        return refuse("protected", object, message, "apply its manifest first; that confirms the record");
    }
    let message = format!("prevent_destroy is set: it cannot be {act}");
    refuse("protected", object, message, "set prevent_destroy = false in its manifest, apply that, then try again")
}

/// Whether the record vouches for an image, and another file is in its place, or none.
pub(super) fn image_is_gone(course: &Course<'_>) -> bool {
    let there = match &course.seen.backing {
        ObservedBacking::Image(image) => course.record.is_some_and(|record| record.image == Some(image.file)),
        _ => false,
    };
    is_lost(course) && !there && course.seen.unknown.is_empty()
}

pub(super) fn protected_though_gone(object: &ObjectRef) -> Refused {
    let message = "prevent_destroy is set, and its image is gone".to_owned();
    let help = "put the image back with its extended attributes (cp -a, rsync -aX); or, if what is left may go, set prevent_destroy = false in its manifest and try again";
    refuse("protected", object, message, help)
}

pub(super) fn not_found(object: &ObjectRef, message: String, help: impl Into<String>) -> Refused {
    refuse("not-found", object, message, help)
}

pub(super) fn foreign_owner(object: &ObjectRef, owner: &Owner) -> Refused {
    let message = format!("it belongs to {owner}");
    refuse(
        "foreign",
        object,
        message,
        "choose another name, or work with the manifest that owns it (csictl status lists all)",
    )
}

pub(super) fn newer(object: &ObjectRef, version: u32) -> Refused {
    let message = format!("its record has version {version}, written by a newer csictl");
    refuse("newer-record", object, message, "use that csictl; this one only unpublishes and unstages it")
}

/// Guards on who a volume is, whatever is planned for it.
pub(super) fn who(course: &Course<'_>, owner: &Owner) -> Vec<Refused> {
    let object = ObjectRef::Volume(course.id.clone());
    let mut refused = Vec::new();
    if let Recorded::Newer { version } = &course.seen.record {
        refused.push(newer(&object, *version));
    }
    if let Some(record) = course.record.filter(|record| record.spec.owner != *owner) {
        refused.push(foreign_owner(&object, &record.spec.owner));
    }
    refused.extend(namespace(course));
    refused
}

/// Its mounts are in another mount namespace, where they cannot be seen.
pub(super) fn namespace(course: &Course<'_>) -> Option<Refused> {
    let namespace = course.seen.foreign_namespace?;
    let message = format!(
        "its mounts are in mount namespace {namespace}, which still lives, or may, and cannot be seen from here"
    );
    Some(refuse("other-namespace", &ObjectRef::Volume(course.id.clone()), message, OUT_OF_REACH_HELP))
}

/// Guards on what lies behind a volume that is to be made or used. `hidden` is a target below which it lies and which is not
/// published yet, so that nothing can be said.
pub(super) fn behind(course: &Course<'_>, hidden: Option<&Path>) -> Vec<Refused> {
    let object = ObjectRef::Volume(course.id.clone());
    if let ObservedBacking::Wrong(what) = &course.seen.backing {
        let help = "move it away, or correct the path in the manifest";
        return vec![refuse("wrong-identity", &object, what.clone(), help)];
    }
    // What is looked at is the backing as recorded; another kind to come is judged by the driver when it is made.
    let another = course.old_spec().backing.kind() != course.spec.backing.kind();
    if hidden.is_some() || another {
        return Vec::new();
    }
    match (&course.spec.backing, &course.seen.backing) {
        (Backing::Image(_), ObservedBacking::Image(image)) => self::image(course, image, &object),
        (Backing::Image(backing), ObservedBacking::Missing) if is_lost(course) => {
            let path = backing.image_path(course.id);
            if let Some(refused) = last_bytes(course) {
                return vec![refused];
            }
            let message = format!("its image {} is gone", path.display());
            let help = format!(
                "is the file system mounted that {} lies on? If it is, put the image back from a backup that has its extended attributes (cp -a, rsync -aX); or let go of the volume: csictl destroy MANIFEST --delete-data {}",
                backing.pool_path.display(),
                course.id.short()
            );
            vec![refuse("lost-filesystem", &object, message, help)]
        }
        (Backing::Device(backing), ObservedBacking::Device(device)) => self::device(course, backing, device, &object),
        (Backing::Device(backing), ObservedBacking::Missing) => {
            let was = course.record.map(|record| &record.spec.backing);
            let path = if let Some(Backing::Device(was)) = was { &was.path } else { &backing.path };
            let message = format!("there is no device {}", path.display());
            vec![not_found(&object, message, "plug it in, or correct device.path")]
        }
        (Backing::Directory(backing), ObservedBacking::Missing) if !backing.create => {
            let message = format!("there is no directory {}", backing.path.display());
            vec![not_found(&object, message, "make it, or set directory.create = true")]
        }
        _ => Vec::new(),
    }
}

/// Whether the record vouches for an image.
pub(super) fn is_lost(course: &Course<'_>) -> bool {
    let same_kind = |record: &&VolumeRecord| record.spec.backing.as_image().is_some();
    course.record.filter(same_kind).is_some_and(|record| record.image.is_some())
}

fn image(course: &Course<'_>, image: &ObservedImage, object: &ObjectRef) -> Vec<Refused> {
    let mut refused = Vec::new();
    let path = image.path.display();
    let restore = "put its own image back with its extended attributes (cp -a, rsync -aX); csictl never takes over a file that is not its own";
    if let Some(says) = image.identity.as_ref().filter(|says| says.id != course.id.as_str() || says.snapshot) {
        let message = format!("{path} says it is {} of {}", says.id, says.owner);
        refused.push(refuse("foreign", object, message, restore));
    } else if image.identity.is_none() {
        // Numbers of inodes are used again: only its own word tells an image from a copy that somebody put there without it.
        let same = course.record.is_some_and(|record| record.image == Some(image.file));
        if !(same && course.make == Make::Replace) {
            let message = format!("{path} is there and does not say that it is this volume's");
            let known = is_lost(course);
            let help = if known { restore } else { "move the file away, or give the volume another name" };
            refused.push(refuse(if same { "wrong-identity" } else { "foreign" }, object, message, help));
        }
    }
    refused.extend(last_bytes(course));
    if course.make == super::course::Make::Adopt {
        refused.extend(adoptable(course, image, object));
    }
    let Some(record) = course.record.filter(|record| record.spec.backing.as_image().is_some()) else {
        return refused;
    };
    // An image that is replaced may be one that a killed run has put in place already, smaller than the one recorded.
    let replaced = course.make == super::course::Make::Replace;
    if let Some(least) = record.least().filter(|_| is_truncated(record, image.size) && !replaced) {
        let message = format!("{path} has {}, {least} were applied: it was truncated", image.size);
        refused.push(refuse("wrong-identity", object, message, restore));
    }
    if !replaced {
        refused.extend(formatted(course, record, object));
    }
    refused
}

/// What an image without a record says of itself has to be what is asked for, before it is taken over.
fn adoptable(course: &Course<'_>, image: &ObservedImage, object: &ObjectRef) -> Option<Refused> {
    let says = image.identity.as_ref().filter(|says| says.id == course.id.as_str() && !says.snapshot)?;
    let path = image.path.display();
    let asked = course.spec.fs_type();
    // A copy's is judged with what else it has from its source.
    if says.fs_type != asked && course.spec.source.is_none() {
        let name = |fs: Option<FsType>| fs.map_or_else(|| "no file system".to_owned(), |fs| fs.to_string());
        let message = format!("its image {path} holds {}, asked is {}", name(says.fs_type), name(asked));
        return Some(refuse("incompatible", object, message, "ask for what is there, or move that file away"));
    }
    let asked = course.spec.backing.as_image()?.sector_size;
    if says.sector_size != asked {
        return Some(sector_size(object, says.sector_size, asked));
    }
    let limit = course.spec.capacity.and_then(|range| range.limit).filter(|limit| image.size > *limit)?;
    let message = format!("its image {path} has {}, more than the limit {limit}", image.size);
    Some(refuse("out-of-range", object, message, "raise the limit"))
}

/// Whether an image is smaller than what was last applied.
pub(super) fn is_truncated(record: &VolumeRecord, size: Capacity) -> bool {
    !record.rebuilt && record.least().is_some_and(|least| size < least)
}

/// The file behind the loop device has lost its name: what the device shows is all that is left of it, and goes with the device.
pub(super) fn last_bytes(course: &Course<'_>) -> Option<Refused> {
    let backing = course.record?.spec.backing.as_image()?;
    // A pool that does not answer has not lost the name; the file may well be there.
    let device = course.seen.loop_device.as_ref().filter(|_| course.seen.unknown.is_empty())?;
    let what = match &course.seen.backing {
        ObservedBacking::Image(image) if image.file == device.backing => return None,
        _ if course.seen.moved_elsewhere => return None,
        ObservedBacking::Missing => "is gone",
        _ => "was replaced",
    };
    let (path, node) = (backing.image_path(course.id), device.node());
    let message = format!(
        "its image {} {what}, and {} shows the last of its bytes: they go when it comes down",
        path.display(),
        node.display()
    );
    let lift = course.record.filter(|record| record.protected());
    let lift = lift.map_or("", |_| "set prevent_destroy = false in its manifest, then ");
    let help = format!(
        "copy them off while it is up (cp --sparse=always {} FILE, or from where it is mounted); to let them go: {lift}csictl destroy MANIFEST --delete-data {}",
        node.display(),
        course.id.short()
    );
    Some(refuse("wrong-identity", &ObjectRef::Volume(course.id.clone()), message, help))
}

/// What a plan takes down keeps its bytes, unless their loss was asked for by name.
pub(super) fn keeps_bytes(course: &Course<'_>) -> Option<Refused> {
    let asked = course.end == End::Delete || course.make == Make::Replace;
    last_bytes(course).filter(|_| course.comes_down() && !asked)
}

/// A file system csictl made has to be there still.
fn formatted(course: &Course<'_>, record: &VolumeRecord, object: &ObjectRef) -> Option<Refused> {
    let fs = record.spec.fs_type().filter(|_| record.format == FormatMark::Done)?;
    match course.seen.probe.as_ref()? {
        Probe::Blank => {
            let message = format!("its {fs} is gone: the storage looks blank, and csictl formatted it once");
            Some(refuse("lost-filesystem", object, message, begin_anew(course)))
        }
        Probe::Known(signature) if signature.kind == fs.as_str() && is_same(record, signature) => None,
        // Its owner has made what the manifest asks for now, on this very disk.
        Probe::Known(signature)
            if signature.kind != fs.as_str()
                && !is_on_another_disk(course, record)
                && course.spec.fs_type().is_some_and(|now| signature.kind == now.as_str()) =>
        {
            None
        }
        other => {
            let uuid = record.fs_uuid.map_or_else(String::new, |uuid| format!(" {uuid}"));
            let message = format!("it should hold {fs}{uuid} and holds {other}");
            let help = format!(
                "find out who wrote to it; if it is right and the record is another's, move the record away (volumes/ in the state directory) and \
                 apply; else {}",
                begin_anew(course)
            );
            Some(refuse("wrong-identity", object, message, help))
        }
    }
}

/// Whether a device volume's path leads to another disk than the volume was on.
fn is_on_another_disk(course: &Course<'_>, record: &VolumeRecord) -> bool {
    let ObservedBacking::Device(now) = &course.seen.backing else { return false };
    record.was_on_another(&now.disk)
}

/// Whether a file system is the one that the record tells of, as far as it does.
fn is_same(record: &VolumeRecord, found: &Signature) -> bool {
    record.fs_uuid.is_none_or(|ours| found.uuid.as_deref().is_some_and(|text| text.parse() == Ok(ours)))
}

fn begin_anew(course: &Course<'_>) -> String {
    match course.spec.backing {
        Backing::Image(_) => format!(
            "restore it from a backup; or let go of it and begin anew: csictl destroy MANIFEST --delete-data {}, then apply",
            course.id.short()
        ),
        _ => "restore it from a backup; csictl never formats what held a file system of its own".to_owned(),
    }
}

fn device(course: &Course<'_>, backing: &DeviceBacking, device: &ObservedDevice, object: &ObjectRef) -> Vec<Refused> {
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
    let replaced = course.make == super::course::Make::Replace;
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
pub(super) fn found_there(course: &Course<'_>) -> Option<String> {
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
pub(super) fn adopted(course: &Course<'_>) -> Option<String> {
    let fs = course.spec.fs.as_ref().filter(|_| matches!(course.spec.backing, Backing::Device(_)))?;
    let unmarked = course.record.is_none_or(|record| record.format == FormatMark::None);
    let found = course.seen.probe.as_ref().and_then(Probe::known);
    let found = found.filter(|found| unmarked && course.seen.staged.is_none() && found.kind == fs.fs_type.as_str())?;
    let label = found.label.as_deref().unwrap_or_default();
    let differs = fs.label.as_ref().filter(|wanted| label != wanted.as_str());
    let kept = differs.map_or_else(String::new, |wanted| format!(", and keeps its label '{label}' (not '{wanted}')"));
    Some(format!("it holds {} already: that is used as it is{kept}", fs.fs_type))
}

/// Its source does not fit it.
pub(super) fn source_fits(course: &Course<'_>, size: Capacity, what: &str) -> Option<Refused> {
    let wanted = course.spec.required()?;
    let object = ObjectRef::Volume(course.id.clone());
    (wanted < size).then(|| too_small(&object, wanted, size, &format!("the size of {what}")))
}

/// A name for a volume in a sentence.
pub(super) fn named(id: &VolumeId) -> String {
    format!("volume.{}", id.short())
}
