//! The driver of this machine: every verb is "lock, look at the kernel, do what is missing, look again, write it down".
//!
//! Records say what is meant, the kernel says what is; where they disagree, nothing is destroyed. One file a verb.
//! Way in: [`LocalDriver`] runs verbs, [`observe::observe`] looks, [`gc::find`] finds what crashed runs left.

mod attach;
mod backing;
mod chain;
mod create;
mod delete;
mod deleted;
mod detach;
mod expand;
mod freezing;
mod frozen;
pub mod gc;
pub mod group;
mod growth;
mod guard;
pub mod health;
mod in_the_way;
mod modify;
mod mounted;
mod neighbours;
pub mod observe;
mod own;
mod ownership;
mod places;
mod publish;
mod reach;
mod ready;
mod rebuild;
mod room;
mod session;
mod snapshot;
mod source;
mod stage;
mod tried;
mod unpublish;
mod unstage;
mod usage;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use crate::driver::{Driver, Result};
use crate::host::{Host, Lock, LoopHold, TrialRequest};
use crate::model::action::{
    Action, AttachRequest, CreateRequest, DeleteGroupRequest, DeleteRequest, DeleteSnapshotRequest, ExpandRequest,
    Outcome, StageRequest, UnpublishRequest, UnstageRequest,
};
use crate::model::observed::{HostFacts, ObservedImage};
use crate::model::record::{Recorded, SnapshotRecord, VolumeRecord};
use crate::model::{
    Approval, BlockId, Capacity, FileId, GroupSpec, Layout, PublishSpec, SnapshotSpec, VolumeId, VolumeSpec,
};
use crate::state::{StateError, lock};

pub use places::{Kept, of_the_system};

/// How long another csictl is waited for, unless said otherwise.
pub const DEFAULT_LOCK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a file system stays frozen at most for a snapshot: longer, and its writers look hung.
pub const DEFAULT_FREEZE_TIMEOUT: Duration = Duration::from_secs(60);

/// The verbs on this machine.
pub struct LocalDriver {
    host: Arc<dyn Host>,
    layout: Layout,
    lock_timeout: Duration,
    freeze_timeout: Duration,
    kept: RwLock<Arc<Kept>>,
    approved: BTreeSet<Approval>,
    facts: OnceLock<HostFacts>,
    prepared: OnceLock<()>,
    /// Loop devices attached by this process that no mount holds yet, with their numbers.
    holds: Mutex<HashMap<VolumeId, (u32, LoopHold)>>,
    /// Volumes whose file system this process has made and verified itself, so that its first stage need not probe again.
    verified: Mutex<HashSet<VolumeId>>,
    /// Volumes whose manifest asks for no protection.
    unprotected: BTreeSet<VolumeId>,
    /// Options of mkfs, and of mounts, that the kernel has taken together in this process.
    tried: Mutex<HashSet<(Vec<String>, TrialRequest)>>,
    /// Images whose volumes this process has unstaged, where they lie and which file they are: what the detach that follows looks at.
    unstaged: Mutex<HashMap<VolumeId, (PathBuf, FileId)>>,
    /// The share of the global lock that all running verbs have together.
    global: Mutex<Weak<Lock>>,
    /// Volumes kept locked from one step to the next.
    chains: chain::Chains,
    /// What others need of this machine.
    neighbours: Mutex<Option<neighbours::Neighbours>>,
    /// Limits of pools as this process was told them, by directory.
    limits: RwLock<BTreeMap<PathBuf, Option<Capacity>>>,
    /// Nominal sizes of what is recorded.
    sizes: Mutex<Option<room::Sizes>>,
    /// Pools whose own file system was found there, with its device.
    mounted_pools: Mutex<HashMap<PathBuf, BlockId>>,
}

impl LocalDriver {
    /// A driver over this host, with its records below `layout`.
    pub fn new(host: Arc<dyn Host>, layout: Layout) -> Self {
        Self {
            host,
            layout,
            lock_timeout: DEFAULT_LOCK_TIMEOUT,
            freeze_timeout: DEFAULT_FREEZE_TIMEOUT,
            kept: RwLock::default(),
            approved: BTreeSet::new(),
            facts: OnceLock::new(),
            prepared: OnceLock::new(),
            holds: Mutex::default(),
            verified: Mutex::default(),
            unprotected: BTreeSet::new(),
            tried: Mutex::default(),
            unstaged: Mutex::default(),
            global: Mutex::default(),
            chains: chain::Chains::default(),
            neighbours: Mutex::default(),
            limits: RwLock::default(),
            sizes: Mutex::default(),
            mounted_pools: Mutex::default(),
        }
    }

    /// With another time to wait for locks; zero answers at once, as gRPC wants it.
    #[must_use]
    pub fn with_lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// With another bound on freezes.
    #[must_use]
    pub fn with_freeze_timeout(mut self, timeout: Duration) -> Self {
        self.freeze_timeout = timeout;
        self
    }

    /// With more places that no volume may hide.
    #[must_use]
    pub fn with_kept(self, kept: Kept) -> Self {
        self.keep(kept);
        self
    }

    /// The same with volumes whose manifest asks for no protection: it counts where there is no image left to be told so.
    #[must_use]
    pub fn with_unprotected(mut self, volumes: impl IntoIterator<Item = VolumeId>) -> Self {
        self.unprotected.extend(volumes);
        self
    }

    /// With the losses that a user approved by name for all that it does.
    #[must_use]
    pub fn with_approved(mut self, approved: BTreeSet<Approval>) -> Self {
        self.approved = approved;
        self
    }

    /// From now on with these places that no volume may hide.
    pub fn keep(&self, kept: Kept) {
        *self.kept.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(kept);
    }

    /// The places that no volume may hide, besides its own.
    pub fn kept(&self) -> Arc<Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The record of an ephemeral volume that is lost, made anew from its image where that is found and says so.
    ///
    /// # Errors
    /// As any verb: another csictl works on the volume, or the machine fails.
    pub fn lost_ephemeral(&self, id: &VolumeId) -> Result<Option<VolumeRecord>> {
        let mut s = self.open(id)?;
        if matches!(s.record, Recorded::Absent | Recorded::Corrupt { .. }) {
            rebuild::rebuild_ephemeral(&mut s)?;
        }
        Ok(s.record.present().filter(|record| record.spec.ephemeral).cloned())
    }

    /// The image that an unpublish may not delete, since it does not say itself that its volume is ephemeral; `None` where there is none such.
    ///
    /// # Errors
    /// As any verb: another csictl works on the volume, or the machine fails.
    pub fn kept_from_unpublish(&self, id: &VolumeId) -> Result<Option<PathBuf>> {
        let s = self.open(id)?;
        let Some(record) = s.record.present() else { return Ok(None) };
        let Some(backing) = record.spec.backing.as_image() else { return Ok(None) };
        let path = backing.image_path(id);
        let there = s.host().stat(&path).map_err(|error| s.fail(error))?.is_some();
        let goes = !there || guard::image_says(&s, record, |identity| identity.ephemeral)?;
        Ok((!goes).then_some(path))
    }

    /// A volume's record, made anew from its image where it is damaged; `None` where there is none and no image says it is that volume.
    ///
    /// # Errors
    /// As any verb: another csictl works on the volume, or the machine fails.
    pub fn healed(&self, id: &VolumeId) -> Result<Option<VolumeRecord>> {
        self.open(id)?.known()
    }

    /// The host it acts on.
    pub fn host(&self) -> &dyn Host {
        self.host.as_ref()
    }

    /// Where its records are.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Copies several volumes' bytes as they are at one moment, all or none (CSI 1.12, CreateVolumeGroupSnapshot).
    ///
    /// # Errors
    /// As those of [`Driver`]'s verbs.
    pub fn snapshot_group(&self, spec: &GroupSpec) -> Result<Outcome> {
        group::snapshot_group(self, spec)
    }

    /// Removes such a group with all its snapshots (CSI 1.12, DeleteVolumeGroupSnapshot).
    ///
    /// # Errors
    /// As those of [`Driver`]'s verbs.
    pub fn delete_group(&self, request: &DeleteGroupRequest) -> Result<Outcome> {
        group::delete_group(self, request)
    }

    /// The file of a snapshot, if its name and its own word both say that it is that one; `None` when it is gone.
    ///
    /// # Errors
    /// [`crate::driver::Refusal::WrongIdentity`] when something else lies in its place.
    pub fn snapshot_file(&self, record: &SnapshotRecord) -> Result<Option<ObservedImage>> {
        snapshot::file_of(self, record)
    }

    fn neighbours(&self) -> MutexGuard<'_, Option<neighbours::Neighbours>> {
        self.neighbours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mounted_pools(&self) -> MutexGuard<'_, HashMap<PathBuf, BlockId>> {
        self.mounted_pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sizes(&self) -> MutexGuard<'_, Option<room::Sizes>> {
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hold(&self, id: &VolumeId, index: u32, hold: LoopHold) {
        if hold.holds() {
            self.holds.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), (index, hold));
        }
    }

    fn held_index(&self, id: &VolumeId) -> Option<u32> {
        self.holds.lock().unwrap_or_else(PoisonError::into_inner).get(id).map(|(index, _)| *index)
    }

    /// Lets go of a loop device: a mount holds it now, or nobody should.
    fn let_go(&self, id: &VolumeId) {
        let hold = self.holds.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        drop(hold);
    }

    fn set_unstaged(&self, id: &VolumeId, path: PathBuf, file: FileId) {
        self.unstaged.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), (path, file));
    }

    fn take_unstaged(&self, id: &VolumeId) -> Option<(PathBuf, FileId)> {
        self.unstaged.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// A share of the global lock: taken by the verb that finds none running, kept until the last one that runs has ended.
    fn share_global(&self) -> std::result::Result<Arc<Lock>, StateError> {
        let begun = Instant::now();
        let mut shared = self.global.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = shared.upgrade() {
            return Ok(lock);
        }
        // Who waited for another verb to get it has waited that long already.
        let left = self.lock_timeout.saturating_sub(begun.elapsed());
        let lock = Arc::new(lock::share_global(self.host(), &self.layout, left)?);
        *shared = Arc::downgrade(&lock);
        Ok(lock)
    }

    /// Refuses what a modify to this spec could not come to its end with, before anything is taken down for it.
    ///
    /// # Errors
    /// A mount option that this kernel does not take; the volume's lock is held by another for too long.
    pub fn try_modify(&self, spec: &VolumeSpec) -> Result<()> {
        let mut s = self.open(&spec.id)?;
        let record = s.existing()?;
        tried::options(&s, &record, spec)
    }

    fn was_tried(&self, options: &(Vec<String>, TrialRequest)) -> bool {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).contains(options)
    }

    fn set_tried(&self, options: (Vec<String>, TrialRequest)) {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).insert(options);
    }

    fn set_verified(&self, id: &VolumeId) {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
    }

    /// Whether this process has verified the file system, asked at most once: by its next stage much may have happened.
    fn take_verified(&self, id: &VolumeId) -> bool {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

impl Driver for LocalDriver {
    fn create(&self, request: &CreateRequest) -> Result<Outcome> {
        create::create(self, request)
    }

    fn attach(&self, request: &AttachRequest) -> Result<Outcome> {
        attach::attach(self, request)
    }

    fn stage(&self, request: &StageRequest) -> Result<Outcome> {
        stage::stage(self, request)
    }

    fn publish(&self, publish: &PublishSpec) -> Result<Outcome> {
        publish::publish(self, publish)
    }

    fn unpublish(&self, request: &UnpublishRequest) -> Result<Outcome> {
        unpublish::unpublish(self, request)
    }

    fn unstage(&self, request: &UnstageRequest) -> Result<Outcome> {
        unstage::unstage(self, request)
    }

    fn detach(&self, id: &VolumeId) -> Result<Outcome> {
        detach::detach(self, id)
    }

    fn expand(&self, request: &ExpandRequest) -> Result<Outcome> {
        expand::expand(self, request)
    }

    fn modify(&self, spec: &VolumeSpec) -> Result<Outcome> {
        modify::modify(self, spec)
    }

    fn snapshot(&self, spec: &SnapshotSpec) -> Result<Outcome> {
        snapshot::snapshot(self, spec)
    }

    fn delete_snapshot(&self, request: &DeleteSnapshotRequest) -> Result<Outcome> {
        snapshot::delete_snapshot(self, request)
    }

    fn release(&self, id: &VolumeId) -> Result<Outcome> {
        delete::release(self, id)
    }

    fn delete(&self, request: &DeleteRequest) -> Result<Outcome> {
        delete::delete(self, request)
    }

    fn run_in_chain(&self, action: &Action) -> Result<Outcome> {
        chain::run(self, action)
    }

    fn settle(&self) {
        chain::settle(self);
    }
}

/// Now, as records have it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
