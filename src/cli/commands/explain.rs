//! `explain`: the long form of an error code, or the list of all of them.

use serde::Serialize;

use crate::cli::args::ExplainArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render::style::{BOLD, Painted};
use crate::cli::{explain, names, render};
use crate::model::explain::Explanation;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    codes: Vec<&'a Explanation>,
}

/// Columns of a paragraph.
const WIDTH: usize = 80;

/// Runs it.
pub fn run(context: &Context, args: &ExplainArgs) -> Result<Exit> {
    let shown: Vec<_> = match &args.code {
        Some(code) => vec![explain::find(code).ok_or_else(|| unknown(code))?],
        None => explain::all().collect(),
    };
    if context.json() {
        context.printer.out_raw(&render::json(&Document { schema: "csictl.explain/1", codes: shown }));
    } else if let (Some(_), [explanation]) = (&args.code, shown.as_slice()) {
        let code = Painted(BOLD, explanation.code);
        context.printer.out(format!("{code}: {}\n\n{}", explanation.title, wrapped(explanation.text)));
    } else {
        let lines: Vec<_> = shown.iter().map(|found| format!("{:<42} {}", found.code, found.title)).collect();
        context.printer.out(lines.join("\n"));
    }
    Ok(Exit::Done)
}

fn unknown(code: &str) -> Failure {
    let last = |code: &'static str| code.rsplit("::").next().unwrap_or(code);
    let help = match names::nearest(code, explain::all().flat_map(|found| [found.code, last(found.code)])) {
        Some(near) => format!("did you mean '{near}'?"),
        None => "'csictl explain' lists all codes".to_owned(),
    };
    let problem = Problem::new("cli::unknown-code", format!("no error code is called '{code}'")).help(help);
    Failure::new(Exit::Failed, problem)
}

/// Paragraphs in lines of a readable width.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n") {
        if !out.is_empty() {
            out.push_str("\n\n");
        }
        let mut column = 0;
        for word in paragraph.split_whitespace() {
            let width = word.chars().count();
            if column > 0 && column + 1 + width > WIDTH {
                out.push('\n');
                column = 0;
            } else if column > 0 {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += width;
        }
    }
    out
}
