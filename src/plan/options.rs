//! What changed or lost mount options lead to: flags and what a remount takes are a modify of the running mounts; what the kernel takes,
//! or takes away, only at mount needs the way down and up again; a file system that takes no writes any more is checked on that way.

use std::borrow::Cow;

use crate::model::mount_options::MountKind;
use crate::model::{Backing, ObjectRef, PublishSpec, remount};

use super::Refused;
use super::course::{Course, Make};
use super::drift;
use super::guards::refuse;

/// Decides it for a volume whose course is known but for this; answers what cannot be done.
pub(super) fn judge(course: &mut Course<'_>) -> Option<Refused> {
    let remade = matches!(course.make, Make::Replace | Make::Exchange | Make::New);
    let orchestrators = course.seen.run.as_ref().is_some_and(|run| run.stage_capability.is_some());
    if course.seen.staged.is_none() || !course.up() || course.comes_down() || remade || orchestrators {
        return None;
    }
    let object = ObjectRef::Volume(course.id.clone());
    let (memory, directory) = match &course.spec.backing {
        Backing::Tmpfs(_) => (true, false),
        Backing::Directory(_) => (false, true),
        Backing::Image(_) | Backing::Device(_) => (false, false),
    };
    let reasons = only_at_mount(course);
    let publishes: Vec<&PublishSpec> = course.publishes.iter().map(Cow::as_ref).collect();
    let read_only = drift::became_read_only(course.old_spec(), course.seen, publishes.iter().copied())
        && drift::became_read_only(&course.spec, course.seen, publishes);
    if !reasons.is_empty() && memory {
        let help = "put mount_options back; or, if its files may go: csictl destroy, then apply";
        return Some(refuse("incompatible", &object, reasons.join("; "), help));
    }
    if read_only && directory {
        let message = "the host's file system below its directory has become read-only".to_owned();
        let help = "see what the kernel says of it (dmesg), check it and mount it writable again; then apply";
        return Some(refuse("not-ready", &object, message, help));
    }
    if !reasons.is_empty() {
        course.cycle = Some(format!("mount_options: {}", reasons.join("; ")));
    } else if read_only && !memory {
        course.cycle = Some("its file system has become read-only: it is checked and mounted anew".to_owned());
    } else {
        course.remount = read_only || !drift::wrong_options(&course.spec, course.seen).is_empty();
    }
    None
}

/// What of the options wanted is not to be had by a remount of what is staged.
fn only_at_mount(course: &Course<'_>) -> Vec<String> {
    let Some(kind) = MountKind::of(&course.spec) else { return Vec::new() };
    let staged_with = course.seen.run.as_ref().filter(|run| run.staging_path.is_some()).map(|run| &run.stage_options);
    let recorded = course.record.filter(|record| !record.rebuilt).map(|record| &record.spec.mount_options);
    // Where no record tells with which options it was mounted, it is taken to be as wanted.
    let is = staged_with.or(recorded).unwrap_or(&course.spec.mount_options);
    remount::only_at_mount(kind, is, &course.spec.mount_options)
}
