//! Sources: what a volume is made from. A clone takes file system type and sector size from it, so sources are followed to
//! their ends; a ring of them has none.

use std::collections::HashMap;

use super::Scope;
use super::volumes::Draft;
use crate::manifest::codes;
use crate::manifest::diag::{Sink, Span};
use crate::manifest::raw::{Field, Volume};
use crate::model::{Backing, SnapshotId, Source};

/// The source a volume names.
pub(super) fn read(scope: &Scope<'_>, volume: &Volume<'_>, sink: &mut Sink) -> Option<Source> {
    let (source, at) = volume.source.given()?;
    let object = format!("volume.{}", volume.name);
    match (&source.volume, &source.snapshot) {
        (Field::Absent, Field::Absent) => {
            sink.report(codes::SOURCE, at.key, format!("{object}: source names nothing"))
                .help("write source = { volume = \"NAME\" } or source = { snapshot = \"NAME\" }");
            None
        }
        (
            Field::Given(_, volume_at) | Field::Invalid(volume_at),
            Field::Given(_, snapshot_at) | Field::Invalid(snapshot_at),
        ) => {
            sink.report(codes::SOURCE, snapshot_at.key, format!("{object}: source names a volume and a snapshot"))
                .label("snapshot")
                .also(volume_at.key, "volume")
                .help("a volume is made from one of them");
            None
        }
        (Field::Given(name, _), _) => Some(Source::Volume(scope.volume_id(name))),
        (_, Field::Given(name, _)) => Some(Source::Snapshot(SnapshotId::of_project(&scope.project, &scope.name(name)))),
        _ => None,
    }
}

/// How far a volume's chain of sources was followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Not,
    OnChain,
    Done,
}

/// Follows every volume's source within the manifest and lets it pass on what clones inherit.
pub(super) fn inherit(scope: &Scope<'_>, drafts: &mut [Draft<'_>], sink: &mut Sink) {
    let snapshots: HashMap<&str, &str> =
        scope.raw.snapshots.iter().filter_map(|snapshot| Some((snapshot.name, *snapshot.volume.value()?))).collect();
    let parents: Vec<Option<usize>> = drafts
        .iter()
        .map(|draft| {
            let source = draft.raw.source.value()?;
            let volume = source.volume.value().or_else(|| snapshots.get(source.snapshot.value()?))?;
            scope.volumes.get(volume).copied()
        })
        .collect();
    let mut seen = vec![Seen::Not; drafts.len()];
    for start in 0..drafts.len() {
        let mut chain = Vec::new();
        let mut at = Some(start);
        while let Some(index) = at.filter(|index| seen[*index] == Seen::Not) {
            seen[index] = Seen::OnChain;
            chain.push(index);
            at = parents[index];
        }
        let ring = at.filter(|index| seen[*index] == Seen::OnChain);
        if let Some(closing) = ring {
            let from = chain.iter().position(|index| *index == closing).unwrap_or(0);
            report_ring(drafts, &chain[from..], sink);
            chain.truncate(from);
        }
        // From the end of the chain, so that what is inherited was inherited before.
        while let Some(index) = chain.pop() {
            if let Some(parent) = parents[index].filter(|parent| seen[*parent] == Seen::Done) {
                inherit_one(drafts, index, parent, sink);
            }
            seen[index] = Seen::Done;
        }
    }
}

fn source_span(draft: &Draft<'_>) -> Span {
    draft.raw.source.at().map_or(draft.raw.at, |at| at.value)
}

fn report_ring(drafts: &[Draft<'_>], ring: &[usize], sink: &mut Sink) {
    /// How many members of a ring are shown.
    const SHOWN: usize = 4;
    let Some((first, rest)) = ring.split_first() else { return };
    let draft = &drafts[*first];
    let error = sink.report(
        codes::SOURCE_RING,
        source_span(draft),
        match rest.is_empty() {
            true => format!("volume.{}: it is its own source", draft.name()),
            false => format!("volume.{}: its sources lead back to itself", draft.name()),
        },
    );
    error.label(format!("volume.{} is made from", draft.name()));
    for index in rest.iter().take(SHOWN) {
        error.also(source_span(&drafts[*index]), format!("volume.{} is made from", drafts[*index].name()));
    }
    error.help("one of them has to begin without a source");
}

fn inherit_one(drafts: &mut [Draft<'_>], child: usize, parent: usize, sink: &mut Sink) {
    let parent_raw = drafts[parent].raw;
    let parent_spec = drafts[parent].spec.clone();
    // A snapshot may have been taken before its volume became what it is: only the plan sees what it holds.
    let certain =
        drafts[parent].fs_certain && drafts[child].raw.source.value().is_some_and(|from| from.volume.is_set());
    let parent_name = parent_raw.name;
    let draft = &mut drafts[child];
    let name = draft.raw.name;
    let at = source_span(draft);
    let Backing::Image(parent_image) = &parent_spec.backing else {
        sink.report(
            codes::SOURCE_MISMATCH,
            at,
            format!("volume.{name}: its source volume.{parent_name} has {} backing", parent_spec.backing.kind()),
        )
        .label("only images can be copied")
        .also(parent_raw.at, format!("volume.{parent_name}"))
        .help("take a volume with image backing as the source");
        return;
    };
    if draft.spec.volume_mode != parent_spec.volume_mode {
        sink.report(
            codes::SOURCE_MISMATCH,
            at,
            format!("volume.{name}: a file system and a raw block volume can't be made from each other"),
        )
        .label(format!("volume.{name} is the {} one", if draft.spec.is_raw() { "block" } else { "file system" }))
        .also(parent_raw.volume_mode.at().map_or(parent_raw.at, |at| at.key), format!("volume.{parent_name}"))
        .help("give both the same volume_mode");
        return;
    }
    if let (Some(fs), Some(parent_fs)) = (&mut draft.spec.fs, &parent_spec.fs) {
        let type_at = draft.raw.settings.fs.value().and_then(|fs| fs.fs_type.at());
        match type_at.filter(|_| draft.spec.fs_type_given && certain && fs.fs_type != parent_fs.fs_type) {
            Some(type_at) => {
                let theirs = parent_raw.settings.fs.value().and_then(|fs| fs.fs_type.at());
                sink.report(
                    codes::SOURCE_MISMATCH,
                    type_at.value,
                    format!(
                        "volume.{name}: fs.type is {}, but its source volume.{parent_name} has {}",
                        fs.fs_type, parent_fs.fs_type
                    ),
                )
                .label("another file system")
                .also(
                    theirs.map_or(parent_raw.at, |at| at.value),
                    format!("volume.{parent_name} has {}", parent_fs.fs_type),
                )
                .help("take fs.type out: a copy has the file system of its source");
            }
            None if !draft.spec.fs_type_given => {
                fs.fs_type = parent_fs.fs_type;
                draft.fs_certain = certain;
            }
            None => draft.fs_certain = true,
        }
    }
    if let Backing::Image(image) = &mut draft.spec.backing {
        let theirs = parent_image.sector_size;
        match draft.own_sector_size {
            Some((size, size_at)) if size != theirs => {
                sink.report(
                    codes::SOURCE_MISMATCH,
                    size_at.value,
                    format!(
                        "volume.{name}: sector_size is {}, but its source volume.{parent_name} has {}",
                        size.bytes(),
                        theirs.bytes()
                    ),
                )
                .label("another sector size")
                .also(parent_raw.at, format!("volume.{parent_name}"))
                .help("take image.sector_size out: a file system can't move to another sector size");
            }
            _ => image.sector_size = theirs,
        }
    }
}
