//! A machine with two pools, a disk and a directory, and volumes of every backing on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::driver::local::LocalDriver;
use crate::driver::{Driver, DriverError, Refusal, Result};
use crate::host::sim::{DiskSpec, SimHost};
use crate::model::action::{
    AttachRequest, CreateRequest, DeleteRequest, ExpandRequest, Outcome, StageRequest, UnpublishRequest, UnstageRequest,
};
use crate::model::{
    Action, Allocate, Approval, Backing, Capacity, DeviceBacking, DirectoryBacking, FsSpec, FsType, Layout, Loss,
    ObjectRef, Propagation, PublishKind, PublishSpec, TmpfsBacking, VolumeId, VolumeMode, VolumeSpec,
};
use crate::state::store::tests::image_spec;

pub const DISK: &str = "/dev/disk/by-id/sim-disk";
pub const DISK_SIZE: u64 = 1 << 30;
pub const TARGET: &str = "/srv/web/data";

pub fn id(name: &str) -> VolumeId {
    format!("shop.{name}").parse().unwrap()
}

pub fn layout() -> Layout {
    Layout::new("/var/lib/csictl", "/run/csictl")
}

pub struct World {
    pub sim: SimHost,
    pub driver: LocalDriver,
}

impl World {
    pub fn new() -> Self {
        let sim = SimHost::new();
        sim.add_disk(DISK, DiskSpec::blank(DISK_SIZE));
        sim.plant_directory("/srv/web");
        Self::on(sim)
    }

    /// A new process on the same machine.
    pub fn on(sim: SimHost) -> Self {
        let driver = LocalDriver::new(Arc::new(sim.clone()), layout()).with_lock_timeout(Duration::from_millis(20));
        Self { sim, driver }
    }

    pub fn up(&self, spec: &VolumeSpec) -> Result<Vec<Outcome>> {
        up(spec).iter().map(|action| self.driver.run(action)).collect()
    }

    pub fn down(&self, spec: &VolumeSpec) -> Result<Vec<Outcome>> {
        down(spec).iter().map(|action| self.driver.run(action)).collect()
    }

    pub fn create(&self, spec: &VolumeSpec) -> Result<Outcome> {
        self.driver.run(&create(spec))
    }

    pub fn stage(&self, spec: &VolumeSpec) -> Result<Outcome> {
        self.driver.run(&stage(spec))
    }
}

/// Which guard said no, and in which words.
pub fn refusal<T: std::fmt::Debug>(result: Result<T>) -> (Refusal, String) {
    match result {
        Err(DriverError::Refused { refusal, message, help, .. }) => {
            assert!(!help.is_empty(), "no next step: {message}");
            (refusal, message)
        }
        other => panic!("not refused: {other:?}"),
    }
}

pub fn image(name: &str, fs: FsType) -> VolumeSpec {
    let mut spec = image_spec(&format!("shop.{name}"));
    spec.fs = Some(FsSpec::plain(fs));
    spec.capacity = Some(crate::model::CapacityRange { required: Capacity::mib(512), limit: None });
    spec
}

pub fn full(name: &str) -> VolumeSpec {
    let mut spec = image(name, FsType::Ext4);
    if let Backing::Image(image) = &mut spec.backing {
        image.allocate = Allocate::Full;
    }
    spec
}

pub fn raw(name: &str) -> VolumeSpec {
    let mut spec = image(name, FsType::Ext4);
    spec.volume_mode = VolumeMode::Block;
    spec.fs = None;
    spec
}

pub fn device(name: &str, fs: FsType) -> VolumeSpec {
    let mut spec = image(name, fs);
    spec.capacity = None;
    spec.backing = Backing::Device(DeviceBacking { path: DISK.into(), expect: Default::default() });
    spec
}

pub fn directory(name: &str) -> VolumeSpec {
    let mut spec = image(name, FsType::Ext4);
    spec.capacity = None;
    spec.fs = None;
    spec.backing = Backing::Directory(DirectoryBacking { path: format!("/srv/{name}").into(), create: true });
    spec
}

pub fn tmpfs(name: &str) -> VolumeSpec {
    let mut spec = directory(name);
    spec.backing = Backing::Tmpfs(TmpfsBacking { size: Capacity::mib(64) });
    spec
}

/// One volume of every backing and file system.
pub fn every_sort() -> Vec<VolumeSpec> {
    let mut specs: Vec<VolumeSpec> = FsType::ALL.into_iter().map(|fs| image(&format!("image-{fs}"), fs)).collect();
    specs.push(full("full"));
    specs.push(raw("raw"));
    specs.extend(FsType::ALL.into_iter().map(|fs| device(&format!("device-{fs}"), fs)));
    specs.push(directory("directory"));
    specs.push(tmpfs("memory"));
    specs
}

pub fn create(spec: &VolumeSpec) -> Action {
    Action::Create(Box::new(CreateRequest { spec: spec.clone(), replaces: false, approval: None, asked: None }))
}

pub fn replace(spec: &VolumeSpec) -> Action {
    let approval = Some(Approval { object: ObjectRef::Volume(spec.id.clone()), loss: Loss::Wipe });
    Action::Create(Box::new(CreateRequest { spec: spec.clone(), replaces: true, approval, asked: None }))
}

pub fn stage(spec: &VolumeSpec) -> Action {
    Action::Stage(StageRequest {
        id: spec.id.clone(),
        staging_path: layout().staging_path(&spec.id),
        mount_options: spec.mount_options.clone(),
        capability: None,
    })
}

pub fn publish(spec: &VolumeSpec) -> PublishSpec {
    let kind = if spec.is_raw() { PublishKind::Device } else { PublishKind::Mount };
    PublishSpec {
        pod: "web".parse().unwrap(),
        volume: spec.id.clone(),
        target: PathBuf::from(TARGET).join(spec.id.short()),
        trusted_root: "/srv/web".into(),
        kind,
        sub_path: None,
        read_only: false,
        propagation: Propagation::None,
        capability: None,
        staging_path: None,
    }
}

pub fn unpublish(spec: &VolumeSpec) -> Action {
    let publish = publish(spec);
    Action::Unpublish(UnpublishRequest {
        id: spec.id.clone(),
        pod: Some(publish.pod),
        target: publish.target,
        trusted_root: publish.trusted_root,
        kind: publish.kind,
        remove_target: false,
        comes_back: false,
    })
}

pub fn unstage(spec: &VolumeSpec) -> Action {
    Action::Unstage(UnstageRequest {
        id: spec.id.clone(),
        staging_path: layout().staging_path(&spec.id),
        by_orchestrator: false,
    })
}

pub fn expand(spec: &VolumeSpec, mib: u64) -> Action {
    Action::Expand(ExpandRequest { id: spec.id.clone(), to: Capacity::mib(mib), owner: None })
}

pub fn delete(spec: &VolumeSpec) -> Action {
    let approval = Some(Approval { object: ObjectRef::Volume(spec.id.clone()), loss: Loss::Delete });
    Action::Delete(DeleteRequest { id: spec.id.clone(), approval })
}

/// What apply does for a volume with one pod.
pub fn up(spec: &VolumeSpec) -> Vec<Action> {
    let attach = Action::Attach(AttachRequest { id: spec.id.clone(), read_only: false, attachment: None });
    let mut actions = vec![create(spec), attach];
    if !spec.is_raw() {
        actions.push(stage(spec));
    }
    actions.push(Action::Publish(publish(spec)));
    actions
}

/// What destroy does for it.
pub fn down(spec: &VolumeSpec) -> Vec<Action> {
    vec![unpublish(spec), unstage(spec), Action::Detach(spec.id.clone())]
}
