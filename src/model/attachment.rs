//! An orchestrator's word that a volume belongs to a node (CSI 1.12, ControllerPublishVolume).
//!
//! Kept in the durable record and not among what a boot voids: for the orchestrator the volume stays published until it calls
//! ControllerUnpublishVolume, a reboot of the node in between or not. The loop device is this boot's and is made again by the next
//! ControllerPublishVolume or NodeStageVolume.

use serde::{Deserialize, Serialize};

use super::capability::Capability;

/// To which node a volume is published, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The node's id, as the orchestrator knows it.
    pub node: String,
    /// Whether nobody may write to it there.
    pub read_only: bool,
    /// How it is to be used there.
    pub capability: Capability,
}
