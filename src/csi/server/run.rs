//! The server's life: it listens, serves until it is told to end, drains, and takes its socket away. Mounts stay.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::drain::drain;
use super::notify::{Notice, notify, watchdog};
use super::peer::AllowedPeers;
use super::shared::Shared;
use super::{connections, start};
use crate::csi::config::Listen;
use crate::csi::metrics::{self, Metrics};
use crate::csi::plugin::Plugin;
use crate::host::linux::socket::{Socket, SocketError, path_of};
use crate::host::linux::{activation, own_uid};
use crate::model::StorageConfig;
use crate::state::{StateError, Store};

/// Why a server ended other than by being told to.
#[derive(Debug, Error)]
pub enum ServeError {
    /// There is no socket to serve on.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The socket that was passed is none to serve on.
    #[error("socket activation: {0}")]
    Passed(#[source] io::Error),
    /// The state directory can't be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Metrics can't be served there.
    #[error("serve metrics on {address}: {error}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The runtime or the listener failed.
    #[error("serve {endpoint}: {error}")]
    Io {
        /// Where.
        endpoint: String,
        /// Why.
        #[source]
        error: io::Error,
    },
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to and finished what it had begun.
    Drained,
    /// The time to finish was over; work that was left is found by the next call.
    GaveUp,
    /// It was told a second time.
    Forced,
}

/// Reads pools and classes again; in words why it can't.
pub type Reload = Arc<dyn Fn() -> Result<StorageConfig, String> + Send + Sync>;

/// Serves until SIGTERM or SIGINT; running calls are finished. SIGHUP has pools and classes read again.
///
/// # Errors
/// [`ServeError`]: nothing was served.
pub fn serve(plugin: &Plugin, listen: &Listen, reload: Option<Reload>) -> Result<Ended, ServeError> {
    let socket = match activation::passed().map_err(ServeError::Passed)? {
        Some(listener) => Socket::passed(listener),
        None => Socket::bind(&path_of(&listen.endpoint)?)?,
    };
    Store::new(plugin.driver().host(), plugin.driver().layout()).prepare()?;
    start::recover(plugin);
    let fail = |error| ServeError::Io { endpoint: listen.endpoint.clone(), error };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(fail)?;
    let ended = runtime.block_on(life(plugin, listen, socket, reload));
    // Whoever still talks or looks is not waited for.
    runtime.shutdown_background();
    ended
}

async fn life(
    plugin: &Plugin,
    listen: &Listen,
    mut socket: Socket,
    reload: Option<Reload>,
) -> Result<Ended, ServeError> {
    let fail = |error| ServeError::Io { endpoint: listen.endpoint.clone(), error };
    let listener = UnixListener::from_std(socket.listener().map_err(fail)?).map_err(fail)?;
    let mut signals = Signals::new().map_err(fail)?;
    let hang_ups = signal(SignalKind::hangup()).map_err(fail)?;
    tokio::spawn(start::keep_sweeping(plugin.clone()));
    tokio::spawn(keep_reading(plugin.clone(), hang_ups, reload));
    let metrics = Metrics::new(plugin.engine().clone());
    let shared = Arc::new(Shared::new(plugin, metrics.clone()));
    let (ending, told) = watch::channel(false);
    if let Some(address) = listen.metrics {
        let failed = |error| ServeError::Metrics { address, error };
        let page = metrics::http::listen(address).await.map_err(failed)?;
        tokio::spawn(metrics::http::serve(page, metrics.clone()));
        tokio::spawn(metrics::observe::keep_looking(plugin.clone(), metrics, told.clone()));
    }
    let allowed = AllowedPeers::with(own_uid(), listen.allowed_uids.iter().copied());
    let accepting = tokio::spawn(connections::serve(listener, allowed, shared.clone(), told));
    let endpoint = socket.endpoint().unwrap_or_else(|| listen.endpoint.clone());
    tell(&Notice::Ready(endpoint.clone()));
    if let Some(every) = watchdog() {
        tokio::spawn(keep_telling(every));
    }
    tracing::info!(endpoint, driver = plugin.config().driver_name, node = plugin.config().node_id, "serving");

    let signal = signals.next().await;
    tracing::info!(signal, "ending: calls that run are finished");
    tell(&Notice::Stopping);
    shared.end();
    let _ = ending.send(true);
    let _ = accepting.await;
    // Nobody knocks at a door that nobody opens; the lock stays until the end.
    socket.close();
    let ended = tokio::select! {
        left = drain(plugin.engine(), &shared, listen.drain_timeout) => match left {
            0 => Ended::Drained,
            left => {
                tracing::warn!(left, "the time to finish is over: the same calls will find what was done");
                Ended::GaveUp
            }
        },
        signal = signals.next() => {
            tracing::warn!(signal, "told a second time: leaving at once");
            Ended::Forced
        }
    };
    tracing::info!("ended");
    Ok(ended)
}

/// Reads the configuration again at each SIGHUP; one that is wrong changes nothing.
async fn keep_reading(plugin: Plugin, mut hang_ups: Signal, reload: Option<Reload>) {
    while hang_ups.recv().await.is_some() {
        let Some(reload) = reload.clone() else {
            tracing::info!("SIGHUP: there is no --config to read again");
            continue;
        };
        let read = tokio::task::spawn_blocking(move || reload()).await;
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(storage) => {
                let (pools, classes) = (storage.pools.len(), storage.classes.len());
                plugin.set_storage(storage);
                tracing::info!(pools, classes, "SIGHUP: the configuration was read again");
            }
            Err(why) => tracing::error!("SIGHUP: the configuration is wrong and stays as it was: {why}"),
        }
    }
}

fn tell(notice: &Notice) {
    if let Err(error) = notify(notice) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}

async fn keep_telling(every: Duration) {
    loop {
        tell(&Notice::Watchdog);
        tokio::time::sleep(every).await;
    }
}

/// The signals that end a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
