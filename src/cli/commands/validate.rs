//! `validate`: every error of a manifest, or one line that says it is fine.

use serde::Serialize;

use crate::cli::args::ValidateArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::problem::Result;
use crate::cli::render::{self, style::count};
use crate::cli::source::Source;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    file: String,
    project: String,
    volumes: usize,
    snapshots: usize,
    pods: usize,
}

/// Runs it.
pub fn run(context: &Context, args: &ValidateArgs) -> Result<Exit> {
    let source = Source::read(&args.manifest)?;
    let desired = source.desired(context)?;
    let (volumes, snapshots, pods) = (desired.volumes.len(), desired.snapshots.len(), desired.pods.len());
    if context.json() {
        let project = desired.project.to_string();
        let document = Document { schema: "csictl.validate/1", file: source.name, project, volumes, snapshots, pods };
        context.printer.out_raw(&render::json(&document));
    } else {
        let snapshots = if snapshots > 0 { format!(", {}", count(snapshots, "snapshot")) } else { String::new() };
        context.printer.out(format!(
            "{} is valid: project {}, {}{snapshots}, {}",
            source.name,
            desired.project,
            count(volumes, "volume"),
            count(pods, "pod")
        ));
    }
    Ok(Exit::Done)
}
