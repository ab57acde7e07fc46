//! Everything one manifest wants of this machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backing::Pool;
use super::name::{Name, SnapshotId, VolumeId};
use super::pod::{PodSpec, PublishSpec};
use super::snapshot::SnapshotSpec;
use super::volume::VolumeSpec;

/// A validated manifest, with defaults and classes resolved and every path absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desired {
    /// The project that owns what is declared here.
    pub project: Name,
    /// The manifest's name as the user typed it, for messages.
    pub manifest: String,
    /// Pools by name; `default` is there when a volume lies in the state directory's own pool.
    pub pools: BTreeMap<Name, Pool>,
    /// Volumes by id.
    pub volumes: BTreeMap<VolumeId, VolumeSpec>,
    /// Snapshots by id.
    pub snapshots: BTreeMap<SnapshotId, SnapshotSpec>,
    /// Pods by name.
    pub pods: BTreeMap<Name, PodSpec>,
}

impl Desired {
    /// A project that wants nothing: what `destroy` of everything plans towards.
    pub fn empty(project: Name, manifest: String) -> Self {
        Self {
            project,
            manifest,
            pools: BTreeMap::new(),
            volumes: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            pods: BTreeMap::new(),
        }
    }

    /// Every publish of every pod, in order of pod name, then as written.
    pub fn publishes(&self) -> impl Iterator<Item = &PublishSpec> {
        self.pods.values().flat_map(|pod| &pod.publishes)
    }
}
