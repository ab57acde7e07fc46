//! The node's service over the socket: a server, volumes of an orchestrator's, and what is on the machine after a call.

mod again;
mod cost;
mod ephemeral;
mod limit;
mod places;
mod publish;
mod size;
mod stage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use csictl::csi::proto::VolumeCapability;
use csictl::driver::Driver;
use csictl::driver::local::LocalDriver;
use csictl::host::linux::LinuxHost;
use csictl::model::action::CreateRequest;
use csictl::model::{
    AccessMode, Allocate, Backing, Capacity, CapacityRange, FsSpec, FsType, ImageBacking, Layout, Owner, Ownership,
    Reclaim, VolumeMode, VolumeSpec,
};

use super::calls;
use crate::support::Place;
use crate::support::serving::Serving;

const MIB: i64 = 1 << 20;

/// A server in a place of its own.
pub struct Rig {
    serving: Serving,
    place: Place,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(flags: &[&str]) -> Self {
        let place = Place::new();
        Self { serving: Serving::start(&place, flags), place }
    }

    /// The next life of the server, on the same machine.
    pub fn restarted(self) -> Self {
        let Self { serving, place } = self;
        assert_eq!(serving.end(), Some(0));
        Self { serving: Serving::start(&place, &[]), place }
    }

    /// The next life of a server that was killed.
    pub fn revived(self) -> Self {
        let Self { serving, place } = self;
        serving.kill();
        Self { serving: Serving::start(&place, &[]), place }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// An orchestrator's volume; `fs` of `None` is raw block.
    pub fn volume(&self, id: &str, fs: Option<FsType>, mib: u64) -> String {
        let backing = ImageBacking {
            pool: Layout::default_pool_name(),
            pool_path: self.place.state().join("pool"),
            allocate: Allocate::Sparse,
            direct_io: false,
            sector_size: Default::default(),
        };
        let spec = VolumeSpec {
            id: id.parse().unwrap(),
            owner: Owner::Csi,
            name: id.into(),
            description: None,
            volume_mode: if fs.is_some() { VolumeMode::Filesystem } else { VolumeMode::Block },
            capacity: Some(CapacityRange { required: Capacity::mib(mib), limit: None }),
            access_mode: AccessMode::SingleNodeWriter,
            backing: Backing::Image(backing),
            fs: fs.map(FsSpec::plain),
            fs_type_given: true,
            mount_options: Vec::new(),
            source: None,
            reclaim: Reclaim::Retain,
            prevent_destroy: false,
            ownership: Ownership::default(),
            fs_group: None,
            ephemeral: false,
        };
        let layout = Layout::new(self.place.state(), self.place.run());
        let driver = LocalDriver::new(Arc::new(LinuxHost::new()), layout).with_lock_timeout(Duration::from_secs(5));
        driver.create(&CreateRequest { spec, replaces: false, approval: None, asked: None }).unwrap();
        id.to_owned()
    }

    /// Where an orchestrator stages a volume; it makes the directory.
    pub fn staging(&self, id: &str) -> PathBuf {
        let path = self.path("plugins").join(id).join("globalmount");
        // What is mounted there may be dead and say nothing of itself.
        let made = fs::create_dir_all(&path);
        assert!(made.is_ok() || mounted_at(&path).is_some(), "{made:?}");
        path
    }

    /// Where an orchestrator publishes a volume; it makes the parent.
    pub fn target(&self, name: &str) -> PathBuf {
        let pods = self.path("pods");
        fs::create_dir_all(&pods).unwrap();
        pods.join(name)
    }

    pub fn stage(&self, id: &str, capability: &VolumeCapability) -> PathBuf {
        let path = self.staging(id);
        self.serving.ok(self.serving.node().node_stage_volume(calls::stage(id, &path, capability)));
        path
    }

    pub fn publish(&self, id: &str, capability: &VolumeCapability, readonly: bool) -> PathBuf {
        let target = self.target(id);
        let request = calls::publish(id, &self.staging(id), &target, capability, readonly);
        self.serving.ok(self.serving.node().node_publish_volume(request));
        target
    }

    pub fn unpublish(&self, id: &str) {
        self.serving.ok(self.serving.node().node_unpublish_volume(calls::unpublish(id, &self.target(id))));
    }

    pub fn unstage(&self, id: &str) {
        self.serving.ok(self.serving.node().node_unstage_volume(calls::unstage(id, &self.staging(id))));
    }

    pub fn down(&self, id: &str) {
        self.unpublish(id);
        self.unstage(id);
    }
}

/// What the mount table says of the mount at a path: file system type, options of the mount and of the file system.
fn mounted_at(path: &Path) -> Option<(String, String, String)> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = table.lines().rev().find(|line| line.split(' ').nth(4) == path.to_str())?;
    let (before, after) = line.split_once(" - ").unwrap();
    let after: Vec<&str> = after.split(' ').collect();
    Some((after[0].into(), before.split(' ').nth(5).unwrap().into(), after[2].into()))
}

/// The size of a block device as a program sees that opens it.
fn device_size(node: &Path) -> i64 {
    let output = Command::new("blockdev").arg("--getsize64").arg(node).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// Bytes of the file system at a path.
fn fs_size(path: &Path) -> i64 {
    let facts = rustix::fs::statvfs(path).unwrap();
    i64::try_from(facts.f_blocks * facts.f_frsize).unwrap()
}
