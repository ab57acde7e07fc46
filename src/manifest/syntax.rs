//! From text to a tree of spanned values, within the caps. All syntax errors are reported, not the first alone.

use std::collections::HashSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeTable;

use super::diag::{Sink, Span};
use super::{TEXT_MAX, VOLUMES_MAX, codes};

/// The most values of a manifest, judged by its '=' and ','. 100,000 volumes with ten keys each stay below it; a list of
/// millions, which takes fifty times its text in memory, does not.
const VALUES_MAX: usize = 2_000_000;
/// Texts up to this size are read to the end after a syntax error; of longer ones the first error is shown.
const RECOVERABLE_MAX: usize = 1 << 20;
/// Of how many repeated keys the first place is sought.
const SEARCHES_MAX: usize = 50;

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

/// Refuses more volumes than the cap, before a struct is made of each.
pub(super) fn check_count(root: &DeTable<'_>, sink: &mut Sink) -> bool {
    let Some((key, volumes)) = root.get_key_value("volumes") else { return true };
    let count = volumes.get_ref().as_table().map_or(0, DeTable::len);
    if count > VOLUMES_MAX {
        let message = format!("the manifest has {count} volumes, the most is {VOLUMES_MAX}");
        sink.report(codes::TOO_LARGE, key.span().into(), message)
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
    let mut repeated = 0..0;
    for error in &errors {
        let line = line_of(text, error.span().map_or(0, |span| span.start));
        // One slip makes the parser complain several times about the same line, and a header that is there twice about
        // every key below it.
        if (is_duplicate(error) && repeated.contains(&line)) || !lines.insert(line) {
            continue;
        }
        if is_duplicate(error) && is_header(&text[line..]) {
            repeated = line..next_header(text, line);
        }
        report(error, text, sink);
    }
    tree
}

fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message().contains("duplicate key")
}

/// Where the line of an offset begins.
fn line_of(text: &str, offset: usize) -> usize {
    let before = &text.as_bytes()[..offset.min(text.len())];
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn is_header(line: &str) -> bool {
    line.trim_start_matches([' ', '\t']).starts_with('[')
}

/// Where each line from `from` on begins, with its text.
fn lines_from(text: &str, from: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut at = from;
    text[from..].split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line)
    })
}

fn next_header(text: &str, line: usize) -> usize {
    lines_from(text, line).skip(1).find(|(_, line)| is_header(line)).map_or(text.len(), |(start, _)| start)
}

/// Where the key or header that is repeated at `line` stood first, as far as the look of the lines tells.
fn first_place(text: &str, line: usize, word: &str) -> Option<Span> {
    let mut header = None;
    let wanted = text[line..].lines().next()?.trim();
    let mut found = None;
    for (start, candidate) in lines_from(text, 0).take_while(|(start, _)| *start < line) {
        let bare = candidate.trim();
        if is_header(candidate) {
            header = Some(start);
            if is_header(wanted) && bare.split(']').next() == wanted.split(']').next() {
                found.get_or_insert((start, bare));
            }
        } else if !is_header(wanted)
            && bare.strip_prefix(word).is_some_and(|rest| rest.trim_start().starts_with(['=', '.']))
        {
            found = Some((start, bare));
        }
    }
    // A key of the same name in an earlier table is another key.
    let (start, bare) = found.filter(|(start, _)| is_header(wanted) || header.is_none_or(|header| *start > header))?;
    let indent = text[start..].len() - text[start..].trim_start().len();
    Some((start + indent..start + indent + bare.len()).into())
}

fn report(error: &toml::de::Error, text: &str, sink: &mut Sink) {
    let span = error.span().unwrap_or(text.len()..text.len());
    let message = error.message().trim_end().to_owned();
    let word = text.get(span.clone()).filter(|word| !word.is_empty() && word.len() <= 64 && !word.contains('\n'));
    let Some(word) = word.filter(|_| is_duplicate(error)) else {
        sink.report(codes::SYNTAX, span.into(), format!("this is not TOML: {message}"))
            .help("text goes in quotes, lists in [ ], tables in { } or under a [header]");
        return;
    };
    // Each search reads the text from its beginning.
    let first = (sink.count() < SEARCHES_MAX).then(|| first_place(text, line_of(text, span.start), word)).flatten();
    let reported = sink.report(codes::SYNTAX, span.into(), format!("'{word}' is there twice"));
    reported.label("again").help("keep one: a table or key has one place in a manifest");
    if let Some(first) = first {
        reported.also(first, "first");
    }
}

/// Drops the complaints after the first `from` that are about something missing, or stand between a syntax error and the
/// next header: what the parser made of those lines is a guess.
pub(super) fn forget_guesses(text: &str, from: usize, sink: &mut Sink) {
    let headers: Vec<usize> = lines_from(text, 0).filter(|(_, line)| is_header(line)).map(|(start, _)| start).collect();
    let until = |line: usize| headers.get(headers.partition_point(|header| *header <= line)).copied();
    let guesses: Vec<Range<usize>> = sink
        .spans()
        .take(from)
        .map(|span| line_of(text, span.start as usize))
        .map(|line| line..until(line).unwrap_or(text.len()))
        .collect();
    sink.retain_from(from, |error, span| {
        error.code != codes::MISSING_KEY && !guesses.iter().any(|guess| guess.contains(&(span.start as usize)))
    });
}
