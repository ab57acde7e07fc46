//! Any bytes in an image's attribute are its word about itself, or said to be none; what is read is written as it was read.
#![no_main]

use csictl::host::linux::identity::{parse, text};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(identity) = parse(bytes) {
        let again = text(&identity).expect("what was read can be written");
        assert_eq!(parse(&again), Some(identity));
    }
});
