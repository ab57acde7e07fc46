//! What differs from what csictl left behind although nobody asked csictl for it: a mount that is gone or lost an option, a stack
//! of mounts, an image that was replaced or truncated, another device, a loop of the wrong size. `plan` lists it and plans
//! against it; `status` only lists it.

use std::collections::HashMap;
use std::fmt::Display;
use std::path::Path;

use crate::model::mount_options::MountKind;
use crate::model::observed::{ObservedBacking, ObservedPublish, ObservedStage, ObservedVolume};
use crate::model::record::{FormatMark, Recorded, VolumeRecord};
use crate::model::{
    Backing, Capacity, Mount, ObjectRef, Propagation, PublishKind, PublishSpec, VolumeId, VolumeSpec, remount,
};

use super::Drift;

/// Every drift of one volume that is wanted at `publishes`.
pub fn of_volume(id: &VolumeId, seen: &ObservedVolume, publishes: &[&PublishSpec]) -> Vec<Drift> {
    let mut found = Findings { object: ObjectRef::Volume(id.clone()), drift: Vec::new() };
    if let Recorded::Corrupt { cause } = &seen.record {
        found.push("record", "a whole record", cause);
    }
    let Some(record) = seen.record.present() else { return found.drift };
    backing(record, seen, &mut found);
    if !publishes.is_empty() {
        staging(record, seen, publishes, &mut found);
    }
    let mounted: HashMap<&Path, &ObservedPublish> =
        seen.published.iter().map(|publish| (publish.target.as_path(), publish)).collect();
    for publish in publishes {
        let there = mounted.get(publish.target.as_path()).copied();
        target(record, seen, publish, there, &mut found);
    }
    found.drift
}

/// The same of a volume of which nothing tells what is wanted but its records: what this boot's record names, and what was shown before a boot.
pub fn of_recorded(id: &VolumeId, seen: &ObservedVolume) -> Vec<Drift> {
    let recorded: Vec<&PublishSpec> = seen.run.iter().flat_map(|run| run.publishes.values()).collect();
    let mut found = Findings { object: ObjectRef::Volume(id.clone()), drift: of_volume(id, seen, &recorded) };
    let there = |target: &Path| {
        recorded.iter().any(|publish| publish.target == target)
            || seen.published.iter().any(|publish| publish.target == target)
    };
    for target in seen.record.present().into_iter().flat_map(|record| record.shown_at.keys()) {
        if !there(target) {
            found.push("mount", &target.display(), "not mounted");
        }
    }
    found.drift
}

struct Findings {
    object: ObjectRef,
    drift: Vec<Drift>,
}

impl Findings {
    fn push(&mut self, what: &str, expected: &(impl Display + ?Sized), found: &(impl Display + ?Sized)) {
        let (expected, found) = (expected.to_string(), found.to_string());
        self.drift.push(Drift { object: self.object.clone(), what: what.to_owned(), expected, found });
    }
}

fn backing(record: &VolumeRecord, seen: &ObservedVolume, found: &mut Findings) {
    match &seen.backing {
        ObservedBacking::Image(image) => {
            lost_filesystem(record, seen, found);
            let ours = image.identity.as_ref().is_some_and(|says| says.id == record.spec.id.as_str() && !says.snapshot);
            if let Some(was) = record.image.filter(|was| *was != image.file && !ours) {
                found.push("image", &was, &image.file);
            }
            if let Some(size) = record.least().filter(|size| image.size < *size && !record.rebuilt) {
                found.push("image size", &size, &image.size);
            }
            if let Some(device) = &seen.loop_device {
                // What somebody gave the file beyond that is noted, and the loop device's at its next attach.
                let asked = record.spec.required().map_or(image.size, |asked| asked.min(image.size));
                if device.backing != image.file {
                    found.push("loop", &image.file, &device.backing);
                } else if device.size < asked.get() - asked.get() % u64::from(device.sector_size.max(512)) {
                    found.push("loop size", &asked, &Capacity::bytes(device.size));
                }
            }
        }
        ObservedBacking::Missing => {
            if let Some(image) = record.spec.backing.as_image().filter(|_| record.image.is_some()) {
                found.push("image", &image.image_path(&record.spec.id).display(), "nothing");
            }
            if let Backing::Device(device) = &record.spec.backing {
                found.push("device", &device.path.display(), "nothing");
            }
        }
        ObservedBacking::Device(device) => {
            if let Some(staged) = seen.staged.as_ref().filter(|staged| staged.mount.device != device.block) {
                found.push("device", &staged.mount.device, &device.block);
            }
        }
        ObservedBacking::Directory { .. } => {}
        ObservedBacking::Wrong(what) => found.push("backing", record.spec.backing.kind(), what),
    }
}

/// What csictl formatted and left whole holds something else now, or nothing.
fn lost_filesystem(record: &VolumeRecord, seen: &ObservedVolume, found: &mut Findings) {
    let fs = record.spec.fs_type().filter(|_| record.format == FormatMark::Done);
    if let (Some(fs), Some(probe)) = (fs, &seen.probe)
        && probe.known().is_none_or(|known| known.kind != fs.as_str())
    {
        found.push("filesystem", &fs, probe);
    }
}

fn staging(record: &VolumeRecord, seen: &ObservedVolume, publishes: &[&PublishSpec], found: &mut Findings) {
    let Some(staged) = &seen.staged else {
        if !record.spec.is_raw() && was_up(record, seen, publishes) {
            let path = seen.run.as_ref().and_then(|run| run.staging_path.as_ref());
            found.push(
                "staging mount",
                &path.map_or_else(|| "mounted".to_owned(), |path| path.display().to_string()),
                "not mounted",
            );
        }
        return;
    };
    if staged.depth > 1 {
        found.push("staging mount", "one mount", &format!("{} on each other", staged.depth));
    }
    if seen.frozen {
        found.push("filesystem", "writable", "frozen: every write to it waits");
    }
    if has_to_grow(seen) {
        found.push("filesystem", "as large as its device", "not grown to it yet");
    }
    for (expected, is) in wrong_options(&record.spec, seen) {
        found.push("mount_options", &expected, &is);
    }
    if became_read_only(&record.spec, seen, publishes.iter().copied()) {
        found.push("mount_options", "rw", "the file system has become read-only");
    }
}

/// Whether what is staged was mounted by a run that ended before it had grown it.
pub(super) fn has_to_grow(seen: &ObservedVolume) -> bool {
    seen.staged.is_some() && seen.run.as_ref().is_some_and(|run| run.grows)
}

/// Whether it was up before, as far as anything tells: this boot's record, or where the manifest had it shown.
fn was_up(record: &VolumeRecord, seen: &ObservedVolume, publishes: &[&PublishSpec]) -> bool {
    let this_boot = seen.run.as_ref().is_some_and(|run| run.staging_path.is_some() || !run.publishes.is_empty());
    this_boot || publishes.iter().any(|publish| record.shown_at.contains_key(&publish.target))
}

fn target(
    record: &VolumeRecord,
    seen: &ObservedVolume,
    publish: &PublishSpec,
    there: Option<&ObservedPublish>,
    found: &mut Findings,
) {
    let path = publish.target.display();
    let asked = seen.run.as_ref().and_then(|run| run.publishes.get(&publish.target));
    match there {
        Some(published) => {
            if published.depth > 1 {
                found.push("mount", &format!("one mount at {path}"), &format!("{} on each other", published.depth));
            }
            // What the manifest changed since is a change, not a drift.
            let asked = asked.unwrap_or(publish);
            if let Some(hidden) = seen.hidden.iter().find(|hidden| hidden.target == publish.target) {
                let is = format!("hidden: {} is mounted over {}", hidden.what, hidden.over.display());
                found.push("mount", &path, &is);
            }
            if let Some((expected, is)) = wrong_mount(&record.spec, published, asked) {
                found.push("mount", &format!("{path} {expected}"), &is);
            }
        }
        None if asked.is_some() || record.shown_at.contains_key(&publish.target) => {
            found.push("mount", &path, "not mounted");
        }
        None => {}
    }
}

/// How a mount at a target differs from what was asked for: (expected, found).
pub(super) fn wrong_mount(spec: &VolumeSpec, seen: &ObservedPublish, asked: &PublishSpec) -> Option<(String, String)> {
    if seen.kind != asked.kind {
        let word = |kind| if kind == PublishKind::Mount { "a mount" } else { "a device" };
        return Some((word(asked.kind).to_owned(), word(seen.kind).to_owned()));
    }
    if asked.kind == PublishKind::Device {
        return seen.stale.then(|| ("its device".to_owned(), "a device that is the volume's no longer".to_owned()));
    }
    if seen.sub_path != asked.sub_path {
        let word = |path: &Option<std::path::PathBuf>| {
            path.as_ref().map_or_else(|| "its root".to_owned(), |path| path.display().to_string())
        };
        return Some((format!("shows {}", word(&asked.sub_path)), format!("shows {}", word(&seen.sub_path))));
    }
    let read_only = publish_read_only(spec, asked);
    if seen.mount.read_only() != read_only {
        let word = |read_only| if read_only { "read-only" } else { "read-write" };
        return Some((word(read_only).to_owned(), word(!read_only).to_owned()));
    }
    (asked.propagation == Propagation::None && seen.mount.shared).then(|| ("private".to_owned(), "shared".to_owned()))
}

/// Whether a publish refuses writes, by its own word, by the volume's access mode or by its mount options.
pub(super) fn publish_read_only(spec: &VolumeSpec, publish: &PublishSpec) -> bool {
    publish.read_only || spec.access_mode.read_only() || remount::read_only(&spec.mount_options)
}

/// Whether a file system that is to be written to takes no writes: it met an error, or somebody remounted it. What a directory lies on is
/// the host's to repair, and matters where it is to be written to.
pub(super) fn became_read_only<'a>(
    spec: &VolumeSpec,
    seen: &ObservedVolume,
    publishes: impl IntoIterator<Item = &'a PublishSpec>,
) -> bool {
    let is_directory = matches!(spec.backing, Backing::Directory(_));
    seen.staged.as_ref().is_some_and(|staged| staged.mount.super_read_only())
        && !spec.access_mode.read_only()
        && !remount::read_only(by_orchestrator(seen).unwrap_or(&spec.mount_options))
        && (!is_directory || publishes.into_iter().any(|publish| !publish.read_only))
}

/// The options of a volume that an orchestrator has staged, which take no heed of what it was given since.
fn by_orchestrator(seen: &ObservedVolume) -> Option<&[String]> {
    seen.run.as_ref().filter(|run| run.stage_capability.is_some()).map(|run| run.stage_options.as_slice())
}

/// What the staged mount, its file system or a pod's mount shows otherwise than the options ask for: (expected, found). Whether a pod's mount is
/// read-only is its publish's to say; see [`wrong_mount`]. What a directory has from the mount it lies on is the host's.
pub(super) fn wrong_options(spec: &VolumeSpec, seen: &ObservedVolume) -> Vec<(String, String)> {
    let Some(staged) = &seen.staged else { return Vec::new() };
    let is_directory = matches!(spec.backing, Backing::Directory(_));
    let orchestrators = by_orchestrator(seen);
    let wanted = remount::wanted_flags(orchestrators.unwrap_or(&spec.mount_options));
    // An orchestrator's capability says it, and not all of it is looked at here.
    let may_be_read_only = spec.access_mode.read_only() || orchestrators.is_some();
    let mut wrong = Vec::new();
    let mut compare = |mount: &Mount, place: &str, flag: &'static str, asked: bool| {
        let is = mount.has_option(flag);
        if asked && !is {
            wrong.push((flag.to_owned(), format!("not set on {place}")));
        } else if !asked && is && !is_directory {
            wrong.push((format!("no {flag}"), format!("{flag} is set on {place}")));
        }
    };
    for flag in remount::FLAGS {
        // The stage of a directory is a plain bind of what the host has there.
        let asked = wanted.contains(flag) && !(is_directory && matches!(flag, "nosuid" | "nodev"));
        let asked = asked || (flag == "ro" && may_be_read_only && staged.mount.read_only());
        compare(&staged.mount, "the staged mount", flag, asked);
    }
    let manifests = |publish: &&ObservedPublish| {
        let asked = seen.run.as_ref().and_then(|run| run.publishes.get(&publish.target));
        publish.kind == PublishKind::Mount && asked.is_none_or(|asked| asked.capability.is_none())
    };
    for publish in seen.published.iter().filter(manifests) {
        for flag in remount::FLAGS.into_iter().filter(|flag| *flag != "ro") {
            compare(&publish.mount, &publish.target.display().to_string(), flag, wanted.contains(flag));
        }
    }
    if let Some(kind) = MountKind::of(spec) {
        let asked = orchestrators.unwrap_or(&spec.mount_options);
        wrong.extend(remount::wrong_of_superblock(kind, asked, &staged.mount.super_options));
    }
    wrong.extend(wrong_size(spec, staged));
    wrong
}

/// The size of a tmpfs that is another one than was set. The kernel rounds up to whole pages, of which the largest have 64 KiB.
fn wrong_size(spec: &VolumeSpec, staged: &ObservedStage) -> Option<(String, String)> {
    const LARGEST_PAGE: u64 = 64 << 10;
    let Backing::Tmpfs(backing) = &spec.backing else { return None };
    let is = remount::tmpfs_size(&staged.mount.super_options)?;
    let right = backing.size.get()..backing.size.get().saturating_add(LARGEST_PAGE);
    (!right.contains(&is)).then(|| (format!("size={}", backing.size), format!("size={}", Capacity::bytes(is))))
}
