//! The server around the services: who may speak to it, and what the service manager is told. Its
//! socket is [`crate::host::linux::socket`].

pub mod notify;
pub mod peer;
pub mod run;
