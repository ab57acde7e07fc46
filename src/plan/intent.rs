//! What the user asked for, beside the manifest: the whole of it, its taking down, or one imperative act. All of them go
//! through the same planner, so that `csictl delete` is held by the same guards as an apply.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::model::{Capacity, SnapshotId, SnapshotSpec, VolumeId};

/// What a plan is to lead to. The imperative forms look at nothing but the object they name, whoever owns it; the `Desired`
/// that goes with them may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// The machine as the manifest has it (`apply`).
    Apply,
    /// Every volume of the project taken down, records and data kept (`destroy`).
    Destroy {
        /// Volumes whose data goes too, each named by the user (`--delete-data`).
        delete_data: BTreeSet<VolumeId>,
    },
    /// One volume grown (`expand`).
    Expand {
        /// Which.
        volume: VolumeId,
        /// To which size.
        to: Capacity,
    },
    /// One volume deleted that is released, or was made over gRPC, and is not in use (`delete`).
    Delete {
        /// Which.
        volume: VolumeId,
    },
    /// One snapshot taken (`snapshot create`).
    TakeSnapshot {
        /// Of what, under which name.
        snapshot: SnapshotSpec,
    },
    /// One snapshot deleted (`snapshot delete`).
    DeleteSnapshot {
        /// Which.
        snapshot: SnapshotId,
    },
    /// One new volume made from a snapshot (`snapshot restore`).
    Restore {
        /// From what.
        snapshot: SnapshotId,
        /// The new volume; its size, file system and pool are the snapshot's.
        volume: VolumeId,
    },
}
