//! Errors: miette reports on stderr, and with `-o json` one `csictl.error/1` document on stdout.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme};
use serde::Serialize;

use crate::cli::problem::{Failure, Label, Problem};
use crate::manifest::{ManifestError, ManifestErrors};

/// Columns of a report; wide enough for paths, narrow enough for a terminal.
const WIDTH: usize = 110;

/// The document of errors.
#[derive(Debug, Serialize)]
struct Document {
    schema: &'static str,
    errors: Vec<Problem>,
}

/// A failure as `csictl.error/1`; nothing when it is already reported.
pub fn json(failure: &Failure) -> Option<String> {
    let errors = match failure {
        Failure::Manifest(errors) => errors
            .errors()
            .iter()
            .map(|error| Problem {
                code: error.code.to_owned(),
                message: error.message.clone(),
                causes: Vec::new(),
                help: error.help.clone(),
                file: Some(error.file.clone()),
                line: Some(error.line),
                column: Some(error.column),
                labels: labels(errors, error),
            })
            .collect(),
        Failure::Problems(_, problems) => problems.clone(),
        Failure::Reported(_) => return None,
    };
    Some(super::json(&Document { schema: "csictl.error/1", errors }))
}

fn labels(errors: &ManifestErrors, error: &ManifestError) -> Vec<Label> {
    let own = (error.line, error.column, error.label_text());
    let all = std::iter::once(own).chain(error.others(errors));
    all.map(|(line, column, text)| Label { line, column, text: text.to_owned() }).collect()
}

/// A failure as reports for people; nothing when it is already reported.
pub fn text(failure: &Failure) -> Option<String> {
    match failure {
        Failure::Manifest(errors) => Some(report(&**errors)),
        Failure::Problems(_, problems) => {
            Some(problems.iter().map(|problem| report(&Shown(problem))).collect::<Vec<_>>().join("\n"))
        }
        Failure::Reported(_) => None,
    }
}

/// One report, in color; the printer takes the color out where it is not wanted.
pub fn report(diagnostic: &dyn Diagnostic) -> String {
    let mut out = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode()).with_width(WIDTH).without_cause_chain();
    if handler.render_report(&mut out, diagnostic).is_err() {
        out = diagnostic.to_string();
    }
    out
}

/// A problem as miette wants it: causes as related lines below the message.
#[derive(Debug)]
struct Shown<'a>(&'a Problem);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        self.0.causes.iter().try_for_each(|cause| write!(f, "\n{cause}"))
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(&self.0.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.0.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}
