//! csictl: declare volumes and pods in TOML, see the plan, apply it in parallel against real loop devices and mounts.
//!
//! The layers, top to bottom; each uses only those below it (`tests/architecture.rs` keeps it so):
//! `cli` → `exec` → `plan`, `driver` → `state` → `host` → `model`, with `manifest` beside `plan`.
//! `docs/architecture.md` has the picture.

pub mod cli;
#[cfg(feature = "serve")]
pub mod csi;
pub mod driver;
pub mod exec;
pub mod host;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod state;
mod sync;
