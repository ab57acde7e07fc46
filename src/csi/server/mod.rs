//! The server around the services: who may speak to it, how much of it there may be at once, how it begins and ends, what the service
//! manager and the log are told. Its socket is [`crate::host::linux::socket`].
//!
//! ```text
//! run (begin, serve, drain) ── connections (accept, as many as there are places) ── handle (one call) ── the services
//! ```

mod begun;
mod call;
mod connections;
mod deadline;
mod drain;
mod handle;
pub mod limits;
pub mod notify;
mod object;
pub mod peer;
mod ready;
pub mod run;
mod seats;
mod shared;
mod start;

pub use ready::Readiness;
