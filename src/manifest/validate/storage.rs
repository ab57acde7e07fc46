//! The configuration of a server: pools and classes as a manifest writes them, without a project and without volumes. Which volumes there are,
//! its callers say.

use super::super::diag::Sink;
use super::super::raw::{Field, Image, Settings};
use super::pools::Pools;
use super::{Scope, pools, volumes};
use crate::model::{Name, Ownership, StorageClass, StorageConfig};

/// Resolves and checks everything; the answer means something only when `sink` stayed empty.
pub(super) fn resolve(scope: &Scope<'_>, sink: &mut Sink) -> StorageConfig {
    let pools = pools::resolve(scope, sink);
    volumes::check_classes(scope, &pools, sink);
    let classes = &scope.raw.classes;
    let none = Settings::default();
    let default = scope.raw.default_class.value().and_then(|name| classes.get(name)).unwrap_or(&none);
    let default = class(scope, default, &pools);
    let classes = classes.iter().map(|(name, settings)| (scope.name(name), class(scope, settings, &pools))).collect();
    let mut config = StorageConfig::of_layout(scope.context.layout);
    if pools.iter().next().is_some() {
        config.pools = pools.into_map();
    }
    StorageConfig { classes, default, ..config }
}

fn class(scope: &Scope<'_>, settings: &Settings<'_>, pools: &Pools<'_>) -> StorageClass {
    let texts = |field: &Field<Vec<(&str, _)>>| -> Vec<String> {
        field.value().map(|texts| texts.iter().map(|(text, _)| (*text).to_owned()).collect()).unwrap_or_default()
    };
    let pool: Option<Name> = match settings.pool.value() {
        Some(name) => Some(scope.name(name)),
        None => pools.fallback(),
    };
    let no_image = Image::default();
    let image = settings.image.value().unwrap_or(&no_image);
    let plain = StorageClass::plain(pool);
    let fs = settings.fs.value();
    StorageClass {
        allocate: image.allocate.value().copied().unwrap_or(plain.allocate),
        direct_io: image.direct_io.value().copied().unwrap_or(plain.direct_io),
        sector_size: image.sector_size.value().copied().unwrap_or(plain.sector_size),
        fs_type: fs.and_then(|fs| fs.fs_type.value().copied()),
        label: fs.and_then(|fs| fs.label.value()).map(|label| (*label).to_owned()),
        mkfs_options: fs.map(|fs| texts(&fs.mkfs_options)).unwrap_or_default(),
        mount_options: texts(&settings.mount_options),
        ownership: Ownership { owner: settings.owner.value().copied(), mode: settings.mode.value().copied() },
        prevent_destroy: settings.prevent_destroy.value().copied().unwrap_or(false),
        ..plain
    }
}
