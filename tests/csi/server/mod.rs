//! The server itself, over real processes and sockets: how it begins, whom it lets in, how much it bears, how it ends, what it tells.

mod activation;
mod bounds;
mod ending;
mod metrics;
mod process;
mod reload;
mod secrets;
mod starting;
