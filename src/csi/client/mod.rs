//! A client for any CSI socket, csictl's own or another's: what `csictl csi` is made of.
//!
//! The calls and their flags are one table ([`rpc`]); a request is put together as JSON ([`request`]) and turned into the wire's form by the
//! messages' own descriptions ([`codec`]), so that no call needs code of its own; [`call`] speaks to the socket.

pub mod call;
pub mod capability;
mod codec;
pub mod flag;
pub mod request;
pub mod rpc;

pub use call::{CallError, Reply, call};
pub use flag::{Flag, Kind};
pub use rpc::{RPCS, Rpc};
