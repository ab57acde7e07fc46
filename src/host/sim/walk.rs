//! How a path is walked through mounts and links, and how things are put where a path leads.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use crate::host::{ErrorKind, Result};
use crate::model::BlockId;

use super::machine::{Machine, errno, refuse};
use super::tree::{Node, NodeKind, ROOT};

/// Where a walk along a path has come.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    /// Id of the mount.
    pub mount: u64,
    /// The file system, as [`Machine::tree`] knows it.
    pub fs: BlockId,
    pub inode: u64,
    /// The path with every link resolved.
    pub path: PathBuf,
}

/// The end of a walk.
#[derive(Debug, Clone)]
pub(super) enum Walk {
    Found(Spot),
    /// The first name that is missing, in which directory, and how many come after it.
    Missing {
        parent: Spot,
        rest: Vec<std::ffi::OsString>,
    },
    /// A link where none is followed.
    Link {
        at: PathBuf,
        to: PathBuf,
    },
    /// A name below something that is no directory.
    NotDirectory(PathBuf),
}

/// How a walk treats links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Follow,
    /// All but one in the last place.
    FollowParents,
}

impl Machine {
    /// Goes on through every mount that covers this spot.
    fn cross(&self, mut spot: Spot) -> Spot {
        while let Some(entry) = self.mounts.iter().rev().find(|entry| {
            entry.mount.parent == spot.mount
                && entry.mount.target.as_os_str() == spot.path.as_os_str()
                && entry.mount.id != spot.mount
        }) {
            spot.mount = entry.mount.id;
            spot.fs = entry.fs;
            spot.inode = entry.root;
        }
        spot
    }

    pub(super) fn root(&self) -> Spot {
        let first = self.mounts.first().expect("the machine always has a root file system");
        let spot = Spot { mount: first.mount.id, fs: first.fs, inode: ROOT, path: PathBuf::from("/") };
        self.cross(spot)
    }

    fn step(&self, at: &Spot, name: &OsStr) -> Option<Spot> {
        let inode = self.tree(at.fs)?.child(at.inode, name)?;
        Some(self.cross(Spot { mount: at.mount, fs: at.fs, inode, path: at.path.join(name) }))
    }

    /// Walks from a spot along names, refusing every link.
    pub(super) fn beneath(&self, from: Spot, relative: &Path) -> Walk {
        let mut spot = from;
        let names: Vec<_> = relative.components().collect();
        for (index, component) in names.iter().enumerate() {
            let Component::Normal(name) = component else {
                return Walk::Link { at: spot.path.join(component.as_os_str()), to: PathBuf::from("..") };
            };
            if self.node_at(&spot).and_then(Node::entries).is_none() {
                return Walk::NotDirectory(spot.path);
            }
            let Some(next) = self.step(&spot, name) else {
                let rest = names[index..].iter().map(|name| name.as_os_str().to_owned()).collect();
                return Walk::Missing { parent: spot, rest };
            };
            if let Some(NodeKind::Link(to)) = self.node_at(&next).map(|node| &node.kind) {
                return Walk::Link { at: next.path, to: to.clone() };
            }
            spot = next;
        }
        Walk::Found(spot)
    }

    /// Walks an absolute path.
    pub(super) fn walk(&self, path: &Path, links: Links) -> Walk {
        let mut todo: Vec<std::ffi::OsString> = names(path);
        todo.reverse();
        let mut spot = self.root();
        let mut budget = 40;
        while let Some(name) = todo.pop() {
            if name == ".." {
                // Links are resolved on the way, so the path above is the directory above.
                if let Some(above) = spot.path.parent() {
                    match self.walk(above, links) {
                        Walk::Found(above) => spot = above,
                        other => return other,
                    }
                }
                continue;
            }
            if self.node_at(&spot).and_then(Node::entries).is_none() {
                return Walk::NotDirectory(spot.path);
            }
            let Some(next) = self.step(&spot, &name) else {
                todo.push(name);
                todo.reverse();
                return Walk::Missing { parent: spot, rest: todo };
            };
            match self.node_at(&next).map(|node| &node.kind) {
                Some(NodeKind::Link(to)) if links == Links::Follow || !todo.is_empty() => {
                    budget -= 1;
                    if budget == 0 {
                        return Walk::Link { at: next.path, to: to.clone() };
                    }
                    if to.is_absolute() {
                        spot = self.root();
                    }
                    todo.extend(names(to).into_iter().rev());
                }
                _ => spot = next,
            }
        }
        Walk::Found(spot)
    }

    /// What lies at a path, if anything does, not following a last link.
    pub(super) fn find(&self, path: &Path) -> Option<Spot> {
        match self.walk(path, Links::FollowParents) {
            Walk::Found(spot) => Some(spot),
            _ => None,
        }
    }

    /// The spot at a path.
    pub(super) fn need(&self, act: &'static str, path: &Path) -> Result<Spot> {
        match self.walk(path, Links::FollowParents) {
            Walk::Found(spot) => Ok(spot),
            Walk::Missing { .. } => Err(errno(act, path, libc::ENOENT)),
            Walk::NotDirectory(_) => Err(errno(act, path, libc::ENOTDIR)),
            Walk::Link { .. } => Err(errno(act, path, libc::ELOOP)),
        }
    }

    /// The directory in which `path` is a name, and the name.
    pub(super) fn parent(&self, act: &'static str, path: &Path) -> Result<(Spot, std::ffi::OsString)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(errno(act, path, libc::EINVAL));
        };
        match self.walk(parent, Links::Follow) {
            Walk::Found(spot) if self.node_at(&spot).and_then(Node::entries).is_some() => Ok((spot, name.to_owned())),
            Walk::Found(_) | Walk::NotDirectory(_) => Err(errno(act, path, libc::ENOTDIR)),
            Walk::Missing { .. } => Err(errno(act, path, libc::ENOENT)),
            Walk::Link { .. } => Err(errno(act, path, libc::ELOOP)),
        }
    }

    /// Walks below a trusted root and refuses links there.
    pub(super) fn walk_below(&self, act: &'static str, trusted_root: &Path, target: &Path) -> Result<Walk> {
        let Ok(relative) = target.strip_prefix(trusted_root) else {
            return Err(refuse(
                ErrorKind::UnsafePath,
                act,
                target,
                format!("it is not below {}", trusted_root.display()),
            ));
        };
        match self.walk(trusted_root, Links::Follow) {
            Walk::Found(spot) => Ok(self.beneath(spot, relative)),
            Walk::Missing { parent, mut rest } => {
                rest.extend(relative.iter().map(OsStr::to_owned));
                Ok(Walk::Missing { parent, rest })
            }
            other => Ok(other),
        }
    }

    /// Whether a write at a spot is possible at all.
    pub(super) fn writable(&self, act: &'static str, spot: &Spot) -> Result<()> {
        let entry = self.entry(spot.mount);
        if entry.is_some_and(|entry| entry.mount.read_only() || entry.mount.super_read_only()) {
            return Err(errno(act, &spot.path, libc::EROFS));
        }
        if self.is_frozen(spot.fs) {
            return Err(refuse(
                ErrorKind::Busy,
                act,
                &spot.path,
                "its file system is frozen, a write would wait for ever",
            ));
        }
        Ok(())
    }

    /// The block device a path leads to, links followed.
    pub(super) fn block_at(&self, path: &Path) -> Option<BlockId> {
        match self.walk(path, Links::Follow) {
            Walk::Found(spot) => match self.node_at(&spot)?.kind {
                NodeKind::Block(block) => Some(block),
                _ => None,
            },
            _ => None,
        }
    }

    /// Makes a directory and its missing parents; answers what was made.
    pub(super) fn make_all(
        &mut self,
        act: &'static str,
        mut spot: Spot,
        rest: &[std::ffi::OsString],
        mode: u32,
    ) -> Result<Vec<Spot>> {
        let mut made = Vec::new();
        for name in rest {
            if matches!(name.to_str(), Some("..")) {
                return Err(errno(act, &spot.path, libc::ENOENT));
            }
            self.writable(act, &spot)?;
            spot = self.make(&spot, name, Node::directory(mode));
            made.push(spot.clone());
        }
        Ok(made)
    }

    /// Puts a node into a directory and answers where it is.
    pub(super) fn make(&mut self, directory: &Spot, name: &OsStr, node: Node) -> Spot {
        let tree = self.tree_mut(directory.fs).expect("a spot is always on a file system that is there");
        let inode = tree.insert(directory.inode, name, node);
        Spot { mount: directory.mount, fs: directory.fs, inode, path: directory.path.join(name) }
    }

    /// fsync of the directory at a spot for some names in it, and of those that lead to it.
    pub(super) fn persist_names(&mut self, directory: &Spot, names: &[&OsStr]) {
        let Some(entry) = self.entry(directory.mount) else { return };
        let (root, target) = (entry.root, entry.mount.target.clone());
        let inner = directory.path.strip_prefix(&target).unwrap_or(Path::new(""));
        let mut chain = vec![root];
        if let Some(tree) = self.tree(directory.fs) {
            for name in inner {
                chain.extend(chain.last().and_then(|at| tree.child(*at, name)));
            }
        }
        if let Some(tree) = self.tree_mut(directory.fs) {
            tree.persist_names(&chain, names);
        }
    }

    /// The inode behind a device or image reaches its disk.
    pub(super) fn persist_node(&mut self, fs: BlockId, inode: u64) {
        if let Some(tree) = self.tree_mut(fs) {
            tree.persist_node(inode);
        }
    }

    /// Flushes what a device is made of.
    pub(super) fn persist_device(&mut self, device: BlockId) {
        if let Some(backing) =
            self.loops.get(&device.minor).filter(|l| l.device.block == device).map(|l| l.device.backing)
        {
            let fs = self.of_shown(backing.device);
            self.persist_node(fs, backing.inode);
        }
    }
}

fn names(path: &Path) -> Vec<std::ffi::OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
