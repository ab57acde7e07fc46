//! publish (CSI 1.12, NodePublishVolume): the staged mount, or the device node, at one pod's path.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::driver::{Refusal, Result};
use crate::host::BindMount;
use crate::model::action::Outcome;
use crate::model::observed::TargetKind;
use crate::model::record::VolumeRecord;
use crate::model::{Backing, BlockId, Done, Mount, PublishKind, PublishSpec, remount};

use super::own::{self, Own};
use super::session::Session;
use super::{LocalDriver, attach, guard, neighbours, places, usage};

/// Options of the mount itself that a publish takes over from the stage.
const PER_MOUNT: [&str; 11] = [
    "exec",
    "noexec",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "strictatime",
    "nosymfollow",
    "nosuid",
    "nodev",
];

/// What is bound.
struct Shown {
    source: PathBuf,
    /// As the bind verb wants it: the file system's device, or the node's number.
    expect: BlockId,
}

pub(super) fn publish(driver: &LocalDriver, publish: &PublishSpec) -> Result<Outcome> {
    let mut s = driver.open(&publish.volume)?;
    let mut record = s.existing()?;
    attach::in_use(&s, &record)?;
    places::free(&s, &record, &publish.target, publish.capability.is_some())?;
    places::not_its_stage(&s, s.run.present(), &publish.target)?;
    if publish.capability.is_none() {
        fits(&s, &record, publish)?;
    }
    let own = Own::of(&s, Some(&record))?;
    let stack = own.stack(&s, &publish.target)?;
    if let Some(foreign) = &stack.foreign {
        return Err(s.refuse(
            Refusal::Foreign,
            format!("{} is mounted at {}", own::describe(foreign), publish.target.display()),
            "unmount it by hand, or publish at another path; csictl leaves alone what is not this volume's",
        ));
    }
    if let Some(mount) = stack.top() {
        same_publish(&s, &record, publish, mount)?;
        let mut run = s.run_or_new()?;
        run.publishes.insert(publish.target.clone(), publish.clone());
        if shows_disk(&record, publish) {
            run.device = run.device.or(own.block());
        }
        s.put_run(run)?;
        remember(&mut s, &mut record, publish, BTreeMap::new())?;
        return Ok(unstack(&s, &own, publish)?.into());
    }
    usage::fits(&s, &record, publish.capability.as_ref())?;
    fits(&s, &record, publish)?;
    staged_there(&s, publish)?;
    alone(&s, &own, &record, publish)?;
    let target = s.host().target(&publish.trusted_root, &publish.target).map_err(|error| s.fail(error))?;
    if let Some((link, to)) = &target.symlink {
        return Err(s.refuse(
            Refusal::UnsafePath,
            format!("{} is a symbolic link to {}", link.display(), to.display()),
            "name the real path; csictl follows no link on the way to a target",
        ));
    }
    right_kind(&s, publish, target.kind)?;
    nothing_hidden(&s, publish, target.kind)?;
    if publish.capability.is_some() && record.spec.is_raw() {
        device_for(&mut s, &own, &record, publish)?;
    }
    let shown = shown(&s, &own, &record, publish)?;
    let made = make_target(&mut s, &mut record, publish, target.kind == TargetKind::Absent)?;
    // The intent comes first: a bind that a killed run leaves is then known to be ours.
    let mut run = s.run_or_new()?;
    run.publishes.insert(publish.target.clone(), publish.clone());
    if shows_disk(&record, publish) {
        run.device = Some(shown.expect);
    }
    for path in made {
        if let Some(facts) = s.host().stat(&path).map_err(|error| s.fail(error))? {
            run.made.insert(path, facts.file);
        }
    }
    s.put_run(run)?;
    if let Err(refused) = neighbours::uncovered(&s, &record, &publish.target) {
        let mut run = s.run_or_new()?;
        run.publishes.remove(&publish.target);
        s.put_run(run)?;
        return Err(refused);
    }
    if let Some(sub_path) = &publish.sub_path {
        make_inside(&s, &shown.source, sub_path);
    }
    let read_only = read_only(&record, publish);
    let group = publish.capability.as_ref().and_then(|capability| capability.group);
    if let Some(group) = group.filter(|_| !read_only && publish.kind == PublishKind::Mount) {
        s.host().change_group(&shown.source, group).map_err(|error| s.fail(error))?;
    }
    let request = bind_mount(&s, &record, publish, shown);
    s.host().bind(&request).map_err(|error| s.fail(error))?;
    Ok(Done::Changed.into())
}

fn bind_mount(s: &Session<'_>, record: &VolumeRecord, publish: &PublishSpec, shown: Shown) -> BindMount {
    BindMount {
        source: shown.source,
        expect: shown.expect,
        sub_path: publish.sub_path.clone(),
        target: publish.target.clone(),
        trusted_root: publish.trusted_root.clone(),
        kind: publish.kind,
        read_only: read_only(record, publish),
        propagation: publish.propagation,
        options: options(s, record, publish),
    }
}

/// Makes a path inside the volume that is missing, following no link. Where it cannot be made, the bind says what is wrong with it.
fn make_inside(s: &Session<'_>, stage: &Path, sub_path: &Path) {
    let path = stage.join(sub_path);
    if s.host().target(stage, &path).is_ok_and(|there| there.kind == TargetKind::Absent && there.unknown.is_none()) {
        let _ = s.host().make_inside(stage, &path);
    }
}

/// Gives the publishes of a manifest that are there the flags that go with the record's options.
pub(super) fn change_flags(s: &Session<'_>, record: &VolumeRecord, own: &Own) -> Result<Done> {
    let mut done = Done::Already;
    let publishes = s.run.present().into_iter().flat_map(|run| run.publishes.values());
    for publish in publishes.filter(|publish| publish.capability.is_none() && publish.kind == PublishKind::Mount) {
        let stack = own.stack(s, &publish.target)?;
        let Some(mount) = stack.top().filter(|_| stack.foreign.is_none()) else { continue };
        let shown = Shown { source: mount.source.clone(), expect: mount.device };
        let request = bind_mount(s, record, publish, shown);
        if s.host().change_flags(&request).map_err(|error| s.fail(error))? == Done::Changed {
            done = Done::Changed;
        }
    }
    Ok(done)
}

/// Whether writes through it are refused: the publish says so, the access mode, or the mount options.
fn read_only(record: &VolumeRecord, publish: &PublishSpec) -> bool {
    let capability = publish.capability.as_ref();
    publish.read_only
        || (capability.is_none() && remount::read_only(&record.spec.mount_options))
        || usage::read_only(record, capability)
        || capability.is_some_and(|capability| capability.mount_flags.iter().any(|flag| flag == "ro"))
}

/// Flags of the mount itself: those of the stage, as it was asked for or as the manifest says, and of the publish.
fn options(s: &Session<'_>, record: &VolumeRecord, publish: &PublishSpec) -> Vec<String> {
    let staged = s.run.present().filter(|run| run.stage_capability.is_some()).map(|run| &run.stage_options);
    let asked = publish.capability.iter().flat_map(|capability| &capability.mount_flags);
    let all = staged.unwrap_or(&record.spec.mount_options).iter().chain(asked);
    all.filter(|option| PER_MOUNT.contains(&option.as_str())).cloned().collect()
}

fn fits(s: &Session<'_>, record: &VolumeRecord, publish: &PublishSpec) -> Result<()> {
    let raw = record.spec.is_raw();
    if raw != (publish.kind == PublishKind::Device) {
        let (is, asked) = if raw { ("raw block", "a directory") } else { ("a file system", "a device") };
        return Err(s.refuse(
            Refusal::Incompatible,
            format!("it is {is}, asked is {asked} at {}", publish.target.display()),
            if publish.capability.is_some() {
                "ask for the access type it was made with"
            } else {
                "list a block volume under devices, any other under mounts"
            },
        ));
    }
    if raw && read_only(record, publish) && matches!(record.spec.backing, Backing::Device(_)) {
        return Err(s.refuse(
            Refusal::Unsupported,
            "a bound node of an existing device cannot refuse writes",
            "publish it read-write, or set the device itself read-only (blockdev --setro) and say read_only = false",
        ));
    }
    Ok(())
}

/// What is at the target already has to be what is asked (CSI 1.12: same target, other arguments is ALREADY_EXISTS).
fn same_publish(s: &Session<'_>, record: &VolumeRecord, publish: &PublishSpec, mount: &Mount) -> Result<()> {
    let recorded = s.run.present().and_then(|run| run.publishes.get(&publish.target));
    let same = |is: &PublishSpec| {
        is.kind == publish.kind
            && is.sub_path == publish.sub_path
            && is.read_only == publish.read_only
            && is.propagation == publish.propagation
            && is.staging_path == publish.staging_path
            && match (&is.capability, &publish.capability) {
                (Some(is), Some(asked)) => usage::same(record, is, asked),
                (is, asked) => is.is_none() && asked.is_none(),
            }
    };
    let differs = match recorded {
        Some(is) => !same(is),
        None => publish.kind == PublishKind::Mount && mount.read_only() != publish.read_only,
    };
    let lost_read_only = publish.kind == PublishKind::Mount && publish.read_only && !mount.read_only();
    if differs || lost_read_only {
        return Err(s.refuse(
            Refusal::Exists,
            format!(
                "{} shows it already with other arguments ({})",
                publish.target.display(),
                if publish.capability.is_some() {
                    "readonly, volume_capability or staging_target_path"
                } else {
                    "read_only, sub_path or propagation"
                }
            ),
            "unpublish it there first",
        ));
    }
    Ok(())
}

/// Takes away what lies on each other at the target, so that one mount is left.
fn unstack(s: &Session<'_>, own: &Own, publish: &PublishSpec) -> Result<Done> {
    let mut done = Done::Already;
    loop {
        let stack = own.stack(s, &publish.target)?;
        let Some(top) = stack.top().filter(|_| stack.ours.len() > 1) else { return Ok(done) };
        let request = crate::host::Unmount {
            target: publish.target.clone(),
            trusted_root: publish.trusted_root.clone(),
            expect: top.device,
            root: Some(top.root.clone()),
        };
        s.host().unmount(&request).map_err(|error| s.busy(error, top.device, Some(&publish.target)))?;
        done = Done::Changed;
    }
}

/// Whether a publish shows the node of an existing device.
fn shows_disk(record: &VolumeRecord, publish: &PublishSpec) -> bool {
    publish.kind == PublishKind::Device && matches!(record.spec.backing, Backing::Device(_))
}

/// One publish only, unless the access mode allows many.
fn alone(s: &Session<'_>, own: &Own, record: &VolumeRecord, publish: &PublishSpec) -> Result<()> {
    let mode = |publish: &PublishSpec| usage::access_mode(record, publish.capability.as_ref());
    let many = mode(publish).allows_many();
    let Some(run) = s.run.present() else { return Ok(()) };
    for (target, other) in run.publishes.iter().filter(|(_, other)| !many || !mode(other).allows_many()) {
        if *target != publish.target && !own.stack(s, target)?.ours.is_empty() {
            let (mode, target) = (if many { mode(other) } else { mode(publish) }, target.display());
            let (message, help) = if publish.capability.is_some() {
                (
                    format!("access mode {} allows one publish, and it is published at {target}", mode.wire_name()),
                    "unpublish it there first, or make and publish it as SINGLE_NODE_MULTI_WRITER",
                )
            } else {
                (
                    format!("access mode {mode} allows one publish, and pod {} has it at {target}", other.pod),
                    "unpublish it there first, or use access_mode = \"single-node-multi-writer\"",
                )
            };
            return Err(s.refuse(Refusal::Incompatible, message, help));
        }
    }
    Ok(())
}

/// Refuses a publish from a path at which it is not staged (CSI 1.12, NodePublishVolume: FAILED_PRECONDITION).
fn staged_there(s: &Session<'_>, publish: &PublishSpec) -> Result<()> {
    let Some(path) = &publish.staging_path else { return Ok(()) };
    let is = s.run.present().and_then(|run| run.staging_path.as_ref());
    if is == Some(path) {
        return Ok(());
    }
    let elsewhere = is.map_or_else(String::new, |is| format!(": it is staged at {}", is.display()));
    Err(s.refuse(
        Refusal::NotReady,
        format!("it is not staged at {}{elsewhere}", path.display()),
        "stage it there first (NodeStageVolume)",
    ))
}

/// A raw block volume's loop device as the publish wants it: read-only ones refuse writes at the device, since a read-only bind of its node
/// does not. While nothing else shows it, it is attached anew for that; one that was lost is attached again.
fn device_for(s: &mut Session<'_>, own: &Own, record: &VolumeRecord, publish: &PublishSpec) -> Result<()> {
    let Backing::Image(backing) = &record.spec.backing else { return Ok(()) };
    let wanted = read_only(record, publish);
    if let Some(device) = own::loop_of(s, record)? {
        if device.read_only == wanted || shown_elsewhere(s, own, publish)? {
            return Ok(());
        }
        guard::not_the_last(s, record, &device, &device.node().display().to_string())?;
        s.host().detach_loop(device.index, device.backing).map_err(|error| s.busy(error, device.block, None))?;
    }
    let record = s.record.present().cloned().unwrap_or_else(|| record.clone());
    attach::attach_image(s, record, backing, wanted).map(drop)
}

fn shown_elsewhere(s: &Session<'_>, own: &Own, publish: &PublishSpec) -> Result<bool> {
    for target in s.run.present().into_iter().flat_map(|run| run.publishes.keys()) {
        if *target != publish.target && !own.stack(s, target)?.ours.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is to be bound: never a plain directory where a mount should be.
fn shown(s: &Session<'_>, own: &Own, record: &VolumeRecord, publish: &PublishSpec) -> Result<Shown> {
    let not_ready = |message: String| s.refuse(Refusal::NotReady, message, "stage it first");
    match (&record.spec.backing, publish.kind) {
        (Backing::Image(_), PublishKind::Device) => {
            let device =
                own::loop_of(s, record)?.ok_or_else(|| not_ready("it is attached to no loop device".to_owned()))?;
            if device.read_only != read_only(record, publish) {
                return Err(s.refuse(
                    Refusal::Incompatible,
                    format!("{} was attached for other access than asked", device.node().display()),
                    "all publishes of a block volume are read-only, or all read-write: unpublish and detach it first",
                ));
            }
            Ok(Shown { source: device.node(), expect: device.block })
        }
        (Backing::Device(backing), PublishKind::Device) => {
            let device = guard::device(s, backing)?;
            guard::is_its_raw_disk(s, record, backing, &device)?;
            let up = s.run.present().is_some_and(|run| run.staging_path.is_some() || !run.publishes.is_empty());
            if !up {
                guard::device_is_unclaimed(s, backing, &device)?;
            }
            Ok(Shown { source: backing.path.clone(), expect: device.block })
        }
        _ => {
            let path = s.run.present().and_then(|run| run.staging_path.clone());
            let path = path.unwrap_or_else(|| s.layout().staging_path(&s.id));
            let stack = own.stack(s, &path)?;
            let mount = stack.top().ok_or_else(|| not_ready(format!("it is not staged at {}", path.display())))?;
            Ok(Shown { source: path.clone(), expect: mount.device })
        }
    }
}

fn right_kind(s: &Session<'_>, publish: &PublishSpec, is: TargetKind) -> Result<()> {
    let fits = match is {
        TargetKind::Absent => true,
        TargetKind::Directory => publish.kind == PublishKind::Mount,
        TargetKind::File => publish.kind == PublishKind::Device,
        TargetKind::Other => false,
    };
    if fits {
        return Ok(());
    }
    let (is, needed) = match (is, publish.kind) {
        (TargetKind::Directory, _) => ("a directory", "a file for a device"),
        (TargetKind::File, _) => ("a file", "a directory for a mount"),
        (_, PublishKind::Mount) => ("neither file nor directory", "a directory for a mount"),
        (_, PublishKind::Device) => ("neither file nor directory", "a file for a device"),
    };
    Err(s.refuse(
        Refusal::Incompatible,
        format!("{} is {is}; needed is {needed}", publish.target.display()),
        "remove it, or publish at another path",
    ))
}

/// Refuses to hide what is at an orchestrator's target: it is to be made for the volume, and removed after it.
fn nothing_hidden(s: &Session<'_>, publish: &PublishSpec, is: TargetKind) -> Result<()> {
    if publish.capability.is_none() {
        return Ok(());
    }
    let fail = |error| s.fail(error);
    let what = match is {
        TargetKind::Directory if !s.host().is_empty(&publish.target).map_err(fail)? => "a directory that is not empty",
        TargetKind::File if s.host().stat(&publish.target).map_err(fail)?.is_some_and(|facts| facts.size > 0) => {
            "a file with content"
        }
        _ => return Ok(()),
    };
    Err(s.refuse(
        Refusal::Incompatible,
        format!("{} is {what}, which the volume would hide", publish.target.display()),
        "move what is there away, or publish at another path",
    ))
}

/// Makes the target where it is missing; what will be csictl's to remove is written down before.
fn make_target(
    s: &mut Session<'_>,
    record: &mut VolumeRecord,
    publish: &PublishSpec,
    absent: bool,
) -> Result<Vec<PathBuf>> {
    let missing = if absent { missing_paths(s, &publish.target, publish.kind)? } else { BTreeMap::new() };
    remember(s, record, publish, missing)?;
    if !absent {
        return Ok(Vec::new());
    }
    if s.host().stat(&publish.trusted_root).map_err(|error| s.fail(error))?.is_none() {
        s.host().make_dir(&publish.trusted_root, 0o755).map_err(|error| s.fail(error))?;
    }
    s.host().make_target(&publish.trusted_root, &publish.target, publish.kind).map_err(|error| s.fail(error))
}

/// Writes down where a manifest shows it, and what will be csictl's to remove. Not flushed: a killed run leaves the record as written, and the
/// worst a power cut can leave is an empty directory or file that nobody knows to be csictl's.
fn remember(
    s: &mut Session<'_>,
    record: &mut VolumeRecord,
    publish: &PublishSpec,
    missing: BTreeMap<PathBuf, PublishKind>,
) -> Result<()> {
    record.made_targets.extend(missing);
    if publish.capability.is_none() {
        record.shown_at.insert(publish.target.clone(), publish.kind);
    }
    s.put_record(record.clone(), false)
}

/// The target and its parents that are not there, as what they will be.
fn missing_paths(s: &Session<'_>, target: &Path, kind: PublishKind) -> Result<BTreeMap<PathBuf, PublishKind>> {
    let mut missing = BTreeMap::new();
    for path in target.ancestors() {
        let facts = s.host().stat(path).map_err(|error| s.fail(error))?;
        if facts.is_some() {
            break;
        }
        let kind = if path == target { kind } else { PublishKind::Mount };
        missing.insert(path.to_owned(), kind);
    }
    Ok(missing)
}
