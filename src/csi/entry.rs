//! An entry of ListVolumes (CSI 1.12, ListVolumesResponse.Entry), written by hand because of the one thing a generated message can't have:
//! bytes that were encoded for an earlier list and are sent as they are. A list of thousands then copies bytes and makes no strings.

use prost::DecodeError;
use prost::bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType, message, skip_field};

use super::proto::Volume;
use super::proto::list_volumes_response::VolumeStatus;

/// The numbers of its fields, as `proto/csi.proto` has them.
const VOLUME: u32 = 1;
const STATUS: u32 = 2;

/// One volume of a list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Entry {
    /// The volume.
    pub volume: Option<Volume>,
    /// Where it is published, and how it is.
    pub status: Option<VolumeStatus>,
    /// Both as they go over the wire, from before; nothing else is set then.
    encoded: Bytes,
}

impl Entry {
    /// Of this volume.
    pub fn new(volume: Volume, status: VolumeStatus) -> Self {
        Self { volume: Some(volume), status: Some(status), encoded: Bytes::new() }
    }

    /// One that was encoded before.
    pub fn encoded(encoded: Bytes) -> Self {
        Self { encoded, ..Self::default() }
    }
}

impl prost::Message for Entry {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.encoded);
        if let Some(volume) = &self.volume {
            message::encode(VOLUME, volume, buf);
        }
        if let Some(status) = &self.status {
            message::encode(STATUS, status, buf);
        }
    }

    fn encoded_len(&self) -> usize {
        let volume = self.volume.as_ref().map_or(0, |volume| message::encoded_len(VOLUME, volume));
        let status = self.status.as_ref().map_or(0, |status| message::encoded_len(STATUS, status));
        self.encoded.len() + volume + status
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            VOLUME => message::merge(wire_type, self.volume.get_or_insert_default(), buf, context),
            STATUS => message::merge(wire_type, self.status.get_or_insert_default(), buf, context),
            _ => skip_field(wire_type, tag, buf, context),
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::csi::proto::{ListVolumesResponse, VolumeCondition};

    fn entry(id: &str) -> Entry {
        let condition = VolumeCondition { abnormal: true, message: "its image is gone".into() };
        let status = VolumeStatus { published_node_ids: vec!["n1".into()], volume_condition: Some(condition) };
        Entry::new(Volume { volume_id: id.into(), capacity_bytes: 5, ..Volume::default() }, status)
    }

    #[test]
    fn what_was_encoded_before_goes_over_the_wire_as_what_is_encoded_now() {
        let now = ListVolumesResponse { entries: vec![entry("a"), entry("b")], next_token: "t".into() };
        let before = Entry::encoded(entry("a").encode_to_vec().into());
        let mixed = ListVolumesResponse { entries: vec![before, entry("b")], next_token: "t".into() };

        assert_eq!(mixed.encode_to_vec(), now.encode_to_vec());
        assert_eq!(ListVolumesResponse::decode(mixed.encode_to_vec().as_slice()).unwrap(), now);
    }

    #[test]
    fn fields_of_a_later_specification_are_left_out() {
        let mut bytes = entry("a").encode_to_vec();
        prost::encoding::string::encode(7, &"new".to_owned(), &mut bytes);

        assert_eq!(Entry::decode(bytes.as_slice()).unwrap(), entry("a"));
    }
}
