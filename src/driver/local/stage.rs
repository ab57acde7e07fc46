//! stage (CSI 1.12, NodeStageVolume): format if blank, check, grow to the device, mount once. Attaches when nobody did.

use std::path::{Path, PathBuf};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::FsMount;
use crate::model::action::{Outcome, StageRequest};
use crate::model::mount_options::{MountKind, check_all};
use crate::model::record::{RunRecord, VolumeRecord};
use crate::model::{Allocate, Backing, BlockId, DiskId, Done, FsType, Owner, SectorSize, VolumeSpec};

use super::backing::{directory, tmpfs};
use super::own::{self, Own};
use super::session::{Session, with_help};
use super::{LocalDriver, attach, freezing, guard, ownership, places, ready, usage};

pub(super) fn stage(driver: &LocalDriver, request: &StageRequest) -> Result<Outcome> {
    let mut s = driver.open(&request.id)?;
    let record = s.existing()?;
    attach::in_use(&s, &record)?;
    places::free(&s, &record, &request.staging_path, request.capability.is_some())?;
    let result = stage_locked(&mut s, record, request);
    if result.is_err() {
        // A loop device nobody mounted must not outlive the failure.
        driver.let_go(&request.id);
    }
    result
}

fn stage_locked(s: &mut Session<'_>, mut record: VolumeRecord, request: &StageRequest) -> Result<Outcome> {
    let mut notes = Vec::new();
    let own = Own::of(s, Some(&record))?;
    let run = s.run_or_new()?;
    let request = &asked(s, &own, &record, &run, request)?;
    usage::fits(s, &record, request.capability.as_ref())?;
    if record.spec.is_raw() {
        return stage_raw(s, record, request);
    }
    let read_only = usage::read_only(&record, request.capability.as_ref());
    let options = options(s, &record.spec, read_only, &request.mount_options)?;
    let writable = ready::is_writable(&options);
    not_staged_elsewhere(s, &own, &run, request)?;
    let stack = own.stack(s, &request.staging_path)?;
    if let Some(foreign) = &stack.foreign {
        return Err(s.refuse(
            Refusal::Foreign,
            format!("{} is mounted at {}", own::describe(foreign), request.staging_path.display()),
            "take that mount away by hand; csictl leaves alone what is not this volume's",
        ));
    }
    let staged = stack.top().is_some();
    let mut done = Done::Already;
    let mut ungrown = None;
    if staged {
        // A killed snapshot, or anybody, may have left it frozen, and its writers unkillable.
        let thawed = freezing::thaw(s, &request.staging_path);
        done = restage(s, &record, request, &options, stack.ours.len())?;
        if run.grows && writable {
            match grow_staged(s, &record, &request.staging_path) {
                Ok(()) => done = Done::Changed,
                Err(error) if record.spec.owner == Owner::Csi => return Err(error),
                Err(error) => ungrown = Some(with_help(error, UNGROWN)),
            }
        }
        if thawed == Done::Changed {
            done = thawed;
            notes.push(freezing::NOTE.to_owned());
        }
    }
    let mut intent = RunRecord { grows: ungrown.is_some(), ..run };
    intent.staging_path = Some(request.staging_path.clone());
    intent.stage_options.clone_from(&request.mount_options);
    intent.stage_capability.clone_from(&request.capability);
    if staged {
        // Adopted, or staged by an older csictl: what is there is written down now.
        match &record.spec.backing {
            Backing::Device(_) => intent.device = intent.device.or(own.block()),
            Backing::Directory(backing) if intent.directory.is_none() => {
                intent.directory = Some(directory::require(s, backing)?);
            }
            _ => {}
        }
        s.put_run(intent)?;
    } else {
        let before = intent.clone();
        ungrown = match mount(s, &mut record, request, intent, options, &mut notes) {
            Ok(ungrown) => ungrown,
            Err(error) => return Err(not_mounted(s, &record, request, before, error)),
        };
        done = Done::Changed;
    }
    s.driver.let_go(&s.id);
    let group = request.capability.as_ref().and_then(|capability| capability.group);
    let mounted = ownership::Mounted { new: !staged, writable };
    if ownership::own_root(s, &mut record, &request.staging_path, mounted, group, &mut notes)? == Done::Changed {
        done = Done::Changed;
    }
    match ungrown {
        None => Ok(Outcome { done, notes }),
        Some(error) => Err(DriverError::Unfinished(Box::new(error))),
    }
}

/// Writes down that nothing is staged after a mount that failed, where that is so: what could not be taken away again is there, with all that is
/// known of it.
fn not_mounted(
    s: &mut Session<'_>,
    record: &VolumeRecord,
    request: &StageRequest,
    before: RunRecord,
    error: DriverError,
) -> DriverError {
    let left = Own::of(s, Some(record)).and_then(|own| own.stack(s, &request.staging_path));
    if left.is_ok_and(|stack| stack.top().is_none()) {
        let cleared = RunRecord {
            staging_path: None,
            stage_options: Vec::new(),
            stage_capability: None,
            loop_index: None,
            device: None,
            directory: None,
            ..before
        };
        // The first error is the one that tells; a record too many is harmless.
        let _ = s.put_run(cleared);
    }
    error
}

/// The request with every mount option it comes to: a manifest's has them; an orchestrator's are those of its capability and those the
/// volume was given since, unless it is staged already, with those of then.
fn asked(
    s: &Session<'_>,
    own: &Own,
    record: &VolumeRecord,
    run: &RunRecord,
    request: &StageRequest,
) -> Result<StageRequest> {
    let mut asked = request.clone();
    let Some(capability) = &request.capability else { return Ok(asked) };
    if usage::staged_already(s, own, record, run, (&request.staging_path, capability))? {
        asked.mount_options.clone_from(&run.stage_options);
    } else {
        asked.mount_options.clone_from(&capability.mount_flags);
        let more = record.spec.mount_options.iter().filter(|option| !capability.mount_flags.contains(option));
        asked.mount_options.extend(more.cloned());
    }
    Ok(asked)
}

/// A raw block volume has no mount to stage; it is attached, and the path is remembered.
fn stage_raw(s: &mut Session<'_>, record: VolumeRecord, request: &StageRequest) -> Result<Outcome> {
    let mut run = s.run_or_new()?;
    if run.staging_path.as_ref().is_some_and(|path| *path != request.staging_path) {
        return Err(elsewhere(s, &run));
    }
    let mut done = Done::Already;
    match record.spec.backing.clone() {
        Backing::Image(backing) => {
            let adopted = own::loop_of(s, &record)?;
            if adopted.is_none() && request.capability.is_some() {
                // Written before, so that a loop device which a killed run leaves goes with the unstage.
                run.stage_attached = true;
                run.staging_path = Some(request.staging_path.clone());
                run.stage_capability.clone_from(&request.capability);
                s.put_run(run)?;
            }
            let read_only = usage::read_only(&record, request.capability.as_ref());
            let read_only = adopted.map_or(read_only, |device| device.read_only);
            done = match attach::attach_image(s, record, &backing, read_only) {
                Ok(attached) => attached.done,
                Err(error) => {
                    let run = s.run_or_new()?;
                    // The first error is the one that tells.
                    let _ = s.put_run(RunRecord {
                        staging_path: None,
                        stage_capability: None,
                        stage_attached: false,
                        ..run
                    });
                    return Err(error);
                }
            };
        }
        Backing::Device(backing) => {
            let device = guard::device(s, &backing)?;
            guard::is_its_raw_disk(s, &record, &backing, &device)?;
            if run.staging_path.is_none() {
                guard::device_is_unclaimed(s, &backing, &device)?;
            }
            note_disk(s, record.clone(), Some(&device.disk))?;
        }
        Backing::Directory(_) | Backing::Tmpfs(_) => {}
    }
    let mut run = s.run_or_new()?;
    run.staging_path = Some(request.staging_path.clone());
    run.stage_capability.clone_from(&request.capability);
    s.put_run(run)?;
    Ok(done.into())
}

fn elsewhere(s: &Session<'_>, run: &RunRecord) -> DriverError {
    let path = run.staging_path.as_deref().unwrap_or(Path::new("")).display().to_string();
    s.refuse(
        Refusal::Exists,
        format!("it is staged already at {path}, with mount options [{}]", run.stage_options.join(", ")),
        "unstage it there first, or ask for what is there",
    )
}

fn not_staged_elsewhere(s: &Session<'_>, own: &Own, run: &RunRecord, request: &StageRequest) -> Result<()> {
    let Some(path) = &run.staging_path else { return Ok(()) };
    let same = *path == request.staging_path && run.stage_options == request.mount_options;
    if same || own.stack(s, path)?.ours.is_empty() {
        return Ok(());
    }
    Err(elsewhere(s, run))
}

/// Every option of the mount: those asked for, checked once more, and those that are always set.
pub(super) fn options(s: &Session<'_>, spec: &VolumeSpec, read_only: bool, asked: &[String]) -> Result<Vec<String>> {
    let Some(kind) = MountKind::of(spec) else { return Ok(Vec::new()) };
    let accepted = check_all(kind, asked).map_err(|refused| {
        let what: Vec<String> = refused.into_iter().map(|(_, refused)| refused.to_string()).collect();
        s.refuse(Refusal::Unsupported, what.join("; "), "leave it out of mount_options")
    })?;
    let mut options = Vec::new();
    let mut add = |option: String| {
        if !options.contains(&option) {
            options.push(option);
        }
    };
    if read_only {
        add("ro".to_owned());
    }
    add("nosuid".to_owned());
    add("nodev".to_owned());
    if kind == MountKind::Fs(FsType::Ext4) {
        add("errors=remount-ro".to_owned());
    }
    if let Backing::Tmpfs(backing) = &spec.backing {
        add(tmpfs::size_option(backing));
    }
    for option in accepted {
        // Read-only is the access mode's to say.
        if option.key != "rw" || !read_only {
            add(option.to_string());
        }
    }
    Ok(options)
}

/// A stage that is there: one mount, with its options.
fn restage(
    s: &Session<'_>,
    record: &VolumeRecord,
    request: &StageRequest,
    options: &[String],
    depth: usize,
) -> Result<Done> {
    let mut done = Done::Already;
    for _ in 1..depth {
        let own = Own::of(s, Some(record))?;
        let stack = own.stack(s, &request.staging_path)?;
        let Some(top) = stack.top().filter(|_| stack.ours.len() > 1) else { break };
        let unmount = crate::host::Unmount {
            target: request.staging_path.clone(),
            trusted_root: own::staging_root(s, &request.staging_path),
            expect: top.device,
            root: Some(top.root.clone()),
        };
        s.host().unmount(&unmount).map_err(|error| s.busy(error, top.device, Some(&request.staging_path)))?;
        done = Done::Changed;
    }
    let mount = fs_mount(s, record, request, options.to_vec(), None)?;
    if s.host().remount(&mount).map_err(|error| s.fail(error))? == Done::Changed {
        done = Done::Changed;
    }
    Ok(done)
}

/// Grows what was mounted by a run that was killed before it had grown it.
fn grow_staged(s: &Session<'_>, record: &VolumeRecord, staging_path: &Path) -> Result<()> {
    let node = match &record.spec.backing {
        Backing::Image(_) => own::loop_of(s, record)?.map(|device| device.node()),
        Backing::Device(device) => Some(device.path.clone()),
        Backing::Directory(_) | Backing::Tmpfs(_) => None,
    };
    node.map_or(Ok(()), |node| ready::grow_mounted(s, record, node, staging_path))
}

/// The mount of a volume; `node` is its block device, looked up when it is not at hand.
pub(super) fn fs_mount(
    s: &Session<'_>,
    record: &VolumeRecord,
    request: &StageRequest,
    options: Vec<String>,
    node: Option<(PathBuf, BlockId)>,
) -> Result<FsMount> {
    let node = match (node, &record.spec.backing) {
        (Some(node), _) => Some(node),
        (None, Backing::Image(_)) => own::loop_of(s, record)?.map(|device| (device.node(), device.block)),
        (None, Backing::Device(device)) => {
            let seen = s.host().device(&device.path).map_err(|error| s.fail(error))?;
            seen.map(|seen| (device.path.clone(), seen.block))
        }
        _ => None,
    };
    let (source, fs_type, expect) = match (&record.spec.backing, node) {
        (Backing::Directory(backing), _) => {
            let file = directory::require(s, backing)?;
            (backing.path.clone(), "none".to_owned(), Some(file.device))
        }
        (Backing::Tmpfs(_), _) => (PathBuf::from("tmpfs"), "tmpfs".to_owned(), None),
        (_, Some((node, block))) => {
            (node, record.spec.fs_type().map_or_else(String::new, |fs| fs.to_string()), Some(block))
        }
        (_, None) => {
            return Err(s.refuse(Refusal::NotReady, "it is attached to no device", "attach it first"));
        }
    };
    Ok(FsMount {
        source,
        fs_type,
        bind_directory: matches!(record.spec.backing, Backing::Directory(_)),
        expect,
        target: request.staging_path.clone(),
        trusted_root: own::staging_root(s, &request.staging_path),
        options,
        // Binds made from it can only receive or pass on mounts if it is in a peer group itself.
        shared: true,
    })
}

/// Mounts it; answers why it could not be grown, where that is so and it is mounted all the same.
fn mount(
    s: &mut Session<'_>,
    record: &mut VolumeRecord,
    request: &StageRequest,
    mut intent: RunRecord,
    options: Vec<String>,
    notes: &mut Vec<String>,
) -> Result<Option<DriverError>> {
    let mut block = None;
    let mut used_before = true;
    match record.spec.backing.clone() {
        Backing::Image(backing) => {
            // Attached read-only by ControllerPublishVolume, it stays so.
            let read_only =
                !ready::is_writable(&options) && own::loop_of(s, record)?.is_some_and(|device| device.read_only);
            let attached = attach::attach_image(s, record.clone(), &backing, read_only)?;
            if let Some(noted) = s.record.present() {
                record.clone_from(noted);
            }
            if backing.direct_io && !attached.device.direct_io {
                notes.push("direct I/O was refused by the pool's file system: buffered I/O is used".to_owned());
            }
            intent.loop_index = Some(attached.device.index);
            used_before = attached.done == Done::Already;
            let storage = ready::Storage {
                disk: None,
                node: attached.device.node(),
                block: attached.device.block,
                size: attached.device.size,
                sector_size: backing.sector_size,
                discard: backing.allocate == Allocate::Sparse,
                // In its place an image is never blank by right: it was formatted before it got there.
                verified: s.driver.take_verified(&s.id),
            };
            block = Some(storage);
        }
        Backing::Device(backing) => {
            let device = guard::device(s, &backing)?;
            guard::device_is_free(s, &backing, &device)?;
            intent.device = Some(device.block);
            block = Some(ready::Storage {
                disk: Some(device.disk),
                node: backing.path.clone(),
                block: device.block,
                size: device.size.get(),
                sector_size: SectorSize::try_from(device.sector_size).unwrap_or_default(),
                discard: true,
                verified: false,
            });
        }
        Backing::Directory(backing) => intent.directory = Some(directory::require(s, &backing)?),
        Backing::Tmpfs(_) => {}
    }
    if let Some(storage) = &block {
        ready::make(s, record, storage, &options, notes)?;
    }
    let node = block.as_ref().map(|storage| (storage.node.clone(), storage.block));
    let mount = fs_mount(s, record, request, options, node)?;
    let growing = block.as_ref().filter(|_| ready::is_writable(&mount.options));
    intent.grows = growing.map_or(Ok(false), |storage| ready::grows_mounted(s, record, storage))?;
    // Written before the mount, so that one a killed run leaves is known to be csictl's.
    s.put_run(intent)?;
    s.host().mount(&mount).map_err(|error| ready::explain(s, record, block.as_ref(), s.fail(error)))?;
    if used_before {
        // Left frozen by a killed run, it has waited without a mount, and every write would wait too.
        let _ = s.host().thaw(&request.staging_path);
    }
    if let Some(storage) = &block {
        *record = note_disk(s, record.clone(), storage.disk.as_ref())?;
    }
    if let Some(storage) = block.filter(|_| s.run.present().is_some_and(|run| run.grows)) {
        if let Err(error) = ready::grow_mounted(s, record, storage.node, &request.staging_path) {
            // Staged, it would look as if it were done. What cannot be taken away stays marked.
            let own = Own::of(s, Some(record))?;
            let root = own::staging_root(s, &request.staging_path);
            if own.unmount_all(s, &request.staging_path, &root).is_err() {
                return Err(error);
            }
            if record.spec.owner == Owner::Csi {
                // Nobody would ask for the growth of a copy again.
                not_growing(s)?;
                return Err(error);
            }
            // The pool may be full, and its files are wanted all the same, were it to delete some. Mounted anew, since the kernel may have
            // stopped all writing to what it could not grow.
            s.host().mount(&mount).map_err(|_| error.clone())?;
            return Ok(Some(with_help(error, UNGROWN)));
        }
        not_growing(s)?;
    }
    Ok(None)
}

/// What to do about a growth that failed.
const UNGROWN: &str = "it is mounted with the size it has; the tool's own words are above, and a sparse image needs room in its pool: put that right and apply again";

fn not_growing(s: &mut Session<'_>) -> Result<()> {
    let run = s.run_or_new()?;
    s.put_run(RunRecord { grows: false, ..run })
}

/// Writes down which disk is in use, so that another one at the same path is known to be another.
fn note_disk(s: &mut Session<'_>, record: VolumeRecord, disk: Option<&DiskId>) -> Result<VolumeRecord> {
    if disk.is_none() || record.disk.as_ref() == disk {
        return Ok(record);
    }
    let record = VolumeRecord { disk: disk.cloned(), ..record };
    s.put_record(record.clone(), false)?;
    Ok(record)
}
