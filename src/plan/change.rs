//! What changed between a volume's spec as last applied and as wanted now: in place, by replacement, or not at all.
//!
//! In place: description, reclaim, prevent_destroy, access mode, mount options, owner, mode, fs_group, the limit of the capacity,
//! the size of a tmpfs, `direct_io` (at the next attach), a pool's name, and `allocate`: sparse → full allocates, full → sparse is
//! only recorded, bytes already allocated stay so until something discards them. By replacement: file-system type, kind of
//! backing, volume mode. Refused: a smaller capacity, another source, another sector size, another pool directory, device or
//! directory path, for the data would have to move. Label and mkfs options act at creation only: a note. Growth is `expand`'s.

use std::fmt::Display;

use crate::model::observed::ObservedBacking;
use crate::model::{Backing, Capacity, ObjectRef, Source, VolumeSpec};

use super::Refused;
use super::course::Course;
use super::guards;

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Differences {
    /// Changed by a modify.
    pub in_place: Vec<(String, String)>,
    /// Each forces a replacement.
    pub replace: Vec<(String, String)>,
    /// Cannot be done.
    pub refused: Vec<Refused>,
    /// Worth a word.
    pub notes: Vec<String>,
}

/// Compares a course's spec with its record's.
pub(super) fn compare(course: &Course<'_>) -> Differences {
    let mut found = Differences::default();
    let Some(record) = course.record else { return found };
    let (old, new) = (&record.spec, course.spec.as_ref());
    let object = ObjectRef::Volume(course.id.clone());
    forces_replacement(course, old, new, &mut found);
    if found.replace.is_empty() {
        backing(course, &old.backing, &new.backing, &object, &mut found);
        at_creation_only(old, new, &mut found);
        if old.source != new.source && !record.rebuilt {
            found.refused.push(guards::changed_source(&object, &source(old), &source(new)));
        }
        if let (Some(was), Some(now)) = (old.capacity, new.capacity)
            && was.limit != now.limit
        {
            found.in_place.push(line("capacity.limit", &size(was.limit), &size(now.limit)));
        }
    }
    in_place(old, new, &mut found);
    if record.modifying && found.in_place.is_empty() {
        found.in_place.push(("an earlier change".to_owned(), "was begun and is not known to have ended".to_owned()));
    }
    found
}

fn forces_replacement(course: &Course<'_>, old: &VolumeSpec, new: &VolumeSpec, found: &mut Differences) {
    if old.backing.kind() != new.backing.kind() {
        found.replace.push(line("backing", old.backing.kind(), new.backing.kind()));
    }
    if old.volume_mode != new.volume_mode {
        let mode = |spec: &VolumeSpec| if spec.is_raw() { "block" } else { "filesystem" };
        found.replace.push(line("volume_mode", mode(old), mode(new)));
    }
    if let (Some(was), Some(now)) = (old.fs_type(), new.fs_type())
        && was != now
    {
        let there = course.seen.probe.as_ref().and_then(|probe| probe.known()).map(|signature| signature.kind.as_str());
        let line = line("fs.type", was.as_str(), now.as_str());
        // Somebody who owns the device has already made what is asked for.
        if there == Some(now.as_str()) && matches!(old.backing, Backing::Device(_)) {
            found.in_place.push(line);
        } else {
            found.replace.push(line);
        }
    }
}

fn backing(course: &Course<'_>, old: &Backing, new: &Backing, object: &ObjectRef, found: &mut Differences) {
    match (old, new) {
        (Backing::Image(old), Backing::Image(new)) => {
            if old.pool_path != new.pool_path {
                found.refused.push(guards::moved(object, "pool", &old.pool_path, &new.pool_path));
            } else if old.pool != new.pool {
                found.in_place.push(line("pool", &old.pool, &new.pool));
            }
            if old.sector_size != new.sector_size {
                found.refused.push(guards::sector_size(object, old.sector_size, new.sector_size));
            }
            if old.allocate != new.allocate {
                let word = |allocate| if allocate == crate::model::Allocate::Full { "full" } else { "sparse" };
                found.in_place.push(line("allocate", word(old.allocate), word(new.allocate)));
            }
            if old.direct_io != new.direct_io {
                found.in_place.push(line("direct_io", &old.direct_io, &new.direct_io));
                if course.is_up() {
                    found.notes.push("direct_io changes at the next attach".to_owned());
                }
            }
        }
        (Backing::Device(old), Backing::Device(new)) => {
            if old.path != new.path {
                if same_device(course) {
                    found.in_place.push(line("device.path", &old.path.display(), &new.path.display()));
                } else {
                    found.refused.push(guards::moved(object, "device", &old.path, &new.path));
                }
            }
            if old.expect != new.expect {
                found.in_place.push(("device.expect".to_owned(), "changed".to_owned()));
            }
        }
        (Backing::Directory(old), Backing::Directory(new)) => {
            if old.path != new.path {
                found.refused.push(guards::moved(object, "directory", &old.path, &new.path));
            }
            if old.create != new.create {
                found.in_place.push(line("directory.create", &old.create, &new.create));
            }
        }
        (Backing::Tmpfs(old), Backing::Tmpfs(new)) if old.size != new.size => {
            found.in_place.push(line("size", &old.size, &new.size));
            if let Some(used) = course.seen.used.filter(|used| *used > new.size) {
                found.refused.push(guards::too_small(object, new.size, used, "in use"));
            }
        }
        _ => {}
    }
}

/// Another path that leads to the device of the record, or to the one that is staged.
fn same_device(course: &Course<'_>) -> bool {
    let Some(asked) = course.seen.asked_device else { return false };
    let recorded = matches!(&course.seen.backing, ObservedBacking::Device(device) if device.block == asked);
    recorded || course.seen.staged.as_ref().is_some_and(|staged| staged.mount.device == asked)
}

fn at_creation_only(old: &VolumeSpec, new: &VolumeSpec, found: &mut Differences) {
    let (Some(was), Some(now)) = (&old.fs, &new.fs) else { return };
    if was.label != now.label || was.mkfs_options != now.mkfs_options {
        found.notes.push("label and mkfs_options act when the file system is made; it keeps what it has".to_owned());
    }
    if was.format != now.format {
        found.in_place.push(("fs.format".to_owned(), "changed".to_owned()));
    }
}

fn in_place(old: &VolumeSpec, new: &VolumeSpec, found: &mut Differences) {
    let mut differs = |what: &str, was: String, now: String| {
        if was != now {
            found.in_place.push(line(what, &was, &now));
        }
    };
    let options = |spec: &VolumeSpec| if spec.mount_options.is_empty() { none() } else { spec.mount_options.join(",") };
    let reclaim = |spec: &VolumeSpec| match spec.reclaim {
        crate::model::Reclaim::Retain => "retain".to_owned(),
        crate::model::Reclaim::Delete => "delete".to_owned(),
    };
    let owner = |spec: &VolumeSpec| spec.ownership.owner.map_or_else(none, |(user, group)| format!("{user}:{group}"));
    let mode = |spec: &VolumeSpec| spec.ownership.mode.map_or_else(none, |mode| format!("{mode:04o}"));
    let group = |spec: &VolumeSpec| spec.fs_group.map_or_else(none, |group| group.to_string());
    let text = |spec: &VolumeSpec| spec.description.as_ref().map_or_else(none, |text| format!("{text:?}"));
    differs("description", text(old), text(new));
    differs("access_mode", old.access_mode.to_string(), new.access_mode.to_string());
    differs("mount_options", options(old), options(new));
    differs("reclaim", reclaim(old), reclaim(new));
    differs("prevent_destroy", old.prevent_destroy.to_string(), new.prevent_destroy.to_string());
    differs("owner", owner(old), owner(new));
    differs("mode", mode(old), mode(new));
    differs("fs_group", group(old), group(new));
}

fn none() -> String {
    "none".to_owned()
}

fn size(size: Option<Capacity>) -> String {
    size.map_or_else(none, |size| size.to_string())
}

fn source(spec: &VolumeSpec) -> String {
    match &spec.source {
        None => "nothing".to_owned(),
        Some(Source::Volume(id)) => format!("volume.{}", id.short()),
        Some(Source::Snapshot(id)) => format!("snapshot.{}", id.short()),
    }
}

fn line(what: &str, was: &(impl Display + ?Sized), now: &(impl Display + ?Sized)) -> (String, String) {
    (what.to_owned(), format!("{was} -> {now}"))
}
