//! Access modes: how many publishes a volume allows, and whether they may write.

use super::pods::Placed;
use super::volumes::Draft;
use crate::manifest::codes;
use crate::manifest::diag::Sink;
use crate::model::{Backing, PublishKind};

/// Holds every volume's publishes against its access mode.
pub(super) fn check(drafts: &[Draft<'_>], publishes: &[Placed<'_>], sink: &mut Sink) {
    let mut by_volume: Vec<Vec<&Placed<'_>>> = vec![Vec::new(); drafts.len()];
    for publish in publishes {
        by_volume[publish.volume].push(publish);
    }
    for (draft, publishes) in drafts.iter().zip(&by_volume) {
        check_count(draft, publishes, sink);
        check_writers(draft, publishes, sink);
        check_block(draft, publishes, sink);
    }
}

fn check_count(draft: &Draft<'_>, publishes: &[&Placed<'_>], sink: &mut Sink) {
    let mode = draft.spec.access_mode;
    let ([first, second, ..], false) = (publishes, mode.allows_many()) else { return };
    let declared = draft.raw.settings.access_mode.at();
    let error = sink.report(
        codes::TOO_MANY_PUBLISHES,
        second.at,
        format!("volume.{}: {mode} allows one publish, the manifest has {}", draft.name(), publishes.len()),
    );
    error.label(format!("pod.{}", second.pod)).also(first.at, format!("pod.{}", first.pod));
    if let Some(declared) = declared {
        error.also(declared.value, "the access mode");
    }
    error.help("set access_mode = \"single-node-multi-writer\" on the volume, or publish it once");
}

fn check_writers(draft: &Draft<'_>, publishes: &[&Placed<'_>], sink: &mut Sink) {
    if !draft.spec.access_mode.read_only() {
        return;
    }
    for publish in publishes {
        if let Some((false, at)) = publish.read_only {
            let error = sink.report(
                codes::READER_ONLY,
                at.value,
                format!(
                    "pod.{}: volume.{} is {} and can't be written",
                    publish.pod,
                    draft.name(),
                    draft.spec.access_mode
                ),
            );
            error.label("asks for writes").help("take read_only = false out, or choose another access_mode");
            if let Some(declared) = draft.raw.settings.access_mode.at() {
                error.also(declared.value, "the access mode");
            }
        }
    }
}

/// A read-only loop beside a writable one reads stale data, so a block volume has one loop, read-only or not.
fn check_block(draft: &Draft<'_>, publishes: &[&Placed<'_>], sink: &mut Sink) {
    if !draft.spec.is_raw() || !matches!(draft.spec.backing, Backing::Image(_) | Backing::Device(_)) {
        return;
    }
    let devices = || publishes.iter().filter(|publish| publish.kind == PublishKind::Device);
    let is_read_only = |publish: &&&Placed<'_>| publish.read_only.is_some_and(|(value, _)| value);
    let (Some(reader), Some(writer)) = (devices().find(is_read_only), devices().find(|publish| !is_read_only(publish)))
    else {
        return;
    };
    if draft.spec.access_mode.read_only() {
        return;
    }
    sink.report(
        codes::BLOCK_MIXED,
        reader.read_only.map_or(reader.at, |(_, at)| at.value),
        format!("volume.{}: a block volume is published read-only and writable", draft.name()),
    )
    .label(format!("pod.{}: read-only", reader.pod))
    .also(writer.at, format!("pod.{}: writable", writer.pod))
    .help("make all its devices read-only, or none: a read-only device beside a writable one would show stale data");
}
