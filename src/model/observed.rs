//! What was seen of this machine at one moment: the other half of what a plan is made from. Plain values, so that planning
//! can be tested without a machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::backing::Pool;
use super::capacity::Capacity;
use super::claims::Claims;
use super::device::{BlockId, DiskId, FileId, LoopDevice};
use super::mount::Mount;
use super::mount_namespace::MountNamespace;
use super::name::{Name, SnapshotId, VolumeId};
use super::owner::Owner;
use super::pod::PublishKind;
use super::probe::Probe;
use super::record::{ImageIdentity, Recorded, RunRecord, SnapshotRecord, VolumeRecord};

/// Everything seen that matters to one project, or to all of them.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// The machine.
    pub host: HostFacts,
    /// Volumes: those asked about and those recorded, by id.
    pub volumes: BTreeMap<VolumeId, ObservedVolume>,
    /// Snapshots, likewise.
    pub snapshots: BTreeMap<SnapshotId, ObservedSnapshot>,
    /// Pools by name.
    pub pools: BTreeMap<Name, ObservedPool>,
    /// Every path at which something is, or is to be, published.
    pub targets: BTreeMap<PathBuf, ObservedTarget>,
    /// What other projects, and gRPC, need of this machine; empty where everything is looked at.
    pub others: Claims,
    /// Limits of projects' pools as their last applies had them, by directory; only where everything is looked at.
    pub limits: BTreeMap<Name, BTreeMap<PathBuf, Capacity>>,
}

/// Facts about the machine.
#[derive(Debug, Clone, Default)]
pub struct HostFacts {
    /// Its name.
    pub hostname: String,
    /// The id of this boot.
    pub boot_id: String,
    /// This process's mount namespace.
    pub mount_namespace: MountNamespace,
    /// Whether this process may mount and attach (CAP_SYS_ADMIN).
    pub privileged: bool,
    /// Whether ext4 can grow while mounted (CAP_SYS_RESOURCE).
    pub can_grow_ext4_online: bool,
}

/// A volume as seen.
#[derive(Debug, Clone, Default)]
pub struct ObservedVolume {
    /// Its durable record.
    pub record: Recorded<VolumeRecord>,
    /// Its boot-scoped record, if it is of this boot.
    pub run: Option<RunRecord>,
    /// What lies behind it.
    pub backing: ObservedBacking,
    /// The device to which the manifest's path leads, where that is not the path of the record.
    pub asked_device: Option<BlockId>,
    /// The loop device its image is attached to.
    pub loop_device: Option<LoopDevice>,
    /// Whether the file behind that device, though it is not in its image's place, has a name elsewhere: it was moved, and nothing is lost with
    /// the device.
    pub moved_elsewhere: bool,
    /// What is on its device or in its image; `None` where nobody had to look (a record says it was formatted).
    pub probe: Option<Probe>,
    /// The mount at its staging path that is its own.
    pub staged: Option<ObservedStage>,
    /// Whether what is staged is frozen, so that every write to it waits, and not for a copy that csictl makes.
    pub frozen: bool,
    /// Its publishes: mounts at targets that show its file system or device node.
    pub published: Vec<ObservedPublish>,
    /// Targets at which something else was mounted over a mount of its own: what, in words.
    pub covered: Vec<(PathBuf, String)>,
    /// Publishes that nobody can reach, since something was mounted over a directory above them.
    pub hidden: Vec<Hidden>,
    /// What is at the paths inside it that pods want to see, by sub_path; looked at while it is staged.
    pub inside: BTreeMap<PathBuf, ObservedTarget>,
    /// Bytes in use: of the file system when staged, of the image otherwise.
    pub used: Option<Capacity>,
    /// Another mount namespace, still alive, that holds its mounts.
    pub foreign_namespace: Option<MountNamespace>,
    /// Mounts of it that processes keep busy, and which processes, in words; looked for only where a plan would take them down for a while.
    pub held: Vec<(PathBuf, String)>,
    /// What somebody else has mounted where it is staged, in words.
    pub foreign_stage: Option<(PathBuf, String)>,
    /// What could not be read, in words; with any of these the volume's true state is not known.
    pub unknown: Vec<String>,
}

impl ObservedVolume {
    /// Whether it is mounted or attached.
    pub fn is_up(&self) -> bool {
        self.staged.is_some() || self.loop_device.is_some() || !self.published.is_empty()
    }
}

/// What lies behind a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ObservedBacking {
    /// Nothing.
    #[default]
    Missing,
    /// An image file.
    Image(ObservedImage),
    /// A block device.
    Device(ObservedDevice),
    /// A directory.
    Directory {
        /// Its device and inode.
        file: FileId,
        /// How many entries it has, counted up to a bound.
        entries: u64,
    },
    /// Something is there that is not what it should be: in words.
    Wrong(String),
}

/// An image file as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedImage {
    /// Where.
    pub path: PathBuf,
    /// Which file.
    pub file: FileId,
    /// Nominal size.
    pub size: Capacity,
    /// Bytes allocated below it.
    pub allocated: Capacity,
    /// Who it says it is.
    pub identity: Option<ImageIdentity>,
}

/// A block device as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedDevice {
    /// Its number.
    pub block: BlockId,
    /// Which disk it is.
    pub disk: DiskId,
    /// Its size.
    pub size: Capacity,
    /// Its serial number, where it tells.
    pub serial: Option<String>,
    /// Its World Wide Name, where it tells.
    pub wwn: Option<String>,
    /// Logical sector size, in bytes.
    pub sector_size: u32,
    /// Who else holds it (mounted elsewhere, a member of dm or md), in words.
    pub holders: Vec<String>,
    /// What it is a part of, or stands on: its disk, what dm and md made it from, the device behind a loop device, and what these stand on.
    pub stands_on: Vec<BlockId>,
    /// The volume or snapshot of csictl's whose image it shows, where it is a loop device: its bytes are that one's.
    pub shows_image_of: Option<String>,
    /// The file that it shows, where it is a loop device whose file cannot be looked at from here: whose bytes they are nobody knows.
    pub unseen_file: Option<PathBuf>,
}

impl ObservedDevice {
    /// Why it is no device for a volume, and what to do; `None` where it may be one.
    pub fn is_an_image(&self, path: &Path) -> Option<(String, &'static str)> {
        if let Some(file) = &self.unseen_file {
            let message = format!(
                "{} leads to {}, a loop device on {}, which cannot be looked at from here: it may be an image of csictl's",
                path.display(),
                self.block,
                file.display()
            );
            return Some((
                message,
                "bring the file back to its place, or run csictl where it is seen (the machine, or the container that attached it)",
            ));
        }
        let id = self.shows_image_of.as_ref()?;
        Some((
            format!(
                "{} leads to {}, the loop device of csictl's {id}: its bytes are that volume's",
                path.display(),
                self.block
            ),
            "name the disk that is meant by a path that stays (/dev/disk/by-id/...)",
        ))
    }

    /// Whether both have bytes in common: they are one, or one stands on the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.block == other.block || self.stands_on.contains(&other.block) || other.stands_on.contains(&self.block)
    }
}

/// A staging mount as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedStage {
    /// The mount that is seen.
    pub mount: Mount,
    /// How many of ours lie on each other.
    pub depth: usize,
}

/// A publish as seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedPublish {
    /// Where.
    pub target: PathBuf,
    /// For whom, where a record tells.
    pub pod: Option<Name>,
    /// Directory or device.
    pub kind: PublishKind,
    /// The mount that is seen.
    pub mount: Mount,
    /// How many of ours lie on each other.
    pub depth: usize,
    /// The path inside the volume that is seen, `None` for its root.
    pub sub_path: Option<PathBuf>,
    /// A bound device node that is the volume's no longer: its loop device is gone, or another.
    pub stale: bool,
}

/// A publish that is there and cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Where it is.
    pub target: PathBuf,
    /// Where something was mounted over it.
    pub over: PathBuf,
    /// What, in words.
    pub what: String,
    /// Whether no volume is known to be published there.
    pub foreign: bool,
}

/// A snapshot as seen.
#[derive(Debug, Clone, Default)]
pub struct ObservedSnapshot {
    /// Its record.
    pub record: Recorded<SnapshotRecord>,
    /// Its file.
    pub file: Option<ObservedImage>,
}

/// A pool as seen.
#[derive(Debug, Clone)]
pub struct ObservedPool {
    /// As declared, or as a record names it.
    pub pool: Pool,
    /// Whether its directory is there.
    pub exists: bool,
    /// The type of the file system below it (or below its nearest existing parent).
    pub fs_type: String,
    /// Bytes free to root on it.
    pub free: Capacity,
    /// Its size.
    pub total: Capacity,
    /// Whether files on it can share extents.
    pub reflink: bool,
    /// The most that one file on it can have, where that is known.
    pub largest_file: Option<Capacity>,
    /// Nominal bytes of the images and snapshots in it, of every project.
    pub nominal: Capacity,
    /// Bytes that `full` images in it have still to allocate.
    pub unallocated: Capacity,
    /// Whether what is recorded in it tells that its own file system is not there: the name of an image that is missed with all others.
    pub missed: Option<String>,
    /// Who but root may exchange the files in it, in words; nothing is made in such a pool.
    pub open_to: Option<String>,
}

/// A path at which something is, or is to be, published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedTarget {
    /// What is there.
    pub kind: TargetKind,
    /// Entries that a mount over it would hide, counted up to a bound; 0 unless it is a directory nobody has mounted on.
    pub hides: u64,
    /// A mount there that is none of ours: its source and type.
    pub foreign: Option<String>,
    /// Another project, or gRPC, that has published there.
    pub taken_by: Option<(Owner, VolumeId)>,
    /// A symbolic link among its parents or in its place, and where it points.
    pub symlink: Option<(PathBuf, PathBuf)>,
    /// It could not be looked at: in words.
    pub unknown: Option<String>,
}

/// What is at a target path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TargetKind {
    /// Nothing.
    #[default]
    Absent,
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A device, socket, fifo or link.
    Other,
}
