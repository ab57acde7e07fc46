//! Guards of an image: it has to be the volume's own by its own word, whole, and what is asked for; the last that is left of its bytes stays.

use crate::model::observed::{ObservedBacking, ObservedImage};
use crate::model::record::VolumeRecord;
use crate::model::{Capacity, FsType, ObjectRef};
use crate::plan::Refused;
use crate::plan::course::{Course, End, Make};

use super::content::formatted;
use super::{refuse, sector_size};
/// Whether the record vouches for an image.
pub(in crate::plan) fn is_lost(course: &Course<'_>) -> bool {
    let same_kind = |record: &&VolumeRecord| record.spec.backing.as_image().is_some();
    course.record.filter(same_kind).is_some_and(|record| record.image.is_some())
}

pub(super) fn image(course: &Course<'_>, image: &ObservedImage, object: &ObjectRef) -> Vec<Refused> {
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
    if course.make == Make::Adopt {
        refused.extend(adoptable(course, image, object));
    }
    let Some(record) = course.record.filter(|record| record.spec.backing.as_image().is_some()) else {
        return refused;
    };
    // An image that is replaced may be one that a killed run has put in place already, smaller than the one recorded.
    let replaced = course.make == Make::Replace;
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
pub(in crate::plan) fn is_truncated(record: &VolumeRecord, size: Capacity) -> bool {
    !record.rebuilt && record.least().is_some_and(|least| size < least)
}

/// The file behind the loop device has lost its name: what the device shows is all that is left of it, and goes with the device.
pub(in crate::plan) fn last_bytes(course: &Course<'_>) -> Option<Refused> {
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
pub(in crate::plan) fn keeps_bytes(course: &Course<'_>) -> Option<Refused> {
    let asked = course.end == End::Delete || course.make == Make::Replace;
    last_bytes(course).filter(|_| course.comes_down() && !asked)
}
