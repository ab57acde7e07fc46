//! `man`: csictl(1) on stdout, or every page into a directory.

use crate::cli::args::ManArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::manual;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render::style::count;

/// Runs it.
pub fn run(context: &Context, args: &ManArgs) -> Result<Exit> {
    let failed = |problem| Failure::new(Exit::Failed, problem);
    let made = |error: std::io::Error| failed(Problem::new("cli::file", format!("cannot make the page: {error}")));
    let Some(dir) = &args.dir else {
        context.printer.out_raw(&String::from_utf8_lossy(&manual::first().map_err(made)?));
        return Ok(Exit::Done);
    };
    std::fs::create_dir_all(dir).map_err(|error| failed(Problem::file("make the directory", dir, &error)))?;
    let pages = manual::pages().map_err(made)?;
    for (name, text) in &pages {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| failed(Problem::file("write", &path, &error)))?;
    }
    context.printer.note(format!("wrote {} to {}", count(pages.len(), "page"), dir.display()));
    Ok(Exit::Done)
}
