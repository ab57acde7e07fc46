//! What a request is about, for the log: the volume, snapshot or group it names, read from the request by the description of its
//! message. Nothing else of a request ever gets into the log.

use prost_reflect::{DynamicMessage, Value};

use crate::csi::client::Rpc;
use crate::csi::contract;

/// Bytes in front of a message in gRPC: one of flags, four of length.
const PREFIX: usize = 5;
/// Characters of an id or name that are logged.
const SHOWN: usize = 128;
/// The fields that name the object, the most telling first.
const FIELDS: [&str; 6] =
    ["volume_id", "snapshot_id", "group_snapshot_id", "target_snapshot_id", "source_volume_id", "name"];

/// The object of a request as it came over the wire; empty where it names none.
pub fn of(rpc: &Rpc, body: &[u8]) -> String {
    let message = body.get(PREFIX..).unwrap_or_default();
    let Ok(message) = DynamicMessage::decode(contract::method(rpc).input(), message) else { return String::new() };
    let field = |name: &&str| match message.get_field_by_name(name).as_deref() {
        Some(Value::String(text)) if !text.is_empty() => Some(text.chars().take(SHOWN).map(printable).collect()),
        _ => None,
    };
    FIELDS.iter().find_map(field).unwrap_or_default()
}

fn printable(c: char) -> char {
    if c.is_control() { '?' } else { c }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use prost::Message;

    use super::*;
    use crate::csi::proto::{CreateSnapshotRequest, CreateVolumeRequest, NodeGetInfoRequest};

    fn wire(message: &impl Message) -> Vec<u8> {
        [vec![0; PREFIX], message.encode_to_vec()].concat()
    }

    #[test]
    fn a_request_is_about_what_it_names_and_shows_no_more() {
        let secrets = HashMap::from([("key".to_owned(), "hunter2".to_owned())]);
        let create = CreateVolumeRequest { name: "pvc\n1".into(), secrets: secrets.clone(), ..Default::default() };
        assert_eq!(of(Rpc::find("create-volume").unwrap(), &wire(&create)), "pvc?1");
        let snapshot =
            CreateSnapshotRequest { name: "s".into(), source_volume_id: "vol-1".into(), secrets, ..Default::default() };
        assert_eq!(of(Rpc::find("create-snapshot").unwrap(), &wire(&snapshot)), "vol-1");
        assert_eq!(of(Rpc::find("node-get-info").unwrap(), &wire(&NodeGetInfoRequest {})), "");
        assert_eq!(of(Rpc::find("create-volume").unwrap(), b"nonsense"), "");
    }
}
