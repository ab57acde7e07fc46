//! `init`: a commented starter manifest, written where nothing is.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use crate::cli::args::InitArgs;
use crate::cli::context::{Context, shell_word};
use crate::cli::exit::Exit;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render;
use crate::manifest::STARTER;

/// Runs it.
pub fn run(context: &Context, args: &InitArgs) -> Result<Exit> {
    let path = &args.file;
    let written = OpenOptions::new().write(true).create_new(true).open(path).and_then(|mut file| {
        file.write_all(STARTER.as_bytes())?;
        file.sync_all()
    });
    if let Err(error) = written {
        let mut problem = Problem::file("write", path, &error);
        if error.kind() == ErrorKind::AlreadyExists {
            problem = problem.help("it is never overwritten: name another, as csictl init other.toml");
        }
        return Err(Failure::new(Exit::Failed, problem));
    }
    if context.json() {
        let document = serde_json::json!({"schema": "csictl.init/1", "file": path.display().to_string()});
        context.printer.out_raw(&render::json(&document));
    } else {
        let name = shell_word(&path.display().to_string());
        context
            .printer
            .out(format!("wrote {name}: edit it, then type\n  {}", context.command(&format!("plan {name}"))));
    }
    Ok(Exit::Done)
}
