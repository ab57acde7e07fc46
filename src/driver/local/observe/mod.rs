//! Looking: what a plan is made from, and what `status` shows. Holds only the reading half of a host.
//!
//! It looks once: one mount table, one list of loops, one listing of each directory of records; whatever the number of volumes, none
//! of them is searched for again. What cannot be read is said to be unknown, never to be absent.

mod others;
pub(super) mod parallel;
mod pools;
mod targets;
mod volume;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::thread;

use crate::host::{ErrorKind, HostError, Observe};
use crate::model::observed::{HostFacts, Observed, ObservedSnapshot, ObservedVolume};
use crate::model::record::{Recorded, RunRecord, SnapshotRecord, VolumeRecord};
use crate::model::{
    BlockId, Desired, FileId, Layout, LoopDevice, MountNamespace, MountTable, NamespaceState, Owner, PublishSpec,
    SnapshotId, Source, VolumeId,
};
use crate::state::Reader;

/// What to look at.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// What this manifest declares and what its project has recorded.
    Project(&'a Desired),
    /// Everything recorded, of every project and of gRPC.
    Everything,
}

/// One look at the machine, shared by everything that is looked at.
struct Look<'a> {
    host: &'a dyn Observe,
    layout: &'a Layout,
    facts: HostFacts,
    mounts: MountTable,
    /// Why the loops could not be listed, if they could not.
    loops_unknown: Option<String>,
    loops_by_file: HashMap<FileId, LoopDevice>,
    /// Mounted btrfs shows a device number of its own: this is the block device behind each.
    behind: HashMap<BlockId, BlockId>,
    records: BTreeMap<VolumeId, Recorded<VolumeRecord>>,
    runs: BTreeMap<VolumeId, RunRecord>,
    /// Which other mount namespaces live, asked once each.
    namespaces: HashMap<MountNamespace, NamespaceState>,
    wanted: BTreeMap<&'a VolumeId, Vec<&'a PublishSpec>>,
    desired: Option<&'a Desired>,
}

/// Looks at the machine.
///
/// # Errors
/// What makes looking pointless: no facts, no mount table, no listing of the records. All else is part of the answer.
pub fn observe(host: &dyn Observe, layout: &Layout, scope: Scope<'_>) -> Result<Observed, HostError> {
    let desired = match scope {
        Scope::Project(desired) => Some(desired),
        Scope::Everything => None,
    };
    let look = Look::new(host, layout, desired)?;
    let ids = look.volumes_to_show(scope);
    let seen = parallel::map(ids, |id| {
        let seen = look.volume(&id);
        (id, seen)
    });
    let volumes: BTreeMap<VolumeId, ObservedVolume> = seen.into_iter().collect();
    let snapshots = look.snapshots(scope)?;
    let targets = look.targets(&volumes);
    let pools = look.pools(&volumes, &snapshots);
    let others = look.others();
    let limits = look.limits();
    Ok(Observed { host: look.facts, volumes, snapshots, pools, targets, others, limits })
}

/// How often the two tables are read anew because they do not fit.
const TABLES_AGAIN: usize = 3;
/// The kernel's number for loop devices.
const LOOP_MAJOR: u32 = 7;

/// Mounts and loops of one moment: where a mount's loop device is not in the list, it was attached behind the list's reading, and would pass
/// for somebody else's.
fn tables(host: &dyn Observe) -> Result<(MountTable, Result<Vec<LoopDevice>, HostError>), HostError> {
    // The two long lists are read side by side.
    let (mounts, mut loops) = thread::scope(|scope| {
        // Where no thread is to be had, one after the other does too.
        let loops = thread::Builder::new().spawn_scoped(scope, || host.loops());
        let mounts = host.mount_table();
        let loops = loops.map(|loops| loops.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (mounts, loops.unwrap_or_else(|_| host.loops()))
    });
    let mut mounts = mounts?;
    for _ in 0..TABLES_AGAIN {
        let Ok(listed) = &loops else { break };
        let known: BTreeSet<u32> = listed.iter().map(|device| device.block.minor).collect();
        let of_loops = mounts.iter().filter(|mount| mount.device.major == LOOP_MAJOR);
        if of_loops.into_iter().all(|mount| known.contains(&mount.device.minor)) {
            break;
        }
        // In this order: the loop of a mount that stays is in a list that is read later.
        mounts = host.mount_table()?;
        loops = host.loops();
    }
    Ok((mounts, loops))
}

impl<'a> Look<'a> {
    fn new(host: &'a dyn Observe, layout: &'a Layout, desired: Option<&'a Desired>) -> Result<Self, HostError> {
        let facts = host.facts()?;
        let (mounts, loops) = tables(host)?;
        let (loops, loops_unknown) = match loops {
            Ok(loops) => (loops, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let reader = Reader::new(host, layout);
        let records: BTreeMap<_, _> = match (reader.volume_ids(), desired) {
            (Ok(ids), _) => {
                let records = parallel::map(ids, |id| {
                    let record = reader.volume(&id);
                    (id, record)
                });
                records.into_iter().collect()
            }
            // Without the right to list records a plan still says what it can: of each volume, that it is not known.
            (Err(error), Some(desired)) if error.kind == ErrorKind::Permission => {
                let unknown = |id: &VolumeId| (id.clone(), Recorded::Unknown { cause: error.to_string() });
                desired.volumes.keys().map(unknown).collect()
            }
            (Err(error), _) => return Err(error),
        };
        // Without the run directory nothing is known of this boot, which is no error: the kernel tells the rest.
        let run_ids = reader.run_ids().unwrap_or_default();
        let runs = parallel::map(run_ids, |id| {
            let run = reader.run(&id, &facts.boot_id).present().cloned()?;
            Some((id, run))
        });
        let runs: BTreeMap<_, _> = runs.into_iter().flatten().collect();
        let others: BTreeSet<MountNamespace> =
            runs.values().map(RunRecord::namespace).filter(|namespace| !namespace.is(facts.mount_namespace)).collect();
        // Unable to tell, it counts as living: nothing is changed then.
        let namespaces =
            others.into_iter().map(|it| (it, host.namespace_state(it).unwrap_or(NamespaceState::Lives))).collect();
        let mut wanted: BTreeMap<&VolumeId, Vec<&PublishSpec>> = BTreeMap::new();
        for publish in desired.into_iter().flat_map(Desired::publishes) {
            wanted.entry(&publish.volume).or_default().push(publish);
        }
        let behind = behind_btrfs(host, &mounts, &loops);
        let loops_by_file =
            loops.iter().filter(|device| device.shows_all()).map(|device| (device.backing, device.clone())).collect();
        Ok(Self {
            host,
            layout,
            facts,
            mounts,
            loops_unknown,
            loops_by_file,
            behind,
            records,
            runs,
            namespaces,
            wanted,
            desired,
        })
    }

    /// The volumes asked about, those recorded, and those that they are copied from.
    fn volumes_to_show(&self, scope: Scope<'_>) -> Vec<VolumeId> {
        let mut ids: BTreeSet<VolumeId> = BTreeSet::new();
        match scope {
            Scope::Everything => {
                ids.extend(self.records.keys().cloned());
                ids.extend(self.runs.keys().cloned());
            }
            Scope::Project(desired) => {
                ids.extend(desired.volumes.keys().cloned());
                for spec in desired.volumes.values() {
                    if let Some(Source::Volume(id)) = &spec.source {
                        ids.insert(id.clone());
                    }
                }
                ids.extend(desired.snapshots.values().map(|snapshot| snapshot.volume.clone()));
                let owner = Owner::Project(desired.project.clone());
                let prefix = format!("{}.", desired.project);
                for (id, record) in &self.records {
                    let ours = match record.present() {
                        Some(record) => record.spec.owner == owner,
                        // Whose a record is that cannot be read, only its name tells.
                        None => id.as_str().starts_with(&prefix),
                    };
                    if ours {
                        ids.insert(id.clone());
                    }
                }
            }
        }
        ids.into_iter().collect()
    }

    fn snapshots(&self, scope: Scope<'_>) -> Result<BTreeMap<SnapshotId, ObservedSnapshot>, HostError> {
        let reader = Reader::new(self.host, self.layout);
        let mut snapshots = BTreeMap::new();
        let listed = match reader.snapshot_ids() {
            Err(error) if error.kind == ErrorKind::Permission && self.desired.is_some() => Vec::new(),
            listed => listed?,
        };
        let mut ids: BTreeSet<SnapshotId> = listed.into_iter().collect();
        if let Scope::Project(desired) = scope {
            ids.extend(desired.snapshots.keys().cloned());
            ids.extend(desired.volumes.values().filter_map(|spec| match &spec.source {
                Some(Source::Snapshot(id)) => Some(id.clone()),
                _ => None,
            }));
        }
        for id in ids {
            let record = reader.snapshot(&id);
            let path = match record.present() {
                Some(record) => Some(record.path.clone()),
                None => self.snapshot_place(&id),
            };
            let file = path.and_then(|path| self.host.image(&path).ok().flatten());
            // A file that says it is something else is none of this snapshot's.
            let file = file.filter(|file| {
                file.identity.as_ref().is_some_and(|identity| identity.snapshot && identity.id == id.as_str())
            });
            if self.concerns(scope, &id, &record) {
                snapshots.insert(id, ObservedSnapshot { record, file });
            }
        }
        Ok(snapshots)
    }

    /// Where a snapshot without a record would lie: beside its volume.
    fn snapshot_place(&self, id: &SnapshotId) -> Option<PathBuf> {
        let spec = self.desired?.snapshots.get(id)?;
        let record = self.records.get(&spec.volume).and_then(Recorded::present).map(|record| &record.spec);
        let volume = record.or_else(|| self.desired?.volumes.get(&spec.volume))?;
        Some(volume.backing.as_image()?.snapshot_path(id))
    }

    fn concerns(&self, scope: Scope<'_>, id: &SnapshotId, record: &Recorded<SnapshotRecord>) -> bool {
        let Scope::Project(desired) = scope else { return true };
        let source = Source::Snapshot(id.clone());
        desired.snapshots.contains_key(id)
            || desired.volumes.values().any(|spec| spec.source.as_ref() == Some(&source))
            || record.present().is_some_and(|record| record.owner == Owner::Project(desired.project.clone()))
    }
}

/// Which block device is behind each mounted btrfs. Loops by the number in their name, others by asking.
fn behind_btrfs(host: &dyn Observe, mounts: &MountTable, loops: &[LoopDevice]) -> HashMap<BlockId, BlockId> {
    let nodes: HashMap<PathBuf, BlockId> = loops.iter().map(|device| (device.node(), device.block)).collect();
    let mut behind = HashMap::new();
    for mount in mounts.iter().filter(|mount| mount.fs_type == "btrfs") {
        if behind.contains_key(&mount.device) {
            continue;
        }
        let block = nodes.get(&mount.source).copied();
        let block = block.or_else(|| host.device(&mount.source).ok().flatten().map(|device| device.block));
        if let Some(block) = block {
            behind.insert(mount.device, block);
        }
    }
    behind
}
