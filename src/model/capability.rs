//! One way to use a volume, as an orchestrator asks for it (CSI 1.12, VolumeCapability), already checked. A manifest has no such value: there
//! the volume's spec says how it is used.

use serde::{Deserialize, Serialize};

use super::access_mode::AccessMode;
use super::filesystem::FsType;
use super::volume::VolumeMode;

/// One way to use a volume, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capability {
    /// Mounted or raw.
    pub volume_mode: VolumeMode,
    /// The file system asked for; `None` leaves it open, and for raw block.
    pub fs_type: Option<FsType>,
    /// Mount options, each on the allow-list.
    pub mount_flags: Vec<String>,
    /// The group its files belong to (VOLUME_MOUNT_GROUP).
    pub group: Option<u32>,
    /// How many may use it.
    pub access_mode: AccessMode,
}
