//! The server's life: it listens, serves until it is told to end, drains, and takes its socket away. Mounts stay.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;

use super::notify::{Notice, notify};
use super::peer::{AllowedPeers, accept};
use crate::csi::config::Listen;
use crate::csi::controller::ControllerService;
use crate::csi::group::GroupControllerService;
use crate::csi::identity::IdentityService;
use crate::csi::metadata::SnapshotMetadataService;
use crate::csi::node::NodeService;
use crate::csi::plugin::Plugin;
use crate::csi::proto::controller_server::ControllerServer;
use crate::csi::proto::group_controller_server::GroupControllerServer;
use crate::csi::proto::identity_server::IdentityServer;
use crate::csi::proto::node_server::NodeServer;
use crate::csi::proto::snapshot_metadata_server::SnapshotMetadataServer;
use crate::host::linux::socket::{Socket, SocketError, path_of};

/// How often running calls are counted while the server ends.
const POLL: Duration = Duration::from_millis(20);
/// What the last answers have to reach their callers.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Why a server ended other than by being told to.
#[derive(Debug, Error)]
pub enum ServeError {
    /// There is no socket to serve on.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The runtime or the listener failed.
    #[error("serve {endpoint}: {error}")]
    Io {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The transport failed.
    #[error("serve {endpoint}: {error}")]
    Transport {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        error: tonic::transport::Error,
    },
}

/// Serves until SIGTERM or SIGINT; running calls are finished.
///
/// # Errors
/// [`ServeError`]: nothing was served, or the listener broke.
#[expect(clippy::needless_pass_by_value, reason = "the services share it, the caller has no more use for it")]
pub fn serve(plugin: Plugin, listen: &Listen) -> Result<(), ServeError> {
    let path = path_of(&listen.endpoint)?;
    let socket = Socket::bind(&path)?;
    let fail = |error| ServeError::Io { endpoint: listen.endpoint.clone(), error };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(fail)?;
    let engine = plugin.engine().clone();
    let served = runtime.block_on(async {
        let listener = UnixListener::from_std(socket.listener().map_err(fail)?).map_err(fail)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
        let (ending, mut ended) = tokio::sync::watch::channel(false);
        let end = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            let _ = notify(Notice::Stopping);
            let _ = ending.send(true);
        };
        let allowed = AllowedPeers::with(crate::host::linux::own_uid(), listen.allowed_uids.iter().copied());
        let connections = futures_of(listener, allowed);
        let _ = notify(Notice::Ready);
        let mode = plugin.config().mode;
        let router = Server::builder().add_service(IdentityServer::new(IdentityService::new(plugin.clone())));
        let controller = mode.has_controller().then(|| ControllerServer::new(ControllerService::new(plugin.clone())));
        let group =
            mode.has_controller().then(|| GroupControllerServer::new(GroupControllerService::new(plugin.clone())));
        let metadata =
            mode.has_controller().then(|| SnapshotMetadataServer::new(SnapshotMetadataService::new(plugin.clone())));
        let node = mode.has_node().then(|| NodeServer::new(NodeService::new(plugin.clone())));
        let serving = router
            .add_optional_service(controller)
            .add_optional_service(group)
            .add_optional_service(metadata)
            .add_optional_service(node)
            .serve_with_incoming_shutdown(connections, end);
        // A client that keeps its connection open must not keep the server alive.
        let drained = async {
            let _ = ended.wait_for(|ending| *ending).await;
            let until = tokio::time::Instant::now() + listen.drain_timeout;
            while !plugin.in_flight().is_empty() && tokio::time::Instant::now() < until {
                tokio::time::sleep(POLL).await;
            }
            tokio::time::sleep(LAST_ANSWERS).await;
        };
        tokio::select! {
            served = serving => served.map_err(|error| ServeError::Transport { endpoint: listen.endpoint.clone(), error }),
            () = drained => Ok(()),
        }
    });
    engine.drain(listen.drain_timeout);
    served
}

fn futures_of(
    listener: UnixListener,
    allowed: AllowedPeers,
) -> impl tokio_stream::Stream<Item = io::Result<tokio::net::UnixStream>> {
    let (send, receive) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let connection = accept(&listener, &allowed).await;
            let broken = connection.is_err();
            if send.send(connection).await.is_err() || broken {
                return;
            }
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(receive)
}
