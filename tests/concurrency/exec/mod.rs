//! The executor's own sources over shuttle's threads. Only the pool is another one.

#[path = "../../../src/exec/engine.rs"]
pub mod engine;
#[path = "../../../src/exec/event.rs"]
pub mod event;
#[path = "../../../src/exec/lanes.rs"]
pub mod lanes;
#[path = "../../../src/exec/options.rs"]
pub mod options;
pub mod pool;
#[path = "../../../src/exec/run.rs"]
pub mod run;
#[path = "../../../src/exec/schedule.rs"]
pub mod schedule;
#[path = "../../../src/exec/signal.rs"]
pub mod signal;
