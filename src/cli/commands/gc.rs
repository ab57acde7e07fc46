//! `gc`: shows what crashed runs left (frozen volumes, temporary files, loops and mounts of ours that no record owns) and removes it when told to.

use serde::Serialize;

use crate::cli::args::GcArgs;
use crate::cli::ask;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render;
use crate::cli::render::style::{GREEN, Painted, RED};
use crate::driver::local::gc::{self, Leftover};

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    found: &'a [Leftover],
    removed: Vec<&'a Leftover>,
    failed: Vec<Failed<'a>>,
}

#[derive(Serialize)]
struct Failed<'a> {
    leftover: &'a Leftover,
    error: Problem,
}

/// Runs it.
pub fn run(context: &Context, args: &GcArgs) -> Result<Exit> {
    let found = gc::find(&*context.observer(), &context.layout, &[])?;
    if !context.json() {
        list(context, &found);
    }
    let remove = !found.is_empty() && !args.dry_run && agreed(context, args)?;
    if !remove {
        if context.json() {
            let document = Document { schema: "csictl.gc/1", found: &found, removed: vec![], failed: vec![] };
            context.printer.out_raw(&render::json(&document));
        }
        return Ok(Exit::Done);
    }
    let host = context.host();
    let (mut removed, mut failed, mut exits) = (Vec::new(), Vec::new(), Vec::new());
    for leftover in &found {
        match gc::remove(&*host, &context.layout, leftover, context.lock_timeout) {
            Ok(_) => removed.push(leftover),
            Err(error) => {
                exits.push(Exit::of_driver(&error));
                failed.push(Failed { leftover, error: Problem::of_driver(&error) });
            }
        }
    }
    let some = !removed.is_empty();
    if context.json() {
        context.printer.out_raw(&render::json(&Document { schema: "csictl.gc/1", found: &found, removed, failed }));
    } else {
        context.printer.out(format!("{} {}", Painted(GREEN, "removed"), removed.len()));
        for Failed { leftover, error } in &failed {
            context.printer.err(format!("{} {leftover}: {error} ({})", Painted(RED, "kept"), error.code));
            error.causes.iter().for_each(|cause| context.printer.err(format!("  | {cause}")));
        }
    }
    Ok(match exits.as_slice() {
        [] => Exit::Done,
        exits if exits.contains(&Exit::Refused) => Exit::Refused,
        exits if exits.contains(&Exit::Locked) => Exit::Locked,
        _ if some => Exit::Partial,
        exits => exits[0],
    })
}

fn list(context: &Context, found: &[Leftover]) {
    if found.is_empty() {
        context.printer.out("nothing is left over");
    }
    for leftover in found {
        context.printer.out(format!("  - {leftover}   # {}", leftover.reason()));
    }
}

fn agreed(context: &Context, args: &GcArgs) -> Result<bool> {
    if args.yes {
        return Ok(true);
    }
    let refuse = |why: &str| {
        let problem = Problem::new("cli::not-confirmed", format!("nothing was removed: {why}"));
        Err(Failure::new(Exit::Refused, problem.help("--yes removes without asking, --dry-run only shows")))
    };
    if !ask::possible(&context.printer) {
        return refuse("there is no terminal to ask on, and no --yes");
    }
    if ask::yes(&context.printer, "\nRemove them?") { Ok(true) } else { refuse("the answer was not yes") }
}
