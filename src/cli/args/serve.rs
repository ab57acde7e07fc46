//! The arguments of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::values::parse_duration;
use crate::csi::config::{DRIVER_NAME, Mode};

/// Which services are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ModeArg {
    /// All five services
    #[default]
    All,
    /// Identity, Controller, GroupController and SnapshotMetadata
    Controller,
    /// Identity and Node
    Node,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::All => Self::All,
            ModeArg::Controller => Self::Controller,
            ModeArg::Node => Self::Node,
        }
    }
}

/// For `serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  csictl serve                                          on unix:///run/csictl/csi/csi.sock
  csictl serve --config /etc/csictl/storage.toml        with pools and classes
  csictl serve --endpoint unix:///csi/csi.sock --node-id worker-1 --node-local
  csictl csi get-plugin-info                            ask it something")]
pub struct ServeArgs {
    /// The unix socket to serve on
    #[arg(long, value_name = "URL", env = "CSI_ENDPOINT", default_value = "unix:///run/csictl/csi/csi.sock")]
    pub endpoint: String,
    /// The driver's name
    #[arg(long, value_name = "NAME", default_value = DRIVER_NAME)]
    pub driver_name: String,
    /// This node's id, as the orchestrator knows it [default: the host name]
    #[arg(long, value_name = "ID", env = "NODE_ID")]
    pub node_id: Option<String>,
    /// Which services are offered
    #[arg(long, value_name = "MODE", value_enum, default_value_t)]
    pub mode: ModeArg,
    /// Pools and classes, in the manifest's TOML
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// The most volumes this node takes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_volumes_per_node: Option<u32>,
    /// A topology segment of this node; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_topology)]
    pub topology: Vec<(String, String)>,
    /// Serve Prometheus metrics on this loopback address, such as 127.0.0.1:9810
    #[arg(long, value_name = "ADDRESS")]
    pub metrics_addr: Option<SocketAddr>,
    /// How long running calls are waited for at the end
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub drain_timeout: Duration,
    /// How long a file system's writes may pause for a snapshot or clone
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub freeze_timeout: Duration,
    /// One server a node with its own sidecars: no attach, no controller expansion, no modification
    #[arg(long)]
    pub node_local: bool,
    /// Announce the alpha capability GET_SNAPSHOT, which older clients refuse; the call itself is always answered
    #[arg(long)]
    pub announce_get_snapshot: bool,
    /// A further user who may connect, by number; may be given several times
    #[arg(long, value_name = "UID")]
    pub allow_uid: Vec<u32>,
}

fn parse_topology(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("'{text}' is no topology segment: write KEY=VALUE")),
    }
}
