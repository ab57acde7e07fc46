//! `apply`: brings the machine to what a manifest, or a plan file, says.

use std::collections::BTreeSet;

use crate::cli::args::ApplyArgs;
use crate::cli::context::{Context, shell_word};
use crate::cli::exit::Exit;
use crate::cli::perform::{Job, perform};
use crate::cli::planfile::PlanFile;
use crate::cli::problem::Result;
use crate::cli::source::Source;
use crate::plan::{Intent, Plan};

/// Runs it.
pub fn run(context: &Context, args: &ApplyArgs) -> Result<Exit> {
    let given = Source::read(&args.manifest)?;
    let file = PlanFile::parse(context, &given)?;
    let source = file.as_ref().map_or_else(|| given.clone(), PlanFile::source);
    let intent = file.as_ref().map_or(&Intent::Apply, |file| &file.intent);
    let desired = source.desired(context)?;
    let host = context.host();
    let looked = context.look(&*host, Some(&desired))?;
    let check = |plan: &Plan| file.as_ref().map_or(Ok(()), |file| file.check(plan, &looked.observed, &given.name));
    let past = if matches!(intent, Intent::Destroy { .. }) { "destroyed" } else { "applied" };
    let job = Job {
        desired: &desired,
        intent,
        looked: &looked,
        approve: &args.approve,
        approved: BTreeSet::new(),
        run: &args.run,
        on_refusal: args.on_refusal,
        past,
        command: context.command(&format!("apply {}", shell_word(&given.name))),
        check: &check,
    };
    perform(context, &host, &job)
}
