//! What users read: plans, status, tables, trees, errors, as text and as JSON. Pure functions from values to strings; the
//! printer writes them and takes color out where it is not wanted.

pub mod diagnostics;
pub mod graph;
#[cfg(feature = "serve")]
pub mod message;
pub mod outcome;
pub mod plan;
pub mod plan_json;
pub mod progress;
pub mod status;
pub mod style;
pub mod table;
pub mod tree;

use serde::Serialize;

/// A JSON document on its own lines, with its newline.
pub fn json(document: &impl Serialize) -> String {
    // None of the documents has a map with keys that are no strings, the only thing that can fail.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    text.push('\n');
    text
}
