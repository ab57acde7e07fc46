//! Reads the plain structs out of a tree: one function a table, one method a type of value.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    At, Device, Directory, Field, Fs, Image, Item, Manifest, Pod, Pool, Publish, Range, Settings, Snapshot, Source,
    Tmpfs, Volume,
};
use crate::manifest::diag::Span;
use crate::manifest::shape::PathKind;
use crate::manifest::{paths, suggest, value};
use crate::model::{Capacity, Name, SectorSize};

/// Reads one table.
#[derive(Clone, Copy)]
struct Keys<'a>(Option<&'a DeTable<'a>>);

impl<'a> Keys<'a> {
    fn find(&self, name: &str) -> Option<(&'a Spanned<DeValue<'a>>, At)> {
        let (key, value) = self.0?.get_key_value(name)?;
        Some((value, At { key: key.span().into(), value: value.span().into() }))
    }

    fn has(&self, name: &str) -> bool {
        self.0.is_some_and(|table| table.contains_key(name))
    }

    fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.into_iter().flat_map(|table| table.keys().map(|key| &**key.get_ref()))
    }

    fn read<T>(&self, name: &str, read: impl FnOnce(&'a DeValue<'a>) -> Option<T>) -> Field<T> {
        match self.find(name) {
            None => Field::Absent,
            Some((value, at)) => read(value.get_ref()).map_or(Field::Invalid(at), |value| Field::Given(value, at)),
        }
    }

    fn text(&self, name: &str) -> Field<&'a str> {
        self.read(name, |value| value.as_str().filter(|text| !text.is_empty()))
    }

    fn name(&self, name: &str) -> Field<&'a str> {
        self.read(name, |value| value.as_str().filter(|text| text.parse::<Name>().is_ok()))
    }

    fn path(&self, name: &str, kind: PathKind) -> Field<&'a str> {
        self.read(name, |value| value.as_str().filter(|text| paths::check(kind, text).is_ok()))
    }

    fn flag(&self, name: &str) -> Field<bool> {
        self.read(name, DeValue::as_bool)
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Field<T> {
        self.read(name, |value| value.as_str().and_then(|text| text.parse().ok()))
    }

    fn word<T: DeserializeOwned>(&self, name: &str) -> Field<T> {
        self.read(name, |value| value.as_str().and_then(value::word))
    }

    fn texts(&self, name: &str) -> Field<Vec<Item<'a>>> {
        // What is no text in it was reported; the others have their own rules to meet.
        let fits = |text: &&str| !text.is_empty() && !text.chars().any(char::is_control);
        self.read(name, |value| {
            let items = value.as_array()?.iter();
            let texts = items.filter_map(|item| Some((item.get_ref().as_str().filter(fits)?, Span::from(item.span()))));
            Some(texts.collect())
        })
    }

    fn table<T>(&self, name: &str, read: impl FnOnce(Keys<'a>) -> T) -> Field<T> {
        self.read(name, |value| value.as_table().map(|table| read(Keys(Some(table)))))
    }

    fn inner(&self, name: &str) -> Keys<'a> {
        Keys(self.find(name).and_then(|(value, _)| value.get_ref().as_table()))
    }

    fn named<T>(&self, name: &str, mut read: impl FnMut(&'a str, Span, Keys<'a>) -> T) -> Vec<T> {
        let tables = self.inner(name).0.into_iter().flatten();
        tables
            .filter_map(|(name, value)| {
                let name_text: &'a str = name.get_ref();
                let table = value.get_ref().as_table()?;
                name_text.parse::<Name>().ok()?;
                Some(read(name_text, name.span().into(), Keys(Some(table))))
            })
            .collect()
    }

    fn many<T>(&self, name: &str, mut read: impl FnMut(Keys<'a>) -> T) -> Vec<T> {
        let items = self.find(name).and_then(|(value, _)| value.get_ref().as_array());
        items
            .into_iter()
            .flatten()
            .filter_map(|item| item.get_ref().as_table())
            .map(|table| read(Keys(Some(table))))
            .collect()
    }
}

/// Reads the whole manifest out of its tree.
pub fn read<'a>(root: &'a DeTable<'a>) -> Manifest<'a> {
    let root = Keys(Some(root));
    let defaults = root.inner("defaults");
    Manifest {
        project: root.name("project"),
        default_class: defaults.name("class"),
        default_pool: defaults.name("pool"),
        pools: root.named("pools", pool),
        classes: root.named("classes", |name, _, keys| (name, settings(&keys))).into_iter().collect(),
        volumes: root.named("volumes", volume),
        snapshots: root.named("snapshots", |name, _, keys| Snapshot { name, volume: keys.name("volume") }),
        pods: root.named("pods", |name, _, keys| Pod {
            name,
            root: keys.path("root", PathKind::Host),
            fs_group: keys.read("fs_group", |value| value::integer(value).and_then(value::group_id)),
            mounts: keys.many("mounts", |keys| publish(&keys)),
            devices: keys.many("devices", |keys| publish(&keys)),
        }),
    }
}

fn pool<'a>(name: &'a str, at: Span, keys: Keys<'a>) -> Pool<'a> {
    Pool {
        name,
        at,
        path: keys.path("path", PathKind::Host),
        limit: keys.parsed("limit"),
        reserve: keys.read("reserve", |value| {
            let text = value.as_str()?;
            if value::is_zero_size(text) { Some(Capacity::bytes(0)) } else { text.parse().ok() }
        }),
    }
}

fn settings<'a>(keys: &Keys<'a>) -> Settings<'a> {
    Settings {
        description: keys.text("description"),
        pool: keys.name("pool"),
        access_mode: keys.parsed("access_mode"),
        image: keys.table("image", |keys| Image {
            allocate: keys.word("allocate"),
            direct_io: keys.flag("direct_io"),
            sector_size: keys.read("sector_size", |value| {
                u32::try_from(value::integer(value)?).ok().and_then(|bytes| SectorSize::try_from(bytes).ok())
            }),
        }),
        fs: keys.table("fs", |keys| Fs {
            fs_type: keys.parsed("type"),
            format: keys.word("format"),
            label: keys.text("label"),
            mkfs_options: keys.texts("mkfs_options"),
        }),
        mount_options: keys.texts("mount_options"),
        reclaim: keys.word("reclaim"),
        prevent_destroy: keys.flag("prevent_destroy"),
        owner: keys.read("owner", |value| value.as_str().and_then(value::owner)),
        mode: keys.read("mode", |value| value.as_str().and_then(value::mode)),
    }
}

fn volume<'a>(name: &'a str, at: Span, keys: Keys<'a>) -> Volume<'a> {
    Volume {
        name,
        at,
        class: keys.name("class"),
        volume_mode: keys.word("volume_mode"),
        capacity: capacity(&keys),
        capacity_misspelt: !keys.has("capacity")
            && keys.names().any(|name| suggest::nearest(name, ["capacity"]).is_some()),
        device: keys.table("device", |keys| {
            let expect = keys.inner("expect");
            Device {
                path: keys.path("path", PathKind::Device),
                size: expect.parsed("size"),
                serial: expect.text("serial"),
                wwn: expect.text("wwn"),
            }
        }),
        directory: keys.table("directory", |keys| Directory {
            path: keys.path("path", PathKind::Host),
            create: keys.flag("create"),
        }),
        tmpfs: keys.table("tmpfs", |keys| Tmpfs { size: keys.parsed("size") }),
        source: keys.table("source", |keys| Source { volume: keys.name("volume"), snapshot: keys.name("snapshot") }),
        settings: settings(&keys),
    }
}

fn capacity(keys: &Keys<'_>) -> Field<Range> {
    match keys.find("capacity") {
        Some((value, _)) if value.get_ref().is_table() => {
            keys.table("capacity", |keys| Range { required: keys.parsed("required"), limit: keys.parsed("limit") })
        }
        _ => match keys.parsed::<Capacity>("capacity") {
            Field::Absent => Field::Absent,
            Field::Invalid(at) => Field::Invalid(at),
            Field::Given(size, at) => {
                Field::Given(Range { required: Field::Given(size, at), limit: Field::Absent }, at)
            }
        },
    }
}

fn publish<'a>(keys: &Keys<'a>) -> Publish<'a> {
    Publish {
        volume: keys.name("volume"),
        path: keys.path("path", PathKind::Absolute),
        sub_path: keys.path("sub_path", PathKind::Inside),
        read_only: keys.flag("read_only"),
        propagation: keys.word("propagation"),
    }
}
