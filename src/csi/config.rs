//! What a server is told at its start: its name, its node, which services it offers, where volumes go. Plain values; flags and
//! `--config` are read by the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::proto::{Topology, TopologyRequirement};
use crate::model::StorageConfig;

/// The driver's name unless `--driver-name` says otherwise (CSI 1.12, GetPluginInfoResponse.name: a domain name).
pub const DRIVER_NAME: &str = "csi.csictl.io";

/// Which services a server offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// All five.
    All,
    /// Identity, Controller, GroupController and SnapshotMetadata.
    Controller,
    /// Identity and Node.
    Node,
}

impl Mode {
    /// Whether it has a service, by its name in the specification.
    pub fn offers(self, service: &str) -> bool {
        match service {
            "Identity" => true,
            "Node" => self.has_node(),
            _ => self.has_controller(),
        }
    }

    /// As `--mode` has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Controller => "controller",
            Self::Node => "node",
        }
    }

    /// Whether volumes are made and deleted here.
    pub const fn has_controller(self) -> bool {
        matches!(self, Self::All | Self::Controller)
    }

    /// Whether volumes are mounted here.
    pub const fn has_node(self) -> bool {
        matches!(self, Self::All | Self::Node)
    }
}

/// What the plugin says of itself and which rules it keeps.
#[derive(Debug, Clone)]
pub struct Config {
    /// The driver's name.
    pub driver_name: String,
    /// This node's id, as orchestrators know it.
    pub node_id: String,
    /// Which services are offered.
    pub mode: Mode,
    /// One server a node, each with its own provisioner (a DaemonSet): no attach, no controller expansion, no modification.
    pub node_local: bool,
    /// Whether GET_SNAPSHOT, alpha in CSI 1.12, is announced: clients that do not know it may refuse the whole list (csi-sanity 5.4.0 does).
    /// GetSnapshot itself is always answered.
    pub announce_get_snapshot: bool,
    /// The most volumes this node takes; `None` for no limit.
    pub max_volumes_per_node: Option<u32>,
    /// Topology segments besides the node's own, by key.
    pub topology: BTreeMap<String, String>,
    /// Where volumes may lie and how they are made.
    pub storage: StorageConfig,
}

impl Config {
    /// Whether a volume made here is where this requirement wants it (CSI 1.12, TopologyRequirement): one of the requisite topologies holds
    /// here. Preferences are only that.
    pub fn meets(&self, requirement: Option<&TopologyRequirement>) -> bool {
        let requisite = requirement.map_or(&[][..], |requirement| &requirement.requisite);
        requisite.is_empty() || requisite.iter().any(|topology| self.lies_in(topology))
    }

    /// Whether a topology includes this node: each of its segments is one of ours.
    pub fn lies_in(&self, topology: &Topology) -> bool {
        let ours = self.segments();
        topology.segments.iter().all(|(key, value)| ours.get(key) == Some(value))
    }

    /// Where everything made here is, as a requirement has it.
    pub fn everywhere(&self) -> TopologyRequirement {
        let here = Topology { segments: self.segments().into_iter().collect() };
        TopologyRequirement { requisite: vec![here], preferred: Vec::new() }
    }

    /// The topology of everything made here: the node, and what `--topology` adds.
    pub fn segments(&self) -> BTreeMap<String, String> {
        let mut segments = self.topology.clone();
        segments.insert(format!("topology.{}/node", self.driver_name), self.node_id.clone());
        segments
    }
}

/// How the server listens and ends.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Where, as given: `unix:///run/csictl/csi/csi.sock`.
    pub endpoint: String,
    /// Users besides root and its own who may connect.
    pub allowed_uids: Vec<u32>,
    /// Where metrics are served: a loopback address and port; `None` for nowhere.
    pub metrics: Option<std::net::SocketAddr>,
    /// How long running calls are waited for at the end.
    pub drain_timeout: Duration,
    /// The run directory, for what lasts as long as the server.
    pub run_dir: PathBuf,
}
