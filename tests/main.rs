//! The integration tests, one binary, by theme.
#![allow(clippy::unwrap_used, missing_docs)]

mod architecture;
mod cli;
#[cfg(feature = "serve")]
mod csi;
#[cfg(feature = "serve")]
mod deploy;
mod exec;
mod faults;
mod manifest;
mod plan;
mod privileged;
mod projects;
mod props;
mod support;
mod threats;
