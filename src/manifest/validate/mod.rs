//! From what was written to what is wanted: defaults, classes and pools resolved, paths absolute, every rule of the
//! manifest held. A room a subject; each reports what it finds and goes on, so that one run shows everything.
//!
//! Where something is wrong a stand-in takes its place: the result is used only when nothing was reported.

mod access;
mod backing;
mod filesystem;
mod pods;
mod pools;
mod snapshots;
mod source;
mod storage;
mod targets;
mod volumes;

use std::collections::HashMap;

use super::Context;
use super::diag::Sink;
use super::raw::Manifest;
use crate::model::{Desired, Layout, Name, StorageConfig, VolumeId};

/// What every room may look at.
struct Scope<'a> {
    raw: &'a Manifest<'a>,
    context: &'a Context<'a>,
    project: Name,
    /// Volumes of the manifest by name: their place in the list.
    volumes: HashMap<&'a str, usize>,
}

impl Scope<'_> {
    fn volume_id(&self, name: &str) -> VolumeId {
        VolumeId::of_project(&self.project, &self.name(name))
    }

    /// A name that passed the check of its shape.
    fn name(&self, text: &str) -> Name {
        text.parse().unwrap_or_else(|_| self.project.clone())
    }
}

/// Resolves and checks the configuration of a server; the answer means something only when `sink` stayed empty.
pub(super) fn storage(raw: &Manifest<'_>, context: &Context<'_>, sink: &mut Sink) -> StorageConfig {
    let scope = Scope { raw, context, project: Layout::default_pool_name(), volumes: HashMap::new() };
    storage::resolve(&scope, sink)
}

/// Resolves and checks everything; the answer means something only when `sink` stayed empty.
pub(super) fn validate(raw: &Manifest<'_>, context: &Context<'_>, sink: &mut Sink) -> Desired {
    // A project that is missing was reported with the shape.
    let project = raw.project.value().and_then(|text| text.parse().ok());
    let scope = Scope {
        raw,
        context,
        project: project.unwrap_or_else(Layout::default_pool_name),
        volumes: raw.volumes.iter().enumerate().map(|(index, volume)| (volume.name, index)).collect(),
    };
    let mut desired = Desired::empty(scope.project.clone(), context.name.to_owned());

    let mut pools = pools::resolve(&scope, sink);
    volumes::check_classes(&scope, &pools, sink);
    let mut volumes: Vec<volumes::Draft<'_>> =
        raw.volumes.iter().map(|volume| volumes::resolve(&scope, volume, &mut pools, sink)).collect();
    source::inherit(&scope, &mut volumes, sink);
    for draft in &mut volumes {
        filesystem::finish(draft, sink);
    }
    desired.snapshots = snapshots::resolve(&scope, &volumes, sink);
    let pods = pods::resolve(&scope, &mut volumes, sink);
    access::check(&volumes, &pods.publishes, sink);
    targets::check(&scope, &pools, &volumes, &pods.publishes, sink);

    desired.pods = pods.specs;
    desired.pools = pools.into_map();
    desired.volumes = volumes.into_iter().map(|draft| (draft.spec.id.clone(), draft.spec)).collect();
    desired
}
