//! The wire's form of any message, by its description: what `proto/csi.proto` says of it, kept in the binary.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::rpc::Rpc;

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/csi.descriptors"));
    DescriptorPool::decode(bytes.as_slice()).expect("the build wrote it")
});

/// What the contract says of its messages and services.
pub(super) fn descriptors() -> &'static DescriptorPool {
    &DESCRIPTORS
}

/// What it says of one call.
///
/// # Panics
/// Never: a test holds the table of calls against the contract.
pub(super) fn method(rpc: &Rpc) -> MethodDescriptor {
    let service = descriptors().get_service_by_name(&format!("csi.v1.{}", rpc.service));
    let method = service.and_then(|service| service.methods().find(|method| method.name() == rpc.name));
    method.expect("the table has only calls of the contract")
}

/// Writes any message, reads messages of one kind.
pub(super) struct DynamicCodec(pub MessageDescriptor);

/// The writing half.
pub(super) struct Writer;

/// The reading half.
pub(super) struct Reader(MessageDescriptor);

impl Codec for DynamicCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = Writer;
    type Decoder = Reader;

    fn encoder(&mut self) -> Writer {
        Writer
    }

    fn decoder(&mut self) -> Reader {
        Reader(self.0.clone())
    }
}

impl Encoder for Writer {
    type Item = DynamicMessage;
    type Error = Status;

    fn encode(&mut self, message: DynamicMessage, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(to).map_err(|error| Status::internal(format!("the request can't be written: {error}")))
    }
}

impl Decoder for Reader {
    type Item = DynamicMessage;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        let message = DynamicMessage::decode(self.0.clone(), from);
        message.map(Some).map_err(|error| Status::internal(format!("the answer is no {}: {error}", self.0.name())))
    }
}
