//! Pods: their publishes with whole paths, and the group their volumes belong to.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::volumes::Draft;
use super::{Scope, snapshots};
use crate::manifest::diag::{Sink, Span};
use crate::manifest::raw::{At, Pod, Publish};
use crate::manifest::{codes, paths};
use crate::model::{Name, PodSpec, PublishKind, PublishSpec, VolumeMode};

/// One publish and how it was written.
pub(super) struct Placed<'a> {
    /// The pod.
    pub pod: &'a str,
    /// The volume's place in the list.
    pub volume: usize,
    /// The whole path on the host; none where it was reported as invalid.
    pub target: Option<(PathBuf, Span)>,
    /// Mount or device.
    pub kind: PublishKind,
    /// Where the volume is named.
    pub at: Span,
    /// `read_only` as written.
    pub read_only: Option<(bool, At)>,
}

/// What the pods of a manifest come to.
pub(super) struct Pods<'a> {
    /// The pods as wanted.
    pub specs: BTreeMap<Name, PodSpec>,
    /// Every publish of a volume that exists, over all pods.
    pub publishes: Vec<Placed<'a>>,
}

/// Resolves the pods; volumes learn the group they belong to.
pub(super) fn resolve<'a>(scope: &Scope<'a>, drafts: &mut [Draft<'_>], sink: &mut Sink) -> Pods<'a> {
    let mut pods = Pods { specs: BTreeMap::new(), publishes: Vec::new() };
    let mut groups: HashMap<usize, (u32, Span, &str)> = HashMap::new();
    for pod in &scope.raw.pods {
        let spec = one(scope, pod, drafts, &mut pods.publishes, &mut groups, sink);
        pods.specs.insert(spec.name.clone(), spec);
    }
    // Of two that conflict, the one further down is the one too many.
    pods.publishes.sort_by_key(|publish| publish.at);
    pods
}

fn one<'a>(
    scope: &Scope<'a>,
    pod: &'a Pod<'a>,
    drafts: &mut [Draft<'_>],
    placed: &mut Vec<Placed<'a>>,
    groups: &mut HashMap<usize, (u32, Span, &'a str)>,
    sink: &mut Sink,
) -> PodSpec {
    let root = pod.root.value().map(|text| paths::normal(text, scope.context.base_dir));
    let root = root.filter(|root| root != Path::new("/"));
    let name = scope.name(pod.name);
    let mut publishes = Vec::with_capacity(pod.mounts.len() + pod.devices.len());
    let mounts = pod.mounts.iter().map(|publish| (PublishKind::Mount, publish));
    let devices = pod.devices.iter().map(|publish| (PublishKind::Device, publish));
    for (kind, publish) in mounts.chain(devices) {
        let Some((volume, at)) = publish.volume.given() else { continue };
        let Some(&index) = scope.volumes.get(volume) else {
            snapshots::unknown_volume(scope, &format!("pod.{}", pod.name), volume, at.value, sink);
            continue;
        };
        let draft = &mut drafts[index];
        check_kind(pod.name, kind, draft, at.value, sink);
        if let (Some((group, group_at)), PublishKind::Mount) = (pod.fs_group.given(), kind) {
            join_group(pod.name, draft, (*group, group_at.value), groups.entry(index), sink);
        }
        let spec = spec(&name, root.as_deref(), kind, publish, draft);
        check_length(pod.name, publish, &spec, sink);
        placed.push(Placed {
            pod: pod.name,
            volume: index,
            target: publish.path.given().map(|(_, at)| (spec.target.clone(), at.value)),
            kind,
            at: at.value,
            read_only: publish.read_only.given().map(|(value, at)| (*value, at)),
        });
        publishes.push(spec);
    }
    PodSpec { name, root, fs_group: pod.fs_group.value().copied(), publishes }
}

fn spec(pod: &Name, root: Option<&Path>, kind: PublishKind, publish: &Publish<'_>, draft: &Draft<'_>) -> PublishSpec {
    PublishSpec {
        pod: pod.clone(),
        volume: draft.spec.id.clone(),
        target: paths::below(root, publish.path.value().copied().unwrap_or("/")),
        trusted_root: root.unwrap_or(Path::new("/")).to_path_buf(),
        kind,
        sub_path: publish.sub_path.value().map(|text| paths::inside(text)).filter(|path| !path.as_os_str().is_empty()),
        read_only: publish.read_only.value().copied().unwrap_or(false) || draft.spec.access_mode.read_only(),
        propagation: publish.propagation.value().copied().unwrap_or_default(),
        capability: None,
        staging_path: None,
    }
}

fn check_length(pod: &str, publish: &Publish<'_>, spec: &PublishSpec, sink: &mut Sink) {
    let length = spec.target.as_os_str().len();
    if let (Some((_, at)), true) = (publish.path.given(), length > paths::PATH_MAX) {
        sink.report(
            codes::INVALID_PATH,
            at.value,
            format!("pod.{pod}: the path has {length} bytes below the pod's root"),
        )
        .help(format!("the kernel takes {} bytes: shorten the path or the pod's root", paths::PATH_MAX));
    }
}

fn check_kind(pod: &str, kind: PublishKind, draft: &Draft<'_>, at: Span, sink: &mut Sink) {
    let name = draft.name();
    let mode_at = draft.raw.volume_mode.at().map_or(draft.raw.at, |at| at.value);
    match (kind, draft.spec.volume_mode) {
        (PublishKind::Mount, VolumeMode::Block) => {
            sink.report(
                codes::WRONG_LIST,
                at,
                format!("pod.{pod}: volume.{name} is a block volume and can't be mounted"),
            )
            .label("under mounts")
            .also(mode_at, "declared as block")
            .help(format!("move it to [[pods.{pod}.devices]], or take volume_mode out"));
        }
        (PublishKind::Device, VolumeMode::Filesystem) => {
            sink.report(codes::WRONG_LIST, at, format!("pod.{pod}: volume.{name} has a file system and is no device"))
                .label("under devices")
                .also(mode_at, "declared here")
                .help(format!("move it to [[pods.{pod}.mounts]], or set volume_mode = \"block\""));
        }
        _ => {}
    }
}

fn join_group<'a>(
    pod: &'a str,
    draft: &mut Draft<'_>,
    (group, at): (u32, Span),
    entry: std::collections::hash_map::Entry<'_, usize, (u32, Span, &'a str)>,
    sink: &mut Sink,
) {
    let (first, first_at, first_pod) = *entry.or_insert((group, at, pod));
    if first != group {
        sink.report(
            codes::FS_GROUP,
            at,
            format!("volume.{}: pod.{first_pod} and pod.{pod} want it to belong to different groups", draft.name()),
        )
        .label(format!("pod.{pod}: {group}"))
        .also(first_at, format!("pod.{first_pod}: {first}"))
        .help("a volume has one group: give both pods the same fs_group");
    } else if !draft.spec.access_mode.read_only() {
        // A volume that is only read keeps the groups it has.
        draft.spec.fs_group = Some(group);
    }
}
