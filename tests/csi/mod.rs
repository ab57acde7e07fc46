//! `csictl serve` as its callers see it: a real server process, its real socket, a real gRPC client.

pub mod calls;
mod client;
mod controller;
mod group;
mod identity;
mod manifest;
mod metadata;
mod node;
mod orphans;
mod restore;
mod sanity;
mod server;
mod shop;
mod snapshots;
mod texts;
