//! Paths against each other, over all pods: no path is taken twice, and none covers what another thing needs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::Scope;
use super::pods::Placed;
use super::pools::Pools;
use super::volumes::Draft;
use crate::manifest::codes;
use crate::manifest::diag::{Sink, Span};
use crate::model::{Backing, PublishKind};

/// File systems of the kernel in which no target can be made.
const KERNEL_DIRECTORIES: [&str; 2] = ["/proc", "/sys"];

/// Something at a path, for messages.
struct Taken {
    what: String,
    at: Option<Span>,
}

/// Pools and csictl's own directories, to be asked whether a path has to do with one of them.
#[derive(Default)]
struct Reserved {
    taken: Vec<Taken>,
    exactly: HashMap<PathBuf, usize>,
    /// Every directory above one of them.
    above: HashMap<PathBuf, usize>,
}

impl Reserved {
    fn insert(&mut self, path: &Path, what: String, at: Option<Span>) {
        let index = self.taken.len();
        self.taken.push(Taken { what, at });
        self.exactly.insert(path.to_path_buf(), index);
        for parent in path.ancestors().skip(1) {
            self.above.entry(parent.to_path_buf()).or_insert(index);
        }
    }

    fn inside(&self, path: &Path) -> Option<&Taken> {
        path.ancestors().find_map(|parent| self.exactly.get(parent)).map(|index| &self.taken[*index])
    }

    fn covered_by(&self, path: &Path) -> Option<&Taken> {
        self.above.get(path).map(|index| &self.taken[*index])
    }
}

/// Checks targets, directories and devices. Every check looks up a path or its parents, so that all of them together
/// cost no more than the manifest is long.
pub(super) fn check(
    scope: &Scope<'_>,
    pools: &Pools<'_>,
    drafts: &[Draft<'_>],
    publishes: &[Placed<'_>],
    sink: &mut Sink,
) {
    let reserved = pools_and_own(scope, pools);
    check_backings(drafts, &reserved, sink);

    let mut targets: HashMap<&Path, &Placed<'_>> = HashMap::with_capacity(publishes.len());
    for publish in publishes {
        let Some((target, at)) = &publish.target else { continue };
        check_reserved(&format!("pod.{}", publish.pod), target, *at, &reserved, sink);
        if let Some(first) = targets.get(target.as_path()) {
            report_twice(drafts, first, publish, sink);
        } else {
            targets.insert(target, publish);
        }
    }
    for publish in publishes {
        let Some((target, at)) = &publish.target else { continue };
        let device = target.ancestors().skip(1).filter_map(|parent| targets.get(parent));
        if let Some(device) = device.into_iter().find(|above| above.kind == PublishKind::Device) {
            sink.report(
                codes::PATH_CONFLICT,
                *at,
                format!("pod.{}: {} lies below a device", publish.pod, target.display()),
            )
            .label("below it")
            .also(device.target.as_ref().map_or(device.at, |(_, at)| *at), "a device is published here")
            .help("a device node holds no other paths: choose another path");
        }
    }
    for draft in drafts {
        let (Backing::Directory(directory), Some((_, at))) =
            (&draft.spec.backing, draft.raw.directory.value().and_then(|directory| directory.path.given()))
        else {
            continue;
        };
        if let Some(above) = directory.path.ancestors().find_map(|parent| targets.get(parent)) {
            sink.report(
                codes::PATH_CONFLICT,
                at.value,
                format!(
                    "volume.{}: {} is covered by a publish of pod.{}",
                    draft.name(),
                    directory.path.display(),
                    above.pod
                ),
            )
            .label("this directory")
            .also(above.target.as_ref().map_or(above.at, |(_, at)| *at), "would be hidden by this")
            .help("what it holds would depend on the order of mounts: choose another directory or another path");
        }
    }
}

fn pools_and_own(scope: &Scope<'_>, pools: &Pools<'_>) -> Reserved {
    let layout = scope.context.layout;
    let mut reserved = Reserved::default();
    // A pool without a path of its own that can be one is reported as such; its stand-in, the root directory, holds everything.
    for (pool, at) in pools.iter().filter(|(pool, _)| pool.path != Path::new("/")) {
        reserved.insert(&pool.path, format!("pool.{}", pool.name), at);
    }
    reserved.insert(&layout.state, "csictl's state directory".to_owned(), None);
    reserved.insert(&layout.run, "csictl's run directory".to_owned(), None);
    reserved
}

/// Reports a path that lies in, is, or covers a pool or a directory of csictl's own.
fn check_reserved(object: &str, path: &Path, at: Span, reserved: &Reserved, sink: &mut Sink) {
    if let Some(kernel) = KERNEL_DIRECTORIES.iter().find(|kernel| path.starts_with(kernel)) {
        sink.report(
            codes::PATH_RESERVED,
            at,
            format!("{object}: {} lies in {kernel}, which is the kernel's", path.display()),
        )
        .help("choose a path on a file system of the host");
        return;
    }
    let inside = reserved.inside(path).map(|taken| ("lies in", taken));
    let covers = || reserved.covered_by(path).map(|taken| ("covers", taken));
    if let Some((how, taken)) = inside.or_else(covers) {
        let error = sink.report(codes::PATH_RESERVED, at, format!("{object}: {} {how} {}", path.display(), taken.what));
        error.help("choose a path that has nothing to do with it");
        if let Some(other) = taken.at {
            error.also(other, taken.what.clone());
        }
    }
}

fn check_backings(drafts: &[Draft<'_>], reserved: &Reserved, sink: &mut Sink) {
    let mut taken: HashMap<&Path, (&str, Span)> = HashMap::new();
    for draft in drafts {
        let (path, at) = match &draft.spec.backing {
            Backing::Directory(directory) => {
                (&directory.path, draft.raw.directory.value().and_then(|directory| directory.path.at()))
            }
            Backing::Device(device) => (&device.path, draft.raw.device.value().and_then(|device| device.path.at())),
            _ => continue,
        };
        let (Some(at), true) = (at, path != Path::new("/")) else { continue };
        if matches!(draft.spec.backing, Backing::Directory(_)) {
            check_pools(draft, path, at.value, reserved, sink);
        }
        if let Some((first, first_at)) = taken.get(path.as_path()) {
            sink.report(
                codes::DUPLICATE_BACKING,
                at.value,
                format!("volume.{} and volume.{first} have the same {}", draft.name(), draft.spec.backing.kind()),
            )
            .label(format!("volume.{}", draft.name()))
            .also(*first_at, format!("volume.{first}"))
            .help("declare it once, and publish that volume wherever it is needed");
        } else {
            taken.insert(path, (draft.name(), at.value));
        }
    }
}

fn check_pools(draft: &Draft<'_>, path: &Path, at: Span, reserved: &Reserved, sink: &mut Sink) {
    // csictl's own directories were checked when the path was read; here it is the declared pools.
    let pool = reserved.inside(path).or_else(|| reserved.covered_by(path));
    if let Some(pool) = pool.filter(|taken| taken.at.is_some()) {
        let error = sink.report(
            codes::PATH_RESERVED,
            at,
            format!("volume.{}: {} holds, or lies in, {}", draft.name(), path.display(), pool.what),
        );
        error.help("a pod would see the images of other volumes: choose another directory");
        if let Some(other) = pool.at {
            error.also(other, pool.what.clone());
        }
    }
}

fn report_twice(drafts: &[Draft<'_>], first: &Placed<'_>, second: &Placed<'_>, sink: &mut Sink) {
    let (Some((target, at)), Some((_, first_at))) = (&second.target, &first.target) else { return };
    sink.report(codes::PATH_TAKEN, *at, format!("pod.{}: {} is taken already", second.pod, target.display()))
        .label(format!("volume.{}", drafts[second.volume].name()))
        .also(*first_at, format!("volume.{}, pod.{}", drafts[first.volume].name(), first.pod))
        .help("one path shows one volume: give one of them another path");
}
