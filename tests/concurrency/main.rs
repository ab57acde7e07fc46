//! The scheduling core under shuttle, which runs the same sources with threads whose every switch it chooses at random: lost wake-ups,
//! deadlocks and steps that run twice show up with the seed that repeats them. A program of its own, since shuttle's locks work only
//! inside its runs.
//!
//! usage: cargo test --test concurrency [-- ITERATIONS]
#![allow(dead_code, unused_imports, missing_docs, clippy::print_stdout, clippy::unwrap_used)]

pub use csictl::{driver, host, model, plan};

#[path = "../../src/host/linux/commit.rs"]
mod commit;
mod exec;
#[cfg(feature = "serve")]
#[path = "../../src/csi/in_flight.rs"]
mod in_flight;

mod commits;
mod engine;
mod execution;
#[cfg(feature = "serve")]
mod flights;

/// In place of `src/sync.rs`.
mod sync {
    pub use std::sync::PoisonError;

    pub use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, mpsc};
}

/// Interleavings tried of each situation, unless the command line says otherwise.
const ITERATIONS: usize = 2000;
/// Preemptions that the probabilistic scheduler (PCT) places.
const DEPTH: usize = 3;

/// Tries a situation under both of shuttle's random schedulers.
fn check(name: &str, iterations: usize, situation: fn()) {
    shuttle::check_random(situation, iterations);
    shuttle::check_pct(situation, iterations, DEPTH);
    println!("{name}: {} interleavings", 2 * iterations);
}

fn main() {
    let asked = std::env::args().nth(1).and_then(|argument| argument.parse().ok());
    let iterations = asked.unwrap_or(ITERATIONS);
    check("every step ends once, after those it depends on", iterations, execution::every_step_ends_once);
    check("a stop in the middle ends the run and skips the rest", iterations, execution::a_stop_ends_the_run);
    check("everything handed over is answered, then the engine is idle", iterations, engine::everything_is_answered);
    check("copies never fill the pool", iterations, engine::copies_leave_room);
    check("whoever commits returns", iterations, commits::whoever_commits_returns);
    #[cfg(feature = "serve")]
    check("one call at a time on one object", iterations, flights::one_call_at_a_time);
}
