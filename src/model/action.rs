//! The CSI verbs as values: what a step of a plan asks of a driver, and what it answers. The gRPC service asks the same.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::attachment::Attachment;
use super::capability::Capability;
use super::capacity::Capacity;
use super::name::{GroupId, ObjectRef, SnapshotId, VolumeId};
use super::owner::Owner;
use super::pod::{PublishKind, PublishSpec};
use super::snapshot::SnapshotSpec;
use super::volume::VolumeSpec;

/// The verbs, named as in plans, events and JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Make the record and the backing (CreateVolume).
    Create,
    /// Give the node a block device (ControllerPublishVolume).
    Attach,
    /// Format if blank and mount once (NodeStageVolume).
    Stage,
    /// Bind to one pod's path (NodePublishVolume).
    Publish,
    /// Take that bind away (NodeUnpublishVolume).
    Unpublish,
    /// Unmount the staging path (NodeUnstageVolume).
    Unstage,
    /// Take the block device away (ControllerUnpublishVolume).
    Detach,
    /// Grow file, loop and file system (ControllerExpandVolume, NodeExpandVolume).
    Expand,
    /// Change in place what can be changed in place (ControllerModifyVolume).
    Modify,
    /// Copy a volume's bytes as they are now (CreateSnapshot).
    Snapshot,
    /// Remove such a copy (DeleteSnapshot).
    DeleteSnapshot,
    /// Let go of a volume and keep its data.
    Release,
    /// Remove a volume and its data (DeleteVolume).
    Delete,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 13] = [
        Self::Create,
        Self::Attach,
        Self::Stage,
        Self::Publish,
        Self::Unpublish,
        Self::Unstage,
        Self::Detach,
        Self::Expand,
        Self::Modify,
        Self::Snapshot,
        Self::DeleteSnapshot,
        Self::Release,
        Self::Delete,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Attach => "attach",
            Self::Stage => "stage",
            Self::Publish => "publish",
            Self::Unpublish => "unpublish",
            Self::Unstage => "unstage",
            Self::Detach => "detach",
            Self::Expand => "expand",
            Self::Modify => "modify",
            Self::Snapshot => "snapshot",
            Self::DeleteSnapshot => "delete-snapshot",
            Self::Release => "release",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which loss an approval allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// The object is deleted.
    Delete,
    /// Its contents are replaced by something blank.
    Wipe,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete",
            Self::Wipe => "wipe",
        })
    }
}

/// A user's word, by name, that one object's data may be lost. Made only from `--approve`, `--delete-data`, a typed answer,
/// or a DeleteVolume call; a driver that is asked to lose data without the fitting one refuses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Approval {
    /// The object.
    pub object: ObjectRef,
    /// What may happen to it.
    pub loss: Loss,
}

/// One verb with everything it needs. Every one is idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make record and backing; with `replaces`, in place of what the record says is there.
    Create(Box<CreateRequest>),
    /// Attach an image to a loop device.
    Attach(AttachRequest),
    /// Format if blank, check, mount.
    Stage(StageRequest),
    /// Bind to a target.
    Publish(PublishSpec),
    /// Remove a target.
    Unpublish(UnpublishRequest),
    /// Unmount a staging path.
    Unstage(UnstageRequest),
    /// Detach a loop device.
    Detach(VolumeId),
    /// Grow.
    Expand(ExpandRequest),
    /// Change in place.
    Modify(Box<VolumeSpec>),
    /// Take a snapshot.
    Snapshot(SnapshotSpec),
    /// Delete a snapshot.
    DeleteSnapshot(DeleteSnapshotRequest),
    /// Let go of a volume, data kept.
    Release(VolumeId),
    /// Delete a volume.
    Delete(DeleteRequest),
}

/// For [`Verb::Create`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// What to make.
    pub spec: VolumeSpec,
    /// Whether it takes the place of what the record describes, which is then lost: needs [`Loss::Wipe`].
    pub replaces: bool,
    /// The approval of that loss.
    pub approval: Option<Approval>,
    /// What an orchestrator asked for, with which its retries are compared; `None` for a manifest's volume.
    pub asked: Option<Asked>,
}

/// For [`Verb::Attach`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachRequest {
    /// The volume.
    pub id: VolumeId,
    /// Attach so that the device itself refuses writes (raw block published read-only).
    pub read_only: bool,
    /// The node an orchestrator publishes it to; `None` where none does.
    pub attachment: Option<Attachment>,
}

/// For [`Verb::Stage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageRequest {
    /// The volume.
    pub id: VolumeId,
    /// Where it is mounted.
    pub staging_path: PathBuf,
    /// Mount options as asked.
    pub mount_options: Vec<String>,
    /// What an orchestrator asks for; `None` where a manifest says it in the volume's spec.
    pub capability: Option<Capability>,
}

/// For [`Verb::Unpublish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpublishRequest {
    /// The volume.
    pub id: VolumeId,
    /// The pod, where known; for messages.
    pub pod: Option<super::name::Name>,
    /// The path.
    pub target: PathBuf,
    /// The trusted directory below which no link is followed.
    pub trusted_root: PathBuf,
    /// Directory or device.
    pub kind: PublishKind,
    /// Whether the target goes even if csictl did not make it (gRPC: CSI 1.12, NodeUnpublishVolume).
    pub remove_target: bool,
    /// Whether it is published there again at once: what csictl made for it stays, since the way there may be read-only by then.
    pub comes_back: bool,
}

/// For [`Verb::Unstage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnstageRequest {
    /// The volume.
    pub id: VolumeId,
    /// Where it is mounted.
    pub staging_path: PathBuf,
    /// Whether an orchestrator asks: it takes away only what orchestrators staged, and the loop device too if stage attached it.
    pub by_orchestrator: bool,
}

/// For [`Verb::Expand`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpandRequest {
    /// The volume.
    pub id: VolumeId,
    /// The size to reach.
    pub to: Capacity,
    /// Whose it has to be; `None` where the caller has made sure.
    pub owner: Option<Owner>,
}

/// For [`Verb::DeleteSnapshot`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteSnapshotRequest {
    /// The snapshot.
    pub id: SnapshotId,
    /// The approval of the loss.
    pub approval: Option<Approval>,
}

/// For the removal of a group of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteGroupRequest {
    /// The group.
    pub id: GroupId,
    /// The approval of the loss.
    pub approval: Option<Approval>,
}

/// For [`Verb::Delete`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// The volume.
    pub id: VolumeId,
    /// The approval of the loss.
    pub approval: Option<Approval>,
}

impl Action {
    /// The verb.
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Create(_) => Verb::Create,
            Self::Attach(_) => Verb::Attach,
            Self::Stage(_) => Verb::Stage,
            Self::Publish(_) => Verb::Publish,
            Self::Unpublish(_) => Verb::Unpublish,
            Self::Unstage(_) => Verb::Unstage,
            Self::Detach(_) => Verb::Detach,
            Self::Expand(_) => Verb::Expand,
            Self::Modify(_) => Verb::Modify,
            Self::Snapshot(_) => Verb::Snapshot,
            Self::DeleteSnapshot(_) => Verb::DeleteSnapshot,
            Self::Release(_) => Verb::Release,
            Self::Delete(_) => Verb::Delete,
        }
    }

    /// What it acts on: a volume, or a snapshot.
    pub fn object(&self) -> ObjectRef {
        match self {
            Self::Create(request) => ObjectRef::Volume(request.spec.id.clone()),
            Self::Attach(AttachRequest { id, .. })
            | Self::Stage(StageRequest { id, .. })
            | Self::Unpublish(UnpublishRequest { id, .. })
            | Self::Unstage(UnstageRequest { id, .. })
            | Self::Expand(ExpandRequest { id, .. })
            | Self::Delete(DeleteRequest { id, .. })
            | Self::Detach(id)
            | Self::Release(id) => ObjectRef::Volume(id.clone()),
            Self::Publish(publish) => ObjectRef::Volume(publish.volume.clone()),
            Self::Modify(spec) => ObjectRef::Volume(spec.id.clone()),
            Self::Snapshot(spec) => ObjectRef::Snapshot(spec.id.clone()),
            Self::DeleteSnapshot(request) => ObjectRef::Snapshot(request.id.clone()),
        }
    }
}

/// Whether a verb changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Done {
    /// The world is different now.
    Changed,
    /// It was so already.
    Already,
}

/// What a verb answers when it succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it changed anything.
    pub done: Done,
    /// What the user should know though nothing failed ("direct I/O was refused, buffered I/O is used").
    pub notes: Vec<String>,
}

impl From<Done> for Outcome {
    fn from(done: Done) -> Self {
        Self { done, notes: Vec::new() }
    }
}
