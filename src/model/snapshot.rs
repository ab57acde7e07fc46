//! Snapshots as wanted: a copy of one volume's bytes at one moment, or of several volumes' at the same.

use serde::{Deserialize, Serialize};

use super::name::{GroupId, SnapshotId, VolumeId};
use super::owner::Owner;

/// A snapshot as wanted (CSI 1.12, CreateSnapshot).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSpec {
    /// Its id.
    pub id: SnapshotId,
    /// Whose it is.
    pub owner: Owner,
    /// The name it was asked for.
    pub name: String,
    /// The volume it is taken of.
    pub volume: VolumeId,
}

/// A group of snapshots as wanted (CSI 1.12, CreateVolumeGroupSnapshot).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSpec {
    /// Its id.
    pub id: GroupId,
    /// Whose it is.
    pub owner: Owner,
    /// The name it was asked for.
    pub name: String,
    /// The snapshot that each volume gets, in order of the volumes' ids; no volume twice.
    pub members: Vec<GroupMember>,
}

/// One snapshot of a group as wanted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupMember {
    /// The volume it is taken of.
    pub volume: VolumeId,
    /// Its id.
    pub snapshot: SnapshotId,
}
