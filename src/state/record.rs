//! The bytes of a record: a line of JSON that names its schema and version and carries a checksum over the record's exact
//! bytes. A change that need not outlive a power cut is appended as a further whole line: the last line that is whole counts, so that an append
//! that was torn leaves what was before it. Pure, so that it can be fuzzed; whatever bytes come in, the answer is a [`Recorded`] and never a panic.
//!
//! The envelope's own layout is fixed, byte for byte, because a checksum over bytes needs to know where they begin.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::record::{
    GroupRecord, LimitsRecord, RECORD_VERSION, Recorded, RunRecord, SnapshotRecord, VolumeRecord,
};

/// Something that is kept as a record.
pub trait Record: Serialize + DeserializeOwned {
    /// The schema's name, without its version.
    const SCHEMA: &'static str;

    /// The id it is filed under; a record below another name is not believed.
    fn id(&self) -> &str;
}

impl Record for VolumeRecord {
    const SCHEMA: &'static str = "csictl.volume";

    fn id(&self) -> &str {
        self.spec.id.as_str()
    }
}

impl Record for SnapshotRecord {
    const SCHEMA: &'static str = "csictl.snapshot";

    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Record for GroupRecord {
    const SCHEMA: &'static str = "csictl.group";

    fn id(&self) -> &str {
        self.id.as_str()
    }
}

impl Record for LimitsRecord {
    const SCHEMA: &'static str = "csictl.limits";

    fn id(&self) -> &str {
        self.project.as_str()
    }
}

impl Record for RunRecord {
    const SCHEMA: &'static str = "csictl.run";

    fn id(&self) -> &str {
        self.id.as_str()
    }
}

/// What every version of the envelope has in common.
#[derive(serde::Deserialize)]
struct Envelope {
    schema: String,
    version: u32,
}

const TAIL: &str = "}\n";

/// Everything before the record's own bytes.
fn head(schema: &str, checksum: u32) -> String {
    format!(
        "{{\"schema\":\"{schema}/{RECORD_VERSION}\",\"version\":{RECORD_VERSION},\"checksum\":\"crc32:{checksum:08x}\",\"record\":"
    )
}

/// The bytes of a record.
///
/// # Panics
/// Never: records are maps with text keys, which always have a JSON form.
pub fn encode<T: Record>(record: &T) -> Vec<u8> {
    let body = serde_json::to_string(record).expect("a record has only text keys");
    let mut bytes = head(T::SCHEMA, crc32fast::hash(body.as_bytes())).into_bytes();
    bytes.extend_from_slice(body.as_bytes());
    bytes.extend_from_slice(TAIL.as_bytes());
    bytes
}

/// What these bytes, filed under `id`, are.
pub fn decode<T: Record>(bytes: &[u8], id: &str) -> Recorded<T> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    if !first.starts_with(head(T::SCHEMA, 0).split("crc32:").next().unwrap_or_default().as_bytes())
        && let newer @ Recorded::Newer { .. } = decode_line(first, id)
    {
        return newer;
    }
    let later = lines.rev().map(|line| decode_line(line, id)).find(|line| !matches!(line, Recorded::Corrupt { .. }));
    later.unwrap_or_else(|| decode_line(first, id))
}

fn decode_line<T: Record>(bytes: &[u8], id: &str) -> Recorded<T> {
    let corrupt = |cause: String| Recorded::Corrupt { cause };
    if bytes.is_empty() {
        return corrupt("it is empty".to_owned());
    }
    match body::<T>(bytes) {
        Some((body, checksum)) if crc32fast::hash(body) == checksum => match serde_json::from_slice::<T>(body) {
            Ok(record) if record.id() == id => Recorded::Present(record),
            Ok(record) => corrupt(format!("it is a record of '{}'", record.id())),
            Err(error) => corrupt(format!("its checksum fits but its content does not: {error}")),
        },
        Some(_) => corrupt("its checksum does not fit its content".to_owned()),
        None => match serde_json::from_slice::<Envelope>(bytes) {
            Ok(envelope) if envelope.version > RECORD_VERSION && belongs(&envelope.schema, T::SCHEMA) => {
                Recorded::Newer { version: envelope.version }
            }
            Ok(_) => corrupt(format!("it is not a {}/{RECORD_VERSION} as csictl writes it", T::SCHEMA)),
            Err(error) => corrupt(format!("it is not whole: {error}")),
        },
    }
}

/// The record's own bytes and the checksum they claim, if the envelope is exactly ours.
fn body<T: Record>(bytes: &[u8]) -> Option<(&[u8], u32)> {
    let empty = head(T::SCHEMA, 0);
    let at = empty.find("crc32:")? + "crc32:".len();
    let digits = std::str::from_utf8(bytes.get(at..at + 8)?).ok()?;
    let checksum = u32::from_str_radix(digits, 16).ok()?;
    let rest = bytes.strip_prefix(head(T::SCHEMA, checksum).as_bytes())?;
    Some((rest.strip_suffix(TAIL.as_bytes())?, checksum))
}

fn belongs(schema: &str, name: &str) -> bool {
    schema.split_once('/').is_some_and(|(schema, _)| schema == name)
}

/// The pool directory that a damaged volume record still seems to name: a place to look for its image, where the image's own
/// attribute then has to say that it is the one.
pub fn salvage_pool_path(bytes: &[u8]) -> Option<std::path::PathBuf> {
    let key = b"\"pool_path\":";
    let start = bytes.windows(key.len()).position(|window| window == key)? + key.len();
    let mut values = serde_json::Deserializer::from_slice(&bytes[start..]).into_iter::<std::path::PathBuf>();
    values.next()?.ok().filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::store::tests::volume_record;

    #[test]
    fn what_is_written_is_read_back() {
        let record = volume_record("shop.db");

        assert_eq!(decode(&encode(&record), "shop.db"), Recorded::Present(record));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let bytes = encode(&volume_record("shop.db"));

        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x01;
            assert!(decode::<VolumeRecord>(&flipped, "shop.db").present().is_none(), "bit at {at}");
            assert!(matches!(decode::<VolumeRecord>(&bytes[..at], "shop.db"), Recorded::Corrupt { .. }), "cut at {at}");
        }
    }

    #[test]
    fn the_last_whole_line_counts_and_a_torn_one_leaves_the_one_before() {
        let before = volume_record("shop.db");
        let mut after = before.clone();
        after.released = true;
        let first = encode(&before);
        let both = [first.clone(), encode(&after)].concat();

        assert_eq!(decode(&both, "shop.db"), Recorded::Present(after));
        for cut in first.len()..both.len() {
            assert_eq!(decode(&both[..cut], "shop.db"), Recorded::Present(before.clone()), "cut at {cut}");
            let mut zeroed = both.clone();
            zeroed[cut..].fill(0);
            assert_eq!(decode(&zeroed, "shop.db"), Recorded::Present(before.clone()), "zeros from {cut}");
        }
        let third = [both[..both.len() - 9].to_vec(), b"\n".to_vec(), encode(&before)].concat();
        assert_eq!(decode(&third, "shop.db"), Recorded::Present(before));
        let newer = [first, br#"{"schema":"csictl.volume/7","version":7}"#.to_vec()].concat();
        assert_eq!(decode::<VolumeRecord>(&newer, "shop.db"), Recorded::Newer { version: 7 });
    }

    #[test]
    fn a_newer_record_is_told_from_a_corrupt_one() {
        let newer = br#"{"schema":"csictl.volume/7","version":7,"anything":["else"]}"#;

        assert_eq!(decode::<VolumeRecord>(newer, "shop.db"), Recorded::Newer { version: 7 });
        let other = br#"{"schema":"somebody.volume/7","version":7}"#;
        assert!(matches!(decode::<VolumeRecord>(other, "shop.db"), Recorded::Corrupt { .. }));
    }

    #[test]
    fn a_record_under_another_name_is_not_believed() {
        let bytes = encode(&volume_record("shop.db"));

        assert!(matches!(decode::<VolumeRecord>(&bytes, "shop.web"), Recorded::Corrupt { .. }));
    }

    #[test]
    fn a_damaged_record_still_tells_where_to_look() {
        let mut bytes = encode(&volume_record("shop.db"));
        bytes.truncate(bytes.len() - 40);

        assert_eq!(salvage_pool_path(&bytes), Some("/pool".into()));
        assert_eq!(salvage_pool_path(b"\"pool_path\":\"../etc\""), None);
    }
}
