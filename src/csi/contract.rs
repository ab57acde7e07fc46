//! What `proto/csi.proto` says of its messages and services, kept in the binary, for what treats all calls alike: the client, the log.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::client::Rpc;

static DESCRIPTORS: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/csi.descriptors"));
    DescriptorPool::decode(bytes.as_slice()).expect("the build wrote it")
});

/// All of it.
pub fn descriptors() -> &'static DescriptorPool {
    &DESCRIPTORS
}

/// What it says of one call.
///
/// # Panics
/// Never: a test holds the table of calls against the contract.
pub fn method(rpc: &Rpc) -> MethodDescriptor {
    let service = descriptors().get_service_by_name(&format!("csi.v1.{}", rpc.service));
    let method = service.and_then(|service| service.methods().find(|method| method.name() == rpc.name));
    method.expect("the table has only calls of the contract")
}
