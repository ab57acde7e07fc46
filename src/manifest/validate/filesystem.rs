//! File systems of volumes: type, label, mkfs and mount options, and the smallest size each type can have.

use super::volumes::{Draft, pick};
use crate::manifest::check::printable;
use crate::manifest::codes;
use crate::manifest::diag::Sink;
use crate::manifest::raw::{Field, Fs, Item, Settings, Volume};
use crate::manifest::suggest;
use crate::model::mount_options::{self, MountKind};
use crate::model::{Backing, FsSpec, FsType, mkfs_options};

/// The file system of a volume that names none.
pub(super) const DEFAULT: FsType = FsType::Ext4;

/// The file system a volume or its class asks for, and whether its type was written down. A class's type is no demand on a
/// volume made from a source, which brings its own.
pub(super) fn resolve(volume: &Volume<'_>, class: Option<&Settings<'_>>, sink: &mut Sink) -> (Option<FsSpec>, bool) {
    let field = pick(&volume.settings.fs, class.map(|class| &class.fs));
    let Some(fs) = field.value() else { return (Some(FsSpec::plain(DEFAULT)), false) };
    let own = volume.settings.fs.is_set();
    let copied = volume.source.is_set();
    if own && !copied {
        let fs_type = fs.fs_type.value().copied().unwrap_or(DEFAULT);
        // Without a type that is known, its rules are not known either.
        if !matches!(fs.fs_type, Field::Invalid(_)) {
            check_fs(&format!("volume.{}", volume.name), fs, fs_type, sink);
        }
    }
    let options = fs.mkfs_options.value().map(|options| options.iter().map(|(text, _)| (*text).to_owned()).collect());
    let spec = FsSpec {
        fs_type: fs.fs_type.value().copied().unwrap_or(DEFAULT),
        format: fs.format.value().copied().unwrap_or_default(),
        label: fs.label.value().filter(|_| !copied).map(|label| (*label).to_owned()),
        mkfs_options: options.filter(|_| !copied).unwrap_or_default(),
    };
    (Some(spec), fs.fs_type.value().is_some() && (own || !copied))
}

/// Checks label and mkfs options against the type.
pub(super) fn check_fs(object: &str, fs: &Fs<'_>, fs_type: FsType, sink: &mut Sink) {
    if let Some((label, at)) = fs.label.given() {
        if label.len() > fs_type.label_max() {
            sink.report(
                codes::LABEL,
                at.value,
                format!("{object}: the label has {} bytes, {fs_type} takes {}", label.len(), fs_type.label_max()),
            )
            .help("shorten the label");
        } else if label.starts_with('-') {
            sink.report(codes::LABEL, at.value, format!("{object}: the label begins with '-'"))
                .help("mkfs would take it for an option: begin it with another character");
        }
    }
    if let Some(options) = fs.mkfs_options.value() {
        let texts: Vec<String> = options.iter().map(|(text, _)| (*text).to_owned()).collect();
        for refused in mkfs_options::check(fs_type, &texts).err().unwrap_or_default() {
            let at = options.get(refused.index).map_or(Default::default(), |(_, at)| *at);
            sink.report(
                codes::MKFS_OPTION,
                at,
                format!("{object}: mkfs option '{}' of {fs_type} is refused", printable(&refused.option)),
            )
            .label("not allowed")
            .help(refused.reason);
        }
    }
}

/// Every kind of mount a class's options may be meant for.
fn kinds() -> impl Iterator<Item = MountKind> {
    FsType::ALL.into_iter().map(MountKind::Fs).chain([MountKind::Tmpfs, MountKind::Bind])
}

/// Checks options that may be meant for any kind: each has to suit one.
pub(super) fn check_any_kind(object: &str, options: &[Item<'_>], sink: &mut Sink) {
    check_contradictions(object, options, sink);
    for (option, at) in options {
        if let Some(Err(refused)) = first_fit(option) {
            report_option(object, "any file system", option, *at, &refused.reason, MountKind::Fs(DEFAULT), sink);
        }
    }
}

/// Whether an option suits some kind; if none, why ext4 refuses it.
fn first_fit(option: &str) -> Option<Result<(), mount_options::RefusedMountOption>> {
    let mut first = None;
    for kind in kinds() {
        match mount_options::check(kind, option) {
            Ok(_) => return Some(Ok(())),
            Err(refused) => first = first.or(Some(Err(refused))),
        }
    }
    first
}

/// Reports options of one list that cannot hold together: the later would win, which nobody would see from the manifest.
fn check_contradictions(object: &str, options: &[Item<'_>], sink: &mut Sink) {
    let keys: Vec<&str> = options.iter().map(|(option, _)| *option).collect();
    for (later, earlier) in mount_options::contradictions(&keys) {
        let ((option, at), (first, first_at)) = (options[later], options[earlier]);
        let message = match option == first {
            true => format!("{object}: mount option '{}' is given twice", printable(option)),
            false => format!(
                "{object}: mount options '{}' and '{}' contradict each other",
                printable(first),
                printable(option)
            ),
        };
        sink.report(codes::MOUNT_OPTION, at, message).also(first_at, "the earlier one").help("keep one of them");
    }
}

fn report_option(
    object: &str,
    what: &str,
    option: &str,
    at: crate::manifest::diag::Span,
    reason: &str,
    kind: MountKind,
    sink: &mut Sink,
) {
    let shown = printable(option);
    let near = suggest::nearest(option.split('=').next().unwrap_or(option), mount_options::known(kind));
    let help = match near {
        Some(near) if near != option => format!("did you mean '{near}'? {reason}"),
        _ => reason.to_owned(),
    };
    sink.report(codes::MOUNT_OPTION, at, format!("{object}: mount option '{shown}' of {what} is refused"))
        .label("not allowed")
        .help(help);
}

/// What can be said only once the type is settled, a source's type included: mount options and the smallest size.
pub(super) fn finish(draft: &mut Draft<'_>, sink: &mut Sink) {
    if draft.spec.is_raw() {
        return;
    }
    let kind = match (&draft.spec.backing, &draft.spec.fs) {
        (Backing::Tmpfs(_), _) => MountKind::Tmpfs,
        (Backing::Directory(_), _) => MountKind::Bind,
        (_, Some(fs)) => MountKind::Fs(fs.fs_type),
        (_, None) => MountKind::Fs(DEFAULT),
    };
    let object = format!("volume.{}", draft.name());
    draft.spec.mount_options = match (&draft.raw.settings.mount_options, draft.class) {
        (Field::Given(options, _), _) if !draft.fs_certain && matches!(kind, MountKind::Fs(_)) => {
            check_any_kind(&object, options, sink);
            texts(options)
        }
        (Field::Given(options, _), _) => {
            check_kind(&object, kind, options, sink);
            texts(options)
        }
        (Field::Invalid(_), _) => Vec::new(),
        (Field::Absent, class) => {
            let options = class.and_then(|class| class.mount_options.value());
            let options = options.map(|options| texts(options)).unwrap_or_default();
            // What a class says for other kinds of mount is skipped here, as its other keys are.
            options.into_iter().filter(|option| mount_options::check(kind, option).is_ok()).collect()
        }
    };
    check_minimum(draft, &object, sink);
}

fn texts(options: &[Item<'_>]) -> Vec<String> {
    options.iter().map(|(text, _)| (*text).to_owned()).collect()
}

fn check_kind(object: &str, kind: MountKind, options: &[Item<'_>], sink: &mut Sink) {
    let what = match kind {
        MountKind::Fs(fs_type) => fs_type.as_str(),
        MountKind::Tmpfs => "tmpfs",
        MountKind::Bind => "a directory",
    };
    check_contradictions(object, options, sink);
    for (index, refused) in mount_options::check_all(kind, &texts(options)).err().unwrap_or_default() {
        if let Some((option, at)) = options.get(index) {
            report_option(object, what, option, *at, &refused.reason, kind, sink);
        }
    }
}

fn check_minimum(draft: &Draft<'_>, object: &str, sink: &mut Sink) {
    let (Some(capacity), Some(fs)) = (draft.spec.capacity, &draft.spec.fs) else { return };
    if matches!(draft.raw.settings.fs.value().map(|fs| &fs.fs_type), Some(Field::Invalid(_))) {
        return;
    }
    let Some((_, at)) = draft.raw.capacity.value().and_then(|range| range.required.given()) else { return };
    // What its source holds is not known here.
    if !draft.fs_certain && draft.raw.source.is_set() {
        return;
    }
    let least = fs.fs_type.min_capacity();
    if capacity.required < least {
        let error = sink.report(
            codes::CAPACITY_TOO_SMALL,
            at.value,
            format!("{object}: {} is too small for {}", capacity.required, fs.fs_type),
        );
        error.label(format!("at least {least}"));
        error.help(format!("the smallest {} an image can hold is {least}", fs.fs_type));
        if let Some(at) = draft.raw.settings.fs.value().and_then(|fs| fs.fs_type.at()) {
            error.also(at.value, "the file system");
        }
    }
}
