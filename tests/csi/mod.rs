//! `csictl serve` as its callers see it: a real server process, its real socket, a real gRPC client.

mod identity;
mod shop;
mod snapshots;
