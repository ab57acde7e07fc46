//! Where a volume's bytes live: an image file on a loop device, an existing block device, a directory, or memory.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::capacity::Capacity;
use super::name::{Name, SnapshotId, VolumeId};

/// A directory that holds image files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The pool's name; `default` for the one under the state directory.
    pub name: Name,
    /// Its absolute path.
    pub path: PathBuf,
    /// The most its images and snapshots may add up to, in nominal bytes, whichever project they belong to.
    pub limit: Option<Capacity>,
    /// Bytes kept free on the file system below it for what is still to be allocated.
    pub reserve: Option<Capacity>,
}

/// How an image's bytes are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Allocate {
    /// All bytes are allocated up front and stay so.
    #[default]
    Full,
    /// Bytes are allocated when written; discards free them.
    Sparse,
}

impl Allocate {
    /// The word for it in manifests and parameters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Sparse => "sparse",
        }
    }
}

/// The logical sector size of a loop device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, Hash)]
#[serde(try_from = "u32", into = "u32")]
pub enum SectorSize {
    /// 512 bytes.
    #[default]
    B512,
    /// 4096 bytes.
    B4096,
}

impl SectorSize {
    /// The size in bytes.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B512 => 512,
            Self::B4096 => 4096,
        }
    }
}

impl From<SectorSize> for u32 {
    fn from(size: SectorSize) -> Self {
        size.bytes()
    }
}

impl TryFrom<u32> for SectorSize {
    type Error = String;

    fn try_from(bytes: u32) -> Result<Self, String> {
        match bytes {
            512 => Ok(Self::B512),
            4096 => Ok(Self::B4096),
            other => Err(format!("sector size {other} is neither 512 nor 4096")),
        }
    }
}

/// An image file in a pool, attached through a loop device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageBacking {
    /// The pool's name.
    pub pool: Name,
    /// The pool's directory when the spec was applied: where the image lies.
    pub pool_path: PathBuf,
    /// How its bytes are reserved.
    pub allocate: Allocate,
    /// Ask for direct I/O; best effort, what was got is reported.
    pub direct_io: bool,
    /// The loop's logical sector size; fixed for life, inherited by clones.
    pub sector_size: SectorSize,
}

impl ImageBacking {
    /// Where the image of `id` lies: `POOL/ID.img`.
    pub fn image_path(&self, id: &VolumeId) -> PathBuf {
        self.pool_path.join(format!("{id}.img"))
    }

    /// The one temporary name under which the image of `id` is made: `POOL/.ID.img.part`.
    pub fn part_path(&self, id: &VolumeId) -> PathBuf {
        self.pool_path.join(format!(".{id}.img.part"))
    }

    /// What an unmounted growth of `id` has left to do, should it be cut short: `POOL/.ID.img.grow`.
    pub fn growth_path(&self, id: &VolumeId) -> PathBuf {
        self.pool_path.join(format!(".{id}.img.grow"))
    }

    /// Where a snapshot lies: `POOL/ID.snap`, in the pool of its volume.
    pub fn snapshot_path(&self, id: &SnapshotId) -> PathBuf {
        self.pool_path.join(format!("{id}.snap"))
    }

    /// The one temporary name under which a snapshot is made: `POOL/.ID.snap.part`.
    pub fn snapshot_part_path(&self, id: &SnapshotId) -> PathBuf {
        self.pool_path.join(format!(".{id}.snap.part"))
    }
}

/// An existing block device, pinned by identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceBacking {
    /// A stable path: `/dev/disk/by-*`, `/dev/mapper/*` or `/dev/VG/LV`.
    pub path: PathBuf,
    /// What the device has to be before anything is written to it.
    pub expect: DeviceExpectation,
}

/// What is known of a device beforehand; every given value has to match.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeviceExpectation {
    /// Its size, within one per cent (vendors round).
    pub size: Option<Capacity>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Its World Wide Name.
    pub wwn: Option<String>,
}

/// An existing or to be made directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryBacking {
    /// Its absolute path.
    pub path: PathBuf,
    /// Whether csictl makes it (0755) when it is missing.
    pub create: bool,
}

/// Memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsBacking {
    /// The most it may hold.
    pub size: Capacity,
}

/// Where a volume's bytes live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backing {
    /// An image file on a loop device.
    Image(ImageBacking),
    /// An existing block device.
    Device(DeviceBacking),
    /// A directory of the host.
    Directory(DirectoryBacking),
    /// A memory file system.
    Tmpfs(TmpfsBacking),
}

impl Backing {
    /// The manifest's word for it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Image(_) => "image",
            Self::Device(_) => "device",
            Self::Directory(_) => "directory",
            Self::Tmpfs(_) => "tmpfs",
        }
    }

    /// Whether the volume is a block device before it is mounted.
    pub const fn is_block(&self) -> bool {
        matches!(self, Self::Image(_) | Self::Device(_))
    }

    /// The image, where the backing is one.
    pub const fn as_image(&self) -> Option<&ImageBacking> {
        match self {
            Self::Image(image) => Some(image),
            _ => None,
        }
    }
}
