//! File systems csictl makes and mounts, with the facts about each that are not opinion: smallest size, longest label.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::capacity::Capacity;

/// The file systems csictl can make, mount, check and grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FsType {
    /// ext4, the default.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs, one device.
    Btrfs,
}

/// The kernel resizes no btrfs to less (`btrfs_ioctl_resize`).
pub const BTRFS_GROWN_LEAST: Capacity = Capacity::mib(256);

impl FsType {
    /// Every file system, in the order help and errors list them.
    pub const ALL: [Self; 3] = [Self::Ext4, Self::Xfs, Self::Btrfs];

    /// The name the kernel and the manifest use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// The smallest size to which its kernel grows it, where that is not any.
    pub const fn grown_least(self) -> Option<Capacity> {
        match self {
            Self::Ext4 | Self::Xfs => None,
            Self::Btrfs => Some(BTRFS_GROWN_LEAST),
        }
    }

    /// The smallest image its mkfs accepts (measured: 7-kernel-notes, e2fsprogs 1.47, xfsprogs 6.1, btrfs-progs 6.2).
    pub const fn min_capacity(self) -> Capacity {
        match self {
            Self::Ext4 => Capacity::mib(16),
            Self::Xfs => Capacity::mib(300),
            Self::Btrfs => Capacity::mib(109),
        }
    }

    /// The longest label in bytes.
    pub const fn label_max(self) -> usize {
        match self {
            Self::Ext4 => 16,
            Self::Xfs => 12,
            Self::Btrfs => 255,
        }
    }
}

impl fmt::Display for FsType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for FsType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|fs| fs.as_str() == text).ok_or(())
    }
}

/// Whether blank storage may be formatted. There is no "always".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormatPolicy {
    /// Format what is proven blank; use a file system of the type asked for as it is; refuse everything else.
    #[default]
    IfBlank,
    /// Never format; the file system has to be there.
    Never,
}

/// What file system a volume has, and how it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsSpec {
    /// The type.
    pub fs_type: FsType,
    /// When it may be made.
    pub format: FormatPolicy,
    /// The label, at most [`FsType::label_max`] bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Extra arguments of mkfs, each one on the allow-list of its file system.
    pub mkfs_options: Vec<String>,
}

impl FsSpec {
    /// A file system of this type with nothing special about it.
    pub fn plain(fs_type: FsType) -> Self {
        Self { fs_type, format: FormatPolicy::IfBlank, label: None, mkfs_options: Vec::new() }
    }
}

/// The UUID of a file system, chosen by csictl before mkfs so that a half-made one can be told from a stranger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FsUuid(uuid::Uuid);

impl FsUuid {
    /// A new random UUID (version 4).
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4())
    }

    /// From the sixteen bytes of a superblock.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Uuid::from_bytes(bytes))
    }

    /// The sixteen bytes as a superblock holds them.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for FsUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for FsUuid {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}
