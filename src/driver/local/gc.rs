//! gc: what crashed runs left. Finding only reads; removing works alone, under the global lock, looks again at what it was told, and
//! touches nothing that a record owns.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{Host, HostError, LockMode, Observe, Unmount};
use crate::model::device::LOOP_MAJOR;
use crate::model::record::Recorded;
use crate::model::{
    Approval, BlockId, Done, FileId, GroupId, Layout, Loss, Mount, MountTable, ObjectRef, Owner, SnapshotId, VolumeId,
};
use crate::state::{GlobalLock, Reader, StateError};

use super::own::describe;
use super::session::{host_failure, state_error};
use super::{deleted, frozen, group, in_the_way};

/// Something that a crashed run left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leftover {
    /// A volume frozen for a copy that was never ended: whoever writes to it hangs. The first, since nothing of it can be
    /// unmounted before.
    Frozen {
        /// Which.
        volume: VolumeId,
    },
    /// A group of snapshots that was not ended: its copies are all there, and it only has to get or lose its names and records.
    Group {
        /// Which.
        group: GroupId,
    },
    /// A temporary file in a pool.
    Temporary {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no file where csictl keeps one of its own. Nobody knows whose it is, so it is only shown.
    InTheWay {
        /// Where.
        path: PathBuf,
    },
    /// A loop device of an image of ours that no record owns.
    Loop {
        /// N of `/dev/loopN`.
        index: u32,
        /// Its image.
        image: PathBuf,
        /// The image's file.
        #[serde(skip)]
        file: FileId,
    },
    /// The image of a volume without a record: its data is lost with it, so it goes only by name.
    Image {
        /// Where.
        path: PathBuf,
        /// Whose, by its own word.
        volume: VolumeId,
        /// The file.
        #[serde(skip)]
        file: FileId,
    },
    /// A snapshot without a record, likewise.
    Snapshot {
        /// Where.
        path: PathBuf,
        /// Which, by its own word.
        snapshot: SnapshotId,
        /// The file.
        #[serde(skip)]
        file: FileId,
    },
    /// A mount below the run directory that no record owns.
    Mount {
        /// Where.
        target: PathBuf,
        /// What is mounted, in words.
        what: String,
    },
}

/// A volume without a record that is in use all the same: its image's own word, or where it is staged, says that it is csictl's. Nothing of
/// it is taken away: an apply of its manifest takes it over as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct InUse {
    /// Which, by its id.
    pub volume: String,
    /// Where it is mounted or bound.
    pub places: Vec<PathBuf>,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self.places.iter().map(|place| place.display().to_string()).collect();
        write!(f, "volume {} has no record and is in use at {}", self.volume, places.join(", "))
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen { volume } => write!(f, "frozen file system of volume {volume}"),
            Self::Group { group } => write!(f, "unfinished {}", ObjectRef::Group(group.clone())),
            Self::Temporary { path } => write!(f, "temporary file {}", path.display()),
            Self::InTheWay { path } => write!(f, "{}, which is no file", path.display()),
            Self::Loop { index, image, .. } => write!(f, "/dev/loop{index} on {}", image.display()),
            Self::Image { path, volume, .. } => write!(f, "image {} of volume {volume}", path.display()),
            Self::Snapshot { path, snapshot, .. } => write!(f, "snapshot {} ({snapshot})", path.display()),
            Self::Mount { target, what } => write!(f, "mount of {what} at {}", target.display()),
        }
    }
}

impl Leftover {
    /// Why it is one.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Frozen { .. } => {
                "its copy was never ended, or somebody froze it: writes to it wait until it is thawed"
            }
            Self::Group { .. } => "taking or deleting it was interrupted; what was begun is ended",
            Self::Temporary { path } if growth_of(path).is_some() => {
                "what a growth had left to do, of an image that is gone"
            }
            Self::Temporary { .. } => "an image or snapshot that was never finished",
            Self::InTheWay { .. } => "it is in the way of a file of csictl's own: remove it by hand",
            Self::Loop { .. } => "its image says it is csictl's, and no volume is recorded for it",
            Self::Image { .. } | Self::Snapshot { .. } => "it says it is csictl's, and nothing is recorded for it",
            Self::Mount { .. } => "it lies in csictl's run directory, and no volume is recorded for it",
        }
    }

    /// The approval that its removal takes: data is never removed without. `None` for what holds none.
    pub fn approval(&self) -> Option<Approval> {
        let object = match self {
            Self::Image { volume, .. } => ObjectRef::Volume(volume.clone()),
            Self::Snapshot { snapshot, .. } => ObjectRef::Snapshot(snapshot.clone()),
            _ => return None,
        };
        Some(Approval { object, loss: Loss::Delete })
    }

    /// The file that holds data, where it is one.
    pub fn data_at(&self) -> Option<&Path> {
        match self {
            Self::Image { path, .. } | Self::Snapshot { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Whether it is only shown: what it is, and whose, nobody here can know.
    pub const fn is_only_shown(&self) -> bool {
        matches!(self, Self::InTheWay { .. })
    }

    /// How that approval is typed: by the whole id, since no record has a name for it.
    pub fn approve_flag(&self) -> Option<String> {
        match self {
            Self::Image { volume, .. } => Some(format!("--approve volume.{volume}=delete")),
            Self::Snapshot { snapshot, .. } => Some(format!("--approve snapshot.{snapshot}=delete")),
            _ => None,
        }
    }
}

/// Finds what is left, besides the recorded pools in these directories.
///
/// # Errors
/// What makes looking pointless: the mount table, the loops or the records can't be read.
pub fn find(host: &dyn Observe, layout: &Layout, pools: &[PathBuf]) -> std::result::Result<Vec<Leftover>, HostError> {
    look(host, layout, pools).map(|(leftovers, _)| leftovers)
}

/// The same, and what looks like a leftover and is in use.
///
/// # Errors
/// As those of [`find`].
pub fn look(
    host: &dyn Observe,
    layout: &Layout,
    pools: &[PathBuf],
) -> std::result::Result<(Vec<Leftover>, Vec<InUse>), HostError> {
    let mut in_use: Vec<InUse> = Vec::new();
    let reader = Reader::new(host, layout);
    let ids: BTreeSet<VolumeId> = reader.volume_ids()?.into_iter().collect();
    let mut directories: BTreeSet<PathBuf> = pools.iter().cloned().collect();
    directories.extend([layout.default_pool(), layout.growth()]);
    for id in &ids {
        if let Recorded::Present(record) = reader.volume(id)
            && let Some(image) = record.spec.backing.as_image()
        {
            directories.insert(image.pool_path.clone());
        }
    }
    let snapshots: BTreeSet<SnapshotId> = reader.snapshot_ids()?.into_iter().chain(group::members(&reader)?).collect();
    for id in reader.snapshot_ids()? {
        if let Recorded::Present(record) = reader.snapshot(&id) {
            directories.extend(record.path.parent().map(PathBuf::from));
        }
    }
    let loops = host.loops()?;
    let mounts = host.mount_table()?;
    let mut frozen: BTreeSet<VolumeId> = marked(host, layout)?.into_iter().collect();
    frozen.extend(frozen_by_others(host, layout, &mounts, &ids)?);
    let mut found: Vec<Leftover> = frozen.into_iter().map(|volume| Leftover::Frozen { volume }).collect();
    found.extend(group::unfinished(&reader)?.into_iter().map(|group| Leftover::Group { group }));
    let spoken_for = group::spoken_for(&reader)?;
    let in_the_way: BTreeSet<PathBuf> = in_the_way::find(host, layout, directories.iter())?.into_iter().collect();
    for directory in &directories {
        for name in host.list(directory)? {
            let path = directory.join(&name);
            if spoken_for.contains(&path) || in_the_way.contains(&path) {
                continue;
            }
            if temporary_of(&path).is_some() {
                found.push(Leftover::Temporary { path });
                continue;
            }
            if let Some(id) = growth_of(&path) {
                // It is worth something as long as there is an image that it can be carried out on.
                let image = directory.join(format!("{id}.img"));
                if *directory != layout.growth() && !ids.contains(&id) && host.stat(&image)?.is_none() {
                    found.push(Leftover::Temporary { path });
                }
                continue;
            }
            if path.extension() == Some(OsStr::new("snap")) {
                found.extend(stray_snapshot(host, path, &snapshots));
                continue;
            }
            if path.extension() != Some(OsStr::new("img")) {
                continue;
            }
            let Some(image) = host.image(&path).ok().flatten() else { continue };
            let Some(identity) = image.identity.filter(|identity| !identity.snapshot) else { continue };
            if let Some(volume) = named_after::<VolumeId>(&path, &identity.id).filter(|id| !ids.contains(id)) {
                found.push(Leftover::Image { path: path.clone(), volume, file: image.file });
            }
            let owned = ids.iter().any(|id| id.as_str() == identity.id);
            let attached = loops.iter().find(|device| device.backing == image.file);
            let (false, Some(device)) = (owned, attached) else { continue };
            let places = shown_at(&mounts, host, device.block);
            if places.is_empty() {
                found.push(Leftover::Loop { index: device.index, image: path, file: image.file });
            } else if let Some(places) = outside(layout, places) {
                in_use.push(InUse { volume: identity.id, places });
            }
        }
    }
    found.extend(in_the_way.into_iter().map(|path| Leftover::InTheWay { path }));
    for mount in stray_mounts(layout, &mounts, &ids) {
        let volume = mount.target.file_name().map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
        let elsewhere = |other: &&Mount| other.device == mount.device && other.root.starts_with(&mount.root);
        let places = mounts.iter().filter(elsewhere).map(|other| other.target.clone()).collect();
        if let Some(places) = outside(layout, places) {
            in_use.push(InUse { volume, places });
        } else if mount.device.major == LOOP_MAJOR && host.is_last_copy(mount.device.minor)? {
            in_use.push(InUse { volume, places: vec![mount.target.clone()] });
        } else {
            found.push(Leftover::Mount { target: mount.target.clone(), what: describe(mount) });
        }
    }
    found.sort();
    in_use.sort();
    in_use.dedup_by(|one, other| one.volume == other.volume);
    Ok((found, in_use))
}

/// Those of these places that are not staging paths; `None` if there are none.
fn outside(layout: &Layout, mut places: Vec<PathBuf>) -> Option<Vec<PathBuf>> {
    places.retain(|place| !place.starts_with(layout.staging()));
    (!places.is_empty()).then_some(places)
}

/// Where a device is mounted, or its node bound. A node's own place below `/dev` is none.
fn shown_at(mounts: &MountTable, host: &dyn Observe, block: BlockId) -> Vec<PathBuf> {
    let node = PathBuf::from(format!("/loop{}", block.minor));
    let bound = |mount: &Mount| {
        let facts = || host.stat(&mount.target).ok().flatten();
        mount.root == node && facts().is_some_and(|facts| facts.device == Some(block))
    };
    let shows = |mount: &&Mount| super::own::shows_block(host, mount, block) || bound(mount);
    mounts.iter().filter(shows).map(|mount| mount.target.clone()).collect()
}

/// The id of a file that is called by it. One under another name is somebody's copy.
fn named_after<T: std::str::FromStr>(path: &Path, id: &str) -> Option<T> {
    (path.file_stem() == Some(OsStr::new(id))).then(|| id.parse().ok()).flatten()
}

/// A snapshot's file that says it is one, where none is recorded.
fn stray_snapshot(host: &dyn Observe, path: PathBuf, known: &BTreeSet<SnapshotId>) -> Option<Leftover> {
    let image = host.image(&path).ok().flatten()?;
    let identity = image.identity.filter(|identity| identity.snapshot)?;
    let snapshot = named_after::<SnapshotId>(&path, &identity.id).filter(|id| !known.contains(id))?;
    Some(Leftover::Snapshot { path, snapshot, file: image.file })
}

/// Removes the temporary files that killed runs of one owner left, in these pools and among the records; one whose volume or
/// snapshot somebody works on stays. They are disposable by their name, so this needs no asking.
///
/// # Errors
/// A directory that can't be listed, or a file that can't be removed.
pub fn clear_temporaries(
    host: &dyn Host,
    layout: &Layout,
    owner: &Owner,
    pools: &[PathBuf],
) -> std::result::Result<Done, HostError> {
    let records = [layout.volumes(), layout.snapshots(), layout.run_volumes(), layout.growth()];
    let mut done = Done::Already;
    for directory in pools.iter().chain(&records) {
        for name in host.list(directory)? {
            let path = directory.join(&name);
            let Some(id) = temporary_of(&path).or_else(|| record_temporary_of(&path)) else { continue };
            if !is_of(owner, &id) || in_the_way::is_no_file(host, &path) {
                continue;
            }
            let of_snapshot = *directory == layout.snapshots() || path.to_string_lossy().ends_with(".snap.part");
            let lock = if of_snapshot { snapshot_lock(layout, &id) } else { layout.volume_lock(&id) };
            let Ok(_idle) = host.lock(&lock, LockMode::Exclusive, Duration::ZERO) else { continue };
            if host.remove_image(&path, None)? == Done::Changed {
                done = Done::Changed;
            }
        }
    }
    Ok(done)
}

/// Whether an id is one that this owner gives: a project's begin with its name, those made over gRPC have none.
fn is_of(owner: &Owner, id: &VolumeId) -> bool {
    match owner {
        Owner::Project(project) => id.as_str().starts_with(&format!("{project}.")),
        Owner::Csi => !id.as_str().contains('.'),
    }
}

/// The id inside the name of a record that was never finished, `.ID.json.tmp`.
fn record_temporary_of(path: &Path) -> Option<VolumeId> {
    path.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".json.tmp")?.parse().ok()
}

/// The lock of a snapshot of which only the id's text is known.
fn snapshot_lock(layout: &Layout, id: &VolumeId) -> PathBuf {
    layout.locks().join(format!("{id}@snapshot"))
}

/// The lock of whoever makes a temporary file.
fn lock_of_temporary(layout: &Layout, path: &Path, id: &VolumeId) -> PathBuf {
    if path.to_string_lossy().ends_with(".snap.part") { snapshot_lock(layout, id) } else { layout.volume_lock(id) }
}

/// Mounts at staging paths of volumes that have no record. Whatever else is mounted below the run directory is not csictl's.
fn stray_mounts<'m>(layout: &Layout, mounts: &'m MountTable, ids: &BTreeSet<VolumeId>) -> Vec<&'m Mount> {
    let staging = layout.staging();
    let stray = |mount: &&Mount| {
        let id = mount.target.strip_prefix(&staging).ok().and_then(Path::to_str).and_then(|id| id.parse().ok());
        id.is_some_and(|id: VolumeId| !ids.contains(&id))
    };
    mounts.iter().filter(stray).collect()
}

/// The id inside a temporary's one known name, `.ID.img.part` or `.ID.snap.part`.
fn temporary_of(path: &Path) -> Option<VolumeId> {
    let name = path.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".part")?;
    name.strip_suffix(".img").or_else(|| name.strip_suffix(".snap"))?.parse().ok()
}

/// The id inside the name of what a growth has left to do, `.ID.img.grow`.
fn growth_of(path: &Path) -> Option<VolumeId> {
    path.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".img.grow")?.parse().ok()
}

/// Refuses to remove one of several files that one approval would be for: a backup copy that carries its attribute says the same.
///
/// # Errors
/// [`DriverError::Refused`], naming all of them.
pub fn unambiguous(leftover: &Leftover, found: &[Leftover]) -> Result<()> {
    let Some(needed) = leftover.approval() else { return Ok(()) };
    let same = found.iter().filter(|other| other.approval().as_ref() == Some(&needed));
    let paths: Vec<_> = same.filter_map(Leftover::data_at).map(|path| path.display().to_string()).collect();
    if paths.len() < 2 {
        return Ok(());
    }
    let message =
        format!("{} say all of themselves that they are it, and one approval is no choice", paths.join(" and "));
    let help = "move all but one of them out of the pools, or remove by hand what may go";
    Err(DriverError::refused(Refusal::WrongIdentity, needed.object, message, help))
}

/// Removes one leftover, if it still is one. What holds data takes an approval of its own ([`Leftover::approval`]).
///
/// # Errors
/// [`DriverError::LockHeld`] while any other csictl works; [`DriverError::Refused`] when it is in use, not approved, or no leftover any more.
pub fn remove(
    host: &dyn Host,
    layout: &Layout,
    leftover: &Leftover,
    approved: &BTreeSet<Approval>,
    timeout: Duration,
) -> Result<Done> {
    if let Some(needed) = leftover.approval().filter(|needed| !approved.contains(needed)) {
        let help = format!("approve it by name: {}", leftover.approve_flag().unwrap_or_default());
        return Err(DriverError::refused(Refusal::Unapproved, needed.object, "its data would be lost (delete)", help));
    }
    let object = object_of(leftover);
    let fail = |error: HostError| host_failure(&object, error);
    let state = |error: StateError| state_error(&object, error);
    let _alone = GlobalLock::exclusive(host, layout, timeout).map_err(state)?;
    let pools: Vec<PathBuf> = match leftover {
        Leftover::Temporary { path }
        | Leftover::InTheWay { path }
        | Leftover::Loop { image: path, .. }
        | Leftover::Image { path, .. }
        | Leftover::Snapshot { path, .. } => path.parent().map(PathBuf::from).into_iter().collect(),
        Leftover::Mount { .. } | Leftover::Frozen { .. } | Leftover::Group { .. } => Vec::new(),
    };
    if !find(host, layout, &pools).map_err(fail)?.contains(leftover) {
        return Ok(Done::Already);
    }
    match leftover {
        Leftover::Frozen { volume } => thaw(host, layout, volume).map(|_| Done::Changed).map_err(fail),
        Leftover::Group { group } => {
            if let Recorded::Present(record) = Reader::new(host, layout).group(group) {
                group::finish(host, layout, record)?;
            }
            Ok(Done::Changed)
        }
        Leftover::InTheWay { path } => {
            let message = format!("{} is no file, and in the way of one of csictl's own", path.display());
            let help = format!("see what it is, and remove it by hand: ls -ld {0}; rm -r {0}", path.display());
            Err(DriverError::refused(Refusal::Foreign, object, message, help))
        }
        Leftover::Temporary { path } => {
            // A helper whose csictl was killed may still be writing to it, and keeps the volume's lock until it ends.
            let id = temporary_of(path).or_else(|| growth_of(path));
            let lock = id.map(|id| lock_of_temporary(layout, path, &id));
            let _idle = match lock {
                Some(lock) => Some(
                    host.lock(&lock, LockMode::Exclusive, timeout)
                        .map_err(|_| DriverError::LockHeld { object: object.clone() })?,
                ),
                None => None,
            };
            host.remove_image(path, None).map_err(fail)
        }
        Leftover::Image { path, file, .. } => {
            let image = host.image(path).map_err(fail)?;
            if image.and_then(|image| image.identity).is_some_and(|identity| identity.protected) {
                let message = format!("{} says that its volume is protected (prevent_destroy)", path.display());
                let help = "apply its manifest, which adopts it, and set prevent_destroy = false there first";
                return Err(DriverError::refused(Refusal::Protected, object, message, help));
            }
            if let Some(device) = host.loop_of_image(path, *file, None).map_err(fail)? {
                let message = format!("{} is attached to {}", path.display(), device.node().display());
                let help = format!("csictl who {} shows who holds it", device.node().display());
                return Err(DriverError::refused(Refusal::Busy, object, message, help));
            }
            remove_file(host, layout, path, *file).map_err(fail)
        }
        Leftover::Snapshot { path, file, .. } => remove_file(host, layout, path, *file).map_err(fail),
        Leftover::Loop { index, file, .. } => host.detach_loop(*index, *file).map_err(fail),
        Leftover::Mount { target, .. } => {
            let Some(top) = host.mounts_at(target).map_err(fail)?.into_iter().next_back() else {
                return Ok(Done::Already);
            };
            // A killed snapshot may have left it frozen.
            let _ = host.thaw(target);
            let request = Unmount {
                target: target.clone(),
                trusted_root: layout.run.clone(),
                expect: top.device,
                root: Some(top.root.clone()),
            };
            let answer = host.unmount(&request);
            if answer.is_ok() && top.device.major == LOOP_MAJOR {
                host.renew_loop(top.device.minor);
            }
            answer.map_err(|error| {
                let busy = error.kind == crate::host::ErrorKind::Busy;
                let failed = host_failure(&object, error);
                let help = format!("csictl who {} shows who holds it", target.display());
                if busy {
                    DriverError::refused(Refusal::Busy, object.clone(), failed.to_string(), help)
                } else {
                    failed
                }
            })?;
            host.remove_dir(target).map_err(fail)?;
            Ok(Done::Changed)
        }
    }
}

fn remove_file(host: &dyn Host, layout: &Layout, path: &Path, file: FileId) -> std::result::Result<Done, HostError> {
    let done = host.remove_image(path, Some(file))?;
    deleted::forget(host, layout, path)?;
    Ok(done)
}

/// What a leftover's errors are about: the volume its name speaks of.
fn object_of(leftover: &Leftover) -> ObjectRef {
    let id = match leftover {
        Leftover::Group { group } => return ObjectRef::Group(group.clone()),
        Leftover::Snapshot { snapshot, .. } => return ObjectRef::Snapshot(snapshot.clone()),
        Leftover::Frozen { volume } | Leftover::Image { volume, .. } => Some(volume.clone()),
        Leftover::Temporary { path } => temporary_of(path).or_else(|| growth_of(path)),
        Leftover::InTheWay { path } => {
            temporary_of(path).or_else(|| growth_of(path)).or_else(|| record_temporary_of(path))
        }
        Leftover::Loop { image, .. } => image.file_stem().and_then(OsStr::to_str).and_then(|id| id.parse().ok()),
        Leftover::Mount { target, .. } => target.file_name().and_then(OsStr::to_str).and_then(|id| id.parse().ok()),
    };
    id.map_or_else(|| ObjectRef::Pool(Layout::default_pool_name()), ObjectRef::Volume)
}

/// Thaws every volume that a killed run left frozen, and answers where. A volume somebody copies right now is left to them.
///
/// # Errors
/// The marks can't be listed, or a file system can't be thawed.
pub fn thaw_left(host: &dyn Host, layout: &Layout) -> std::result::Result<Vec<PathBuf>, HostError> {
    let mut thawed = Vec::new();
    for id in marked(host, layout)? {
        let Ok(_idle) = host.lock(&layout.volume_lock(&id), LockMode::Exclusive, Duration::ZERO) else { continue };
        thawed.extend(thaw(host, layout, &id)?);
    }
    Ok(thawed)
}

/// The volumes that are marked as frozen.
fn marked(host: &dyn Observe, layout: &Layout) -> std::result::Result<Vec<VolumeId>, HostError> {
    let names = host.list(&layout.frozen())?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// The volumes that are frozen without a mark.
fn frozen_by_others(
    host: &dyn Observe,
    layout: &Layout,
    mounts: &MountTable,
    ids: &BTreeSet<VolumeId>,
) -> std::result::Result<Vec<VolumeId>, HostError> {
    let reader = Reader::new(host, layout);
    let boot = host.facts()?.boot_id;
    let staged = reader.run_ids().unwrap_or_default().into_iter().filter(|id| ids.contains(id));
    let is_left = |id: &VolumeId| {
        let path = reader.run(id, &boot).present().and_then(|run| run.staging_path.clone());
        let own = || reader.volume(id).present().is_some_and(|record| super::freezing::is_own(&record.spec));
        let top = path.and_then(|path| mounts.top(&path));
        top.is_some_and(|top| super::freezing::is_left(host, layout, id, top)) && own()
    };
    Ok(staged.filter(is_left).collect())
}

/// Thaws one volume, nobody else being at work on it, and answers where if it was frozen.
fn thaw(host: &dyn Host, layout: &Layout, id: &VolumeId) -> std::result::Result<Option<PathBuf>, HostError> {
    let boot = host.facts()?.boot_id;
    let run = Reader::new(host, layout).run(id, &boot);
    let staged = run.present().and_then(|run| run.staging_path.clone());
    let path = staged.unwrap_or_else(|| layout.staging_path(id));
    let is_mounted = !host.mounts_at(&path)?.is_empty();
    let done = if is_mounted { host.thaw(&path)? } else { frozen::thaw_unseen(host, layout, id)? };
    host.remove_small(&layout.frozen_mark(id), false)?;
    Ok((done == Done::Changed).then_some(path))
}
