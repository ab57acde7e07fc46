//! The end: calls that run are finished, those that begin are turned away, and nobody who is slow or idle holds it up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::limits::LAST_ANSWERS;
use super::shared::Shared;
use crate::exec::Engine;
use crate::exec::lanes::Lane;

/// How often it is looked whether all is done.
const POLL: Duration = Duration::from_millis(10);

/// Waits until all work is done and every caller has his answer, at most `limit`; how many pieces of work are left.
pub async fn drain(engine: &Engine, shared: &Shared, limit: Duration) -> usize {
    let until = Instant::now() + limit;
    while working(engine) > 0 && Instant::now() < until {
        sleep(POLL).await;
    }
    // Whoever does not fetch his answer now has gone or sleeps.
    let until = Instant::now() + LAST_ANSWERS;
    while (shared.unanswered() > 0 || shared.connections.open() > 0) && Instant::now() < until {
        sleep(POLL).await;
    }
    working(engine)
}

fn working(engine: &Engine) -> usize {
    let load = Lane::ALL.map(|lane| engine.load(lane));
    load.iter().map(|(running, waiting)| running + waiting).sum()
}
