//! Mounts as the kernel lists them, and the questions asked of that list.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::device::BlockId;

/// How mount events travel between a mount and its peers (Kubernetes mountPropagation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Propagation {
    /// None: the kernel's `private`.
    #[default]
    None,
    /// From host to pod: the kernel's `slave`.
    HostToContainer,
    /// Both ways: the kernel's `shared`.
    Bidirectional,
}

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The mount's id, unique while it lives.
    pub id: u64,
    /// The id of the mount it lies on.
    pub parent: u64,
    /// The device of its file system.
    pub device: BlockId,
    /// Which directory of that file system is seen here; `/` for all of it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// The file system's type.
    pub fs_type: String,
    /// The source as given to mount(2).
    pub source: PathBuf,
    /// Options of this mount: `rw`, `nosuid`, `noatime`…
    pub options: Vec<String>,
    /// Options of its file system: `rw`, `errors=remount-ro`…
    pub super_options: Vec<String>,
    /// Whether it is a member of a peer group (`shared:N`).
    pub shared: bool,
    /// Whether it receives from one (`master:N`).
    pub slave: bool,
}

impl Mount {
    /// What the kernel appends to the root of a mount whose directory was removed.
    const REMOVED: &str = "//deleted";

    /// Its root, whether or not that directory is still there.
    pub fn root_as_it_was(&self) -> &Path {
        let before = if self.is_of_removed() { self.root.parent() } else { None };
        before.unwrap_or(&self.root)
    }

    /// Whether the directory it shows was removed since.
    pub fn is_of_removed(&self) -> bool {
        self.root.as_os_str().as_encoded_bytes().ends_with(Self::REMOVED.as_bytes())
    }

    /// Whether an option of the mount is set.
    pub fn has_option(&self, option: &str) -> bool {
        self.options.iter().any(|o| o == option)
    }

    /// Whether writes through this mount are refused.
    pub fn read_only(&self) -> bool {
        self.has_option("ro")
    }

    /// Whether the file system itself has become read-only (after an error, say). ext4 says so in words of its own since Linux 6.15.
    pub fn super_read_only(&self) -> bool {
        self.super_options.iter().any(|o| matches!(o.as_str(), "ro" | "emergency_ro" | "shutdown"))
    }

    /// What its propagation is.
    pub fn propagation(&self) -> Propagation {
        match (self.shared, self.slave) {
            (true, _) => Propagation::Bidirectional,
            (false, true) => Propagation::HostToContainer,
            (false, false) => Propagation::None,
        }
    }
}

/// All mounts of one mount namespace at one moment, in the kernel's order, indexed by target and device.
#[derive(Debug, Clone, Default)]
pub struct MountTable {
    mounts: Vec<Mount>,
    by_target: HashMap<PathBuf, Vec<usize>>,
    by_device: HashMap<BlockId, Vec<usize>>,
    by_id: HashMap<u64, usize>,
}

impl MountTable {
    /// A table of these mounts, given in the kernel's order (lowest of a stack first).
    pub fn new(mounts: Vec<Mount>) -> Self {
        let mut table = Self { mounts: Vec::with_capacity(mounts.len()), ..Self::default() };
        for mount in mounts {
            let index = table.mounts.len();
            table.by_target.entry(mount.target.clone()).or_default().push(index);
            table.by_device.entry(mount.device).or_default().push(index);
            table.by_id.insert(mount.id, index);
            table.mounts.push(mount);
        }
        table
    }

    /// All mounts.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.mounts.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.mounts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.mounts.is_empty()
    }

    /// The stack of mounts at exactly this path, the visible one last.
    pub fn at(&self, target: &Path) -> impl DoubleEndedIterator<Item = &Mount> {
        self.by_target.get(target).into_iter().flatten().map(|&index| &self.mounts[index])
    }

    /// The mount that is seen at exactly this path.
    pub fn top(&self, target: &Path) -> Option<&Mount> {
        self.at(target).next_back()
    }

    /// Every mount of the file system on this device.
    pub fn of_device(&self, device: BlockId) -> impl Iterator<Item = &Mount> {
        self.by_device.get(&device).into_iter().flatten().map(|&index| &self.mounts[index])
    }

    /// The mount that was made over this one, on a directory above it or above one that it lies on, so that nobody reaches it any more.
    pub fn covering(&self, mount: &Mount) -> Option<&Mount> {
        let mut below = mount;
        // No chain of mounts is longer than all of them; the kernel's has no circles.
        for _ in 0..self.mounts.len() {
            let over = |above: &Path| self.at(above).find(|over| over.parent == below.parent && over.id != below.id);
            if let Some(cover) = below.target.ancestors().skip(1).find_map(over) {
                return Some(cover);
            }
            below = &self.mounts[*self.by_id.get(&below.parent)?];
        }
        None
    }

    /// The mount that `path` lies on: the deepest one at or above it.
    pub fn containing(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|ancestor| self.top(ancestor))
    }
}
