//! `csictl serve`: the CSI driver, and `csictl csi`: a client for any CSI socket. The only place that knows tokio and tonic.
//!
//! A request is checked ([`request`], [`capability`]), turned into the driver's verbs, run on the executor's lanes ([`plugin`]), and
//! answered; an error becomes a gRPC status in [`status`] alone. There is no verb here: what stage or expand mean is the driver's to say.

pub mod capability;
pub mod client;
pub mod code;
pub mod condition;
pub mod config;
pub mod contract;
pub mod controller;
pub mod entry;
pub mod group;
pub mod identifier;
pub mod identity;
pub mod in_flight;
pub mod index;
pub mod listing;
pub mod metadata;
pub mod metrics;
pub mod node;
pub mod page;
pub mod parameters;
pub mod plugin;
pub mod proto;
pub mod provision;
pub mod request;
pub mod room;
pub mod rules;
pub mod server;
pub mod size_range;
pub mod status;
