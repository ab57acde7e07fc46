//! The server around the services: its socket, who may speak to it, how it starts, drains and ends.

pub mod notify;
pub mod peer;
pub mod socket;
