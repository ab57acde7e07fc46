//! What `csictl serve` makes volumes from (Kubernetes StorageClass): the pools and classes of a configuration, resolved. A volume's own words, its
//! parameters, come on top of these.

use std::collections::BTreeMap;

use super::backing::{Allocate, Pool, SectorSize};
use super::filesystem::FsType;
use super::layout::Layout;
use super::name::Name;
use super::volume::Ownership;

/// The settings of one class, or those of volumes that name none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageClass {
    /// The pool of its images; `None` when there are several and the configuration chooses none.
    pub pool: Option<Name>,
    /// How the bytes of its images are reserved.
    pub allocate: Allocate,
    /// Whether its loop devices ask for direct I/O.
    pub direct_io: bool,
    /// The logical sector size of its loop devices.
    pub sector_size: SectorSize,
    /// The file system, where the class names one.
    pub fs_type: Option<FsType>,
    /// The label of that file system.
    pub label: Option<String>,
    /// Extra arguments of its mkfs, checked for that file system.
    pub mkfs_options: Vec<String>,
    /// Mount options; each suits some file system, not necessarily the one of every volume.
    pub mount_options: Vec<String>,
    /// Owner and mode of the root inode.
    pub ownership: Ownership,
    /// Whether its volumes are never deleted.
    pub prevent_destroy: bool,
}

impl StorageClass {
    /// A class that says nothing, with its images in this pool.
    pub fn plain(pool: Option<Name>) -> Self {
        Self {
            pool,
            allocate: Allocate::default(),
            direct_io: true,
            sector_size: SectorSize::default(),
            fs_type: None,
            label: None,
            mkfs_options: Vec::new(),
            mount_options: Vec::new(),
            ownership: Ownership::default(),
            prevent_destroy: false,
        }
    }
}

/// Where volumes may lie and how they are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageConfig {
    /// Pools by name; never none.
    pub pools: BTreeMap<Name, Pool>,
    /// Classes by name.
    pub classes: BTreeMap<Name, StorageClass>,
    /// What holds for a volume that names no class.
    pub default: StorageClass,
}

impl StorageConfig {
    /// Without a configuration: the pool under the state directory, and nothing special.
    pub fn of_layout(layout: &Layout) -> Self {
        let name = Layout::default_pool_name();
        let pool = Pool { name: name.clone(), path: layout.default_pool(), limit: None, reserve: None };
        Self {
            pools: BTreeMap::from([(name.clone(), pool)]),
            classes: BTreeMap::new(),
            default: StorageClass::plain(Some(name)),
        }
    }
}
