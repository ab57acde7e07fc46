//! `expand`: grows one volume.

use super::snapshot::imperative;
use crate::cli::args::ExpandArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::names;
use crate::cli::problem::Result;
use crate::plan::Intent;

/// Runs it.
pub fn run(context: &Context, args: &ExpandArgs) -> Result<Exit> {
    let command = format!("expand {} {}", args.name, args.size.to_string().replace(' ', ""));
    imperative(context, &args.run, &[], "expanded", &command, |looked| {
        Ok(Intent::Expand { volume: names::volume(&looked.observed, &args.name)?, to: args.size })
    })
}
