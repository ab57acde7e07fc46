//! The three lanes that work is admitted to: short kernel calls, helpers that format, bulk copies.
//!
//! A worker that has begun a step is busy until the kernel answers, so the choice is made before: a step that would not be
//! admitted is never given to a worker, and no worker ever sits and waits for a permit. Long work can therefore fill its own
//! lane and never the pool: at least one worker stays for short kernel steps. Pure bookkeeping, used by the scheduler of a plan
//! ([`super::schedule`]) and by the engine for single actions ([`super::engine`]).

use crate::model::action::CreateRequest;
use crate::model::{Action, Backing, Desired, FormatPolicy, VolumeSpec};
use crate::plan::Step;

/// What a piece of work mostly waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Short kernel calls: attach, mount, bind, unmount, records.
    Kernel,
    /// Helper programs that use processor and disk: mkfs, fsck, growing a file system.
    Mkfs,
    /// Copies of whole images: snapshots, clones, restores.
    Copy,
}

impl Lane {
    /// Every lane, the ones with the longest work first: they are offered free workers first, so that they never run dry.
    pub const ALL: [Self; 3] = [Self::Copy, Self::Mkfs, Self::Kernel];

    /// Its place in an array with one entry a lane.
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Kernel => 0,
            Self::Mkfs => 1,
            Self::Copy => 2,
        }
    }
}

/// The most copies at a time: two keep a disk busy (one reads while the other waits for its flush), more only seek against each
/// other and lengthen the time for which file systems are frozen.
const COPIES: usize = 2;

/// New images and formatting programs for each core. Most images are copied from a formatted template and then wait for a flush that is
/// shared by all who wait at the same time, so a few more than the cores could compute pay; with 1, 2, 4 and 8 the medians of 100
/// volumes on two (busy) cores were 50, 50, 41 and 42 ms each.
const MKFS_PER_CORE: usize = 4;

/// How much may run at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All lanes together.
    pub total: usize,
    /// [`Lane::Mkfs`].
    pub mkfs: usize,
    /// [`Lane::Copy`].
    pub copy: usize,
}

impl Limits {
    /// Limits for this many steps at once on this many cores; every lane has room for at least one.
    pub fn new(parallelism: usize, cores: usize) -> Self {
        let total = parallelism.max(1);
        let copy = (total / 4).clamp(1, COPIES);
        let mkfs = (cores.max(1) * MKFS_PER_CORE).min(total.saturating_sub(copy + 1)).max(1);
        Self { total, mkfs, copy }
    }

    /// Limits for this many steps at once on this machine.
    pub fn here(parallelism: usize) -> Self {
        Self::new(parallelism, std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// The most of one lane.
    pub const fn of(&self, lane: Lane) -> usize {
        match lane {
            Lane::Kernel => self.total,
            Lane::Mkfs => self.mkfs,
            Lane::Copy => self.copy,
        }
    }

    /// The most of the two lanes with long work together: one worker is always left for kernel steps, where there are two.
    pub fn long(&self) -> usize {
        self.total.saturating_sub(1).max(1)
    }
}

/// What is running, and whether more may.
#[derive(Debug, Clone)]
pub struct Lanes {
    limits: Limits,
    running: [usize; 3],
}

impl Lanes {
    /// Nothing runs yet.
    pub const fn new(limits: Limits) -> Self {
        Self { limits, running: [0; 3] }
    }

    /// Takes a place in a lane if one is free; it has to be given back with [`Lanes::leave`].
    pub fn enter(&mut self, lane: Lane) -> bool {
        let long = self.running(Lane::Mkfs) + self.running(Lane::Copy);
        let free = self.total() < self.limits.total
            && self.running(lane) < self.limits.of(lane)
            && (lane == Lane::Kernel || long < self.limits.long());
        if free {
            self.running[lane.index()] += 1;
        }
        free
    }

    /// Gives a place back.
    ///
    /// # Panics
    /// When none was taken: a bookkeeping mistake that would let a lane overflow.
    pub fn leave(&mut self, lane: Lane) {
        let running = &mut self.running[lane.index()];
        *running = running.checked_sub(1).expect("a lane is left only by who entered it");
    }

    /// How many run in a lane.
    pub const fn running(&self, lane: Lane) -> usize {
        self.running[lane.index()]
    }

    /// How many run.
    pub fn total(&self) -> usize {
        self.running.iter().sum()
    }

    /// The limits.
    pub const fn limits(&self) -> Limits {
        self.limits
    }
}

/// The lane of a plan's step. A stage formats only a device that is still blank, which nobody knows before it is probed: where it
/// might, it counts as mkfs.
pub fn lane_of(step: &Step, desired: &Desired) -> Lane {
    match &step.action {
        Action::Stage(request) => stage_lane(desired.volumes.get(&request.id)),
        Action::Expand(request) => expand_lane(desired.volumes.get(&request.id)),
        action => lane_of_action(action),
    }
}

/// The lane of an action when nothing is known of the volume but what the action says.
pub fn lane_of_action(action: &Action) -> Lane {
    match action {
        Action::Create(request) => create_lane(request),
        Action::Snapshot(_) => Lane::Copy,
        Action::Expand(_) => Lane::Mkfs,
        Action::Attach(_)
        | Action::Stage(_)
        | Action::Publish(_)
        | Action::Unpublish(_)
        | Action::Unstage(_)
        | Action::Detach(_)
        | Action::Modify(_)
        | Action::DeleteSnapshot(_)
        | Action::Release(_)
        | Action::Delete(_) => Lane::Kernel,
    }
}

fn create_lane(request: &CreateRequest) -> Lane {
    let CreateRequest { spec, .. } = request;
    match (&spec.source, &spec.backing, &spec.fs) {
        (Some(_), _, _) => Lane::Copy,
        (None, Backing::Image(_), Some(_)) => Lane::Mkfs,
        _ => Lane::Kernel,
    }
}

/// The lane of a stage: images have their file system from their creation, a device may get its own here.
pub fn stage_lane(spec: Option<&VolumeSpec>) -> Lane {
    let formats = spec.is_some_and(|spec| {
        matches!(spec.backing, Backing::Device(_))
            && spec.fs.as_ref().is_some_and(|fs| fs.format == FormatPolicy::IfBlank)
    });
    if formats { Lane::Mkfs } else { Lane::Kernel }
}

/// The lane of an expand: growing a raw block device is two calls, growing a file system runs a helper.
pub fn expand_lane(spec: Option<&VolumeSpec>) -> Lane {
    if spec.is_some_and(VolumeSpec::is_raw) { Lane::Kernel } else { Lane::Mkfs }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::action::{AttachRequest, ExpandRequest, StageRequest};
    use crate::model::{
        AccessMode, Capacity, DeviceBacking, FsSpec, FsType, ImageBacking, Name, Owner, Ownership, Reclaim,
        SnapshotSpec, Source, VolumeId, VolumeMode,
    };
    use crate::plan::Risk;

    #[test]
    fn every_lane_has_room_and_long_work_leaves_a_worker() {
        for (parallelism, cores) in [(0, 0), (1, 1), (2, 64), (3, 2), (4, 2), (16, 2), (16, 64), (1024, 1)] {
            let limits = Limits::new(parallelism, cores);
            for lane in Lane::ALL {
                assert!((1..=limits.total).contains(&limits.of(lane)), "{lane:?} of {limits:?}");
            }
            assert!(limits.total == 1 || limits.long() < limits.total, "{limits:?}");
        }
        assert_eq!(Limits::new(16, 2), Limits { total: 16, mkfs: 8, copy: 2 });
    }

    fn image() -> Backing {
        Backing::Image(ImageBacking {
            pool: "default".parse().unwrap(),
            pool_path: PathBuf::from("/pool"),
            allocate: Default::default(),
            direct_io: false,
            sector_size: Default::default(),
        })
    }

    fn device() -> Backing {
        Backing::Device(DeviceBacking { path: PathBuf::from("/dev/disk/by-id/x"), expect: Default::default() })
    }

    fn spec(backing: Backing, fs: Option<FsSpec>) -> VolumeSpec {
        let project: Name = "p".parse().unwrap();
        VolumeSpec {
            id: VolumeId::of_project(&project, &"v".parse().unwrap()),
            owner: Owner::Project(project),
            name: "v".to_owned(),
            description: None,
            volume_mode: if fs.is_some() { VolumeMode::Filesystem } else { VolumeMode::Block },
            capacity: None,
            access_mode: AccessMode::default(),
            backing,
            fs,
            fs_type_given: true,
            mount_options: vec![],
            source: None,
            reclaim: Reclaim::default(),
            prevent_destroy: false,
            ownership: Ownership::default(),
            fs_group: None,
            ephemeral: false,
        }
    }

    fn lane(action: Action, spec: VolumeSpec) -> Lane {
        let mut desired = Desired::empty("p".parse().unwrap(), "p.toml".to_owned());
        desired.volumes.insert(spec.id.clone(), spec);
        let step =
            Step { index: 0, action, pod: None, path: None, after: vec![], risk: Risk::None, reason: String::new() };
        lane_of(&step, &desired)
    }

    fn create(spec: VolumeSpec) -> Lane {
        lane(
            Action::Create(Box::new(CreateRequest {
                spec: spec.clone(),
                replaces: false,
                approval: None,
                asked: None,
            })),
            spec,
        )
    }

    fn stage(spec: VolumeSpec) -> Lane {
        let staging_path = PathBuf::from("/run/csictl/v");
        lane(
            Action::Stage(StageRequest { id: spec.id.clone(), staging_path, mount_options: vec![], capability: None }),
            spec,
        )
    }

    fn expand(spec: VolumeSpec) -> Lane {
        lane(Action::Expand(ExpandRequest { id: spec.id.clone(), to: Capacity::bytes(1 << 30), owner: None }), spec)
    }

    #[test]
    fn what_may_format_or_copy_is_kept_from_short_steps() {
        let ext4 = || Some(FsSpec::plain(FsType::Ext4));
        let never = Some(FsSpec { format: FormatPolicy::Never, ..FsSpec::plain(FsType::Ext4) });
        let mut clone = spec(image(), ext4());
        clone.source = Some(Source::Volume("p.other".parse().unwrap()));
        assert_eq!(create(clone), Lane::Copy);
        assert_eq!(create(spec(image(), ext4())), Lane::Mkfs);
        assert_eq!(create(spec(image(), None)), Lane::Kernel);
        assert_eq!(create(spec(device(), ext4())), Lane::Kernel);
        assert_eq!(stage(spec(image(), ext4())), Lane::Kernel);
        assert_eq!(stage(spec(device(), ext4())), Lane::Mkfs);
        assert_eq!(stage(spec(device(), never)), Lane::Kernel);
        assert_eq!(expand(spec(image(), ext4())), Lane::Mkfs);
        assert_eq!(expand(spec(image(), None)), Lane::Kernel);
        let volume = spec(image(), ext4());
        let snapshot = SnapshotSpec {
            id: "p.s".parse().unwrap(),
            owner: volume.owner.clone(),
            name: "s".to_owned(),
            volume: volume.id.clone(),
        };
        assert_eq!(lane(Action::Snapshot(snapshot), volume.clone()), Lane::Copy);
        let attach = AttachRequest { id: volume.id.clone(), read_only: false, attachment: None };
        assert_eq!(lane(Action::Attach(attach), volume), Lane::Kernel);
    }
}
