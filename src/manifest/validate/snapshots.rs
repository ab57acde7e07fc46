//! Snapshots: each of an image of the same manifest.

use std::collections::BTreeMap;

use super::Scope;
use super::volumes::Draft;
use crate::manifest::diag::Sink;
use crate::manifest::{codes, suggest};
use crate::model::{Backing, Owner, SnapshotId, SnapshotSpec};

/// The snapshots as wanted.
pub(super) fn resolve(scope: &Scope<'_>, drafts: &[Draft<'_>], sink: &mut Sink) -> BTreeMap<SnapshotId, SnapshotSpec> {
    let mut specs = BTreeMap::new();
    for snapshot in &scope.raw.snapshots {
        let Some((volume, at)) = snapshot.volume.given() else { continue };
        let object = format!("snapshot.{}", snapshot.name);
        let Some(draft) = scope.volumes.get(volume).map(|index| &drafts[*index]) else {
            unknown_volume(scope, &object, volume, at.value, sink);
            continue;
        };
        if !matches!(draft.spec.backing, Backing::Image(_)) {
            sink.report(
                codes::SNAPSHOT_BACKING,
                at.value,
                format!("{object}: volume.{volume} has {} backing", draft.spec.backing.kind()),
            )
            .label("only images can be copied")
            .also(draft.raw.at, format!("volume.{volume}"))
            .help("take the snapshot of a volume with image backing");
        }
        let id = SnapshotId::of_project(&scope.project, &scope.name(snapshot.name));
        let spec = SnapshotSpec {
            id: id.clone(),
            owner: Owner::Project(scope.project.clone()),
            name: snapshot.name.to_owned(),
            volume: draft.spec.id.clone(),
        };
        specs.insert(id, spec);
    }
    specs
}

/// Reports a volume that the manifest does not declare.
pub(super) fn unknown_volume(
    scope: &Scope<'_>,
    object: &str,
    name: &str,
    at: crate::manifest::diag::Span,
    sink: &mut Sink,
) {
    let affordable = sink.affords(scope.raw.volumes.len());
    let names = scope.raw.volumes.iter().map(|volume| volume.name);
    let error = sink.report(codes::UNKNOWN_VOLUME, at, format!("{object}: there is no volume '{name}'"));
    error.label("not declared");
    if affordable {
        error.help(suggest::help(name, names, "volumes"));
    }
}
