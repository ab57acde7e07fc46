//! `status`: phase, device, size, use and drift of each volume, once or again and again.

use crate::cli::args::StatusArgs;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::perform;
use crate::cli::problem::Result;
use crate::cli::render::status;
use crate::cli::source::Source;
use crate::cli::survey::survey;
use crate::host::Observe;
use crate::model::Desired;

/// Clears the screen and goes to its upper left corner.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Runs it.
pub fn run(context: &Context, args: &StatusArgs) -> Result<Exit> {
    let desired = match &args.manifest {
        Some(path) => Some(Source::read(path)?.desired(context)?),
        None => None,
    };
    let observer = context.observer();
    let Some(every) = args.watch else {
        let found = show(context, &*observer, desired.as_ref(), "")?;
        return Ok(if args.check { found } else { Exit::Done });
    };
    let clear = if context.printer.out_is_terminal() && !context.json() { CLEAR } else { "" };
    loop {
        show(context, &*observer, desired.as_ref(), clear)?;
        if context.printer.reader_gone() {
            return Ok(Exit::Done);
        }
        std::thread::sleep(every);
    }
}

/// Shows it once and says whether anything drifted, or could not be seen: what cannot be seen is not known to be well.
fn show(context: &Context, observer: &dyn Observe, desired: Option<&Desired>, clear: &str) -> Result<Exit> {
    let looked = context.look(observer, desired)?;
    let survey = survey(&looked.observed, desired);
    let project = desired.map(|desired| desired.project.as_str());
    if context.json() {
        context.printer.out_raw(&status::json(&survey, project));
    } else {
        context.printer.out(format_args!("{clear}{}", status::text(&survey, project)));
    }
    let unseen = survey.volumes.iter().any(|volume| !volume.unknown.is_empty());
    Ok(if survey.volumes.iter().any(|volume| !volume.drift.is_empty()) {
        Exit::Drift
    } else if unseen {
        perform::unread(&looked)
    } else {
        Exit::Done
    })
}
