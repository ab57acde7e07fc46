//! Any text is a manifest or a list of errors with places in it, which can be shown.
#![no_main]

use std::path::Path;

use csictl::manifest::{Context, parse};
use csictl::model::Layout;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let layout = Layout::new("/var/lib/csictl", "/run/csictl");
    let context = Context { name: "m.toml", base_dir: Path::new("/srv"), layout: &layout };
    match parse(text, &context) {
        Ok(desired) => {
            for publish in desired.publishes() {
                assert!(publish.target.starts_with(&publish.trusted_root) && publish.target.is_absolute());
            }
        }
        Err(errors) => assert!(errors.errors().iter().all(|error| error.line >= 1 && !error.message.is_empty())),
    }
});
