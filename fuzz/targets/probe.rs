//! Any bytes on a device get one of the four answers; only zeros are blank.
#![no_main]

use csictl::host::linux::probe::probe;
use csictl::model::Probe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if probe(&bytes) == Probe::Blank {
        assert!(bytes.iter().all(|byte| *byte == 0), "something that is not zero was called blank");
    }
});
