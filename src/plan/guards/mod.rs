//! Everything that can be refused before the first effect, with what is in the way and what to do about it. The driver holds the
//! same guards again when it acts; these exist so that a plan says no before anything was done.

use std::path::Path;

use crate::model::mount_namespace::OUT_OF_REACH_HELP;
use crate::model::observed::ObservedBacking;
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{BTRFS_GROWN_LEAST, Backing, Capacity, FsType, ObjectRef, Owner, SectorSize, VolumeId};

use super::Refused;
use super::course::Course;

mod content;
mod device;
mod image;

pub(in crate::plan) use device::{adopted, found_there};
pub(in crate::plan) use image::{is_lost, is_truncated, keeps_bytes, last_bytes};

/// A refusal.
pub(in crate::plan) fn refuse(
    code: &'static str,
    object: &ObjectRef,
    message: String,
    help: impl Into<String>,
) -> Refused {
    Refused { code, object: object.clone(), message, help: help.into() }
}

pub(in crate::plan) fn changed_source(object: &ObjectRef, was: &str, now: &str) -> Refused {
    let message = format!("it was made from {was}, the manifest says {now}; a source acts at creation only");
    refuse("incompatible", object, message, "put the source back, or declare a new volume with the new source")
}

pub(in crate::plan) fn moved(object: &ObjectRef, what: &str, was: &Path, now: &Path) -> Refused {
    let message =
        format!("its {what} would change from {} to {}, and csictl moves no data", was.display(), now.display());
    let help = format!("put the {what} back; or declare a new volume there, copy the data, and remove this one");
    refuse("incompatible", object, message, help)
}

pub(in crate::plan) fn sector_size(object: &ObjectRef, was: SectorSize, now: SectorSize) -> Refused {
    let message = format!("its sector size is {} for life, the manifest says {}", was.bytes(), now.bytes());
    refuse("incompatible", object, message, "put sector_size back, or declare a new volume")
}

pub(in crate::plan) fn too_small(object: &ObjectRef, wanted: Capacity, than: Capacity, what: &str) -> Refused {
    let message = format!("{wanted} is asked for and {than} is {what}; a volume never shrinks below that");
    refuse("out-of-range", object, message, format!("ask for at least {than} ({} bytes)", than.get()))
}

/// Whether a file system can be grown to a size, which its kernel may find too small.
pub(in crate::plan) fn may_grow_to(fs: Option<FsType>, to: Capacity) -> bool {
    fs.and_then(FsType::grown_least).is_none_or(|least| to >= least)
}

pub(in crate::plan) fn grown_too_little(object: &ObjectRef, to: Capacity) -> Refused {
    let message = format!("{to} is asked for, and the kernel resizes no btrfs to less than {BTRFS_GROWN_LEAST}");
    refuse("out-of-range", object, message, format!("ask for {BTRFS_GROWN_LEAST} or more, or for the size it has"))
}

pub(in crate::plan) fn protected(object: &ObjectRef, record: Option<&VolumeRecord>, act: &str) -> Refused {
    if record.is_some_and(|record| record.rebuilt && !record.spec.prevent_destroy) {
        let message = format!("its record was rebuilt and counts as protected: it cannot be {act}");
        return refuse("protected", object, message, "apply its manifest first; that confirms the record");
    }
    let message = format!("prevent_destroy is set: it cannot be {act}");
    refuse("protected", object, message, "set prevent_destroy = false in its manifest, apply that, then try again")
}

/// Whether the record vouches for an image, and another file is in its place, or none.
pub(in crate::plan) fn image_is_gone(course: &Course<'_>) -> bool {
    let there = match &course.seen.backing {
        ObservedBacking::Image(image) => course.record.is_some_and(|record| record.image == Some(image.file)),
        _ => false,
    };
    is_lost(course) && !there && course.seen.unknown.is_empty()
}

pub(in crate::plan) fn protected_though_gone(object: &ObjectRef) -> Refused {
    let message = "prevent_destroy is set, and its image is gone".to_owned();
    let help = "put the image back with its extended attributes (cp -a, rsync -aX); or, if what is left may go, set prevent_destroy = false in its manifest and try again";
    refuse("protected", object, message, help)
}

pub(in crate::plan) fn not_found(object: &ObjectRef, message: String, help: impl Into<String>) -> Refused {
    refuse("not-found", object, message, help)
}

pub(in crate::plan) fn foreign_owner(object: &ObjectRef, owner: &Owner) -> Refused {
    let message = format!("it belongs to {owner}");
    refuse(
        "foreign",
        object,
        message,
        "choose another name, or work with the manifest that owns it (csictl status lists all)",
    )
}

pub(in crate::plan) fn newer(object: &ObjectRef, version: u32) -> Refused {
    let message = format!("its record has version {version}, written by a newer csictl");
    refuse("newer-record", object, message, "use that csictl; this one only unpublishes and unstages it")
}

/// Guards on who a volume is, whatever is planned for it.
pub(in crate::plan) fn who(course: &Course<'_>, owner: &Owner) -> Vec<Refused> {
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
pub(in crate::plan) fn namespace(course: &Course<'_>) -> Option<Refused> {
    let namespace = course.seen.foreign_namespace?;
    let message = format!(
        "its mounts are in mount namespace {namespace}, which still lives, or may, and cannot be seen from here"
    );
    Some(refuse("other-namespace", &ObjectRef::Volume(course.id.clone()), message, OUT_OF_REACH_HELP))
}

/// Guards on what lies behind a volume that is to be made or used. `hidden` is a target below which it lies and which is not
/// published yet, so that nothing can be said.
pub(in crate::plan) fn behind(course: &Course<'_>, hidden: Option<&Path>) -> Vec<Refused> {
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
        (Backing::Image(_), ObservedBacking::Image(image)) => image::image(course, image, &object),
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
        (Backing::Device(backing), ObservedBacking::Device(device)) => device::device(course, backing, device, &object),
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

/// Its source does not fit it.
pub(in crate::plan) fn source_fits(course: &Course<'_>, size: Capacity, what: &str) -> Option<Refused> {
    let wanted = course.spec.required()?;
    let object = ObjectRef::Volume(course.id.clone());
    (wanted < size).then(|| too_small(&object, wanted, size, &format!("the size of {what}")))
}

/// A name for a volume in a sentence.
pub(in crate::plan) fn named(id: &VolumeId) -> String {
    format!("volume.{}", id.short())
}
