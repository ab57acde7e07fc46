//! A pod: a consumer with a name and the paths at which volumes are published to it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::capability::Capability;
use super::mount::Propagation;
use super::name::{Name, VolumeId};

/// Whether a publish mounts a file system or binds a block device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishKind {
    /// A directory with the volume's files.
    Mount,
    /// A file that is the block device.
    Device,
}

/// One path at which one pod sees one volume (CSI 1.12, NodePublishVolume).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishSpec {
    /// The pod; over gRPC the name in the volume context, or `csi`.
    pub pod: Name,
    /// The volume.
    pub volume: VolumeId,
    /// The whole path on the host, with the pod's root in front.
    pub target: PathBuf,
    /// The trusted directory below which no symbolic link is followed: the pod's root, or `/`.
    pub trusted_root: PathBuf,
    /// Directory or block device.
    pub kind: PublishKind,
    /// A path inside the volume that is published in place of its root; relative, without `..`.
    pub sub_path: Option<PathBuf>,
    /// Whether writes are refused.
    pub read_only: bool,
    /// How mounts made later travel between host and pod.
    pub propagation: Propagation,
    /// What an orchestrator asks for; `None` where a manifest says it in the volume's spec.
    #[serde(default)]
    pub capability: Option<Capability>,
    /// Where it has to be staged; `None` for wherever it is.
    #[serde(default)]
    pub staging_path: Option<PathBuf>,
}

/// A pod as wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSpec {
    /// Its name.
    pub name: Name,
    /// What its paths are below of.
    pub root: Option<PathBuf>,
    /// The group its volumes belong to.
    pub fs_group: Option<u32>,
    /// Where it sees which volume, in the manifest's order.
    pub publishes: Vec<PublishSpec>,
}
