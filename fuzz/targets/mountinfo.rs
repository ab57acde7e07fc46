//! Any bytes are a mount table or an error.
#![no_main]

use csictl::host::linux::mountinfo::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse(bytes);
});
