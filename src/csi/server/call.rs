//! One call from its first byte to its last: logged and counted once, whichever way it ends.
//!
//! The log has the RPC, the object it is about, how long it took, the code, and an error's message. Requests and answers themselves are
//! never logged: they carry secrets, tokens and contexts.

use std::sync::Arc;
use std::time::Instant;

use tonic::Code;

use super::seats::{Busy, Seat};
use super::shared::Shared;
use crate::csi::client::{RPCS, Rpc};
use crate::csi::code;

/// How a call that is in no service's list is counted.
pub const UNKNOWN: &str = "unknown";

/// A call that runs. Dropping it before [`Call::ended`] means that its caller went away.
pub struct Call {
    shared: Arc<Shared>,
    rpc: Option<&'static Rpc>,
    object: String,
    begun: Instant,
    ended: bool,
    _on: Busy,
}

impl Call {
    /// The call of this HTTP path, on the connection that has this seat.
    pub fn begin(shared: Arc<Shared>, seat: &Arc<Seat>, path: &str) -> Self {
        shared.call_begins();
        let begun = Instant::now();
        Self { rpc: find(path), shared, object: String::new(), begun, ended: false, _on: seat.begin() }
    }

    /// What is called; `None` for what is no call of the specification.
    pub fn rpc(&self) -> Option<&'static Rpc> {
        self.rpc
    }

    /// What it is about.
    pub fn about(&mut self, object: String) {
        self.object = object;
    }

    /// How it ended.
    pub fn ended(&mut self, code: Code, message: &str) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.shared.call_ends();
        let took = self.begun.elapsed();
        let (rpc, object) = (self.rpc.map_or(UNKNOWN, |rpc| rpc.name), self.object.as_str());
        self.shared.metrics.rpc(rpc, code::name(code), took);
        let millis = u64::try_from(took.as_micros())
            .map_or(f64::MAX, |micros| f64::from(u32::try_from(micros).unwrap_or(u32::MAX)) / 1000.0);
        let code_name = code::name(code);
        match code {
            Code::Ok if self.is_routine() => tracing::debug!(rpc, object, code = code_name, millis, "call"),
            Code::Ok => tracing::info!(rpc, object, code = code_name, millis, "call"),
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Unavailable => {
                tracing::warn!(rpc, object, code = code_name, millis, error = message, "call");
            }
            _ => tracing::info!(rpc, object, code = code_name, millis, error = message, "call"),
        }
    }

    /// What orchestrators ask all the time.
    fn is_routine(&self) -> bool {
        self.rpc.is_some_and(|rpc| rpc.service == "Identity" || rpc.name.ends_with("GetCapabilities"))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.ended(Code::Cancelled, "the caller went away; the work goes on");
    }
}

fn find(path: &str) -> Option<&'static Rpc> {
    let (service, name) = path.strip_prefix("/csi.v1.")?.split_once('/')?;
    RPCS.iter().find(|rpc| rpc.name == name && rpc.service == service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_call_or_unknown() {
        assert_eq!(find("/csi.v1.Node/NodeGetInfo").unwrap().name, "NodeGetInfo");
        for bad in ["/csi.v1.Node/GetPluginInfo", "/csi.v0.Node/NodeGetInfo", "/", "/csi.v1.Node"] {
            assert_eq!(find(bad), None, "{bad}");
        }
    }
}
