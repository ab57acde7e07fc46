//! `version`.

use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::Result;
use crate::cli::render;

/// Runs it.
pub fn run(context: &Context) -> Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    if context.json() {
        let document = serde_json::json!({"schema": "csictl.version/1", "version": version});
        context.printer.out_raw(&render::json(&document));
    } else {
        context.printer.out(format!("csictl {version}"));
    }
    Ok(Exit::Done)
}
