//! `tree`: what lies on what.

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::Result;
use crate::cli::render::{self, tree};
use crate::cli::survey::survey;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    roots: &'a [tree::Node],
}

/// Runs it.
pub fn run(context: &Context) -> Result<Exit> {
    let looked = context.look(&*context.observer(), None)?;
    let roots = tree::nodes(&survey(&looked.observed, None));
    if context.json() {
        context.printer.out_raw(&render::json(&Document { schema: "csictl.tree/1", roots: &roots }));
    } else if roots.is_empty() {
        context.printer.out("no volumes");
    } else {
        context.printer.out(tree::text(&roots));
    }
    Ok(Exit::Done)
}
