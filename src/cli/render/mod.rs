//! What users read, as text and as JSON.

pub mod progress;
