//! Which mounts are a volume's own. Judged by what the kernel says is mounted (device, root, inode), and by a recorded place
//! only where the kernel cannot tell one from another: two binds of one host file system, two tmpfs.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::driver::Result;
use crate::host::{FileKind, Observe};
use crate::model::record::VolumeRecord;
use crate::model::{Allocate, Backing, BlockId, FileId, FsType, LoopDevice, Mount, PublishKind, WasMounted};

use super::session::Session;

mod loops;
mod take_down;

use loops::loop_and_whether_former;
pub(super) use loops::{detach, former_loop, loop_of};

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
                    // Of btrfs the kernel shows another number than that of its device.
                    let same = |block: BlockId| mount.device == block || mount.fs_type == FsType::Btrfs.as_str();
                    self.was.device.is_none_or(same) && FsType::ALL.iter().any(|fs| fs.as_str() == mount.fs_type)
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
