//! `delete`: deletes one released or gRPC-made volume that is not in use, with approval.

use super::snapshot::imperative;
use crate::cli::args::DeleteArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::names;
use crate::cli::problem::Result;
use crate::plan::Intent;

/// Runs it.
pub fn run(context: &Context, args: &DeleteArgs) -> Result<Exit> {
    let command = format!("delete {}", args.name);
    imperative(context, &args.run, &args.approve, "deleted", &command, |looked| {
        Ok(Intent::Delete { volume: names::volume(&looked.observed, &args.name)? })
    })
}
