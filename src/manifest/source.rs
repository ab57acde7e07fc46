//! The manifest's text with an index of its lines: turns byte offsets into lines and columns, and serves miette the few
//! lines around a label. An own [`SourceCode`] because miette's scans from the start of the text for every label, and
//! panics on a label past the end.

use std::sync::Arc;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

use super::diag::Span;

/// Lines longer than this, in bytes, are not shown: they are generated, and would fill the screen.
const LINE_SHOWN_MAX: usize = 400;

/// A text, its name, and where its lines begin.
#[derive(Debug, Clone)]
pub struct Text {
    name: Arc<str>,
    text: Arc<str>,
    lines: Arc<[u32]>,
}

impl Text {
    /// Indexes `text`, which has to be shorter than 4 GiB.
    pub fn new(name: &str, text: &str) -> Self {
        let starts = std::iter::once(0)
            .chain(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| Span::offset(at + 1)));
        Self { name: name.into(), text: text.into(), lines: starts.collect() }
    }

    /// The name it was given.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn line_index(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start as usize <= offset).saturating_sub(1)
    }

    fn start_of(&self, line: usize) -> usize {
        self.lines.get(line).map_or(self.text.len(), |start| *start as usize)
    }

    /// Line and column of an offset, both from 1, the column in characters. Past the end means the end.
    pub fn position(&self, offset: u32) -> (usize, usize) {
        let offset = self.clamp(offset as usize);
        let line = self.line_index(offset);
        (line + 1, self.text[self.start_of(line)..offset].chars().count() + 1)
    }

    /// The nearest offset at or before this one that is in the text and between two characters.
    fn clamp(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }

    /// A label's span, moved inside the text and, where it covers several lines, cut to the first; `None` where the line is
    /// too long to be shown.
    pub fn label_span(&self, span: Span) -> Option<SourceSpan> {
        let start = self.clamp(span.start as usize);
        let line = self.line_index(start);
        let (from, to) = (self.start_of(line), self.start_of(line + 1));
        if to - from > LINE_SHOWN_MAX {
            return None;
        }
        let line_end = from + self.text[from..to].trim_end_matches(['\n', '\r']).len();
        let end = self.clamp(span.end as usize).min(line_end).max(start);
        Some(SourceSpan::from((start, end - start)))
    }
}

impl SourceCode for Text {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        context_lines_before: usize,
        context_lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let start = self.clamp(span.offset());
        let end = self.clamp(span.offset().saturating_add(span.len()));
        let shown = |line: usize| self.start_of(line + 1) - self.start_of(line) <= LINE_SHOWN_MAX;
        let (at, until) = (self.line_index(start), self.line_index(end));
        // Context stops at a line that is too long to be shown.
        let first = (at.saturating_sub(context_lines_before)..at).rev().take_while(|line| shown(*line)).last();
        let first = first.unwrap_or(at);
        let last = (until + 1..self.lines.len()).take(context_lines_after).take_while(|line| shown(*line)).last();
        let last = last.unwrap_or(until);
        let (from, to) = (self.start_of(first), self.start_of(last + 1));
        let column = if context_lines_before == 0 { start - self.start_of(at) } else { 0 };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_string(),
            &self.text.as_bytes()[from..to],
            (from, to - from).into(),
            first,
            column,
            last - first + 1,
        )))
    }
}
