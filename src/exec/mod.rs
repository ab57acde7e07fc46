//! Runs an approved plan: ready steps by in-degree on a rayon pool of its own, three lanes admitted before a step is spawned, a
//! failed step skipping only what depends on it. It knows a [`crate::driver::Driver`] and an event sink, and nothing of the machine.

pub mod event;

pub use event::{Event, EventSink, StepFailure, Summary};
