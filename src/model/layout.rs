//! Where csictl keeps what it knows: the state directory, which survives a boot, and the run directory, which does not.

use std::path::{Path, PathBuf};

use super::name::{GroupId, Name, SnapshotId, VolumeId};

/// The two directories and every path below them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Records, locks and the default pool; `/var/lib/csictl`.
    pub state: PathBuf,
    /// Staging mounts and boot-scoped records; `/run/csictl`.
    pub run: PathBuf,
}

impl Layout {
    /// The layout below these two directories, which have to be absolute.
    pub fn new(state: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self { state: state.into(), run: run.into() }
    }

    /// Records of volumes.
    pub fn volumes(&self) -> PathBuf {
        self.state.join("volumes")
    }

    /// The record of one volume.
    pub fn volume_record(&self, id: &VolumeId) -> PathBuf {
        self.volumes().join(format!("{id}.json"))
    }

    /// Records of snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.state.join("snapshots")
    }

    /// The record of one snapshot.
    pub fn snapshot_record(&self, id: &SnapshotId) -> PathBuf {
        self.snapshots().join(format!("{id}.json"))
    }

    /// Records of groups of snapshots.
    pub fn groups(&self) -> PathBuf {
        self.state.join("groups")
    }

    /// The record of one group.
    pub fn group_record(&self, id: &GroupId) -> PathBuf {
        self.groups().join(format!("{id}.json"))
    }

    /// Where records that can't be read are set aside.
    pub fn set_aside(&self) -> PathBuf {
        self.state.join("set-aside")
    }

    /// Marks of files that were deleted while they could not be found: one that comes back is nobody's.
    pub fn deleted(&self) -> PathBuf {
        self.state.join("deleted")
    }

    /// Locks.
    pub fn locks(&self) -> PathBuf {
        self.state.join("locks")
    }

    /// The lock of one volume.
    pub fn volume_lock(&self, id: &VolumeId) -> PathBuf {
        self.locks().join(id.as_str())
    }

    /// The lock of one snapshot; `@` is in no id, so it can't meet a volume's.
    pub fn snapshot_lock(&self, id: &SnapshotId) -> PathBuf {
        self.locks().join(format!("{id}@snapshot"))
    }

    /// The lock of one group of snapshots.
    pub fn group_lock(&self, id: &GroupId) -> PathBuf {
        self.locks().join(format!("{id}@group"))
    }

    /// The lock of one pool's room, by its directory. Two directories that share one only wait for each other.
    pub fn pool_lock(&self, pool: &Path) -> PathBuf {
        let hash = pool.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            // FNV-1a.
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.locks().join(format!("@pool-{hash:016x}"))
    }

    /// Notes of what is being made in pools with a limit.
    pub fn room(&self) -> PathBuf {
        self.run.join("room")
    }

    /// The note of what is being made under the lock of this name.
    pub fn room_note(&self, lock: &str) -> PathBuf {
        self.room().join(lock)
    }

    /// What projects' manifests say of their pools.
    pub fn limits(&self) -> PathBuf {
        self.state.join("limits")
    }

    /// What one project's manifest says of its pools.
    pub fn limits_record(&self, project: &Name) -> PathBuf {
        self.limits().join(format!("{project}.json"))
    }

    /// The lock that `gc` holds alone and everybody else shares.
    pub fn global_lock(&self) -> PathBuf {
        self.locks().join("@global")
    }

    /// The pool used when a manifest names none.
    pub fn default_pool(&self) -> PathBuf {
        self.state.join("pool")
    }

    /// What growing the ext4 of a device needs for as long as it lasts.
    pub fn growth(&self) -> PathBuf {
        self.state.join("growth")
    }

    /// Boot-scoped records of volumes.
    pub fn run_volumes(&self) -> PathBuf {
        self.run.join("volumes")
    }

    /// The boot-scoped record of one volume.
    pub fn run_record(&self, id: &VolumeId) -> PathBuf {
        self.run_volumes().join(format!("{id}.json"))
    }

    /// Marks of volumes that are frozen for a copy: what a killed run left in here is thawed by the next.
    pub fn frozen(&self) -> PathBuf {
        self.run.join("frozen")
    }

    /// The mark of one frozen volume.
    pub fn frozen_mark(&self, id: &VolumeId) -> PathBuf {
        self.frozen().join(id.as_str())
    }

    /// Where the CLI stages volumes.
    pub fn staging(&self) -> PathBuf {
        self.run.join("staging")
    }

    /// Where the CLI stages one volume.
    pub fn staging_path(&self, id: &VolumeId) -> PathBuf {
        self.staging().join(id.as_str())
    }

    /// Whether a path lies in one of the two directories.
    pub fn owns(&self, path: &Path) -> bool {
        path.starts_with(&self.state) || path.starts_with(&self.run)
    }

    /// The name of the pool under the state directory.
    ///
    /// # Panics
    /// Never: the name is a DNS label.
    pub fn default_pool_name() -> Name {
        "default".parse().expect("'default' is a DNS label")
    }
}
