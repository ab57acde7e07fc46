//! Any bytes are a record, or said to be none; what is read is written as it was read.
#![no_main]

use csictl::model::record::{Recorded, SnapshotRecord, VolumeRecord};
use csictl::state::record::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Recorded::Present(record) = decode::<VolumeRecord>(bytes, "shop.db") {
        let again = decode::<VolumeRecord>(&encode(&record), "shop.db");
        assert_eq!(again, Recorded::Present(record));
    }
    let _ = decode::<SnapshotRecord>(bytes, "shop.before");
});
