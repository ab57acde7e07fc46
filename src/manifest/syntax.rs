//! From text to a tree of spanned values, within the caps. All syntax errors are reported, not the first alone.

use std::collections::HashSet;

use toml::Spanned;
use toml::de::DeTable;

use super::diag::{Sink, Span};
use super::raw::Manifest;
use super::{TEXT_MAX, VOLUMES_MAX, codes};

/// The most values of a manifest, judged by its '=' and ','. 100,000 volumes with ten keys each stay below it; a list of
/// millions, which takes fifty times its text in memory, does not.
const VALUES_MAX: usize = 2_000_000;
/// Texts up to this size are read to the end after a syntax error; of longer ones the first error is shown.
const RECOVERABLE_MAX: usize = 1 << 20;

/// Refuses a text that is too large to be read.
pub(super) fn check_size(text: &str, sink: &mut Sink) -> bool {
    let problem = if text.len() > TEXT_MAX {
        format!("the manifest has {} bytes, the most is {TEXT_MAX} (16 MiB)", text.len())
    } else {
        let values = text.bytes().filter(|byte| matches!(byte, b'=' | b',')).count();
        if values <= VALUES_MAX {
            return true;
        }
        format!("the manifest has about {values} values, the most is {VALUES_MAX}")
    };
    sink.report(codes::TOO_LARGE, Span::default(), problem).help("split it: each part becomes a project of its own");
    false
}

/// Refuses more volumes than the cap.
pub(super) fn check_count(raw: &Manifest<'_>, sink: &mut Sink) -> bool {
    let count = raw.volumes.len();
    if count > VOLUMES_MAX {
        let at = raw.volumes.last().map(|volume| volume.at).unwrap_or_default();
        sink.report(codes::TOO_LARGE, at, format!("the manifest has {count} volumes, the most is {VOLUMES_MAX}"))
            .label("the last of them")
            .help("split it: each part becomes a project of its own");
    }
    count <= VOLUMES_MAX
}

/// Parses a text; what is left of a broken one comes back too.
pub(super) fn read<'a>(text: &'a str, sink: &mut Sink) -> Spanned<DeTable<'a>> {
    let error = match DeTable::parse(text) {
        Ok(tree) => return tree,
        Err(error) => error,
    };
    if text.len() > RECOVERABLE_MAX {
        report(&error, text, sink);
        return Spanned::new(0..0, DeTable::new());
    }
    let (tree, errors) = DeTable::parse_recoverable(text);
    let mut lines = HashSet::new();
    for error in &errors {
        // One slip makes the parser complain several times about the same line.
        if lines.insert(line_of(text, error.span().map_or(0, |span| span.start))) {
            report(error, text, sink);
        }
    }
    tree
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn report(error: &toml::de::Error, text: &str, sink: &mut Sink) {
    let span = error.span().unwrap_or(text.len()..text.len());
    let message = error.message().trim_end().to_owned();
    let duplicate = message.contains("duplicate key");
    let word = text.get(span.clone()).filter(|word| !word.is_empty() && word.len() <= 64 && !word.contains('\n'));
    let (message, help) = match (duplicate, word) {
        (true, Some(word)) => {
            (format!("'{word}' is there twice"), "keep one: a table or key has one place in a manifest")
        }
        (true, None) => ("a key is there twice".to_owned(), "keep one: a table or key has one place in a manifest"),
        _ => (
            format!("this is not TOML: {message}"),
            "text goes in quotes, lists in [ ], tables in { } or under a [header]",
        ),
    };
    sink.report(codes::SYNTAX, span.into(), message).help(help);
}

/// Drops the complaints after the first `from` that are about a line with a syntax error, or about something missing.
pub(super) fn forget_guesses(text: &str, from: usize, sink: &mut Sink) {
    let broken: HashSet<usize> = sink.spans().take(from).map(|span| line_of(text, span.start as usize)).collect();
    sink.retain_from(from, |error, span| {
        error.code != codes::MISSING_KEY && !broken.contains(&line_of(text, span.start as usize))
    });
}
