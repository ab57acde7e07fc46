//! `state export` and `import`: all records as one JSON document.

use std::io::Read;
use std::path::Path;

use crate::cli::args::StateCommand;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render::{self, style::count};
use crate::state::transfer::{self, StateDocument};

/// The longest document that is read: some hundred thousand records.
const DOCUMENT_MAX: u64 = 256 << 20;

/// Runs it.
pub fn run(context: &Context, command: &StateCommand) -> Result<Exit> {
    match command {
        StateCommand::Export => {
            let now = jiff::Timestamp::now().to_string();
            let document = transfer::export(&*context.observer(), &context.layout, now)?;
            context.printer.out_raw(&render::json(&document));
        }
        StateCommand::Import { file } => {
            let document = read(file)?;
            let imported = transfer::import(&*context.host(), &context.layout, &document, context.lock_timeout)?;
            if context.json() {
                let (written, unchanged) = (imported.written, imported.unchanged);
                let document =
                    serde_json::json!({"schema": "csictl.import/1", "written": written, "unchanged": unchanged});
                context.printer.out_raw(&render::json(&document));
            } else {
                let written = count(imported.written, "record");
                context.printer.out(format!("imported {written}, {} were there already", imported.unchanged));
            }
        }
    }
    Ok(Exit::Done)
}

fn read(file: &Path) -> Result<StateDocument> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, Problem::file("read", file, &error));
    let mut text = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(DOCUMENT_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    } else {
        std::fs::File::open(file).map_err(failed)?.take(DOCUMENT_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    }
    if text.len() as u64 > DOCUMENT_MAX {
        let what =
            format!("{} has more than {} MiB: no exported state is that long", file.display(), DOCUMENT_MAX >> 20);
        return Err(Failure::new(Exit::Failed, Problem::new("state::bad-document", what)));
    }
    serde_json::from_slice(&text).map_err(|error| {
        let problem = Problem::new("state::bad-document", format!("{} is no exported state", file.display()));
        Failure::new(Exit::Failed, problem.cause(error.to_string()).help("'csictl state export' prints one"))
    })
}
