//! A volume as it is wanted: everything the manifest, or a CreateVolume call, says about it, with defaults filled in.

use serde::{Deserialize, Serialize};
use std::fmt;

use super::access_mode::AccessMode;
use super::backing::Backing;
use super::capacity::{Capacity, CapacityRange};
use super::filesystem::{FsSpec, FsType};
use super::name::{SnapshotId, VolumeId};
use super::owner::Owner;

/// Whether a volume is offered as a mounted file system or as a raw block device (Kubernetes volumeMode).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeMode {
    /// Mounted.
    #[default]
    Filesystem,
    /// Raw block.
    Block,
}

/// What happens to the bytes when the volume leaves the manifest (StorageClass reclaimPolicy).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reclaim {
    /// Kept; the volume is released.
    #[default]
    Retain,
    /// Deleted, after approval.
    Delete,
}

/// What a new volume is filled with (CSI VolumeContentSource). Acts at creation only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A clone of this volume.
    Volume(VolumeId),
    /// A restore of this snapshot.
    Snapshot(SnapshotId),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume(id) => write!(f, "volume {id}"),
            Self::Snapshot(id) => write!(f, "snapshot {id}"),
        }
    }
}

/// Owner, group and permissions of a volume's root inode; `None` leaves what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ownership {
    /// User and group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<(u32, u32)>,
    /// Permission bits, 0 to 0o7777.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// A volume as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// Its id.
    pub id: VolumeId,
    /// Whose it is.
    pub owner: Owner,
    /// The name it was asked for: a DNS label in a manifest, any text over gRPC.
    pub name: String,
    /// A word for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Mounted or raw.
    pub volume_mode: VolumeMode,
    /// Size; always given for an image, never for another backing.
    pub capacity: Option<CapacityRange>,
    /// How many may use it.
    pub access_mode: AccessMode,
    /// Where its bytes live.
    pub backing: Backing,
    /// The file system; `None` for raw block, directory and tmpfs. With a [`Source`] and no type given in the manifest,
    /// the planner fills in the source's type.
    pub fs: Option<FsSpec>,
    /// Whether `fs.type` was written down (in the volume or its class) or is the default.
    pub fs_type_given: bool,
    /// Mount options as given, allow-listed; those that are always added are not listed here.
    pub mount_options: Vec<String>,
    /// What it is made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// What becomes of its bytes when it leaves the manifest.
    pub reclaim: Reclaim,
    /// Refuses every step that loses its data, even when the manifest no longer names it.
    pub prevent_destroy: bool,
    /// Root inode.
    pub ownership: Ownership,
    /// The group its files belong to, from the pods that mount it (Kubernetes fsGroup).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_group: Option<u32>,
    /// Lives from its one publish to its unpublish (CSI inline ephemeral volumes).
    #[serde(default)]
    pub ephemeral: bool,
}

impl VolumeSpec {
    /// The size asked for, where the backing has one of its own making.
    pub fn required(&self) -> Option<Capacity> {
        match &self.backing {
            Backing::Tmpfs(tmpfs) => Some(tmpfs.size),
            _ => self.capacity.map(|range| range.required),
        }
    }

    /// The file system type, where csictl mounts one.
    pub fn fs_type(&self) -> Option<FsType> {
        self.fs.as_ref().map(|fs| fs.fs_type)
    }

    /// Whether the volume is raw block.
    pub fn is_raw(&self) -> bool {
        self.volume_mode == VolumeMode::Block
    }
}
