//! The simulated kernel's memory: file systems, devices, loops, mounts, locks, and how a path is walked through them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::host::{ErrorKind, Holder, HostError, LockMode};
use crate::model::observed::HostFacts;
use crate::model::{BlockId, FileId, LoopDevice, Mount, MountNamespace};

use super::fault::{Effect, Process};
use super::tree::{Content, FsImage, Node, Tree};
use super::walk::Spot;

/// A failed system call with the errno's own text.
pub(super) fn errno(act: &'static str, object: &Path, number: i32) -> HostError {
    HostError::io(act, object, &std::io::Error::from_raw_os_error(number))
}

pub(super) fn refuse(kind: ErrorKind, act: &'static str, object: &Path, cause: impl Into<String>) -> HostError {
    HostError::new(kind, act, object, cause)
}

/// A file system that is there without any volume: the root, a pool's, `/dev`, a tmpfs.
#[derive(Debug, Clone)]
pub(super) struct HostFs {
    pub tree: Tree,
    pub fs_type: String,
    pub source: PathBuf,
    /// Bytes in all.
    pub total: u64,
    pub reflink: bool,
    /// Memory: gone with its last mount and at every boot.
    pub memory: bool,
    /// Part of the machine: mounted again at boot.
    pub base: Option<PathBuf>,
}

/// A disk.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub size: u64,
    pub serial: Option<String>,
    pub wwn: Option<String>,
    pub sector_size: u32,
    pub content: Content,
    pub holders: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Loop {
    pub device: LoopDevice,
    /// Whether discards reach the file.
    pub discard: bool,
}

#[derive(Debug, Clone)]
pub(super) struct MountEntry {
    pub mount: Mount,
    /// The block device or host file system that is seen; what `mount.device` shows may be anonymous (btrfs).
    pub fs: BlockId,
    pub root: u64,
}

/// Something a living process has: gone when it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub id: u64,
    pub process: u64,
    pub what: Held,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Held {
    Lock(PathBuf, LockMode),
    Loop(u32),
    Freeze(BlockId),
}

/// A file that was written to at a place, and has to stay as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Canary {
    /// The image file, device or directory that holds it.
    pub place: PathBuf,
    /// Its path below that, or nothing for raw bytes.
    pub path: Option<PathBuf>,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub facts: HostFacts,
    pub boots: u64,
    pub filesystems: BTreeMap<BlockId, HostFs>,
    pub disks: BTreeMap<BlockId, Disk>,
    pub loops: BTreeMap<u32, Loop>,
    /// Loop numbers that others use.
    pub taken_loops: BTreeSet<u32>,
    pub mounts: Vec<MountEntry>,
    /// Device numbers that mounts of btrfs show in place of their device's.
    pub anonymous: BTreeMap<BlockId, BlockId>,
    pub tokens: Vec<Token>,
    /// Frozen by somebody who is gone.
    pub left_frozen: BTreeSet<BlockId>,
    /// Whether freezes are given up at once, as if they had lasted too long.
    pub freezes_expire: bool,
    /// Processes of others that keep a mount busy, by its target.
    pub busy_mounts: BTreeMap<PathBuf, Vec<Holder>>,
    /// Processes of others that have a device open.
    pub busy_devices: BTreeMap<BlockId, Vec<Holder>>,
    pub namespaces: BTreeSet<MountNamespace>,
    pub missing_tools: BTreeSet<String>,
    pub processes: BTreeMap<u64, Process>,
    pub effects: Vec<Effect>,
    pub canaries: Vec<Canary>,
    pub violations: Vec<String>,
    pub next_token: u64,
    pub next_mount: u64,
    pub next_anonymous: u32,
}

impl Machine {
    // ---- file systems by number ----

    pub(super) fn content(&self, device: BlockId) -> Option<&Content> {
        if device.major == crate::model::device::LOOP_MAJOR {
            let backing = self.loops.get(&device.minor)?.device.backing;
            return self.node(backing)?.as_file().map(|data| &data.content);
        }
        self.disks.get(&device).map(|disk| &disk.content)
    }

    pub(super) fn content_mut(&mut self, device: BlockId) -> Option<&mut Content> {
        if device.major == crate::model::device::LOOP_MAJOR {
            let backing = self.loops.get(&device.minor)?.device.backing;
            let fs = self.of_shown(backing.device);
            return self.tree_mut(fs)?.get_mut(backing.inode)?.as_file_mut().map(|data| &mut data.content);
        }
        self.disks.get_mut(&device).map(|disk| &mut disk.content)
    }

    pub(super) fn fs_image(&self, device: BlockId) -> Option<&FsImage> {
        match self.content(device)? {
            Content::Fs(fs) => Some(fs),
            _ => None,
        }
    }

    pub(super) fn fs_image_mut(&mut self, device: BlockId) -> Option<&mut FsImage> {
        match self.content_mut(device)? {
            Content::Fs(fs) => Some(fs),
            _ => None,
        }
    }

    pub(super) fn tree(&self, fs: BlockId) -> Option<&Tree> {
        match self.filesystems.get(&fs) {
            Some(host) => Some(&host.tree),
            None => self.fs_image(fs).map(|image| &image.tree),
        }
    }

    pub(super) fn tree_mut(&mut self, fs: BlockId) -> Option<&mut Tree> {
        if self.filesystems.contains_key(&fs) {
            return self.filesystems.get_mut(&fs).map(|host| &mut host.tree);
        }
        self.fs_image_mut(fs).map(|image| &mut image.tree)
    }

    /// The number that stat and mountinfo show for a file system.
    pub(super) fn shown(&self, fs: BlockId) -> BlockId {
        self.anonymous.get(&fs).copied().unwrap_or(fs)
    }

    /// The file system behind a number that stat or mountinfo showed.
    pub(super) fn of_shown(&self, shown: BlockId) -> BlockId {
        self.anonymous.iter().find(|(_, anonymous)| **anonymous == shown).map_or(shown, |(fs, _)| *fs)
    }

    pub(super) fn node(&self, file: FileId) -> Option<&Node> {
        self.tree(self.of_shown(file.device))?.get(file.inode)
    }

    pub(super) fn node_at(&self, spot: &Spot) -> Option<&Node> {
        self.tree(spot.fs)?.get(spot.inode)
    }

    pub(super) fn node_at_mut(&mut self, spot: &Spot) -> Option<&mut Node> {
        self.tree_mut(spot.fs)?.get_mut(spot.inode)
    }

    pub(super) fn file_id(&self, spot: &Spot) -> FileId {
        FileId { device: self.shown(spot.fs), inode: spot.inode }
    }

    /// Bytes free on a file system.
    pub(super) fn free(&self, fs: BlockId) -> u64 {
        match self.filesystems.get(&fs) {
            Some(host) => host.total.saturating_sub(host.tree.used()),
            None => self.fs_image(fs).map_or(0, |image| image.size.saturating_sub(image.tree.used())),
        }
    }

    // ---- mounts ----

    pub(super) fn entry(&self, id: u64) -> Option<&MountEntry> {
        self.mounts.iter().find(|entry| entry.mount.id == id)
    }

    pub(super) fn top(&self, target: &Path) -> Option<&MountEntry> {
        self.mounts.iter().rev().find(|entry| entry.mount.target.as_os_str() == target.as_os_str())
    }

    pub(super) fn is_mounted(&self, fs: BlockId) -> bool {
        self.mounts.iter().any(|entry| entry.fs == fs)
    }

    /// Whether it is mounted in a way that lets somebody write.
    pub(super) fn is_writable(&self, fs: BlockId) -> bool {
        self.mounts.iter().any(|entry| entry.fs == fs && !entry.mount.super_read_only())
    }

    pub(super) fn is_frozen(&self, fs: BlockId) -> bool {
        self.left_frozen.contains(&fs) || self.tokens.iter().any(|token| token.what == Held::Freeze(fs))
    }

    /// The loop that stands on a file.
    pub(super) fn loop_on(&self, file: FileId) -> Option<&Loop> {
        self.loops.values().find(|l| l.device.backing == file && l.device.offset == 0)
    }

    pub(super) fn disk_size(&self, device: BlockId) -> Option<u64> {
        if device.major == crate::model::device::LOOP_MAJOR {
            return self.loops.get(&device.minor).map(|l| l.device.size);
        }
        self.disks.get(&device).map(|disk| disk.size)
    }

    /// What the kernel does by itself after every change: AUTOCLEAR loops nobody uses go, memory nobody has mounted is freed,
    /// inodes without a name or a loop are freed.
    pub(super) fn settle(&mut self) {
        loop {
            let idle = self.loops.iter().find(|(index, l)| {
                l.device.autoclear
                    && !self.is_mounted(l.device.block)
                    && !self.busy_devices.contains_key(&l.device.block)
                    && !self.tokens.iter().any(|token| token.what == Held::Loop(**index))
            });
            let Some((index, l)) = idle.map(|(index, l)| (*index, l.clone())) else { break };
            self.loops.remove(&index);
            let fs = self.of_shown(l.device.backing.device);
            if let Some(tree) = self.tree_mut(fs) {
                tree.forget(l.device.backing.inode);
            }
        }
        let mounted: BTreeSet<BlockId> = self.mounts.iter().map(|entry| entry.fs).collect();
        self.filesystems.retain(|id, fs| !fs.memory || fs.base.is_some() || mounted.contains(id));
        self.anonymous.retain(|fs, _| mounted.contains(fs));
        self.left_frozen.retain(|fs| mounted.contains(fs));
    }

    /// Frees an unlinked inode unless a loop stands on it.
    pub(super) fn forget(&mut self, fs: BlockId, inode: u64) {
        let file = FileId { device: self.shown(fs), inode };
        if self.loops.values().any(|l| l.device.backing == file) {
            return;
        }
        if let Some(tree) = self.tree_mut(fs) {
            tree.forget(inode);
        }
    }

    pub(super) fn token(&mut self, process: u64, what: Held) -> u64 {
        let id = self.next_token;
        self.next_token += 1;
        self.tokens.push(Token { id, process, what });
        id
    }

    pub(super) fn kill(&mut self, process: u64) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.dead = true;
        }
        self.tokens.retain(|token| token.process != process);
        self.settle();
    }
}
