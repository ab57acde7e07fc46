//! What is wrong with a manifest: every problem with its code, place, cause and next step, as miette diagnostics and as
//! plain fields for JSON. Problems are gathered in a [`Sink`], because a user wants all of them in one run.

use std::fmt;
use std::ops::Range;

use miette::{Diagnostic, LabeledSpan, SourceCode};
use serde::Serialize;

use super::source::Text;

/// The most problems one report holds; a generated manifest can have a million, and nobody reads past these.
pub const ERRORS_MAX: usize = 1000;

/// Where something stands in the text: byte offsets, end excluded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Span {
    /// An offset as a span holds it; a manifest is far below 4 GiB.
    pub(super) fn offset(at: usize) -> u32 {
        u32::try_from(at).unwrap_or(u32::MAX)
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: Self::offset(range.start), end: Self::offset(range.end) }
    }
}

/// One problem of a manifest.
#[derive(Debug, Clone, Serialize)]
pub struct ManifestError {
    /// `csictl::manifest::…`; `csictl explain` knows each.
    pub code: &'static str,
    /// What is wrong with what, in one sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The manifest as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    #[serde(skip)]
    span: Span,
    #[serde(skip)]
    label: String,
    #[serde(skip)]
    also: Vec<(Span, String)>,
    #[serde(skip)]
    labels: Vec<LabeledSpan>,
}

impl ManifestError {
    /// Adds what to do about it.
    pub(super) fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Names what the label points at.
    pub(super) fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = label.into();
        self
    }

    /// Adds a second place, with what stands there.
    pub(super) fn also(&mut self, span: Span, label: impl Into<String>) -> &mut Self {
        self.also.push((span, label.into()));
        self
    }

    /// What stands at its own place.
    pub fn label_text(&self) -> &str {
        if self.label.is_empty() { "here" } else { &self.label }
    }

    /// The other places this problem is about: line, column and what stands there.
    pub fn others<'a>(&'a self, errors: &'a ManifestErrors) -> impl Iterator<Item = (usize, usize, &'a str)> {
        self.also.iter().map(|(span, label)| {
            let (line, column) = errors.text.position(span.start);
            (line, column, label.as_str())
        })
    }

    fn place(&mut self, text: &Text) {
        text.name().clone_into(&mut self.file);
        (self.line, self.column) = text.position(self.span.start);
        let label = self.label_text().to_owned();
        let first = text.label_span(self.span).map(|span| LabeledSpan::new_primary_with_span(Some(label), span));
        let others = self.also.iter().filter_map(|(span, label)| {
            text.label_span(*span).map(|span| LabeledSpan::new_with_span(Some(label.clone()), span))
        });
        self.labels = first.into_iter().chain(others).collect();
        if self.labels.is_empty() {
            // Nothing of the text is shown, so the sentence has to say where.
            self.message = format!("{} (line {}, column {})", self.message, self.line, self.column);
        }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ManifestError {}

impl Diagnostic for ManifestError {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        (!self.labels.is_empty())
            .then(|| Box::new(self.labels.iter().cloned()) as Box<dyn Iterator<Item = LabeledSpan>>)
    }
}

/// Every problem of one manifest, in the order of the text. Rendered by miette, each problem is a related diagnostic with
/// its own snippet.
#[derive(Debug, Clone)]
pub struct ManifestErrors {
    text: Text,
    errors: Vec<ManifestError>,
    left_out: usize,
}

impl ManifestErrors {
    /// The problems, in the order of the text; at most [`ERRORS_MAX`].
    pub fn errors(&self) -> &[ManifestError] {
        &self.errors
    }

    /// How many more there are than [`Self::errors`] holds.
    pub fn left_out(&self) -> usize {
        self.left_out
    }
}

impl fmt::Display for ManifestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len() + self.left_out;
        let noun = if count == 1 { "error" } else { "errors" };
        write!(f, "{}: {count} {noun}, nothing was done", self.text.name())?;
        if self.left_out > 0 {
            write!(f, " (the first {} are shown)", self.errors.len())?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestErrors {}

impl Diagnostic for ManifestErrors {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.text)
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.errors.iter().map(|error| error as &dyn Diagnostic)))
    }
}

/// Gathers problems while a manifest is read.
#[derive(Debug, Default)]
pub(super) struct Sink {
    errors: Vec<ManifestError>,
    left_out: usize,
    /// Takes the details of those past the limit.
    overflow: Option<ManifestError>,
    /// How many words were compared for suggestions so far.
    compared: usize,
}

/// The most words compared for suggestions over a whole manifest: a tenth of a second's worth. Without it, a manifest of
/// 20,000 unknown names among 20,000 known ones takes minutes.
const COMPARED_MAX: usize = 500_000;

impl Sink {
    /// Notes a problem; the answer takes label, help and second places.
    pub fn report(&mut self, code: &'static str, span: Span, message: impl Into<String>) -> &mut ManifestError {
        let error = ManifestError {
            code,
            message: message.into(),
            help: None,
            file: String::new(),
            line: 0,
            column: 0,
            span,
            label: String::new(),
            also: Vec::new(),
            labels: Vec::new(),
        };
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
            let last = self.errors.len() - 1;
            return &mut self.errors[last];
        }
        self.left_out += 1;
        self.overflow.insert(error)
    }

    /// Whether a suggestion among so many words can still be sought.
    pub fn affords(&mut self, words: usize) -> bool {
        let affordable = self.compared + words <= COMPARED_MAX;
        if affordable {
            self.compared += words;
        }
        affordable
    }

    /// How many problems there are so far.
    pub fn count(&self) -> usize {
        self.errors.len() + self.left_out
    }

    /// Where the problems are.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        self.errors.iter().map(|error| error.span)
    }

    /// Keeps what `keep` says of the problems noted from the `from`th on.
    pub fn retain_from(&mut self, from: usize, mut keep: impl FnMut(&ManifestError, Span) -> bool) {
        let mut index = 0;
        self.errors.retain(|error| {
            index += 1;
            index <= from || keep(error, error.span)
        });
    }

    /// The report. `text` is shown with it; it may be less than what was read.
    pub fn into_errors(self, name: &str, text: &str) -> ManifestErrors {
        let text = Text::new(name, text);
        let mut errors = self.errors;
        errors.sort_by_key(|error| error.span);
        for error in &mut errors {
            error.place(&text);
        }
        ManifestErrors { text, errors, left_out: self.left_out }
    }
}
