//! Volumes and the classes they take settings from.

use super::pools::Pools;
use super::{Scope, backing, filesystem, source};
use crate::manifest::diag::{Sink, Span};
use crate::manifest::raw::{self, At, Field, Settings, Volume};
use crate::manifest::{codes, suggest};
use crate::model::{Backing, Owner, Ownership, SectorSize, VolumeMode, VolumeSpec};

/// A volume on its way to a spec, with what later rooms need of how it was written.
pub(super) struct Draft<'a> {
    /// The spec so far.
    pub spec: VolumeSpec,
    /// As written.
    pub raw: &'a Volume<'a>,
    /// The settings of its class.
    pub class: Option<&'a Settings<'a>>,
    /// The sector size written on the volume itself.
    pub own_sector_size: Option<(SectorSize, At)>,
    /// Whether the type of its file system is certain: not where its source is outside the manifest, or wrong.
    pub fs_certain: bool,
}

impl Draft<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        self.raw.name
    }
}

/// The volume's own field where it is set, else the class's: a key is replaced whole.
pub(super) fn pick<'f, T>(own: &'f Field<T>, class: Option<&'f Field<T>>) -> &'f Field<T> {
    match (own, class) {
        (Field::Absent, Some(class)) => class,
        _ => own,
    }
}

/// Checks what a class says by itself, once, whoever takes it.
pub(super) fn check_classes(scope: &Scope<'_>, pools: &Pools<'_>, sink: &mut Sink) {
    for (name, class) in &scope.raw.classes {
        let object = format!("class.{name}");
        if let Some((pool, at)) = class.pool.given() {
            pools.check_name(pool, &object, at.value, sink);
        }
        if let Some(fs) = class.fs.value() {
            filesystem::check_fs(&object, fs, fs.fs_type.value().copied().unwrap_or(filesystem::DEFAULT), sink);
        }
        if let Some(options) = class.mount_options.value() {
            filesystem::check_any_kind(&object, options, sink);
        }
    }
    if let Some((name, at)) = scope.raw.default_class.given() {
        check_class(scope, name, "defaults", at.value, sink);
    }
}

fn check_class(scope: &Scope<'_>, name: &str, object: &str, at: Span, sink: &mut Sink) {
    if !scope.raw.classes.contains_key(name) {
        let affordable = sink.affords(scope.raw.classes.len());
        let error = sink.report(codes::UNKNOWN_CLASS, at, format!("{object}: there is no class '{name}'"));
        error.label("not declared");
        if affordable {
            let mut names: Vec<&str> = scope.raw.classes.keys().copied().collect();
            names.sort_unstable();
            error.help(suggest::help(name, names, "classes"));
        }
    }
}

fn class_of<'a>(scope: &Scope<'a>, volume: &Volume<'a>, sink: &mut Sink) -> Option<&'a Settings<'a>> {
    let name = match &volume.class {
        Field::Given(name, at) => {
            check_class(scope, name, &format!("volume.{}", volume.name), at.value, sink);
            Some(*name)
        }
        Field::Invalid(_) => None,
        Field::Absent => scope.raw.default_class.value().copied(),
    };
    name.and_then(|name| scope.raw.classes.get(name))
}

/// Resolves one volume as far as it can be without looking at others.
pub(super) fn resolve<'a>(scope: &Scope<'a>, raw: &'a Volume<'a>, pools: &mut Pools<'a>, sink: &mut Sink) -> Draft<'a> {
    let class = class_of(scope, raw, sink);
    let own = &raw.settings;
    let mode = raw.volume_mode.value().copied().unwrap_or_default();
    let (backing, capacity) = backing::resolve(scope, raw, class, pools, sink);
    let applies = Applies { backing: &backing, block: mode == VolumeMode::Block };
    applies.check(raw, sink);

    let source = source::read(scope, raw, sink);
    let has_fs = backing.is_block() && mode == VolumeMode::Filesystem;
    let (fs, fs_type_given) = match has_fs {
        true => filesystem::resolve(raw, class, sink),
        false => (None, false),
    };
    let ownership = match mode {
        VolumeMode::Filesystem => Ownership {
            owner: pick(&own.owner, class.map(|class| &class.owner)).value().copied(),
            mode: pick(&own.mode, class.map(|class| &class.mode)).value().copied(),
        },
        VolumeMode::Block => Ownership::default(),
    };
    let protect = pick(&own.prevent_destroy, class.map(|class| &class.prevent_destroy)).value().copied();
    let scratch = matches!(backing, Backing::Tmpfs(_));
    let spec = VolumeSpec {
        id: scope.volume_id(raw.name),
        owner: Owner::Project(scope.project.clone()),
        name: raw.name.to_owned(),
        description: own.description.value().map(|text| (*text).to_owned()),
        volume_mode: mode,
        capacity,
        access_mode: pick(&own.access_mode, class.map(|class| &class.access_mode)).value().copied().unwrap_or_default(),
        backing,
        fs,
        fs_type_given,
        mount_options: Vec::new(),
        source,
        reclaim: pick(&own.reclaim, class.map(|class| &class.reclaim)).value().copied().unwrap_or_default(),
        prevent_destroy: protect.unwrap_or(false) && !scratch,
        ownership,
        fs_group: None,
        ephemeral: false,
    };
    let own_sector_size = own.image.value().and_then(|image| image.sector_size.given()).map(|(size, at)| (*size, at));
    let fs_certain = !own.fs.value().is_some_and(|fs| matches!(fs.fs_type, Field::Invalid(_)))
        && !matches!(own.fs, Field::Invalid(_))
        && spec.source.is_none();
    Draft { spec, raw, class, own_sector_size, fs_certain }
}

/// Which keys of a volume mean something, given its backing and mode.
struct Applies<'b> {
    backing: &'b Backing,
    block: bool,
}

impl Applies<'_> {
    /// Reports every key of the volume itself that can have no effect: it would be believed to have one.
    fn check(&self, raw: &raw::Volume<'_>, sink: &mut Sink) {
        let own = &raw.settings;
        let kind = self.backing.kind();
        let image = matches!(self.backing, Backing::Image(_));
        let device = matches!(self.backing, Backing::Device(_));
        let of_kind = format!("a volume with {kind} backing");
        let has_fs = (image || device) && !self.block;
        let without_fs = if image || device { "a block volume".to_owned() } else { of_kind.clone() };
        let rules: [(bool, &str, Option<At>, &str, &str); 9] = [
            (image, "pool", own.pool.at(), &of_kind, "only images lie in pools"),
            (image, "capacity", raw.capacity.at(), &of_kind, self.capacity_help()),
            (image, "source", raw.source.at(), &of_kind, "only images are cloned or restored"),
            (
                has_fs,
                "fs",
                own.fs.at(),
                &without_fs,
                "csictl makes a file system only on an image or device that is mounted",
            ),
            (
                image || device || !self.block,
                "volume_mode = \"block\"",
                raw.volume_mode.at(),
                &of_kind,
                "raw block needs an image or a device",
            ),
            (!self.block, "mount_options", own.mount_options.at(), "a block volume", "it is never mounted"),
            (!self.block, "owner", own.owner.at(), "a block volume", "it has no root inode"),
            (!self.block, "mode", own.mode.at(), "a block volume", "it has no root inode"),
            (
                !matches!(self.backing, Backing::Tmpfs(_)) || own.prevent_destroy.value() != Some(&true),
                "prevent_destroy",
                own.prevent_destroy.at(),
                &of_kind,
                "memory is scratch: its content goes whenever it is unmounted",
            ),
        ];
        for (applies, key, at, what, help) in rules {
            if let (false, Some(at)) = (applies, at) {
                sink.report(
                    codes::KEY_NOT_APPLICABLE,
                    at.key,
                    format!("volume.{}: {key} does not apply to {what}", raw.name),
                )
                .label("has no effect here")
                .help(format!("take it out: {help}"));
            }
        }
        if let (Some(source), Some(fs)) = (raw.source.at(), own.fs.value()) {
            for (key, at) in [("fs.label", fs.label.at()), ("fs.mkfs_options", fs.mkfs_options.at())] {
                let Some(at) = at else { continue };
                sink.report(
                    codes::KEY_NOT_APPLICABLE,
                    at.key,
                    format!("volume.{}: {key} does not apply to a volume with a source", raw.name),
                )
                .label("has no effect here")
                .also(source.key, "the file system comes from here")
                .help("take it out: the file system is copied, not made");
            }
        }
    }

    const fn capacity_help(&self) -> &'static str {
        match self.backing {
            Backing::Tmpfs(_) => "write tmpfs = { size = … }",
            Backing::Device(_) => "a device has the size it has; device.expect.size checks it",
            _ => "a directory has no size of its own",
        }
    }
}
