//! A world for planning: a builder of what is wanted, and a toy machine that runs plans on paper, so that every test can begin from
//! what an earlier apply would have left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use csictl::model::observed::{
    Observed, ObservedBacking, ObservedDevice, ObservedImage, ObservedPool, ObservedPublish, ObservedSnapshot,
    ObservedStage, ObservedVolume,
};
use csictl::model::record::{FormatMark, ImageIdentity, Recorded, RunRecord, SnapshotRecord, VolumeRecord};
use csictl::model::{
    AccessMode, Action, Allocate, Backing, BlockId, Capacity, CapacityRange, Desired, DirectoryBacking, DiskId, FileId,
    FsSpec, FsType, FsUuid, ImageBacking, Layout, LoopDevice, Mount, Name, ObjectRef, Owner, PodSpec, Pool,
    Propagation, PublishKind, PublishSpec, Reclaim, SectorSize, SnapshotId, SnapshotSpec, Source, TmpfsBacking,
    VolumeId, VolumeMode, VolumeSpec,
};
use csictl::plan::{Intent, Plan, plan};

pub const POOL: &str = "/pool";

pub fn id(name: &str) -> VolumeId {
    format!("shop.{name}").parse().unwrap()
}

pub fn snap(name: &str) -> SnapshotId {
    format!("shop.{name}").parse().unwrap()
}

pub fn volume(name: &str) -> ObjectRef {
    ObjectRef::Volume(id(name))
}

fn file(inode: u64) -> FileId {
    FileId { device: BlockId { major: 8, minor: 1 }, inode }
}

/// A volume with an ext4 image of 1 GiB.
pub fn image(name: &str) -> VolumeSpec {
    VolumeSpec {
        id: id(name),
        owner: Owner::Project("shop".parse().unwrap()),
        name: name.to_owned(),
        description: None,
        volume_mode: VolumeMode::Filesystem,
        capacity: Some(CapacityRange { required: Capacity::gib(1), limit: None }),
        access_mode: AccessMode::SingleNodeMultiWriter,
        backing: Backing::Image(ImageBacking {
            pool: "main".parse().unwrap(),
            pool_path: POOL.into(),
            allocate: Allocate::Sparse,
            direct_io: true,
            sector_size: SectorSize::B512,
        }),
        fs: Some(FsSpec::plain(FsType::Ext4)),
        fs_type_given: false,
        mount_options: Vec::new(),
        source: None,
        reclaim: Reclaim::Retain,
        prevent_destroy: false,
        ownership: csictl::model::Ownership::default(),
        fs_group: None,
        ephemeral: false,
    }
}

/// A raw block volume of 1 GiB.
pub fn raw(name: &str) -> VolumeSpec {
    VolumeSpec { volume_mode: VolumeMode::Block, fs: None, ..image(name) }
}

pub fn directory(name: &str, path: &str) -> VolumeSpec {
    let backing = Backing::Directory(DirectoryBacking { path: path.into(), create: true });
    VolumeSpec { backing, fs: None, capacity: None, ..image(name) }
}

pub fn tmpfs(name: &str) -> VolumeSpec {
    VolumeSpec {
        backing: Backing::Tmpfs(TmpfsBacking { size: Capacity::mib(64) }),
        fs: None,
        capacity: None,
        ..image(name)
    }
}

pub fn sized(mut spec: VolumeSpec, gib: u64) -> VolumeSpec {
    spec.capacity = Some(CapacityRange { required: Capacity::gib(gib), limit: None });
    spec
}

pub fn with_fs(mut spec: VolumeSpec, fs: FsType) -> VolumeSpec {
    spec.fs = Some(FsSpec::plain(fs));
    spec.fs_type_given = true;
    spec
}

pub fn clone_of(name: &str, source: &str) -> VolumeSpec {
    VolumeSpec { source: Some(Source::Volume(id(source))), ..image(name) }
}

/// The manifest and the machine.
#[derive(Debug, Clone)]
pub struct World {
    pub desired: Desired,
    pub observed: Observed,
    next: u32,
}

impl World {
    pub fn new() -> Self {
        let mut desired = Desired::empty("shop".parse().unwrap(), "shop.toml".to_owned());
        let name: Name = "main".parse().unwrap();
        let pool = Pool { name: name.clone(), path: POOL.into(), limit: None, reserve: None };
        desired.pools.insert(name.clone(), pool.clone());
        let mut observed = Observed::default();
        observed.host.privileged = true;
        observed.host.can_grow_ext4_online = true;
        let seen = ObservedPool {
            pool,
            exists: true,
            fs_type: "ext4".to_owned(),
            free: Capacity::gib(1000),
            total: Capacity::gib(1000),
            reflink: false,
            largest_file: Some(Capacity::gib(16 << 10)),
            nominal: Capacity::bytes(0),
            unallocated: Capacity::bytes(0),
            missed: None,
            open_to: None,
        };
        observed.pools.insert(name, seen);
        Self { desired, observed, next: 100 }
    }

    pub fn with(mut self, spec: VolumeSpec) -> Self {
        self.desired.volumes.insert(spec.id.clone(), spec);
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.desired.volumes.remove(&id(name));
        for pod in self.desired.pods.values_mut() {
            pod.publishes.retain(|publish| publish.volume != id(name));
        }
        self
    }

    /// Changes one volume of the manifest.
    pub fn edit(mut self, name: &str, edit: impl FnOnce(&mut VolumeSpec)) -> Self {
        edit(self.desired.volumes.get_mut(&id(name)).unwrap());
        self
    }

    /// Shows a volume to a pod.
    pub fn shown(self, pod: &str, name: &str, target: &str) -> Self {
        self.shown_as(pod, name, target, |_| {})
    }

    pub fn shown_as(mut self, pod: &str, name: &str, target: &str, edit: impl FnOnce(&mut PublishSpec)) -> Self {
        let pod: Name = pod.parse().unwrap();
        let spec = &self.desired.volumes[&id(name)];
        let mut publish = PublishSpec {
            pod: pod.clone(),
            volume: spec.id.clone(),
            target: target.into(),
            trusted_root: "/".into(),
            kind: if spec.is_raw() { PublishKind::Device } else { PublishKind::Mount },
            sub_path: None,
            read_only: false,
            propagation: Propagation::None,
            capability: None,
            staging_path: None,
        };
        edit(&mut publish);
        let entry = self.desired.pods.entry(pod.clone());
        let entry = entry.or_insert(PodSpec { name: pod, root: None, fs_group: None, publishes: Vec::new() });
        entry.publishes.push(publish);
        self
    }

    pub fn without_pod(mut self, pod: &str) -> Self {
        self.desired.pods.remove(pod);
        self
    }

    pub fn snapshot(mut self, name: &str, of: &str) -> Self {
        let owner = Owner::Project("shop".parse().unwrap());
        let spec = SnapshotSpec { id: snap(name), owner, name: name.to_owned(), volume: id(of) };
        self.desired.snapshots.insert(spec.id.clone(), spec);
        self
    }

    pub fn seen(&mut self, name: &str) -> &mut ObservedVolume {
        self.observed.volumes.entry(id(name)).or_default()
    }

    pub fn record(&mut self, name: &str) -> &mut VolumeRecord {
        match &mut self.seen(name).record {
            Recorded::Present(record) => record,
            other => panic!("{name} has no whole record: {other:?}"),
        }
    }

    /// A block device as observed.
    pub fn device(mut self, name: &str, gib: u64) -> Self {
        let device = ObservedDevice {
            block: BlockId { major: 8, minor: 32 },
            disk: DiskId { size: gib << 30, serial: Some("ZA1".to_owned()), ..DiskId::default() },
            size: Capacity::gib(gib),
            serial: Some("ZA1".to_owned()),
            wwn: None,
            sector_size: 512,
            holders: Vec::new(),
            stands_on: Vec::new(),
            shows_image_of: None,
            unseen_file: None,
        };
        self.seen(name).backing = ObservedBacking::Device(device);
        self
    }

    pub fn plan(&self) -> Plan {
        self.plan_for(&Intent::Apply)
    }

    pub fn plan_for(&self, intent: &Intent) -> Plan {
        plan(&self.desired, &self.observed, &Layout::new("/state", "/run/csictl"), intent)
    }

    pub fn destroy(&self, delete: &[&str]) -> Plan {
        self.plan_for(&Intent::Destroy { delete_data: delete.iter().map(|name| id(name)).collect::<BTreeSet<_>>() })
    }

    /// The world after its manifest was applied.
    pub fn applied(mut self) -> Self {
        let plan = self.plan();
        assert_eq!(plan.refused, [], "a refused plan is never run");
        self.run(&plan);
        self
    }

    /// Runs a plan on paper, step by step in the order of its numbers.
    pub fn run(&mut self, plan: &Plan) {
        for step in &plan.steps {
            self.step(&step.action);
        }
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Runs one step on paper; what the kernel or a driver would not let happen is a panic.
    pub fn step(&mut self, action: &Action) {
        match action {
            Action::Create(request) => self.create(&request.spec),
            Action::Attach(request) => {
                let index = self.fresh();
                let seen = self.observed.volumes.get_mut(&request.id).unwrap();
                let ObservedBacking::Image(image) = &seen.backing else { panic!("attach of what is no image") };
                let raw = seen.record.present().unwrap().spec.is_raw();
                let going = seen.loop_device.as_ref().is_some_and(|device| raw && device.autoclear);
                assert!(seen.loop_device.is_none() || going, "attached twice");
                seen.loop_device = Some(LoopDevice {
                    index,
                    block: BlockId { major: 7, minor: index },
                    backing: image.file,
                    offset: 0,
                    size_limit: 0,
                    size: image.size.get(),
                    read_only: request.read_only,
                    autoclear: !raw,
                    direct_io: true,
                    sector_size: 512,
                });
            }
            Action::Stage(request) => {
                let fresh = self.fresh();
                let seen = self.observed.volumes.get_mut(&request.id).unwrap();
                assert!(seen.staged.is_none(), "staged twice");
                let spec = &seen.record.present().unwrap().spec;
                let device = match &spec.backing {
                    Backing::Image(_) => seen.loop_device.as_ref().expect("attached before staged").block,
                    Backing::Device(_) => BlockId { major: 8, minor: 32 },
                    _ => BlockId { major: 0, minor: fresh },
                };
                let mut mount = mount(fresh, device, &request.staging_path);
                mount.options.extend(request.mount_options.iter().cloned());
                mount.super_options.extend(request.mount_options.iter().filter(|o| *o != "ro").cloned());
                seen.staged = Some(ObservedStage { mount, depth: 1 });
                let run = run_record(seen, &request.id);
                run.staging_path = Some(request.staging_path.clone());
                run.stage_options.clone_from(&request.mount_options);
                if let Recorded::Present(record) = &mut seen.record {
                    record.format = FormatMark::Done;
                }
            }
            Action::Publish(publish) => self.publish(publish),
            Action::Unpublish(request) => {
                for (other, volume) in &self.observed.volumes {
                    let below = volume
                        .published
                        .iter()
                        .find(|p| p.target != request.target && p.target.starts_with(&request.target));
                    assert!(below.is_none(), "{} is busy: {other} is mounted below it", request.target.display());
                }
                let seen = self.observed.volumes.get_mut(&request.id).unwrap();
                seen.published.retain(|publish| publish.target != request.target);
                run_record(seen, &request.id).publishes.remove(&request.target);
                if let Recorded::Present(record) = &mut seen.record {
                    record.made_targets.remove(&request.target);
                    record.shown_at.remove(&request.target);
                }
            }
            Action::Unstage(request) => {
                let seen = self.observed.volumes.get_mut(&request.id).unwrap();
                assert!(seen.published.is_empty(), "unstaged while published");
                seen.staged = None;
                run_record(seen, &request.id).staging_path = None;
                seen.loop_device = None;
            }
            Action::Detach(id) => {
                let seen = self.observed.volumes.get_mut(id).unwrap();
                assert!(seen.published.is_empty() && seen.staged.is_none(), "detached while in use");
                seen.loop_device = None;
            }
            Action::Expand(request) => {
                let grows = self.observed.host.can_grow_ext4_online;
                let seen = self.observed.volumes.get_mut(&request.id).unwrap();
                let Recorded::Present(record) = &mut seen.record else { panic!("expand without a record") };
                let ext4 = record.spec.fs_type() == Some(FsType::Ext4);
                assert!(grows || !ext4 || seen.staged.is_none(), "ext4 grown online without the right");
                let range = record.spec.capacity.as_mut().unwrap();
                assert!(range.limit.is_none_or(|limit| request.to <= limit), "grown beyond its limit");
                range.required = request.to;
                if let ObservedBacking::Image(image) = &mut seen.backing {
                    image.size = image.size.max(request.to);
                    if let Some(device) = &mut seen.loop_device {
                        device.size = image.size.get();
                    }
                }
            }
            Action::Modify(spec) => {
                let seen = self.observed.volumes.get_mut(&spec.id).unwrap();
                if let Some(staged) = &mut seen.staged {
                    staged.mount.options = vec!["rw".to_owned(), "nosuid".to_owned(), "nodev".to_owned()];
                    staged.mount.options.extend(spec.mount_options.iter().cloned());
                    staged.mount.super_options = vec!["rw".to_owned()];
                    staged.mount.super_options.extend(spec.mount_options.iter().filter(|o| *o != "ro").cloned());
                    run_record(seen, &spec.id).stage_options.clone_from(&spec.mount_options);
                }
                let run = seen.run.clone();
                for publish in seen.published.iter_mut().filter(|publish| publish.kind == PublishKind::Mount) {
                    let asked = run.as_ref().and_then(|run| run.publishes.get(&publish.target));
                    publish.mount.options = shown_options(spec, asked.is_some_and(|asked| asked.read_only));
                }
                let Recorded::Present(record) = &mut seen.record else { panic!("modify without a record") };
                let kept = record.spec.capacity;
                record.spec = (**spec).clone();
                record.modifying = false;
                if let (Some(kept), Some(range)) = (kept, &mut record.spec.capacity) {
                    range.required = kept.required;
                }
            }
            Action::Snapshot(spec) => self.take(spec),
            Action::DeleteSnapshot(request) => {
                self.observed.snapshots.remove(&request.id);
            }
            Action::Release(id) => {
                let Recorded::Present(record) = &mut self.observed.volumes.get_mut(id).unwrap().record else {
                    panic!()
                };
                record.released = true;
            }
            Action::Delete(request) => {
                let seen = &self.observed.volumes[&request.id];
                assert!(
                    seen.published.is_empty() && seen.staged.is_none() && seen.loop_device.is_none(),
                    "deleted while in use"
                );
                self.observed.volumes.remove(&request.id);
            }
        }
    }

    fn create(&mut self, spec: &VolumeSpec) {
        let inode = u64::from(self.fresh());
        let adopts =
            self.observed.volumes.get(&spec.id).is_some_and(|seen| {
                seen.record == Recorded::Absent && matches!(seen.backing, ObservedBacking::Image(_))
            });
        match &spec.source {
            _ if adopts => {}
            Some(Source::Volume(source)) => {
                assert!(self.observed.volumes.contains_key(source), "cloned before its source was made");
            }
            Some(Source::Snapshot(source)) => {
                assert!(self.observed.snapshots.contains_key(source), "restored before the snapshot was taken");
            }
            None => {}
        }
        let seen = self.observed.volumes.entry(spec.id.clone()).or_default();
        let there = matches!((&spec.backing, &seen.backing), (Backing::Image(_), ObservedBacking::Image(_)));
        let replaced = seen.record.present().is_some_and(|record| record.spec.fs_type() != spec.fs_type());
        let mut backing = seen.backing.clone();
        match &spec.backing {
            Backing::Image(image) if !there || replaced => {
                backing = ObservedBacking::Image(ObservedImage {
                    path: image.image_path(&spec.id),
                    file: file(inode),
                    size: spec.required().unwrap(),
                    allocated: Capacity::mib(1),
                    identity: Some(identity(spec)),
                });
            }
            Backing::Directory(_) => backing = ObservedBacking::Directory { file: file(inode), entries: 0 },
            _ => {}
        }
        let image = match &backing {
            ObservedBacking::Image(image) => Some(image.file),
            _ => None,
        };
        let format = if image.is_some() && spec.fs.is_some() { FormatMark::Done } else { FormatMark::None };
        let uuid = FsUuid::from_bytes([7; 16]);
        seen.backing = backing;
        seen.record = Recorded::Present(VolumeRecord {
            spec: spec.clone(),
            fs_uuid: spec.fs.is_some().then_some(uuid),
            format,
            adopted: false,
            disk: None,
            image,
            attach_mark: false,
            made_directory: false,
            made_targets: BTreeMap::new(),
            shown_at: BTreeMap::new(),
            applied_ownership: spec.ownership,
            modifying: false,
            growing: None,
            grown: None,
            asked: None,
            attachment: None,
            removing: None,
            released: false,
            rebuilt: false,
            created_at: "2026-01-01T00:00:00Z".to_owned(),
        });
    }

    fn publish(&mut self, publish: &PublishSpec) {
        let fresh = self.fresh();
        let taken = self.observed.volumes.values().flat_map(|volume| &volume.published);
        for other in taken {
            assert_ne!(other.target, publish.target, "published twice at one path");
            assert!(
                !other.target.starts_with(&publish.target),
                "{} would hide {}",
                publish.target.display(),
                other.target.display()
            );
        }
        let others = self.observed.volumes.values().flat_map(|seen| &seen.published);
        let under = others.filter(|other| publish.target.starts_with(&other.target));
        let below = under.max_by_key(|other| other.target.components().count()).map_or(1, |other| other.mount.id);
        let seen = self.observed.volumes.get_mut(&publish.volume).unwrap();
        let device = match publish.kind {
            PublishKind::Mount => seen.staged.as_ref().expect("staged before published").mount.device,
            PublishKind::Device => seen.loop_device.as_ref().expect("attached before published").block,
        };
        let mut mount = mount(fresh, device, &publish.target);
        mount.parent = below;
        if let Recorded::Present(record) = &seen.record {
            mount.options = shown_options(&record.spec, publish.read_only);
        }
        mount.shared = publish.propagation == Propagation::Bidirectional;
        seen.published.push(ObservedPublish {
            target: publish.target.clone(),
            pod: Some(publish.pod.clone()),
            kind: publish.kind,
            mount,
            depth: 1,
            sub_path: publish.sub_path.clone(),
            stale: false,
        });
        run_record(seen, &publish.volume).publishes.insert(publish.target.clone(), publish.clone());
        if let Recorded::Present(record) = &mut seen.record {
            record.made_targets.insert(publish.target.clone(), publish.kind);
            record.shown_at.insert(publish.target.clone(), publish.kind);
        }
    }

    fn take(&mut self, spec: &SnapshotSpec) {
        let record = self.observed.volumes[&spec.volume].record.present().expect("taken after its volume was made");
        let image = record.spec.backing.as_image().unwrap();
        let taken = SnapshotRecord {
            id: spec.id.clone(),
            owner: spec.owner.clone(),
            name: spec.name.clone(),
            volume: spec.volume.clone(),
            path: image.snapshot_path(&spec.id),
            size: record.spec.required().unwrap(),
            fs_type: record.spec.fs_type(),
            fs_uuid: record.fs_uuid,
            sector_size: image.sector_size,
            ready: true,
            created_at: "2026-01-01T00:00:00Z".to_owned(),
            file: None,
            group: None,
        };
        self.observed
            .snapshots
            .insert(spec.id.clone(), ObservedSnapshot { record: Recorded::Present(taken), file: None });
    }

    /// Something is unmounted by somebody else, as far as the kernel would let them.
    pub fn lose(&mut self, nth: usize) {
        let all: Vec<PathBuf> =
            self.observed.volumes.values().flat_map(|seen| &seen.published).map(|p| p.target.clone()).collect();
        if let Some(target) =
            all.get(nth % all.len().max(1)).filter(|target| !all.iter().any(|p| p != *target && p.starts_with(target)))
        {
            for seen in self.observed.volumes.values_mut() {
                seen.published.retain(|publish| publish.target != *target);
            }
        }
    }

    /// A reboot: mounts, loops and boot-scoped records are gone.
    pub fn rebooted(mut self) -> Self {
        for seen in self.observed.volumes.values_mut() {
            seen.run = None;
            seen.loop_device = None;
            seen.staged = None;
            seen.published.clear();
        }
        self
    }
}

fn identity(spec: &VolumeSpec) -> ImageIdentity {
    ImageIdentity {
        id: spec.id.to_string(),
        owner: spec.owner.clone(),
        snapshot: false,
        fs_type: spec.fs_type(),
        fs_uuid: None,
        sector_size: SectorSize::B512,
        protected: spec.prevent_destroy,
        ephemeral: false,
        group: None,
        deleting: false,
    }
}

fn run_record<'a>(seen: &'a mut ObservedVolume, id: &VolumeId) -> &'a mut RunRecord {
    seen.run.get_or_insert_with(|| RunRecord {
        made: BTreeMap::new(),
        id: id.clone(),
        boot_id: "boot".to_owned(),
        mount_namespace: 1,
        mount_namespace_id: None,
        staging_path: None,
        stage_options: Vec::new(),
        stage_capability: None,
        stage_attached: false,
        grows: false,
        loop_index: None,
        device: None,
        directory: None,
        publishes: BTreeMap::new(),
    })
}

/// The options of a mount that a pod has of a volume.
fn shown_options(spec: &VolumeSpec, read_only: bool) -> Vec<String> {
    let reads = read_only || spec.mount_options.iter().any(|option| option == "ro");
    let mut options = [if reads { "ro" } else { "rw" }, "nosuid", "nodev"].map(str::to_owned).to_vec();
    let flag = |option: &&String| ["noexec", "noatime", "nodiratime", "nosymfollow"].contains(&option.as_str());
    options.extend(spec.mount_options.iter().filter(flag).cloned());
    options
}

fn mount(id: u32, device: BlockId, target: &Path) -> Mount {
    Mount {
        id: u64::from(id),
        parent: 1,
        device,
        root: PathBuf::from("/"),
        target: target.to_owned(),
        fs_type: "ext4".to_owned(),
        source: PathBuf::from(format!("/dev/loop{}", device.minor)),
        options: ["rw", "nosuid", "nodev"].map(str::to_owned).to_vec(),
        super_options: vec!["rw".to_owned()],
        shared: false,
        slave: false,
    }
}

/// The steps as a user sees them: `create volume.db`, `publish volume.db /srv/db <- s3`.
pub fn shown(plan: &Plan) -> Vec<String> {
    let line = |step: &csictl::plan::Step| {
        let mut line = format!("{} {}", step.verb(), step.object());
        if let Some(path) = &step.path {
            line += &format!(" {}", path.display());
        }
        if !step.after.is_empty() {
            let after: Vec<_> = step.after.iter().map(|index| format!("s{}", index + 1)).collect();
            line += &format!(" <- {}", after.join(","));
        }
        line
    };
    plan.steps.iter().map(line).collect()
}
