//! What the threats share: a manifest brought up by the driver in this process, where thousands of rounds cost seconds, and somebody
//! who exchanges two names as fast as the kernel lets them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use csictl::driver::local::LocalDriver;
use csictl::driver::{Driver, DriverError};
use csictl::host::linux::LinuxHost;
use csictl::manifest::{Context, parse};
use csictl::model::action::{CreateRequest, Outcome, StageRequest, UnpublishRequest, UnstageRequest};
use csictl::model::{Action, Desired, Layout, PublishSpec, VolumeSpec};
use nix::mount::{MsFlags, mount};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::support::Place;

/// The driver on a place, and what a manifest wants of it.
pub struct Machine {
    pub place: Place,
    pub layout: Layout,
    pub driver: LocalDriver,
    pub desired: Desired,
}

impl Machine {
    /// A manifest, read as the command line reads it.
    pub fn new(place: Place, text: &str) -> Self {
        let layout = Layout::new(place.state(), place.run());
        let context = Context { name: "m.toml", base_dir: place.path(), layout: &layout };
        let desired = parse(text, &context).unwrap_or_else(|errors| panic!("{errors:?}"));
        let driver = LocalDriver::new(Arc::new(LinuxHost::new()), layout.clone());
        Self { place, layout, driver, desired }
    }

    pub fn volume(&self) -> &VolumeSpec {
        self.desired.volumes.values().next().unwrap()
    }

    pub fn publish(&self) -> &PublishSpec {
        self.desired.publishes().next().unwrap()
    }

    pub fn staging_path(&self) -> PathBuf {
        self.layout.staging_path(&self.volume().id)
    }

    pub fn run(&self, action: &Action) -> Result<Outcome, DriverError> {
        self.driver.run(action)
    }

    /// The first volume, created and staged.
    pub fn staged(self) -> Self {
        let spec = self.volume().clone();
        self.run(&Action::Create(Box::new(CreateRequest { spec, replaces: false, approval: None, asked: None })))
            .unwrap();
        self.run(&self.stage()).unwrap();
        self
    }

    pub fn stage(&self) -> Action {
        self.stage_at(&self.staging_path())
    }

    pub fn stage_at(&self, staging_path: &Path) -> Action {
        Action::Stage(StageRequest {
            id: self.volume().id.clone(),
            staging_path: staging_path.to_owned(),
            mount_options: self.volume().mount_options.clone(),
            capability: None,
        })
    }

    pub fn unstage(&self) -> Action {
        Action::Unstage(UnstageRequest {
            id: self.volume().id.clone(),
            staging_path: self.staging_path(),
            by_orchestrator: false,
        })
    }

    pub fn unpublish(&self) -> Action {
        let publish = self.publish();
        Action::Unpublish(UnpublishRequest {
            id: publish.volume.clone(),
            pod: Some(publish.pod.clone()),
            target: publish.target.clone(),
            trusted_root: publish.trusted_root.clone(),
            kind: publish.kind,
            remove_target: false,
            comes_back: false,
        })
    }
}

/// One ext4 volume, shown by one pod below `pods`.
pub const ONE_VOLUME: &str = r#"
version = 1
project = "p"
[pools.main]
path = "pool"
[volumes.data]
capacity = "16MiB"
image = { allocate = "sparse" }
[pods.web]
root = "pods"
[[pods.web.mounts]]
volume = "data"
path = "/web/data"
"#;

/// Mounts a tmpfs that is nobody's but the test's.
pub fn foreign_tmpfs(target: &Path) {
    std::fs::create_dir_all(target).unwrap();
    mount(Some("foreign"), target, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
}

/// Exchanges two names over and over until it is dropped, and counts.
pub struct Exchanger<'scope> {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<std::thread::ScopedJoinHandle<'scope, ()>>,
}

impl<'scope> Exchanger<'scope> {
    pub fn begin<'env>(scope: &'scope std::thread::Scope<'scope, 'env>, one: PathBuf, other: PathBuf) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let thread = scope.spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { stop, count, thread: Some(thread) }
    }

    /// How often the names were exchanged so far.
    pub fn exchanges(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Exchanger<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
