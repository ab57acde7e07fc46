//! `schema`: the JSON Schema of the manifest, for editors.

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::Result;
use crate::cli::render;
use crate::manifest;

/// Runs it.
pub fn run(context: &Context) -> Result<Exit> {
    context.printer.out_raw(&render::json(&manifest::schema::schema()));
    Ok(Exit::Done)
}
