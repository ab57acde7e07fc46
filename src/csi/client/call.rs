//! One call over a CSI socket, waited for at most as long as its deadline.

use std::error::Error as _;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prost_reflect::{DeserializeOptions, DynamicMessage, SerializeOptions};
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::codec::DynamicCodec;
use super::rpc::Rpc;
use crate::csi::code::{self, Facts};
use crate::csi::contract::method;

/// The largest answer that is read: a page of very many volumes.
const ANSWER_MAX: usize = 64 << 20;

/// What it means when a connection ends before its answer.
const CLOSED: &str = "the connection was closed without an answer: the server serves root, its own user and those of --allow-uid, closes what is too many at once, or has ended";

/// Why a call has no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// The endpoint is no unix socket.
    #[error("endpoint '{0}' is no unix socket")]
    Endpoint(String),
    /// The request does not fit the call.
    #[error("this is no {name}: {why}")]
    Request {
        /// The message's name.
        name: String,
        /// What does not fit.
        why: String,
    },
    /// Nobody answers at the socket.
    #[error("{}: {error}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The client itself could not start.
    #[error("start the client: {0}")]
    Start(#[source] io::Error),
    /// The server's answer is an error.
    #[error("{message}")]
    Status {
        /// Which.
        code: &'static Facts,
        /// In the server's words; may be empty.
        message: String,
    },
}

/// What the server answered.
#[derive(Debug)]
pub struct Reply {
    messages: Vec<DynamicMessage>,
    /// Whether the call answers with a stream of messages, and not with one.
    pub streams: bool,
}

impl Reply {
    /// The messages with the names of protobuf's JSON (`volumeId`), fields that are not set included; sizes are numbers.
    pub fn json(&self) -> Vec<Value> {
        self.written(&SerializeOptions::new().skip_default_fields(false))
    }

    /// The messages with the names of the specification (`volume_id`), only what is set.
    pub fn named(&self) -> Vec<Value> {
        self.written(&SerializeOptions::new().use_proto_field_name(true))
    }

    fn written(&self, options: &SerializeOptions) -> Vec<Value> {
        let options = options.clone().stringify_64_bit_integers(false);
        let write = |message: &DynamicMessage| message.serialize_with_options(serde_json::value::Serializer, &options);
        // Fails only for timestamps out of range, which then are worth no more than null.
        self.messages.iter().map(|message| write(message).unwrap_or_default()).collect()
    }
}

/// The path of an endpoint; a client may name it relative to where it is.
///
/// # Errors
/// [`CallError::Endpoint`] for a network address.
pub fn path_of(endpoint: &str) -> Result<PathBuf, CallError> {
    let path = endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    if path.is_empty() || path.contains("://") {
        Err(CallError::Endpoint(endpoint.to_owned()))
    } else {
        Ok(path.into())
    }
}

/// Calls `rpc` with this request, which is protobuf's JSON with either sort of names.
///
/// # Errors
/// [`CallError`].
pub fn call(endpoint: &str, rpc: &Rpc, request: Value, timeout: Option<Duration>) -> Result<Reply, CallError> {
    let path = path_of(endpoint)?;
    let message = message(rpc, request)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CallError::Start)?;
    runtime.block_on(async {
        let talk = talk(&path, rpc, message, timeout);
        match timeout {
            None => talk.await,
            Some(limit) => tokio::time::timeout(limit, talk).await.unwrap_or_else(|_| {
                let text = format!("no answer within {limit:?}; the server may still be working on it");
                Err(failed(&Status::deadline_exceeded(text)))
            }),
        }
    })
}

fn message(rpc: &Rpc, request: Value) -> Result<DynamicMessage, CallError> {
    let description = method(rpc).input();
    let name = description.name().to_owned();
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(description, request, &options);
    message.map_err(|error| CallError::Request { name, why: error.to_string() })
}

async fn talk(path: &Path, rpc: &Rpc, message: DynamicMessage, timeout: Option<Duration>) -> Result<Reply, CallError> {
    let fail = |status: Status| failed(&status);
    let channel = connect(path).await?;
    let mut grpc = Grpc::new(channel).max_decoding_message_size(ANSWER_MAX);
    grpc.ready().await.map_err(|_| fail(Status::unavailable(CLOSED)))?;
    let mut request = Request::new(message);
    if let Some(timeout) = timeout {
        request.set_timeout(timeout);
    }
    let method = method(rpc);
    let route = format!("/csi.v1.{}/{}", rpc.service, rpc.name);
    let route = PathAndQuery::try_from(route).map_err(|error| fail(Status::internal(error.to_string())))?;
    let codec = DynamicCodec(method.output());
    if !method.is_server_streaming() {
        let answer = within(grpc.unary(request, route, codec), timeout).await.map_err(fail)?;
        return Ok(Reply { messages: vec![answer.into_inner()], streams: false });
    }
    let mut stream = within(grpc.server_streaming(request, route, codec), timeout).await.map_err(fail)?.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await.map_err(fail)? {
        messages.push(message);
    }
    Ok(Reply { messages, streams: true })
}

fn failed(status: &Status) -> CallError {
    CallError::Status { code: code::of(status.code()), message: status.message().to_owned() }
}

/// The transport calls its own end of patience a cancellation; it is the deadline.
async fn within<T>(call: impl Future<Output = Result<T, Status>>, timeout: Option<Duration>) -> Result<T, Status> {
    let begun = tokio::time::Instant::now();
    call.await.map_err(|status| match timeout {
        Some(limit) if status.code() == Code::Cancelled && begun.elapsed() >= limit => {
            Status::deadline_exceeded(format!("no answer within {limit:?}; the server may still be working on it"))
        }
        // No server said this: the connection ended before its answer.
        _ if matches!(status.code(), Code::Cancelled | Code::Unknown) && status.source().is_some() => {
            Status::unavailable(CLOSED)
        }
        _ => status,
    })
}

/// Connects before anything is sent, so that "nobody is there" is told from "it failed".
async fn connect(path: &Path) -> Result<Channel, CallError> {
    let fail = |error| CallError::Connect { path: path.to_owned(), error };
    let mut first = Some(UnixStream::connect(path).await.map_err(fail)?);
    let path_again = path.to_owned();
    let connector = tower::service_fn(move |_| {
        let (first, path) = (first.take(), path_again.clone());
        async move {
            let stream = match first {
                Some(stream) => stream,
                None => UnixStream::connect(path).await?,
            };
            Ok::<_, io::Error>(TokioIo::new(stream))
        }
    });
    // The authority is what other servers' libraries expect over a unix socket.
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
    channel.map_err(|_| failed(&Status::unavailable(CLOSED)))
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use serde_json::json;

    use super::super::flag::Kind;
    use super::super::request::fill;
    use super::super::rpc::RPCS;
    use super::*;
    use crate::csi::proto::CreateVolumeRequest;
    use crate::csi::proto::volume_capability::AccessType;

    #[test]
    fn every_flag_of_every_call_fits_its_message() {
        for rpc in RPCS {
            let mut request = json!({});
            for flag in rpc.flags.iter().filter(|flag| flag.name != "from-volume") {
                let typed = match flag.kind {
                    Kind::Capability | Kind::Capabilities => "SINGLE_NODE_WRITER,mount,xfs,noatime",
                    Kind::Map | Kind::Secrets | Kind::Topology | Kind::Topologies => "key=value",
                    _ => "7",
                };
                fill(&mut request, flag, &[typed.to_owned()]).unwrap();
            }
            let message = message(rpc, request).unwrap_or_else(|error| panic!("{}: {error}", rpc.name));
            let set = message.fields().count();
            assert_eq!(set, method(rpc).input().fields().len(), "{}: every field is set", rpc.name);
        }
    }

    #[test]
    fn the_wire_has_what_a_server_reads() {
        let request = json!({
            "name": "x", "capacityRange": {"requiredBytes": "4096", "limit_bytes": 8192},
            "volume_capabilities": [{"access_mode": {"mode": "SINGLE_NODE_WRITER"}, "mount": {"fs_type": "xfs"}}],
        });
        let bytes = message(Rpc::find("create-volume").unwrap(), request).unwrap().encode_to_vec();
        let read = CreateVolumeRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!((read.name.as_str(), read.capacity_range.unwrap().limit_bytes), ("x", 8192));
        let Some(AccessType::Mount(mount)) = &read.volume_capabilities[0].access_type else { panic!("{read:?}") };
        assert_eq!(mount.fs_type, "xfs");
    }

    #[test]
    fn what_is_no_request_is_refused_before_anything_is_sent() {
        let rpc = Rpc::find("delete-volume").unwrap();
        for bad in [json!({"volumeid": "x"}), json!({"volume_id": 7}), json!([])] {
            assert!(matches!(message(rpc, bad), Err(CallError::Request { .. })));
        }
    }

    #[test]
    fn an_endpoint_is_a_socket_wherever_it_is() {
        for (endpoint, path) in
            [("unix:///run/x.sock", "/run/x.sock"), ("unix:/x", "/x"), ("./csi.sock", "./csi.sock"), ("/x", "/x")]
        {
            assert_eq!(path_of(endpoint).unwrap(), Path::new(path));
        }
        for bad in ["tcp://127.0.0.1:1", "", "unix://"] {
            assert!(path_of(bad).is_err(), "{bad}");
        }
    }
}
