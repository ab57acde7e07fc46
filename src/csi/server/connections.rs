//! Connections: taken from those who may speak, as many as there are places for, each served until its caller leaves or the server ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::timeout;

use super::begun::{Begun, silent};
use super::handle::handle;
use super::limits::{HEADERS, KEEP_ALIVE, KEEP_ALIVE_ANSWER, STREAMS};
use super::peer::{AllowedPeers, accept};
use super::seats::{LEAVING, Seat};
use super::shared::Shared;

/// How long accepting rests when the system has no descriptor left.
const REST: Duration = Duration::from_millis(50);

/// Accepts until the server ends.
pub async fn serve(listener: UnixListener, allowed: AllowedPeers, shared: Arc<Shared>, ending: watch::Receiver<bool>) {
    let mut told = ending.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &allowed) => accepted,
            () = end_of(&mut told) => return,
        };
        match accepted {
            Ok(stream) => drop(tokio::spawn(seated(stream, shared.clone(), ending.clone()))),
            Err(error) => {
                tracing::error!(%error, "can't accept connections");
                tokio::time::sleep(REST).await;
            }
        }
    }
}

/// Returns when the server ends.
async fn end_of(ending: &mut watch::Receiver<bool>) {
    // An error means that nobody is left who could say so: it has ended.
    let _ = ending.wait_for(|ending| *ending).await;
}

/// Serves a connection once it has a place.
async fn seated(stream: UnixStream, shared: Arc<Shared>, ending: watch::Receiver<bool>) {
    let Some(place) = shared.connections.clone().take().await else {
        shared.metrics.refused_connections.inc();
        tracing::warn!("refused a connection: too many are open");
        return;
    };
    connection(stream, shared, ending, place.seat()).await;
}

async fn connection(stream: UnixStream, shared: Arc<Shared>, mut ending: watch::Receiver<bool>, seat: &Arc<Seat>) {
    let service = {
        let (shared, seat) = (shared.clone(), seat.clone());
        service_fn(move |request| handle(shared.clone(), seat.clone(), request))
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS).max_header_list_size(HEADERS);
    builder.keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE_ANSWER);
    let (stream, begun) = Begun::of(stream, seat.clone());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = silent(begun) => {
            tracing::debug!("closed a connection that said nothing");
            return;
        }
        () = seat.told_to_leave() => {
            shared.metrics.refused_connections.inc();
            tracing::info!("closed a connection that was silent, for a newcomer: too many are open");
            connection.as_mut().graceful_shutdown();
            match timeout(LEAVING, connection.as_mut()).await {
                Ok(served) => served,
                Err(_) if seat.is_idle() => return,
                // A call came in that very moment.
                Err(_) => connection.await,
            }
        }
        () = end_of(&mut ending) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}
