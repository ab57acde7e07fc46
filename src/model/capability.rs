//! One way to use a volume, as an orchestrator asks for it (CSI 1.12, VolumeCapability), already checked. A manifest has no such value: there
//! the volume's spec says how it is used.

use std::fmt;

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

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = self.access_mode.wire_name();
        if self.volume_mode == VolumeMode::Block {
            return write!(f, "{mode}, block");
        }
        let fs = self.fs_type.map_or("any file system", FsType::as_str);
        let flags = if self.mount_flags.is_empty() { "no mount flags".to_owned() } else { self.mount_flags.join(",") };
        write!(f, "{mode}, mount, {fs}, {flags}")?;
        self.group.map_or(Ok(()), |group| write!(f, ", group {group}"))
    }
}
