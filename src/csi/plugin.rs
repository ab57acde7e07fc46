//! The plugin: one driver, one engine, one set of running calls, shared by all services. A request's work is handed to the engine's lanes and
//! awaited; when the call is given up the work is not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use tokio::sync::Semaphore;
use tonic::Status;

use super::condition::{self, Conditions};
use super::config::Config;
use super::in_flight::InFlight;
use super::index::{Index, Records};
use super::listing::Listing;
use super::proto::Topology;
use super::room::Ledger;
use super::server::{Readiness, limits};
use super::status;
use crate::driver::local::{Kept, LocalDriver};
use crate::exec::Engine;
use crate::exec::lanes::Lane;
use crate::model::record::{SnapshotRecord, VolumeRecord};
use crate::model::{StorageConfig, VolumeId};
use crate::state::Reader;

/// What all services share. Cheap to clone.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

struct Inner {
    driver: LocalDriver,
    engine: Engine,
    config: Config,
    /// Pools and classes, as they were last read.
    storage: RwLock<Arc<StorageConfig>>,
    /// Where everything made here is, worked out once for lists of thousands.
    topology: Topology,
    in_flight: InFlight,
    /// Places for work that runs or waits.
    works: Arc<Semaphore>,
    readiness: Readiness,
    volumes: Index<VolumeRecord>,
    snapshots: Index<SnapshotRecord>,
    ledger: Ledger,
    conditions: Conditions,
    /// The volumes as the last list showed them.
    listing: Listing,
    /// Volumes that are on their way to being published here.
    attaching: Arc<Mutex<BTreeSet<VolumeId>>>,
}

/// A place among the volumes a node takes; dropping it gives it back. To be held until the volume's record has the attachment.
#[derive(Debug)]
pub struct Place {
    attaching: Arc<Mutex<BTreeSet<VolumeId>>>,
    id: VolumeId,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.attaching.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// A plugin that does not live on for it.
pub struct WeakPlugin(Weak<Inner>);

impl WeakPlugin {
    /// The plugin, if it still lives.
    pub fn upgrade(&self) -> Option<Plugin> {
        self.0.upgrade().map(Plugin)
    }
}

impl Plugin {
    /// Over this driver, which must not wait for locks: another csictl's work is answered with ABORTED.
    pub fn new(driver: LocalDriver, engine: Engine, config: Config) -> Self {
        let (volumes, snapshots) =
            (Index::new(driver.host(), driver.layout()), Index::new(driver.host(), driver.layout()));
        let plugin = Self(Arc::new(Inner {
            driver,
            engine,
            storage: RwLock::new(Arc::new(config.storage.clone())),
            topology: Topology { segments: config.segments().into_iter().collect() },
            config,
            in_flight: InFlight::default(),
            works: Arc::new(Semaphore::new(limits::WORKS)),
            readiness: Readiness::default(),
            volumes,
            snapshots,
            ledger: Ledger::default(),
            conditions: Conditions::default(),
            listing: Listing::default(),
            attaching: Arc::default(),
        }));
        condition::watch(&plugin);
        plugin
    }

    /// Itself as long as somebody else holds it.
    pub fn downgrade(&self) -> WeakPlugin {
        WeakPlugin(Arc::downgrade(&self.0))
    }

    /// How the volumes were when they were last looked at.
    pub fn conditions(&self) -> &Conditions {
        &self.0.conditions
    }

    /// The volumes as the last list showed them.
    pub fn listing(&self) -> &Listing {
        &self.0.listing
    }

    /// The verbs.
    pub fn driver(&self) -> &LocalDriver {
        &self.0.driver
    }

    /// The lanes.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Where everything made here is.
    pub fn topology(&self) -> &Topology {
        &self.0.topology
    }

    /// What it was told at its start.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Pools and classes, as they are now.
    pub fn storage(&self) -> Arc<StorageConfig> {
        self.0.storage.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on with these pools and classes. Directories that were pools are still minded: volumes may lie in them.
    pub fn set_storage(&self, storage: StorageConfig) {
        let mut kept = Kept::clone(&self.driver().kept());
        kept.pools.extend(storage.pools.values().map(|pool| pool.path.clone()));
        kept.pools.sort();
        kept.pools.dedup();
        self.driver().keep(kept);
        self.driver().limit(storage.pools.values());
        *self.0.storage.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(storage);
    }

    /// Whether the machine can be served now.
    ///
    /// # Errors
    /// FAILED_PRECONDITION with what is missing.
    pub async fn ready(&self) -> Result<(), Status> {
        self.0.readiness.ask(self).await
    }

    /// The calls that run.
    pub fn in_flight(&self) -> &InFlight {
        &self.0.in_flight
    }

    /// What is being made in the pools now.
    pub fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// Refuses a call that is not offered with `--node-local`.
    ///
    /// # Errors
    /// UNIMPLEMENTED then.
    pub fn only_central(&self, rpc: &str) -> Result<(), Status> {
        if self.config().node_local {
            return Err(Status::unimplemented(format!(
                "{rpc} is not offered by a server with --node-local: the node's calls do it"
            )));
        }
        Ok(())
    }

    /// A place for one more volume on this node, counting those that are just being published.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED when `most` are taken.
    pub fn take_place(&self, id: &VolumeId, most: usize) -> Result<Place, Status> {
        let node = &self.config().node_id;
        let mut attaching = self.0.attaching.lock().unwrap_or_else(PoisonError::into_inner);
        let records = self.volumes()?;
        let here = |record: &VolumeRecord| record.attachment.as_ref().is_some_and(|is| is.node == *node);
        let published = records.iter().filter(|(_, record)| record.present().is_some_and(here)).map(|(id, _)| id);
        let staged = self.staged_here(&records)?;
        let taken: BTreeSet<&VolumeId> = published.chain(&staged).chain(attaching.iter()).collect();
        if taken.len() >= most && !taken.contains(id) {
            return Err(Status::resource_exhausted(format!(
                "node '{node}' takes {most} volumes and has them (--max-volumes-per-node): take one away from it first, or use another node"
            )));
        }
        attaching.insert(id.clone());
        Ok(Place { attaching: self.0.attaching.clone(), id: id.clone() })
    }

    /// Volumes that an orchestrator has staged here, attached before or not. Inline ephemeral ones are not counted by it either.
    fn staged_here(&self, records: &Records<VolumeRecord>) -> Result<Vec<VolumeId>, Status> {
        let driver = self.driver();
        let ids = Reader::new(driver.host(), driver.layout()).run_ids().map_err(|error| status::of_host(&error))?;
        let mut staged = Vec::new();
        for id in ids {
            let ephemeral = records.get(&id).and_then(|record| record.present()).is_some_and(|it| it.spec.ephemeral);
            let run = if ephemeral { None } else { driver.run_record(&id).map_err(|error| status::of(&error))? };
            if run.is_some_and(|run| run.staging_path.is_some() && run.stage_capability.is_some()) {
                staged.push(id);
            }
        }
        Ok(staged)
    }

    /// Every volume's record as it is now. Blocks: for work on a lane.
    ///
    /// # Errors
    /// INTERNAL when the records can't be read.
    pub fn volumes(&self) -> Result<Records<VolumeRecord>, Status> {
        let driver = self.driver();
        self.0.volumes.records(driver.host(), driver.layout()).map_err(|error| status::of_host(&error))
    }

    /// Every snapshot's record as it is now. Blocks: for work on a lane.
    ///
    /// # Errors
    /// INTERNAL when the records can't be read.
    pub fn snapshots(&self) -> Result<Records<SnapshotRecord>, Status> {
        let driver = self.driver();
        self.0.snapshots.records(driver.host(), driver.layout()).map_err(|error| status::of_host(&error))
    }

    /// Runs blocking work on a lane, with these objects claimed until it ends, and awaits its answer.
    ///
    /// # Errors
    /// UNAVAILABLE when too much work waits; ABORTED when one of the objects is being worked on; what the work answers; INTERNAL when it panics.
    pub async fn run<T: Send + 'static>(
        &self,
        ids: &[&str],
        lane: Lane,
        work: impl FnOnce(&Plugin) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let place = self.0.works.clone().try_acquire_owned();
        let place = place.map_err(|_| Status::unavailable("too much work is waiting; try again in a moment"))?;
        let claim = self.0.in_flight.claim(ids.iter().copied())?;
        let (answer, answered) = tokio::sync::oneshot::channel();
        let plugin = self.clone();
        let work = move || {
            let result = work(&plugin);
            drop(claim);
            drop(place);
            result
        };
        // Nobody listens any more when the call was given up.
        self.0.engine.submit(lane, work, move |result| drop(answer.send(result)));
        match answered.await {
            Ok(Ok(result)) => result,
            Ok(Err(panicked)) => Err(Status::internal(panicked.to_string())),
            Err(_) => Err(Status::internal("the work ended without an answer")),
        }
    }
}
