//! Files, directories and what lies in them: one tree a file system, with a second copy of what would survive a power cut.
//!
//! An inode number that was freed is given out again at once, as ext4 does, so code that takes a number for a proof is caught.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::model::record::ImageIdentity;
use crate::model::{BlockId, FsType, FsUuid, Signature};

/// The inode number of every root directory.
pub(super) const ROOT: u64 = 2;
/// The first number an ordinary file gets.
const FIRST: u64 = 12;

/// What the bytes of a device or image amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing that a probe knows.
    Blank,
    /// Bytes of an application on raw storage; a probe takes them for blank.
    Data(Vec<u8>),
    /// A file system.
    Fs(Box<FsImage>),
    /// Something else that a probe recognises.
    Other(Signature),
    /// Several signatures that contradict each other.
    Ambiguous(Vec<Signature>),
    /// Reading fails.
    Unreadable(String),
}

/// A file system inside an image or on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsImage {
    /// Its type.
    pub fs_type: FsType,
    /// Its UUID.
    pub uuid: FsUuid,
    /// Its label.
    pub label: Option<String>,
    /// The size it believes to have, in bytes.
    pub size: u64,
    /// The sector size it was made for, in bytes.
    pub sector_size: u32,
    /// Its mkfs was killed: it can't be mounted.
    pub half_made: bool,
    /// It is marked with errors and wants a check before it is mounted.
    pub errors: bool,
    /// It was copied while somebody wrote to it: its data can't be trusted.
    pub torn: bool,
    pub(super) tree: Tree,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileData {
    /// The whole of a small file.
    pub bytes: Vec<u8>,
    /// Nominal size of an image.
    pub size: u64,
    pub allocated: u64,
    pub content: Content,
    pub identity: Option<ImageIdentity>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NodeKind {
    Directory(BTreeMap<OsString, u64>),
    File(Box<FileData>),
    Link(PathBuf),
    Block(BlockId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub kind: NodeKind,
    /// Names that lead to it.
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

impl Node {
    pub(super) fn new(kind: NodeKind, mode: u32) -> Self {
        Self { kind, links: 1, uid: 0, gid: 0, mode }
    }

    pub(super) fn directory(mode: u32) -> Self {
        Self::new(NodeKind::Directory(BTreeMap::new()), mode)
    }

    /// A small file.
    pub(super) fn file(bytes: &[u8], mode: u32) -> Self {
        let allocated = (bytes.len() as u64).next_multiple_of(4096);
        let data = FileData {
            bytes: bytes.to_vec(),
            size: bytes.len() as u64,
            allocated,
            content: Content::Blank,
            identity: None,
        };
        Self::new(NodeKind::File(Box::new(data)), mode)
    }

    /// A file that stands for a disk.
    pub(super) fn image(size: u64, allocated: u64, content: Content) -> Self {
        let data = FileData { bytes: Vec::new(), size, allocated, content, identity: None };
        Self::new(NodeKind::File(Box::new(data)), 0o600)
    }

    pub(super) const fn entries(&self) -> Option<&BTreeMap<OsString, u64>> {
        match &self.kind {
            NodeKind::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    pub(super) const fn as_file(&self) -> Option<&FileData> {
        match &self.kind {
            NodeKind::File(data) => Some(data),
            _ => None,
        }
    }

    pub(super) const fn as_file_mut(&mut self) -> Option<&mut FileData> {
        match &mut self.kind {
            NodeKind::File(data) => Some(data),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tree {
    nodes: BTreeMap<u64, Node>,
    /// What a power cut leaves.
    disk: BTreeMap<u64, Node>,
}

impl Tree {
    pub(super) fn new(mode: u32) -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::directory(mode))]);
        Self { disk: nodes.clone(), nodes }
    }

    pub(super) fn get(&self, inode: u64) -> Option<&Node> {
        self.nodes.get(&inode)
    }

    pub(super) fn get_mut(&mut self, inode: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&inode)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Node)> {
        self.nodes.iter().map(|(inode, node)| (*inode, node))
    }

    pub(super) fn child(&self, directory: u64, name: &OsStr) -> Option<u64> {
        self.get(directory)?.entries()?.get(name).copied()
    }

    pub(super) fn children(&self, directory: u64) -> usize {
        self.get(directory).and_then(Node::entries).map_or(0, BTreeMap::len)
    }

    fn entries_mut(&mut self, directory: u64) -> Option<&mut BTreeMap<OsString, u64>> {
        match &mut self.nodes.get_mut(&directory)?.kind {
            NodeKind::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    /// Gives `node` the lowest number that is free now and on disk, and a name.
    pub(super) fn insert(&mut self, directory: u64, name: &OsStr, node: Node) -> u64 {
        let free = |inode: &u64| !self.nodes.contains_key(inode) && !self.disk.contains_key(inode);
        let inode = (FIRST..).find(free).expect("there are more numbers than files");
        self.nodes.insert(inode, node);
        if let Some(entries) = self.entries_mut(directory) {
            entries.insert(name.to_owned(), inode);
        }
        inode
    }

    /// Takes a name away. The inode stays until [`Tree::forget`].
    pub(super) fn unlink(&mut self, directory: u64, name: &OsStr) -> Option<u64> {
        let inode = self.entries_mut(directory)?.remove(name)?;
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.links = node.links.saturating_sub(1);
        }
        Some(inode)
    }

    /// Moves a name over another, whose inode it answers.
    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Option<u64> {
        let old = self.unlink(to.0, to.1);
        let inode = self.entries_mut(from.0)?.remove(from.1)?;
        self.entries_mut(to.0)?.insert(to.1.to_owned(), inode);
        old
    }

    /// Frees an inode that has no name left.
    pub(super) fn forget(&mut self, inode: u64) {
        if self.nodes.get(&inode).is_some_and(|node| node.links == 0) {
            self.nodes.remove(&inode);
        }
    }

    /// fsync of one file: its content is on disk, its name perhaps not.
    pub(super) fn persist_node(&mut self, inode: u64) {
        match self.nodes.get(&inode) {
            Some(node) if !matches!(node.kind, NodeKind::Directory(_)) => {
                self.disk.insert(inode, node.clone());
            }
            _ => {}
        }
    }

    /// fsync of the directories along `chain` (the root first) for the entry that leads on, and of the last one for `names`.
    pub(super) fn persist_names(&mut self, chain: &[u64], names: &[&OsStr]) {
        for pair in chain.windows(2) {
            let name =
                self.nodes.get(&pair[0]).and_then(Node::entries).and_then(|entries| {
                    entries.iter().find(|(_, inode)| **inode == pair[1]).map(|(name, _)| name.clone())
                });
            if let Some(name) = name {
                self.persist_entry(pair[0], &name);
            }
        }
        if let Some(&last) = chain.last() {
            for name in names {
                self.persist_entry(last, name);
            }
        }
    }

    /// The names that a directory has, and those that it would have again after a power cut.
    pub(super) fn names_ever(&self, directory: u64) -> Vec<OsString> {
        let of = |nodes: &BTreeMap<u64, Node>| {
            let entries = nodes.get(&directory).and_then(Node::entries);
            entries.map(|entries| entries.keys().cloned().collect::<Vec<_>>()).unwrap_or_default()
        };
        [of(&self.nodes), of(&self.disk)].concat()
    }

    fn persist_entry(&mut self, directory: u64, name: &OsStr) {
        let child = self.child(directory, name);
        if let Some(child) = child
            && !self.disk.contains_key(&child)
            && let Some(node) = self.nodes.get(&child)
        {
            // A new directory is there but empty; a file whose data was not flushed has none.
            let mut node = node.clone();
            match &mut node.kind {
                NodeKind::Directory(entries) => entries.clear(),
                NodeKind::File(data) => {
                    data.bytes.clear();
                    data.content = Content::Blank;
                    data.identity = None;
                    data.size = 0;
                    data.allocated = 0;
                }
                NodeKind::Link(_) | NodeKind::Block(_) => {}
            }
            self.disk.insert(child, node);
        }
        if let Some(NodeKind::Directory(entries)) = self.disk.get_mut(&directory).map(|node| &mut node.kind) {
            match child {
                Some(child) => entries.insert(name.to_owned(), child),
                None => entries.remove(name),
            };
        }
        self.sweep_disk();
    }

    /// Frees what no name on disk leads to and nobody has open.
    fn sweep_disk(&mut self) {
        let named: std::collections::BTreeSet<u64> =
            self.disk.values().filter_map(Node::entries).flat_map(|entries| entries.values().copied()).collect();
        let nodes = &self.nodes;
        self.disk.retain(|inode, _| *inode == ROOT || named.contains(inode) || nodes.contains_key(inode));
    }

    /// syncfs.
    pub(super) fn persist_all(&mut self) {
        self.disk = self.nodes.clone();
    }

    /// What is left when the power goes: the disk's copy, without what no name leads to.
    pub(super) fn power_cut(&mut self) {
        self.nodes = self.disk.clone();
        loop {
            let named: std::collections::BTreeSet<u64> =
                self.nodes.values().filter_map(Node::entries).flat_map(|entries| entries.values().copied()).collect();
            let before = self.nodes.len();
            self.nodes.retain(|inode, _| *inode == ROOT || named.contains(inode));
            if self.nodes.len() == before {
                break;
            }
        }
        self.disk = self.nodes.clone();
    }

    /// Bytes allocated in it.
    pub(super) fn used(&self) -> u64 {
        self.nodes.values().filter_map(Node::as_file).map(|data| data.allocated).sum()
    }
}
