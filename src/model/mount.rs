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
///
/// That order tells nothing of what lies on what: since Linux 6.8 it is that of the mounts' ids, and a mount gets its id before it gets its
/// place. What each one lies on is told by its parent.
#[derive(Debug, Clone, Default)]
pub struct MountTable {
    mounts: Vec<Mount>,
    by_target: HashMap<PathBuf, Vec<usize>>,
    by_device: HashMap<BlockId, Vec<usize>>,
    by_id: HashMap<u64, usize>,
}

impl MountTable {
    /// A table of these mounts, given in whatever order.
    pub fn new(mounts: Vec<Mount>) -> Self {
        let mut table = Self { mounts: Vec::with_capacity(mounts.len()), ..Self::default() };
        for mount in mounts {
            let index = table.mounts.len();
            table.by_target.entry(mount.target.clone()).or_default().push(index);
            table.by_device.entry(mount.device).or_default().push(index);
            table.by_id.insert(mount.id, index);
            table.mounts.push(mount);
        }
        table.order_stacks();
        table
    }

    /// Brings the mounts at one place in the order in which they lie on each other, those that a path leads to last. Where parents tell
    /// nothing, the order stays as given.
    fn order_stacks(&mut self) {
        let several = self.by_target.iter().filter(|(_, at)| at.len() > 1);
        let ordered: Vec<(PathBuf, Vec<usize>)> = several
            .map(|(target, at)| {
                let led_to = target.parent().and_then(|above| self.led_to(above));
                let mut ordered: Vec<(bool, usize, usize, usize)> = at
                    .iter()
                    .map(|&index| {
                        let (lowest, height) = self.lowest(at, index);
                        let seen = led_to.is_none_or(|above| self.mounts[lowest].parent == self.mounts[above].id);
                        (seen, lowest, height, index)
                    })
                    .collect();
                ordered.sort_unstable();
                (target.clone(), ordered.into_iter().map(|(.., index)| index).collect())
            })
            .collect();
        self.by_target.extend(ordered);
    }

    /// The lowest of the mounts that one at the same place lies on, and how many are between: itself and none, if it lies on no other.
    fn lowest(&self, at: &[usize], index: usize) -> (usize, usize) {
        let mut lowest = index;
        for height in 0..at.len() {
            let parent = self.by_id.get(&self.mounts[lowest].parent);
            match parent.filter(|parent| **parent != lowest && at.contains(parent)) {
                Some(parent) => lowest = *parent,
                None => return (lowest, height),
            }
        }
        (lowest, at.len())
    }

    /// The mount that whoever follows the path from the root comes to; `None` where no root is listed.
    fn led_to(&self, path: &Path) -> Option<usize> {
        let roots = self.by_target.get(Path::new("/"))?;
        let mut here = self.lowest(roots, *roots.first()?).0;
        let above: Vec<&Path> = path.ancestors().collect();
        for place in above.into_iter().rev() {
            let Some(at) = self.by_target.get(place) else { continue };
            for _ in 0..at.len() {
                let on = |index: &&usize| **index != here && self.mounts[**index].parent == self.mounts[here].id;
                match at.iter().find(on) {
                    Some(on) => here = *on,
                    None => break,
                }
            }
        }
        Some(here)
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

    /// The mount with this id.
    pub fn with_id(&self, id: u64) -> Option<&Mount> {
        self.by_id.get(&id).map(|at| &self.mounts[*at])
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
            below = self.with_id(below.parent)?;
        }
        None
    }

    /// The mount that `path` lies on: the deepest one at or above it.
    pub fn containing(&self, path: &Path) -> Option<&Mount> {
        path.ancestors().find_map(|ancestor| self.top(ancestor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(id: u64, parent: u64, target: &str) -> Mount {
        Mount {
            id,
            parent,
            device: BlockId { major: 7, minor: u32::try_from(id).unwrap() },
            root: PathBuf::from("/"),
            target: PathBuf::from(target),
            fs_type: "ext4".to_owned(),
            source: PathBuf::from("/dev/loop0"),
            options: Vec::new(),
            super_options: Vec::new(),
            shared: false,
            slave: false,
        }
    }

    /// Ids at a path, the lowest first, whichever order the lines have.
    #[track_caller]
    fn lie_so(mounts: &[(u64, u64, &str)], path: &str, expected: &[u64]) {
        let mut turned: Vec<Mount> = mounts.iter().map(|(id, parent, target)| mount(*id, *parent, target)).collect();
        for turn in 0..turned.len() {
            for backwards in [false, true] {
                let mut given = turned.clone();
                if backwards {
                    given.reverse();
                }
                let table = MountTable::new(given);
                let at: Vec<u64> = table.at(Path::new(path)).map(|mount| mount.id).collect();
                assert_eq!(at, expected, "{path}, {mounts:?} turned by {turn}, backwards: {backwards}");
                assert_eq!(table.top(Path::new(path)).map(|mount| mount.id), expected.last().copied());
            }
            turned.rotate_left(1);
        }
    }

    #[test]
    fn what_lies_on_what_is_told_by_parents_and_never_by_the_order_of_lines() {
        lie_so(&[(43, 1, "/"), (65, 67, "/r/y"), (67, 43, "/r/y")], "/r/y", &[67, 65]);
        lie_so(&[(1, 1, "/"), (9, 1, "/a"), (5, 9, "/a"), (7, 5, "/a"), (2, 7, "/a")], "/a", &[9, 5, 7, 2]);
        lie_so(&[(3, 2, "/"), (2, 1, "/"), (9, 8, "/a"), (8, 3, "/a")], "/", &[2, 3]);
    }

    #[test]
    fn of_two_places_with_one_name_the_one_that_a_path_leads_to_is_seen() {
        // A bind of /r over itself passed on what was mounted below it; then /r was covered once more.
        let both = [(1, 0, "/"), (2, 1, "/r"), (5, 2, "/r"), (8, 2, "/r/y"), (6, 5, "/r/y"), (7, 6, "/r/y")];
        lie_so(&both, "/r/y", &[8, 6, 7]);
        lie_so(&both, "/r", &[2, 5]);
    }

    #[test]
    fn parents_that_go_in_circles_end() {
        let circle = [mount(1, 1, "/"), mount(2, 3, "/a"), mount(3, 2, "/a"), mount(4, 4, "/b"), mount(5, 4, "/b")];
        let table = MountTable::new(circle.to_vec());
        assert_eq!(table.at(Path::new("/a")).count(), 2);
        assert_eq!(table.top(Path::new("/b")).map(|mount| mount.id), Some(5));
    }
}
