//! `completions`: the script that makes a shell ask csictl itself what could come next, so that it knows flags as well as
//! the names of this machine's volumes and pods.

use clap_complete::env::Shells;

use crate::cli::COMPLETE_VARIABLE;
use crate::cli::args::{CompletionsArgs, Shell};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::{Failure, Problem, Result};

/// Runs it.
pub fn run(context: &Context, args: &CompletionsArgs) -> Result<Exit> {
    let script = script(args.shell).map_err(|error| Failure::new(Exit::Failed, Problem::new("cli::file", error)))?;
    context.printer.out_raw(&script);
    Ok(Exit::Done)
}

/// The script for a shell.
fn script(shell: Shell) -> std::result::Result<String, String> {
    let shells = Shells::builtins();
    let completer = shells.completer(shell.as_str()).ok_or("this csictl knows no such shell")?;
    let mut script = Vec::new();
    completer
        .write_registration(COMPLETE_VARIABLE, "csictl", "csictl", "csictl", &mut script)
        .map_err(|error| error.to_string())?;
    String::from_utf8(script).map_err(|error| error.to_string())
}
