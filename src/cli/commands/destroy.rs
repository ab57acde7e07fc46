//! `destroy`: takes down what a manifest declares; data is kept but for volumes named with `--delete-data`.

use std::collections::BTreeSet;

use crate::cli::args::{DestroyArgs, OnError};
use crate::cli::context::{Context, shell_word};
use crate::cli::exit::Exit;
use crate::cli::names;
use crate::cli::perform::{Job, perform};
use crate::cli::problem::{Failure, Problem, Result};
use crate::cli::source::Source;
use crate::model::{Approval, Desired, Loss, ObjectRef, Observed, Owner, VolumeId};
use crate::plan::Intent;

/// Runs it.
pub fn run(context: &Context, args: &DestroyArgs) -> Result<Exit> {
    let source = Source::read(&args.manifest)?;
    let desired = source.desired(context)?;
    let host = context.host();
    let looked = context.look(&*host, Some(&desired))?;
    let delete_data = delete_data(&desired, &looked.observed, &args.delete_data)?;
    let mut command = format!("destroy {}", shell_word(&source.name));
    if !args.delete_data.is_empty() {
        command = format!("{command} --delete-data {}", args.delete_data.join(" "));
    }
    let approved =
        delete_data.iter().map(|id| Approval { object: ObjectRef::Volume(id.clone()), loss: Loss::Delete }).collect();
    let job = Job {
        desired: &desired,
        intent: &Intent::Destroy { delete_data },
        looked: &looked,
        approve: &[],
        approved,
        run: &args.run,
        on_refusal: OnError::Stop,
        past: "destroyed",
        command: context.command(&command),
        check: &|_| Ok(()),
    };
    perform(context, &host, &job)
}

/// The project's volumes that these names mean.
///
/// # Errors
/// A name that is no volume of the project.
pub fn delete_data(desired: &Desired, observed: &Observed, names: &[String]) -> Result<BTreeSet<VolumeId>> {
    let project = Owner::Project(desired.project.clone());
    let recorded =
        observed.volumes.iter().filter(|(_, seen)| seen.record.present().is_some_and(|r| r.spec.owner == project));
    let known: BTreeSet<&VolumeId> = desired.volumes.keys().chain(recorded.map(|(id, _)| id)).collect();
    let find = |name: &String| {
        let name = name.strip_prefix("volume.").unwrap_or(name);
        let found = known.iter().find(|id| id.as_str() == name || id.short() == name);
        found.map(|id| (*id).clone()).ok_or_else(|| {
            let near = names::nearest(name, known.iter().map(|id| id.short()));
            let help = near.map_or_else(
                || format!("'csictl get volumes' lists those of project {}", desired.project),
                |near| format!("did you mean '{near}'?"),
            );
            let message = format!("--delete-data: project {} has no volume '{name}'", desired.project);
            Failure::new(Exit::Failed, Problem::new("cli::unknown-name", message).help(help))
        })
    };
    names.iter().map(find).collect()
}
