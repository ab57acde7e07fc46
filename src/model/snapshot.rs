//! A snapshot as wanted: a copy of one volume's bytes at one moment.

use serde::{Deserialize, Serialize};

use super::name::{SnapshotId, VolumeId};
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
