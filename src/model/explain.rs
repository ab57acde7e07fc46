//! The long form of an error: what `csictl explain CODE` prints. Every layer that has error codes exports a slice of these,
//! so the text lives beside the rule it explains.

use serde::Serialize;

/// What there is to say about one error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The whole code, `csictl::LAYER::WORDS-WITH-DASHES`.
    pub code: &'static str,
    /// The rule in one line.
    pub title: &'static str,
    /// Why the rule is there and what to do, in paragraphs of plain text.
    pub text: &'static str,
}
