//! The manifest as written: plain structs with the place of every key and value, no defaults, nothing resolved. Read from
//! a tree that was checked against the shape; a value that failed the check is [`Field::Invalid`], so that no later rule
//! complains about it a second time.
//!
//! Plain structs rather than `serde(flatten)`, `tag` or `untagged`, which lose spans; and a walk of our own rather than one
//! deserialization, which would stop at the first error.

mod read;

pub use read::read;

use super::diag::Span;
use crate::model::{
    AccessMode, Allocate, Capacity, FormatPolicy, FsType, Propagation, Reclaim, SectorSize, VolumeMode,
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
    /// Whether some key was reported that was meant to be `capacity`.
    pub capacity_misspelt: bool,
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
