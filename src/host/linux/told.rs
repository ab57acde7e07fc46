//! What was done to the machine, for the log: with `-vv` each effect is a line, with what it was done to and how it ended.

use std::path::Path;

use crate::host::Result;

/// Passes an answer on, having told of it.
pub fn told<T>(effect: &'static str, object: &Path, answer: Result<T>) -> Result<T> {
    match &answer {
        Ok(_) => tracing::debug!(effect, object = %object.display(), "done"),
        Err(error) => tracing::debug!(effect, object = %object.display(), %error, "failed"),
    }
    answer
}
