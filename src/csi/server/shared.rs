//! What all connections of a server share: the services, the bounds that are in use, the numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tonic::service::Routes;

use super::limits::CALLS;
use super::seats::Seats;
use crate::csi::config::Mode;
use crate::csi::controller::ControllerService;
use crate::csi::group::GroupControllerService;
use crate::csi::identity::IdentityService;
use crate::csi::metadata::SnapshotMetadataService;
use crate::csi::metrics::Metrics;
use crate::csi::node::NodeService;
use crate::csi::plugin::Plugin;
use crate::csi::proto::controller_server::ControllerServer;
use crate::csi::proto::group_controller_server::GroupControllerServer;
use crate::csi::proto::identity_server::IdentityServer;
use crate::csi::proto::node_server::NodeServer;
use crate::csi::proto::snapshot_metadata_server::SnapshotMetadataServer;

/// One server's own.
pub struct Shared {
    /// The services that are offered.
    pub routes: Routes,
    /// Which services these are.
    pub mode: Mode,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Places for connections.
    pub connections: Arc<Seats>,
    /// Places for calls.
    pub calls: Arc<Semaphore>,
    /// Answers that are not written yet.
    unanswered: AtomicUsize,
    ending: AtomicBool,
}

impl Shared {
    /// Of this plugin, with the services its mode has.
    pub fn new(plugin: &Plugin, metrics: Arc<Metrics>) -> Self {
        let mode = plugin.config().mode;
        let mut routes = Routes::builder();
        routes.add_service(IdentityServer::new(IdentityService::new(plugin.clone())));
        if mode.has_controller() {
            routes.add_service(ControllerServer::new(ControllerService::new(plugin.clone())));
            routes.add_service(GroupControllerServer::new(GroupControllerService::new(plugin.clone())));
            routes.add_service(SnapshotMetadataServer::new(SnapshotMetadataService::new(plugin.clone())));
        }
        if mode.has_node() {
            routes.add_service(NodeServer::new(NodeService::new(plugin.clone())));
        }
        Self {
            routes: routes.routes().prepare(),
            mode,
            metrics,
            connections: Seats::new(),
            calls: Arc::new(Semaphore::new(CALLS)),
            unanswered: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
        }
    }

    /// From now on new calls are turned away.
    pub fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// Whether new calls are turned away.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// How many calls have no whole answer yet.
    pub fn unanswered(&self) -> usize {
        self.unanswered.load(Ordering::SeqCst)
    }

    pub(super) fn call_begins(&self) {
        self.unanswered.fetch_add(1, Ordering::SeqCst);
        self.metrics.in_flight.inc();
    }

    pub(super) fn call_ends(&self) {
        self.unanswered.fetch_sub(1, Ordering::SeqCst);
        self.metrics.in_flight.dec();
    }
}
