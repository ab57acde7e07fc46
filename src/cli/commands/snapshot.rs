//! `snapshot create`, `list`, `delete` and `restore`: imperative forms, through the same planner.

use std::collections::BTreeSet;

use crate::cli::args::{ApproveArg, GetArgs, GetKind, OnError, RunArgs, SnapshotCommand};
use crate::cli::context::{Context, Looked};
use crate::cli::exit::Exit;
use crate::cli::names;
use crate::cli::perform::{Job, perform};
use crate::cli::problem::{Failure, Problem, Result};
use crate::model::{Desired, Name, Observed, Owner, SnapshotId, SnapshotSpec, VolumeId};
use crate::plan::Intent;

/// Runs it.
pub fn run(context: &Context, command: &SnapshotCommand) -> Result<Exit> {
    match command {
        SnapshotCommand::Create { volume, name, run } => {
            imperative(context, run, &[], "taken", &format!("snapshot create {volume} {name}"), |looked| {
                let volume = names::volume(&looked.observed, volume)?;
                let owner = owner(&looked.observed, &volume);
                let name = new_name("snapshot", name)?;
                let id = match &owner {
                    Owner::Project(project) => SnapshotId::of_project(project, &name),
                    Owner::Csi => id_of("snapshot", name.as_str())?,
                };
                Ok(Intent::TakeSnapshot { snapshot: SnapshotSpec { id, owner, name: name.to_string(), volume } })
            })
        }
        SnapshotCommand::List => super::get::run(context, &GetArgs { kind: GetKind::Snapshots, name: None }),
        SnapshotCommand::Delete { name, run, approve } => {
            imperative(context, run, approve, "deleted", &format!("snapshot delete {name}"), |looked| {
                Ok(Intent::DeleteSnapshot { snapshot: names::snapshot(&looked.observed, name)? })
            })
        }
        SnapshotCommand::Restore { snapshot, volume, run } => {
            imperative(context, run, &[], "restored", &format!("snapshot restore {snapshot} {volume}"), |looked| {
                let snapshot = names::snapshot(&looked.observed, snapshot)?;
                let name = new_name("volume", volume)?;
                let record = looked.observed.snapshots.get(&snapshot).and_then(|seen| seen.record.present());
                let volume = match record.map(|record| &record.owner) {
                    Some(Owner::Project(project)) => VolumeId::of_project(project, &name),
                    _ => id_of("volume", name.as_str())?,
                };
                Ok(Intent::Restore { snapshot, volume })
            })
        }
    }
}

/// Looks at everything, lets `intent` say what is asked, and does it.
pub fn imperative(
    context: &Context,
    run: &RunArgs,
    approve: &[ApproveArg],
    past: &'static str,
    command: &str,
    intent: impl FnOnce(&Looked) -> Result<Intent>,
) -> Result<Exit> {
    let host = context.host();
    let looked = context.look(&*host, None)?;
    let intent = intent(&looked)?;
    let desired = Desired::empty(project_of(&looked.observed, &intent), command.to_owned());
    let job = Job {
        desired: &desired,
        intent: &intent,
        looked: &looked,
        approve,
        approved: BTreeSet::new(),
        run,
        on_refusal: OnError::Stop,
        past,
        command: context.command(command),
        check: &|_| Ok(()),
    };
    perform(context, &host, &job)
}

fn owner(observed: &Observed, volume: &VolumeId) -> Owner {
    let record = observed.volumes.get(volume).and_then(|seen| seen.record.present());
    record.map_or(Owner::Csi, |record| record.spec.owner.clone())
}

/// The project shown in the header; gRPC's volumes have none.
fn project_of(observed: &Observed, intent: &Intent) -> Name {
    let owner = match intent {
        Intent::Expand { volume, .. } | Intent::Delete { volume } => Some(owner(observed, volume)),
        Intent::TakeSnapshot { snapshot } => Some(snapshot.owner.clone()),
        Intent::DeleteSnapshot { snapshot } | Intent::Restore { snapshot, .. } => {
            observed.snapshots.get(snapshot).and_then(|seen| seen.record.present()).map(|record| record.owner.clone())
        }
        Intent::Apply | Intent::Destroy { .. } => None,
    };
    match owner {
        Some(Owner::Project(project)) => project,
        _ => "csi".parse().expect("'csi' is a DNS label"),
    }
}

fn new_name(kind: &str, text: &str) -> Result<Name> {
    text.parse().map_err(|error: crate::model::name::InvalidName| {
        Failure::usage(format!("'{text}' is no name for a {kind}: {error}"), "a name is a DNS label: a-z, 0-9 and '-'")
    })
}

fn id_of<T: std::str::FromStr>(kind: &str, text: &str) -> Result<T> {
    text.parse()
        .map_err(|_| Failure::new(Exit::Failed, Problem::new("cli::unknown-name", format!("'{text}' is no {kind} id"))))
}
