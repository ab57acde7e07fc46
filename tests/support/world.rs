//! A simulated machine with csictl on it: manifests as text in, what a user could see out.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use csictl::driver::local::LocalDriver;
use csictl::driver::local::observe::{Scope, observe};
use csictl::driver::{Driver, DriverError};
use csictl::exec::{Event, EventSink, Options, Stop, Summary, execute};
use csictl::host::sim::{DiskSpec, SimHost};
use csictl::host::{Host, Observe};
use csictl::manifest::{Context, parse};
use csictl::model::{Approval, Desired, Layout, Observed, VolumeId};
use csictl::plan::{ApprovedPlan, Intent, Plan, Step, plan};

/// Where a simulated disk is found.
pub const DISK: &str = "/dev/disk/by-id/wwn-0x5000c500a1b2c3d4";
/// The pool of the manifests here.
pub const POOL: &str = "/srv/pool";

/// In which order ready steps are begun.
#[derive(Debug, Clone, Copy)]
pub enum Order {
    /// As the plan lists them.
    Listed,
    /// Any that is ready, by a seed.
    Random(u64),
    /// By the executor, with as many threads.
    Parallel(usize),
}

/// One process of csictl on a simulated machine.
#[derive(Clone)]
pub struct World {
    /// The machine.
    pub host: SimHost,
    /// Where csictl keeps its records.
    pub layout: Layout,
}

/// What came of a run.
#[derive(Debug)]
pub struct Ran {
    /// The plan that was run.
    pub plan: Plan,
    /// Steps that ended well and changed something.
    pub changed: Vec<usize>,
    /// Why steps failed.
    pub failed: Vec<(usize, DriverError)>,
    /// Steps that were skipped.
    pub skipped: Vec<usize>,
}

impl Ran {
    /// Fails the test unless everything went well.
    #[track_caller]
    pub fn ok(self) -> Self {
        let failed: Vec<_> = self.failed.iter().map(|(index, error)| self.explain(*index, error)).collect();
        assert!(failed.is_empty() && self.skipped.is_empty(), "failed: {failed:#?}, skipped: {:?}", self.skipped);
        self
    }

    fn explain(&self, index: usize, error: &DriverError) -> String {
        let step = &self.plan.steps[index];
        format!("{} {} {}: {error} ({error:?})", step.id(), step.verb(), step.object())
    }
}

struct Silent;

impl EventSink for Silent {
    fn event(&self, _: &Event<'_>) {}
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A machine with a disk at [`DISK`].
    pub fn new() -> Self {
        let host = SimHost::new();
        host.add_disk(DISK, DiskSpec { serial: Some("ZA1234".into()), ..DiskSpec::blank(1 << 30) });
        Self { host, layout: Layout::new("/var/lib/csictl", "/run/csictl") }
    }

    /// The same machine, as it would be had it been copied: what happens to the copy does not happen here.
    #[must_use]
    pub fn fork(&self) -> Self {
        self.with(self.host.fork())
    }

    /// csictl started anew after its process was killed.
    #[must_use]
    pub fn revive(&self) -> Self {
        self.with(self.host.revive())
    }

    /// The machine after a reboot.
    #[must_use]
    pub fn reboot(&self) -> Self {
        self.with(self.host.reboot())
    }

    /// The machine after the power went.
    #[must_use]
    pub fn power_cut(&self) -> Self {
        self.with(self.host.power_cut())
    }

    fn with(&self, host: SimHost) -> Self {
        Self { host, layout: self.layout.clone() }
    }

    /// A manifest, read.
    #[track_caller]
    pub fn desired(&self, text: &str) -> Desired {
        let context = Context { name: "m.toml", base_dir: Path::new("/srv"), layout: &self.layout };
        match parse(text, &context) {
            Ok(desired) => desired,
            Err(errors) => panic!("{errors:?}\nin\n{text}"),
        }
    }

    /// What is seen of the machine.
    #[track_caller]
    pub fn observe(&self, desired: &Desired) -> Observed {
        observe(&self.host, &self.layout, Scope::Project(desired)).unwrap()
    }

    /// The plan for an intent.
    #[track_caller]
    pub fn plan_for(&self, text: &str, intent: &Intent) -> Plan {
        let desired = self.desired(text);
        plan(&desired, &self.observe(&desired), &self.layout, intent)
    }

    /// The plan of an apply.
    #[track_caller]
    pub fn plan(&self, text: &str) -> Plan {
        self.plan_for(text, &Intent::Apply)
    }

    /// A driver that waits for no lock.
    pub fn driver(&self) -> LocalDriver {
        LocalDriver::new(Arc::new(self.host.clone()) as Arc<dyn Host>, self.layout.clone())
            .with_lock_timeout(Duration::from_millis(200))
    }

    /// Runs an approved plan.
    pub fn run(&self, approved: &ApprovedPlan, order: Order) -> Ran {
        let driver = self.driver();
        match order {
            Order::Parallel(threads) => {
                let options = Options { parallelism: NonZeroUsize::new(threads).unwrap(), ..Options::default() };
                let summary = execute(approved, &driver, &options, &Silent, &Stop::new());
                ran_of(approved.plan().clone(), summary)
            }
            Order::Listed => run_in(approved, &driver, |_| 0),
            Order::Random(mut seed) => run_in(approved, &driver, |ready| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                usize::try_from(seed >> 33).unwrap() % ready
            }),
        }
    }

    /// Plans and runs with every loss in the plan approved, and forgives the machine their data.
    #[track_caller]
    pub fn run_for(&self, text: &str, intent: &Intent, order: Order) -> Ran {
        let plan = self.plan_for(text, intent);
        assert!(plan.refused.is_empty(), "refused: {:#?}", plan.refused);
        assert!(plan.unknown.is_empty(), "unknown: {:#?}", plan.unknown);
        let approvals =
            plan.losses().into_iter().map(|loss| Approval { object: loss.object, loss: loss.loss }).collect();
        self.run(&plan.approve(&approvals).unwrap(), order)
    }

    /// Applies a manifest, one step after the other, without approving any loss.
    #[track_caller]
    pub fn try_apply(&self, text: &str) -> Ran {
        let plan = self.plan(text);
        assert!(plan.refused.is_empty(), "refused: {:#?}", plan.refused);
        self.run(&plan.approve(&BTreeSet::new()).unwrap(), Order::Listed)
    }

    /// Applies a manifest, and everything goes well.
    #[track_caller]
    pub fn apply(&self, text: &str) -> Ran {
        self.try_apply(text).ok()
    }

    /// Takes everything down, and everything goes well.
    #[track_caller]
    pub fn destroy(&self, text: &str) -> Ran {
        self.run_for(text, &Intent::Destroy { delete_data: BTreeSet::new() }, Order::Listed).ok()
    }

    /// Fails the test unless an apply would do nothing, and nothing is wrong with the machine.
    #[track_caller]
    pub fn settled(&self, text: &str) {
        let plan = self.plan(text);
        let steps: Vec<_> = plan.steps.iter().map(show_step).collect();
        assert!(steps.is_empty() && plan.refused.is_empty(), "still to do: {steps:#?} {:#?}", plan.refused);
        assert!(plan.unknown.is_empty() && plan.drift.is_empty(), "{:#?} {:#?}", plan.unknown, plan.drift);
        self.sound();
    }

    /// Fails the test if anything is wrong with the machine.
    #[track_caller]
    pub fn sound(&self) {
        let pool = self.layout.default_pool();
        let wrong = self.host.check_settled(&[Path::new(POOL), &pool]);
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// What a user sees of mounts and loops: target → (root, file system, whether read-only), and images that are attached.
    pub fn seen(&self) -> BTreeMap<String, String> {
        let table = self.host.mount_table().unwrap();
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        for mount in table.iter() {
            let line = format!("{} {} {}", mount.root.display(), mount.fs_type, mount.options.join(","));
            // A device node's name holds the loop's number, which is anybody's.
            let line = if mount.fs_type == "devtmpfs" { "device".to_owned() } else { line };
            let stack = seen.entry(mount.target.display().to_string()).or_default();
            stack.push_str(&line);
        }
        let loops = self.host.loops().unwrap().len();
        seen.insert("loops".to_owned(), loops.to_string());
        seen
    }

    /// Every file below the pools, and every target made, with sizes: to compare two machines.
    pub fn files(&self) -> Vec<String> {
        let listing = self.host.listing();
        let ours = |line: &&String| !line.starts_with("/var/lib/csictl/locks") && !line.starts_with("/dev/");
        listing.iter().filter(ours).cloned().collect()
    }

    /// Targets of pods with something writable mounted on them.
    pub fn host_mounts(&self) -> Vec<PathBuf> {
        let table = self.host.mount_table().unwrap();
        let of_pods = table.iter().filter(|mount| mount.target.starts_with("/srv") && mount.fs_type != "devtmpfs");
        of_pods
            .filter(|mount| !mount.read_only() && mount.fs_type != "tmpfs")
            .map(|mount| mount.target.clone())
            .collect()
    }

    /// Where a volume is staged.
    pub fn staging(&self, id: &str) -> PathBuf {
        self.layout.staging_path(&id.parse::<VolumeId>().unwrap())
    }
}

fn show_step(step: &Step) -> String {
    format!("{} {} {} ({})", step.id(), step.verb(), step.object(), step.reason)
}

fn ran_of(plan: Plan, summary: Summary) -> Ran {
    Ran {
        plan,
        changed: summary
            .done
            .iter()
            .filter(|(_, done, _)| *done == csictl::model::Done::Changed)
            .map(|(index, ..)| *index)
            .collect(),
        failed: summary.failed.into_iter().map(|failure| (failure.step, failure.error)).collect(),
        skipped: summary.skipped.into_iter().map(|(index, _)| index).collect(),
    }
}

/// Runs step after step; `pick` chooses among as many as are ready.
fn run_in(approved: &ApprovedPlan, driver: &dyn Driver, mut pick: impl FnMut(usize) -> usize) -> Ran {
    let steps = approved.steps();
    let mut ran = Ran { plan: approved.plan().clone(), changed: Vec::new(), failed: Vec::new(), skipped: Vec::new() };
    let mut waiting: Vec<usize> = (0..steps.len()).collect();
    let mut done = BTreeSet::new();
    loop {
        let ready: Vec<usize> = waiting
            .iter()
            .copied()
            .filter(|index| steps[*index].after.iter().all(|before| done.contains(before)))
            .collect();
        if ready.is_empty() {
            break;
        }
        let index = ready[pick(ready.len())];
        waiting.retain(|other| *other != index);
        match driver.run(&steps[index].action) {
            Ok(outcome) => {
                done.insert(index);
                if outcome.done == csictl::model::Done::Changed {
                    ran.changed.push(index);
                }
            }
            Err(error) => ran.failed.push((index, error)),
        }
    }
    ran.skipped = waiting;
    ran
}
