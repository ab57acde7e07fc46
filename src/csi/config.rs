//! What a server is told at its start: its name, its node, which services it offers, where volumes go. Plain values; flags and
//! `--config` are read by the command line.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Name, Pool};

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
    /// The most volumes this node takes; `None` for no limit.
    pub max_volumes_per_node: Option<u32>,
    /// Topology segments besides the node's own, by key.
    pub topology: BTreeMap<String, String>,
    /// Where volumes may lie.
    pub pools: BTreeMap<Name, Pool>,
}

impl Config {
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
