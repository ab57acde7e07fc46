//! `gc`: shows what crashed runs left (frozen volumes, temporary files, loops, mounts and images of ours that no record owns) and removes
//! it when told to; data only by name.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;

use crate::cli::args::{ApproveArg, ApproveKind, GcArgs};
use crate::cli::ask;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::render;
use crate::cli::render::style::{GREEN, Painted, RED};
use crate::cli::source::Source;
use crate::driver::local::gc::{self, InUse, Leftover};
use crate::model::{Approval, ObjectRef};
use crate::state;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    found: &'a [Leftover],
    in_use: &'a [InUse],
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
    let pools = pools(context, &args.config)?;
    let (found, in_use) = gc::look(&*context.observer(), &context.layout, &pools)?;
    let approved: BTreeSet<Approval> = found
        .iter()
        .filter(|leftover| args.approve.iter().any(|arg| names(arg, leftover)))
        .filter_map(Leftover::approval)
        .collect();
    let is_approved = |leftover: &Leftover| leftover.approval().is_none_or(|needed| approved.contains(&needed));
    let removable: Vec<&Leftover> =
        found.iter().filter(|leftover| !leftover.is_only_shown() && is_approved(leftover)).collect();
    for arg in args.approve.iter().filter(|arg| !found.iter().any(|leftover| names(arg, leftover))) {
        let kind = if matches!(arg.kind, ApproveKind::Volume) { "volume" } else { "snapshot" };
        context.printer.note(format!("--approve {kind}.{}={}: nothing that is left over needs it", arg.name, arg.loss));
    }
    if !context.json() {
        list(context, &found);
        for volume in &in_use {
            context.printer.note(format!("{volume}: left alone; csictl apply of its manifest takes it over"));
        }
    }
    let remove = !removable.is_empty() && !args.dry_run && agreed(context, args)?;
    if (remove || args.yes) && !args.dry_run {
        sweep(context);
    }
    if !remove {
        if context.json() {
            let (schema, found, in_use) = ("csictl.gc/1", &found, &in_use);
            let document = Document { schema, found, in_use, removed: vec![], failed: vec![] };
            context.printer.out_raw(&render::json(&document));
        }
        return Ok(Exit::Done);
    }
    let host = context.host();
    let (mut removed, mut failed, mut exits) = (Vec::new(), Vec::new(), Vec::new());
    for leftover in removable {
        let removal = gc::unambiguous(leftover, &found)
            .and_then(|()| gc::remove(&*host, &context.layout, leftover, &approved, context.lock_timeout));
        match removal {
            Ok(_) => removed.push(leftover),
            Err(error) => {
                exits.push(Exit::of_driver(&error));
                failed.push(Failed { leftover, error: Problem::of_driver(&error) });
            }
        }
    }
    let some = !removed.is_empty();
    if context.json() {
        let (schema, found, in_use) = ("csictl.gc/1", &found, &in_use);
        context.printer.out_raw(&render::json(&Document { schema, found, in_use, removed, failed }));
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

/// Takes away the locks and marks of what is gone; nobody has to agree to that, and it is no failure when it can't be.
fn sweep(context: &Context) {
    if let Err(error) = state::sweep(&*context.host(), &context.layout, SystemTime::now()) {
        context.printer.note(format!("locks and marks of what is gone stay: {error}"));
    }
}

/// The pools of these files, each a manifest or a server's configuration.
fn pools(context: &Context, files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut pools = Vec::new();
    for file in files {
        let source = Source::read(file)?;
        match source.storage(&context.layout) {
            Ok(storage) => pools.extend(storage.pools.into_values().map(|pool| pool.path)),
            // A manifest; what is wrong with it is said as with any.
            Err(_) => pools.extend(source.desired(context)?.pools.into_values().map(|pool| pool.path)),
        }
    }
    Ok(pools)
}

/// Whether an approval is for this leftover: by its whole id, since no record has a name for it.
fn names(arg: &ApproveArg, leftover: &Leftover) -> bool {
    let Some(needed) = leftover.approval() else { return false };
    arg.loss == needed.loss
        && match (arg.kind, &needed.object) {
            (ApproveKind::Volume, ObjectRef::Volume(id)) => id.as_str() == arg.name,
            (ApproveKind::Snapshot, ObjectRef::Snapshot(id)) => id.as_str() == arg.name,
            _ => false,
        }
}

fn list(context: &Context, found: &[Leftover]) {
    if found.is_empty() {
        context.printer.out("nothing is left over");
    }
    for leftover in found {
        context.printer.out(format!("  - {leftover}   # {}", leftover.reason()));
    }
    for leftover in found {
        let Some(flag) = leftover.approve_flag() else { continue };
        if let Err(error) = gc::unambiguous(leftover, found) {
            context.printer.note(format!("kept: {error}"));
            continue;
        }
        context.printer.out(format!("    its data is kept, unless removed by name: csictl gc {flag}"));
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
