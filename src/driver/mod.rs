//! The CSI verbs. There is one implementation of each in the house; the executor calls it for a plan's steps, the gRPC
//! service for its requests.
//!
//! A driver locks the volume it works on, looks at the kernel, does what is missing, looks again, and says whether it
//! changed anything. It trusts no plan: every guard is held here too, whatever the caller decided before.
//!
//! Way in: [`Driver`], `local::LocalDriver` (records and a host), `local::observe` (what a plan is made from).

pub mod error;
pub mod local;

use crate::model::action::{
    AttachRequest, CreateRequest, DeleteRequest, DeleteSnapshotRequest, ExpandRequest, Outcome, StageRequest,
    UnpublishRequest, UnstageRequest,
};
use crate::model::{Action, PublishSpec, SnapshotSpec, VolumeId, VolumeSpec};

pub use error::{DriverError, Refusal};

/// The answer of a verb.
pub type Result<T> = std::result::Result<T, DriverError>;

/// The verbs, each idempotent: called again, it finds the work done and answers [`crate::model::Done::Already`].
///
/// Errors of all: [`DriverError::LockHeld`] when another csictl works on the volume, [`DriverError::Refused`] for a guard,
/// [`DriverError::Host`] for a failure of the machine.
pub trait Driver: Send + Sync {
    /// Makes the record and the backing; formats an image whose file system is known; fills it from its source (CSI 1.12, CreateVolume).
    fn create(&self, request: &CreateRequest) -> Result<Outcome>;

    /// Gives the node a block device for it (CSI 1.12, ControllerPublishVolume). `Already` for a directory or tmpfs.
    fn attach(&self, request: &AttachRequest) -> Result<Outcome>;

    /// Formats if blank, checks, mounts once (CSI 1.12, NodeStageVolume). Attaches when nobody did.
    fn stage(&self, request: &StageRequest) -> Result<Outcome>;

    /// Shows it at one target (CSI 1.12, NodePublishVolume).
    fn publish(&self, publish: &PublishSpec) -> Result<Outcome>;

    /// Takes it away from one target (CSI 1.12, NodeUnpublishVolume).
    fn unpublish(&self, request: &UnpublishRequest) -> Result<Outcome>;

    /// Unmounts it (CSI 1.12, NodeUnstageVolume).
    fn unstage(&self, request: &UnstageRequest) -> Result<Outcome>;

    /// Takes the block device away (CSI 1.12, ControllerUnpublishVolume).
    fn detach(&self, id: &VolumeId) -> Result<Outcome>;

    /// Grows file, loop and file system (CSI 1.12, ControllerExpandVolume and NodeExpandVolume): online where it is staged and the
    /// machine can, offline where it is not staged, else refused with nothing changed.
    fn expand(&self, request: &ExpandRequest) -> Result<Outcome>;

    /// Changes in place what can be changed in place, and records the new spec (CSI 1.12, ControllerModifyVolume).
    fn modify(&self, spec: &VolumeSpec) -> Result<Outcome>;

    /// Copies its bytes as they are now (CSI 1.12, CreateSnapshot).
    fn snapshot(&self, spec: &SnapshotSpec) -> Result<Outcome>;

    /// Removes such a copy (CSI 1.12, DeleteSnapshot).
    fn delete_snapshot(&self, request: &DeleteSnapshotRequest) -> Result<Outcome>;

    /// Lets go of a volume that left its manifest and keeps its data.
    fn release(&self, id: &VolumeId) -> Result<Outcome>;

    /// Removes a volume, its image and its record (CSI 1.12, DeleteVolume). A device's or directory's bytes stay.
    fn delete(&self, request: &DeleteRequest) -> Result<Outcome>;

    /// Runs one action of a plan after which this thread goes on with the next one, or calls [`Driver::settle`], at once. What the verb has
    /// of its volume, the lock and what was read under it, may be kept for the next verb of the same volume.
    fn run_in_chain(&self, action: &Action) -> Result<Outcome> {
        self.run(action)
    }

    /// Lets go of what [`Driver::run_in_chain`] kept on this thread.
    fn settle(&self) {}

    /// Runs one action of a plan.
    fn run(&self, action: &Action) -> Result<Outcome> {
        match action {
            Action::Create(request) => self.create(request),
            Action::Attach(request) => self.attach(request),
            Action::Stage(request) => self.stage(request),
            Action::Publish(publish) => self.publish(publish),
            Action::Unpublish(request) => self.unpublish(request),
            Action::Unstage(request) => self.unstage(request),
            Action::Detach(id) => self.detach(id),
            Action::Expand(request) => self.expand(request),
            Action::Modify(spec) => self.modify(spec),
            Action::Snapshot(spec) => self.snapshot(spec),
            Action::DeleteSnapshot(request) => self.delete_snapshot(request),
            Action::Release(id) => self.release(id),
            Action::Delete(request) => self.delete(request),
        }
    }
}
