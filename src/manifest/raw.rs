//! The manifest as written: plain structs with the place of every key and value, no defaults, nothing resolved. Read from
//! a tree that was checked against the shape; a value that failed the check is [`Field::Invalid`], so that no later rule
//! complains about it a second time.
//!
//! Plain structs rather than `serde(flatten)`, `tag` or `untagged`, which lose spans; and a walk of our own rather than one
//! deserialization, which would stop at the first error.

use std::str::FromStr;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diag::Span;
use super::shape::PathKind;
use super::{paths, value};
use crate::model::{
    AccessMode, Allocate, Capacity, FormatPolicy, FsType, Name, Propagation, Reclaim, SectorSize, VolumeMode,
};

/// Where a key and its value stand.
#[derive(Debug, Clone, Copy, Default)]
pub struct At {
    /// The key.
    pub key: Span,
    /// The value.
    pub value: Span,
}

/// What a key holds.
#[derive(Debug, Clone, Default)]
pub enum Field<T> {
    /// The key is not there.
    #[default]
    Absent,
    /// It is there with a value that was already reported.
    Invalid(At),
    /// It is there.
    Given(T, At),
}

impl<T> Field<T> {
    /// The value, if there is a valid one.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Given(value, _) => Some(value),
            _ => None,
        }
    }

    /// Where it stands, if the key is there.
    pub const fn at(&self) -> Option<At> {
        match self {
            Self::Absent => None,
            Self::Invalid(at) | Self::Given(_, at) => Some(*at),
        }
    }

    /// Whether the key is there.
    pub const fn is_set(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// Value and place, if there is a valid one.
    pub const fn given(&self) -> Option<(&T, At)> {
        match self {
            Self::Given(value, at) => Some((value, *at)),
            _ => None,
        }
    }
}

/// A text and its place in a list.
pub type Item<'a> = (&'a str, Span);

/// The keys volumes and classes share.
#[derive(Debug, Clone, Default)]
pub struct Settings<'a> {
    pub description: Field<&'a str>,
    pub pool: Field<&'a str>,
    pub access_mode: Field<AccessMode>,
    pub image: Field<Image>,
    pub fs: Field<Fs<'a>>,
    pub mount_options: Field<Vec<Item<'a>>>,
    pub reclaim: Field<Reclaim>,
    pub prevent_destroy: Field<bool>,
    pub owner: Field<(u32, u32)>,
    pub mode: Field<u32>,
}

/// `[volumes.NAME]`.
#[derive(Debug, Clone)]
pub struct Volume<'a> {
    pub name: &'a str,
    pub at: Span,
    pub class: Field<&'a str>,
    pub volume_mode: Field<VolumeMode>,
    pub capacity: Field<Range>,
    pub device: Field<Device<'a>>,
    pub directory: Field<Directory<'a>>,
    pub tmpfs: Field<Tmpfs>,
    pub source: Field<Source<'a>>,
    pub settings: Settings<'a>,
}

/// `capacity`, in both its forms.
#[derive(Debug, Clone, Default)]
pub struct Range {
    pub required: Field<Capacity>,
    pub limit: Field<Capacity>,
}

/// `image`.
#[derive(Debug, Clone, Default)]
pub struct Image {
    pub allocate: Field<Allocate>,
    pub direct_io: Field<bool>,
    pub sector_size: Field<SectorSize>,
}

/// `device`.
#[derive(Debug, Clone, Default)]
pub struct Device<'a> {
    pub path: Field<&'a str>,
    pub size: Field<Capacity>,
    pub serial: Field<&'a str>,
    pub wwn: Field<&'a str>,
}

/// `directory`.
#[derive(Debug, Clone, Default)]
pub struct Directory<'a> {
    pub path: Field<&'a str>,
    pub create: Field<bool>,
}

/// `tmpfs`.
#[derive(Debug, Clone, Default)]
pub struct Tmpfs {
    pub size: Field<Capacity>,
}

/// `fs`.
#[derive(Debug, Clone, Default)]
pub struct Fs<'a> {
    pub fs_type: Field<FsType>,
    pub format: Field<FormatPolicy>,
    pub label: Field<&'a str>,
    pub mkfs_options: Field<Vec<Item<'a>>>,
}

/// `source`.
#[derive(Debug, Clone, Default)]
pub struct Source<'a> {
    pub volume: Field<&'a str>,
    pub snapshot: Field<&'a str>,
}

/// `[pools.NAME]`.
#[derive(Debug, Clone)]
pub struct Pool<'a> {
    pub name: &'a str,
    pub at: Span,
    pub path: Field<&'a str>,
    pub limit: Field<Capacity>,
    pub reserve: Field<Capacity>,
}

/// `[snapshots.NAME]`.
#[derive(Debug, Clone)]
pub struct Snapshot<'a> {
    pub name: &'a str,
    pub volume: Field<&'a str>,
}

/// `[pods.NAME]`.
#[derive(Debug, Clone)]
pub struct Pod<'a> {
    pub name: &'a str,
    pub root: Field<&'a str>,
    pub fs_group: Field<u32>,
    pub mounts: Vec<Publish<'a>>,
    pub devices: Vec<Publish<'a>>,
}

/// `[[pods.NAME.mounts]]` and `[[pods.NAME.devices]]`.
#[derive(Debug, Clone)]
pub struct Publish<'a> {
    pub volume: Field<&'a str>,
    pub path: Field<&'a str>,
    pub sub_path: Field<&'a str>,
    pub read_only: Field<bool>,
    pub propagation: Field<Propagation>,
}

/// The whole manifest. Lists are in the order of names.
#[derive(Debug, Clone)]
pub struct Manifest<'a> {
    pub project: Field<&'a str>,
    pub default_class: Field<&'a str>,
    pub default_pool: Field<&'a str>,
    pub pools: Vec<Pool<'a>>,
    pub classes: std::collections::HashMap<&'a str, Settings<'a>>,
    pub volumes: Vec<Volume<'a>>,
    pub snapshots: Vec<Snapshot<'a>>,
    pub pods: Vec<Pod<'a>>,
}

/// Reads one table.
#[derive(Clone, Copy)]
struct Keys<'a>(Option<&'a DeTable<'a>>);

impl<'a> Keys<'a> {
    fn find(&self, name: &str) -> Option<(&'a Spanned<DeValue<'a>>, At)> {
        let (key, value) = self.0?.get_key_value(name)?;
        Some((value, At { key: key.span().into(), value: value.span().into() }))
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
        self.read(name, |value| {
            value
                .as_array()?
                .iter()
                .map(|item| item.get_ref().as_str().map(|text| (text, Span::from(item.span()))))
                .collect()
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
        reserve: keys.parsed("reserve"),
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
