//! Runs an approved plan: ready steps by in-degree on a rayon pool of its own, three lanes admitted before a step is spawned, a
//! failed step skipping only what depends on it. It knows a [`crate::driver::Driver`] and an event sink, and nothing of the machine.
//!
//! Way in: [`execute`] for a plan, [`Engine`] for single actions (the gRPC service). [`schedule`] decides, [`run`] has the threads.

pub mod engine;
pub mod event;
pub mod lanes;
pub mod options;
mod pool;
pub mod run;
pub mod schedule;
pub mod signal;

pub use engine::{Engine, Panicked};
pub use event::{Event, EventSink, StepFailure, Summary};
pub use lanes::{Lane, expand_lane, lane_of, lane_of_action, stage_lane};
pub use options::{OnError, Options, PARALLELISM};
pub use run::execute;
pub use signal::Stop;
