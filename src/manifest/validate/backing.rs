//! Where a volume's bytes lie, and how many they are.

use std::path::{Path, PathBuf};

use super::Scope;
use super::pools::Pools;
use super::volumes::pick;
use crate::manifest::diag::Sink;
use crate::manifest::raw::{At, Field, Image, Settings, Volume};
use crate::manifest::{codes, paths};
use crate::model::{
    Backing, Capacity, CapacityRange, DeviceBacking, DirectoryBacking, ImageBacking, TmpfsBacking,
    backing::DeviceExpectation,
};

/// The backing a volume names, an image where it names none; and the capacity an image needs.
pub(super) fn resolve(
    scope: &Scope<'_>,
    volume: &Volume<'_>,
    class: Option<&Settings<'_>>,
    pools: &mut Pools<'_>,
    sink: &mut Sink,
) -> (Backing, Option<CapacityRange>) {
    report_several(volume, sink);
    if let Field::Given(tmpfs, _) = &volume.tmpfs {
        let size = tmpfs.size.value().copied().unwrap_or(Capacity::mib(1)).rounded_up();
        return (Backing::Tmpfs(TmpfsBacking { size }), None);
    }
    if let Field::Given(directory, _) = &volume.directory {
        let path = match directory.path.given() {
            Some((text, at)) => host_directory(scope, volume, text, at, sink),
            None => PathBuf::from("/"),
        };
        let create = directory.create.value().copied().unwrap_or(false);
        return (Backing::Directory(DirectoryBacking { path, create }), None);
    }
    if let Field::Given(device, _) = &volume.device {
        let text = |field: &Field<&str>| field.value().map(|text| (*text).to_owned());
        let expect = DeviceExpectation {
            size: device.size.value().copied(),
            serial: text(&device.serial),
            wwn: text(&device.wwn),
        };
        let path = paths::normal(device.path.value().copied().unwrap_or("/"), Path::new("/"));
        return (Backing::Device(DeviceBacking { path, expect }), None);
    }
    let absent = Field::Absent;
    let settings = pick(&volume.settings.image, Some(class.map_or(&absent, |class| &class.image)));
    let none = Image::default();
    let image = settings.value().unwrap_or(&none);
    let other_backing = volume.tmpfs.is_set() || volume.directory.is_set() || volume.device.is_set();
    let (pool, capacity) = match other_backing {
        // Another backing was meant, and is reported as wrong: an image's needs would only confuse.
        true => (pools_stand_in(scope), None),
        false => (pools.choose(volume, class, sink), capacity(volume, sink)),
    };
    let backing = ImageBacking {
        pool: pool.name,
        pool_path: pool.path,
        allocate: image.allocate.value().copied().unwrap_or_default(),
        direct_io: image.direct_io.value().copied().unwrap_or(true),
        sector_size: image.sector_size.value().copied().unwrap_or_default(),
    };
    (Backing::Image(backing), capacity)
}

fn pools_stand_in(scope: &Scope<'_>) -> crate::model::Pool {
    let layout = scope.context.layout;
    crate::model::Pool {
        name: crate::model::Layout::default_pool_name(),
        path: layout.default_pool(),
        limit: None,
        reserve: None,
    }
}

fn report_several(volume: &Volume<'_>, sink: &mut Sink) {
    let mut named: Vec<(&str, At)> = [
        ("image", volume.settings.image.at()),
        ("device", volume.device.at()),
        ("directory", volume.directory.at()),
        ("tmpfs", volume.tmpfs.at()),
    ]
    .into_iter()
    .filter_map(|(kind, at)| at.map(|at| (kind, at)))
    .collect();
    named.sort_by_key(|(_, at)| at.key);
    let [(first, first_at), (second, second_at), ..] = named[..] else { return };
    sink.report(
        codes::SEVERAL_BACKINGS,
        second_at.key,
        format!("volume.{}: both {first} and {second} are given", volume.name),
    )
    .label(second)
    .also(first_at.key, first)
    .help("a volume's bytes lie in one place: keep one of image, device, directory and tmpfs");
}

fn host_directory(scope: &Scope<'_>, volume: &Volume<'_>, text: &str, at: At, sink: &mut Sink) -> PathBuf {
    let path = paths::normal(text, scope.context.base_dir);
    let layout = scope.context.layout;
    let covers = |own: &Path| path.starts_with(own) || own.starts_with(&path);
    if path == Path::new("/") || covers(&layout.state) || covers(&layout.run) {
        sink.report(
            codes::PATH_RESERVED,
            at.value,
            format!("volume.{}: {} holds, or lies in, csictl's own directories", volume.name, path.display()),
        )
        .help(format!("keep out of {} and {}", layout.state.display(), layout.run.display()));
    }
    path
}

fn capacity(volume: &Volume<'_>, sink: &mut Sink) -> Option<CapacityRange> {
    let object = format!("volume.{}", volume.name);
    let range = match &volume.capacity {
        Field::Absent if volume.capacity_misspelt => return None,
        Field::Absent => {
            sink.report(codes::CAPACITY_MISSING, volume.at, format!("{object}: capacity is missing"))
                .label("an image needs a size")
                .help("add capacity = \"10GiB\", or name another backing: device, directory or tmpfs");
            return None;
        }
        Field::Invalid(_) => return None,
        Field::Given(range, _) => range,
    };
    let (required, at) = range.required.given()?;
    let rounded = required.rounded_up();
    if let Some((limit, limit_at)) = range.limit.given()
        && rounded > *limit
    {
        let cause = if required > limit { "" } else { " once it is rounded up to 4 KiB" };
        sink.report(
            codes::CAPACITY_RANGE,
            at.value,
            format!("{object}: the required capacity {rounded} is more than the limit {limit}{cause}"),
        )
        .label("required")
        .also(limit_at.value, "limit")
        .help("raise the limit, or ask for less");
    }
    Some(CapacityRange { required: rounded, limit: range.limit.value().copied() })
}
