//! What an image or a device holds: the file system csictl made has to be there still.

use crate::model::observed::ObservedBacking;
use crate::model::record::{FormatMark, VolumeRecord};
use crate::model::{Backing, ObjectRef, Probe, Signature};
use crate::plan::Refused;
use crate::plan::course::Course;

use super::refuse;
/// A file system csictl made has to be there still.
pub(super) fn formatted(course: &Course<'_>, record: &VolumeRecord, object: &ObjectRef) -> Option<Refused> {
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
