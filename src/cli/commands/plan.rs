//! `plan`: what would change and why. Holds only the reading half of the host, so it can change nothing.

use crate::cli::args::{Output, PlanArgs};
use crate::cli::busy;
use crate::cli::commands::destroy;
use crate::cli::context::{Context, shell_word};
use crate::cli::exit::Exit;
use crate::cli::perform::{self, refused, unknown};
use crate::cli::planfile::PlanFile;
use crate::cli::problem::{Failure, Result};
use crate::cli::render::plan::PlanView;
use crate::cli::render::{self, graph, plan_json};
use crate::cli::source::Source;
use crate::plan::{Intent, Plan, Risk};

/// Runs it.
pub fn run(context: &Context, args: &PlanArgs) -> Result<Exit> {
    let source = Source::read(&args.manifest)?;
    let desired = source.desired(context)?;
    let observer = context.observer();
    context.check_state(&*observer)?;
    let looked = context.look(&*observer, Some(&desired))?;
    let intent = if args.destroy {
        Intent::Destroy { delete_data: destroy::delete_data(&desired, &looked.observed, &args.delete_data)? }
    } else {
        Intent::Apply
    };
    let (plan, _) = busy::plan(&*observer, &desired, &looked.observed, &context.layout, &intent, &|_| Ok(None))?;
    let verb = if args.destroy { "destroy" } else { "apply" };
    let command = context.command(&format!("{verb} {}", shell_word(&source.name)));
    match context.output {
        Output::Json => context.printer.out_raw(&render::json(&plan_json::document(&plan))),
        Output::Dot => context.printer.out_raw(&graph::dot(&plan)),
        Output::Mermaid => context.printer.out_raw(&graph::mermaid(&plan)),
        _ => context.printer.out(render::plan::text(&PlanView {
            plan: &plan,
            host: &looked.observed.host.hostname,
            observed_in: looked.took,
            heading: "plan: nothing is changed",
            command: &command,
            delete_data: args.destroy,
        })),
    }
    if let Some(path) = args.out.as_ref().filter(|_| plan.refused.is_empty()) {
        let file = PlanFile::new(context, &source, &intent, &plan, &looked.observed);
        file.write(path)?;
        let mut apply = format!("apply {}", shell_word(&path.display().to_string()));
        if !args.destroy {
            for missing in plan.losses() {
                apply.push_str(&format!(" --approve {}={}", missing.object, missing.loss));
            }
        }
        context.printer.note(format!("wrote the plan: to do it, type\n  {}", context.command(&apply)));
    }
    let unread = perform::unread(&looked);
    verdict(context, args, &plan, unread)
}

/// The exit code, with what has to be said about it on stderr; `unread` where something could not be read.
fn verdict(context: &Context, args: &PlanArgs, plan: &Plan, unread: Exit) -> Result<Exit> {
    if !plan.refused.is_empty() {
        // The text has them; a document or graph on stdout stays one, so there they go to stderr.
        let failure = refused(plan);
        if let Some(report) = render::diagnostics::text(&failure).filter(|_| context.output != Output::Text) {
            context.printer.err(report.trim_end());
        }
        return Err(Failure::Reported(failure.exit()));
    }
    if !args.detailed_exitcode {
        return Ok(Exit::Done);
    }
    if !plan.unknown.is_empty() {
        let report = render::diagnostics::text(&unknown(plan, unread));
        if let Some(report) = report.filter(|_| context.output != Output::Text) {
            context.printer.err(report.trim_end());
        }
        return Ok(unread);
    }
    Ok(match plan.steps.iter().map(|step| step.risk).max() {
        None => Exit::Done,
        Some(Risk::DataLoss) => Exit::DataLoss,
        Some(_) => Exit::Changes,
    })
}
