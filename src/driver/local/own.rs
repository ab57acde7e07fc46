//! Which mounts are a volume's own. Judged by what the kernel says is mounted (device, root, inode), and by a recorded place
//! only where the kernel cannot tell one from another: two binds of one host file system, two tmpfs.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{ErrorKind, FileKind, Observe, Unmount};
use crate::model::device::LOOP_MAJOR;
use crate::model::record::VolumeRecord;
use crate::model::{Allocate, Backing, BlockId, Done, FileId, FsType, LoopDevice, Mount, PublishKind, WasMounted};

use super::freezing;
use super::guard;
use super::session::Session;

/// More mounts than anybody stacks; beyond it something else mounts as fast as we unmount.
const MOST_STACKED: usize = 64;

/// What lies behind a volume's mounts.
#[derive(Debug, Clone)]
enum Behind {
    /// A block device, loop or other.
    Block(BlockId),
    /// A directory of the host.
    Directory(FileId),
    /// Memory.
    Tmpfs,
    /// Nothing that could be mounted: an image with no loop device.
    Nothing,
    /// Not known (record lost, device gone): only recorded places tell.
    Unknown,
}

/// How a volume's own mounts are told from others'.
#[derive(Debug, Clone)]
pub(super) struct Own {
    behind: Behind,
    /// The device of the file system seen at the staging path; differs from the block device for btrfs. Looked at when it is needed:
    /// most mounts are known by the block device itself.
    stage_device: OnceCell<Option<BlockId>>,
    /// Where it is staged.
    staging_path: PathBuf,
    places: Vec<PathBuf>,
    /// Whether what was staged of another device or directory counts too: that is to be taken down, and nothing is to be built on it.
    former: bool,
    /// What this boot's record says was behind it when it was mounted. A path leads elsewhere later; a mount stays what it was.
    was: WasMounted,
    /// The loop device, where the file behind it is not the one at the image's path.
    nameless: Option<LoopDevice>,
    /// Whether a loop device behind it may be without discards.
    without_discards: bool,
}

/// The mounts at one path, lowest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Stack {
    /// Those that are the volume's own.
    pub ours: Vec<Mount>,
    /// The one that is seen, if it is not.
    pub foreign: Option<Mount>,
}

impl Stack {
    /// The visible mount if it is ours.
    pub fn top(&self) -> Option<&Mount> {
        if self.foreign.is_some() { None } else { self.ours.last() }
    }
}

/// Whether a mount is of the file system on `block`: btrfs shows an anonymous device in mountinfo and has to be asked by its source.
pub(super) fn shows_block(host: &dyn Observe, mount: &Mount, block: BlockId) -> bool {
    if mount.device == block {
        return true;
    }
    if mount.fs_type != "btrfs" {
        return false;
    }
    // The node's own number first: a container may hide the directory of /sys that tells more of a device.
    let node = host.stat(&mount.source).ok().flatten().and_then(|facts| facts.device);
    let behind = || host.device(&mount.source).ok().flatten().map(|device| device.block);
    node.or_else(behind) == Some(block)
}

/// The loop device of an image: of the file at its path, if that is the volume's; else, of the file it was when this boot's record was
/// written. An inode number alone proves nothing: once freed, it is given to another file.
pub(super) fn loop_of(s: &Session<'_>, record: &VolumeRecord) -> Result<Option<LoopDevice>> {
    Ok(loop_and_whether_former(s, record)?.map(|(device, _)| device))
}

fn loop_and_whether_former(s: &Session<'_>, record: &VolumeRecord) -> Result<Option<(LoopDevice, bool)>> {
    let Some(backing) = record.spec.backing.as_image() else { return Ok(None) };
    let path = backing.image_path(&s.id);
    if let Some(file) = image_of(s, record, &path)
        && let Some(device) = s.host().loop_of_image(&path, file, s.hint()).map_err(|error| s.fail(error))?
    {
        return Ok(Some((device, false)));
    }
    if let Some(device) = loop_on_dead(s, record, &path) {
        return Ok(Some((device, false)));
    }
    Ok(former_loop(s, record)?.map(|device| (device, true)))
}

/// The loop device of an image whose pool has died. The kernel tells no inode any more; but it is the device that this boot's record names,
/// and was opened by the image's own name.
fn loop_on_dead(s: &Session<'_>, record: &VolumeRecord, path: &Path) -> Option<LoopDevice> {
    let (file, index) = (record.image?, s.run.present()?.loop_index?);
    s.host().stat(path).is_err().then(|| s.host().loop_on_dead(index, path, file))?
}

/// Takes the loop device of an image away. Behind one whose pool has died the kernel tells no file any more, only its path.
pub(super) fn detach(s: &Session<'_>, record: &VolumeRecord, device: &LoopDevice) -> Result<Done> {
    let mut detached = s.host().detach_loop(device.index, device.backing);
    if let (Err(error), Some(backing)) = (&detached, record.spec.backing.as_image())
        && error.kind == ErrorKind::Io
    {
        detached = s.host().detach_dead(device.index, &backing.image_path(&s.id), device.backing);
    }
    detached.map_err(|error| s.busy(error, device.block, None))
}

/// The file at an image's path, if that is the volume's: the one recorded, or one that says so itself.
fn image_of(s: &Session<'_>, record: &VolumeRecord, path: &Path) -> Option<FileId> {
    let there = s.host().stat(path).ok().flatten()?;
    if there.kind == FileKind::File && record.image == Some(there.file) {
        return Some(there.file);
    }
    let image = s.host().image(path).ok().flatten()?;
    let is_it = record.image == Some(image.file) || guard::is_image_of(image.identity.as_ref(), &record.spec);
    is_it.then_some(image.file)
}

/// The loop device that still shows the file the image was before it was replaced or unlinked.
pub(super) fn former_loop(s: &Session<'_>, record: &VolumeRecord) -> Result<Option<LoopDevice>> {
    let index = s.run.present().and_then(|run| run.loop_index);
    let (Some(file), Some(index)) = (record.image, index) else { return Ok(None) };
    let device = s.host().loop_of(file, Some(index)).map_err(|error| s.fail(error))?;
    Ok(device.filter(|device| device.index == index))
}

impl Own {
    /// How to tell the mounts of this volume.
    pub fn of(s: &Session<'_>, record: Option<&VolumeRecord>) -> Result<Self> {
        let mut nameless = None;
        let behind = match record.map(|record| (record, &record.spec.backing)) {
            Some((record, Backing::Image(_))) => {
                let found = loop_and_whether_former(s, record)?;
                let behind = found.as_ref().map_or(Behind::Nothing, |(device, _)| Behind::Block(device.block));
                nameless = found.filter(|(_, former)| *former).map(|(device, _)| device);
                behind
            }
            Some((_, Backing::Device(device))) => {
                // A device that is gone, or answers nothing any more, must not keep its mounts from being taken away.
                let seen = s.host().device(&device.path).ok().flatten();
                seen.map_or(Behind::Unknown, |device| Behind::Block(device.block))
            }
            Some((_, Backing::Directory(directory))) => {
                let facts = s.host().stat(&directory.path).map_err(|error| s.fail(error))?;
                facts.map_or(Behind::Unknown, |facts| Behind::Directory(facts.file))
            }
            Some((_, Backing::Tmpfs(_))) => Behind::Tmpfs,
            None => Behind::Unknown,
        };
        let mut places = vec![s.layout().staging_path(&s.id)];
        if let Some(run) = s.run.present() {
            places.extend(run.staging_path.clone());
            places.extend(run.publishes.keys().cloned());
        }
        if let Some(record) = record {
            places.extend(record.made_targets.keys().cloned());
        }
        let staging_path = s.run.present().and_then(|run| run.staging_path.clone());
        let staging_path = staging_path.unwrap_or_else(|| s.layout().staging_path(&s.id));
        let image = record.map(|record| record.spec.backing.as_image());
        let without_discards = image.is_none_or(|image| image.is_some_and(|image| image.allocate == Allocate::Full));
        let own = Self {
            behind,
            stage_device: OnceCell::new(),
            staging_path,
            places,
            former: false,
            was: WasMounted::of(s.run.present(), record.map(|record| &record.spec)),
            nameless,
            without_discards,
        };
        if !matches!(own.behind, Behind::Block(_)) {
            own.look_at_stage(s)?;
        }
        Ok(own)
    }

    /// The same for taking down: a device may have become another one since it was staged, or a directory be gone, and the mounts are the
    /// volume's still.
    pub fn to_take_down(s: &Session<'_>, record: Option<&VolumeRecord>) -> Result<Self> {
        let turns = |record: &VolumeRecord| matches!(record.spec.backing, Backing::Device(_) | Backing::Directory(_));
        let former = record.is_some_and(turns);
        let own = Self::of(s, record)?;
        // What was looked at on the way was judged by what is behind it now.
        Ok(if former { Self { former, stage_device: OnceCell::new(), ..own } } else { own })
    }

    /// The block device behind it, as far as one is known.
    pub fn block(&self) -> Option<BlockId> {
        if let Behind::Block(block) = self.behind { Some(block) } else { None }
    }

    /// Whether its staging mount is of this device.
    pub fn shows(&self, s: &Session<'_>, block: BlockId) -> Result<bool> {
        Ok(self.look_at_stage(s)? == Some(block))
    }

    /// The device of what is ours at the staging path. What is seen there is judged without it.
    fn look_at_stage(&self, s: &Session<'_>) -> Result<Option<BlockId>> {
        if let Some(device) = self.stage_device.get() {
            return Ok(*device);
        }
        let blind = Self { stage_device: OnceCell::from(None), ..self.clone() };
        let device = blind.stack(s, &self.staging_path)?.ours.last().map(|mount| mount.device);
        Ok(*self.stage_device.get_or_init(|| device))
    }

    /// Takes a path for a recorded place too: an orchestrator that asks for its removal vouches for it when no record is left.
    pub fn also_at(&mut self, path: &Path, vouched: bool) {
        if vouched {
            self.places.push(path.to_owned());
        }
    }

    /// The mounts at a path, told apart.
    pub fn stack(&self, s: &Session<'_>, path: &Path) -> Result<Stack> {
        let mounts = s.host().mounts_at(path).map_err(|error| s.fail(error))?;
        let Some(top) = mounts.last().cloned() else { return Ok(Stack::default()) };
        let mut ours = Vec::with_capacity(mounts.len());
        for mount in &mounts {
            ours.push(self.is_ours(s, path, mount)?);
        }
        // Only what is not known by its file system can be a bound device node.
        let node = if ours.last() == Some(&true) { None } else { self.node_root(s, path, &top) };
        let mut stack = Stack::default();
        for (mount, ours) in mounts.into_iter().zip(ours) {
            if ours || node.as_ref() == Some(&mount.root) {
                stack.ours.push(mount);
            } else if mount.id == top.id {
                stack.foreign = Some(mount);
            }
        }
        Ok(stack)
    }

    /// The root of a bind of this volume's device node, if that is what is seen at `path`.
    fn node_root(&self, s: &Session<'_>, path: &Path, top: &Mount) -> Option<PathBuf> {
        let ours = match self.behind {
            Behind::Block(block) => {
                let facts = s.host().stat(path).ok().flatten()?;
                let was = || self.was.device.filter(|_| self.former);
                let stale = || is_recorded_node(s, path) && was().is_some_and(|was| facts.device == Some(was));
                facts.kind == FileKind::Block && (facts.device == Some(block) || stale())
            }
            // A bound node does not hold its loop device: of one that is gone only its name is left.
            Behind::Nothing => {
                let index = s.run.present().and_then(|run| run.loop_index)?;
                top.root == Path::new(&format!("/loop{index}")) && is_recorded_node(s, path)
            }
            _ => false,
        };
        ours.then(|| top.root.clone())
    }

    /// Whether a mount's device alone says that it is ours: not that of a directory, which is the host's, or of a device node.
    fn is_told_by_device(&self, s: &Session<'_>, mount: &Mount) -> Result<bool> {
        if matches!(self.behind, Behind::Block(block) if mount.device == block) {
            return Ok(true);
        }
        Ok(!self.was.is_directory && self.look_at_stage(s)? == Some(mount.device))
    }

    /// Whether a mount at a recorded place is what this boot's record says was mounted there.
    fn was_mounted(&self, s: &Session<'_>, path: &Path, mount: &Mount) -> bool {
        let stage = || s.host().mounts_at(&self.staging_path).ok()?.pop();
        let stage = (path != self.staging_path).then(stage).flatten();
        let shown = || s.host().stat(path).ok().flatten().map(|facts| facts.file);
        self.was.is(mount, |block| shows_block(s.host(), mount, block), shown, stage.as_ref())
    }

    fn is_ours(&self, s: &Session<'_>, path: &Path, mount: &Mount) -> Result<bool> {
        let recorded = || self.places.iter().any(|place| place == path);
        if self.is_told_by_device(s, mount)? || self.former && recorded() && self.was_mounted(s, path, mount) {
            return Ok(true);
        }
        Ok(match self.behind {
            Behind::Block(block) => shows_block(s.host(), mount, block) || self.is_former_stage(s, path, mount),
            Behind::Directory(file) => {
                let same = || s.host().stat(path).ok().flatten().is_some_and(|facts| facts.file == file);
                mount.device == file.device && (recorded() || same())
            }
            Behind::Tmpfs => mount.fs_type == "tmpfs" && recorded(),
            Behind::Nothing => false,
            Behind::Unknown => {
                // Below a directory that is gone is the host's own file system, of which anybody may show something.
                let makes = if self.was.is_directory {
                    mount.is_of_removed()
                } else {
                    FsType::ALL.iter().any(|fs| fs.as_str() == mount.fs_type)
                };
                recorded() && (makes || path.starts_with(s.layout().staging()) || is_recorded_node(s, path))
            }
        })
    }

    /// What csictl staged, by the place, where nobody else mounts, and the sort.
    fn is_former_stage(&self, s: &Session<'_>, path: &Path, mount: &Mount) -> bool {
        let staged = s.run.present().is_some_and(|run| run.staging_path.as_deref() == Some(path));
        self.former
            && staged
            && path.starts_with(s.layout().staging())
            && FsType::ALL.iter().any(|fs| fs.as_str() == mount.fs_type)
    }

    /// Refuses the unmount with which the last of the bytes would go: the kernel frees a loop device with its last mount, and the file
    /// behind this one may have no name any more.
    fn not_the_last_mount(&self, s: &Session<'_>, top: &Mount) -> Result<()> {
        let Some(device) = &self.nameless else { return Ok(()) };
        let Some(record) = s.record.present().filter(|_| device.autoclear) else { return Ok(()) };
        let table = s.host().mount_table().map_err(|error| s.fail(error))?;
        let others = table.iter().any(|mount| mount.id != top.id && shows_block(s.host(), mount, device.block));
        if others || !shows_block(s.host(), top, device.block) {
            return Ok(());
        }
        guard::not_the_last(s, record, device, &format!("the mount at {}", top.target.display()))
    }

    /// Refuses to call down what is only elsewhere: a rename of the target that had begun before it was mounted on may end after, and carry the
    /// mount along. Looked for where a record names a path at which nothing is.
    fn not_carried_away(&self, s: &Session<'_>, path: &Path) -> Result<()> {
        let Some(run) = s.run.present().filter(|run| run.names(path)) else { return Ok(()) };
        // At the stage of a raw volume nothing is ever mounted.
        let raw = s.record.present().is_some_and(|record| record.spec.is_raw());
        let Some(block) = self.block().filter(|_| !raw) else { return Ok(()) };
        let known = |mount: &Mount| {
            let places = run.publishes.keys().chain(run.staging_path.as_ref()).chain(&self.places);
            places.into_iter().any(|place| mount.target.starts_with(place))
        };
        let table = s.host().mount_table().map_err(|error| s.fail(error))?;
        let Some(stray) = table.iter().find(|mount| !known(mount) && shows_block(s.host(), mount, block)) else {
            return Ok(());
        };
        let stray = stray.target.display();
        let message = format!("nothing is mounted at {}, but the volume is at {stray}", path.display());
        Err(s.refuse(
            Refusal::UnsafePath,
            message,
            format!(
                "the path was exchanged, or somebody bound it there: take the mount at {stray} away, and try again"
            ),
        ))
    }

    /// Takes away our mounts at a path until none is left, and answers what was done and a foreign mount that is seen there. Somebody who
    /// waits for a write to a frozen file system keeps it busy and cannot be ended: then it is thawed.
    pub fn unmount_all(&self, s: &Session<'_>, path: &Path, trusted_root: &Path) -> Result<(Done, Option<Mount>)> {
        self.take_away(s, path, trusted_root, false)
    }

    /// The same at the staging path. Frozen by a run that was killed, the file system could not be unmounted: it is thawed first.
    pub fn unmount_staged(&self, s: &Session<'_>, path: &Path, trusted_root: &Path) -> Result<(Done, Option<Mount>)> {
        self.take_away(s, path, trusted_root, true)
    }

    fn take_away(
        &self,
        s: &Session<'_>,
        path: &Path,
        trusted_root: &Path,
        mut thaw: bool,
    ) -> Result<(Done, Option<Mount>)> {
        let mut done = Done::Already;
        let mut thawed = None;
        let mut left = MOST_STACKED;
        while left > 0 {
            let stack = self.stack(s, path)?;
            if thaw && stack.top().is_some() {
                thaw = false;
                if freezing::thaw(s, path) == Done::Changed {
                    thawed = Some(Instant::now());
                    s.thawed.set(true);
                }
            }
            let Some(top) = stack.top() else {
                if let (Some(foreign), false) = (&stack.foreign, stack.ours.is_empty()) {
                    return Err(s.refuse(
                        Refusal::Foreign,
                        format!("{} is mounted over it at {}", describe(foreign), path.display()),
                        "take that mount away by hand first; csictl leaves alone what is not this volume's",
                    ));
                }
                let published = s.run.present().is_some_and(|run| run.publishes.contains_key(path));
                if published && stack.foreign.is_none() && done == Done::Already {
                    // A path leads only to what is on top, so that a mount which was covered looks like none.
                    covering(s, path)?.map_or(Ok(()), |cover| Err(covered(s, path, &cover)))?;
                }
                if stack.foreign.is_none() && done == Done::Already {
                    self.not_carried_away(s, path)?;
                }
                return Ok((done, stack.foreign));
            };
            self.not_the_last_mount(s, top)?;
            let request = Unmount {
                target: path.to_owned(),
                trusted_root: trusted_root.to_owned(),
                expect: top.device,
                // The root's name is the volume's content to change, at this very moment if need be.
                root: (!self.is_told_by_device(s, top)?).then(|| top.root.clone()),
            };
            let answer = s.host().unmount(&request);
            if !matches!(answer, Ok(Done::Changed))
                && let Some(cover) = covering(s, path)?
            {
                return Err(covered(s, path, &cover));
            }
            if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Busy) {
                let first = thawed.is_none() && freezing::thaw(s, path) == Done::Changed;
                if first {
                    thawed = Some(Instant::now());
                    s.thawed.set(true);
                }
                if freezing::writers_end(thawed) {
                    continue;
                }
            }
            left -= 1;
            if answer.map_err(|error| s.busy(error, top.device, Some(path)))? == Done::Changed {
                done = Done::Changed;
                if self.without_discards && top.device.major == LOOP_MAJOR {
                    // With AUTOCLEAR the loop may have gone with this mount.
                    s.host().renew_loop(top.device.minor);
                }
            }
        }
        Err(s.refuse(
            Refusal::Busy,
            format!("{MOST_STACKED} mounts were taken away at {} and there are more", path.display()),
            "find out who keeps mounting there",
        ))
    }
}

/// The mount that was made over the one at `path`, on a directory above it, so that nobody can reach it any more.
fn covering(s: &Session<'_>, path: &Path) -> Result<Option<Mount>> {
    let table = s.host().mount_table().map_err(|error| s.fail(error))?;
    Ok(table.top(path).and_then(|mount| table.covering(mount)).cloned())
}

fn covered(s: &Session<'_>, path: &Path, cover: &Mount) -> DriverError {
    let over = cover.target.display();
    let message = format!("what is mounted at {} cannot be reached: {over} was mounted over it", path.display());
    s.refuse(Refusal::Busy, message, format!("take away what is mounted at {over} first, then this"))
}

/// Whether this boot's record says that a device node is shown at `path`, and one is.
fn is_recorded_node(s: &Session<'_>, path: &Path) -> bool {
    let publish = s.run.present().and_then(|run| run.publishes.get(path));
    let facts = || s.host().stat(path).ok().flatten();
    publish.is_some_and(|publish| publish.kind == PublishKind::Device)
        && facts().is_some_and(|facts| facts.kind == FileKind::Block)
}

/// A mount in words.
pub(super) fn describe(mount: &Mount) -> String {
    format!("{} ({})", mount.source.display(), mount.fs_type)
}

/// The directory that is trusted above a staging path: no link is followed below it.
pub(super) fn staging_root(s: &Session<'_>, staging_path: &Path) -> PathBuf {
    let run = &s.layout().run;
    if staging_path.starts_with(run) { run.clone() } else { PathBuf::from("/") }
}
