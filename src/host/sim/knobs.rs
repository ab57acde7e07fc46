//! What the world does to a machine: disks, files, links, mounts and processes of others.

use std::path::{Path, PathBuf};

use crate::host::Holder;
use crate::model::observed::HostFacts;
use crate::model::{BlockId, FsType, FsUuid, MountNamespace, SectorSize};

use super::SimHost;
use super::boot::{ROOT_FS, host_fs};
use super::machine::{Disk, Machine};
use super::tree::{Content, FsImage, Node, NodeKind, Tree};

/// A disk to be added.
#[derive(Debug, Clone)]
pub struct DiskSpec {
    /// Size in bytes.
    pub size: u64,
    /// Serial number.
    pub serial: Option<String>,
    /// World Wide Name.
    pub wwn: Option<String>,
    /// What is on it.
    pub content: Content,
}

impl DiskSpec {
    /// A blank disk of this many bytes without a serial number.
    pub const fn blank(size: u64) -> Self {
        Self { size, serial: None, wwn: None, content: Content::Blank }
    }
}

impl FsImage {
    /// A whole, empty file system.
    pub fn new(fs_type: FsType, uuid: FsUuid, size: u64) -> Self {
        Self {
            fs_type,
            uuid,
            label: None,
            size,
            sector_size: SectorSize::B512.bytes(),
            half_made: false,
            errors: false,
            torn: false,
            tree: Tree::new(0o755),
        }
    }
}

impl SimHost {
    /// Changes the facts the machine tells about itself.
    pub fn set_facts(&self, change: impl FnOnce(&mut HostFacts)) {
        change(&mut self.machine().facts);
    }

    /// Whether files on the root file system can share extents (it then says it is xfs).
    pub fn set_reflink(&self, reflink: bool) {
        if let Some(fs) = self.machine().filesystems.get_mut(&ROOT_FS) {
            fs.reflink = reflink;
            fs.fs_type = if reflink { "xfs" } else { "ext4" }.to_owned();
        }
    }

    /// The size of the root file system in bytes.
    pub fn set_root_size(&self, total: u64) {
        if let Some(fs) = self.machine().filesystems.get_mut(&ROOT_FS) {
            fs.total = total;
        }
    }

    /// Another file system of the machine, mounted at every boot.
    pub fn add_filesystem(&self, target: impl AsRef<Path>, fs_type: &str, total: u64, reflink: bool) {
        let mut machine = self.machine();
        let minor = 17 + 16 * u32::try_from(machine.filesystems.len()).unwrap_or(u32::MAX / 32);
        let target = target.as_ref();
        let mut fs = host_fs(fs_type, &format!("/dev/vda{minor}"), "/", false);
        fs.base = Some(target.to_owned());
        fs.total = total;
        fs.reflink = reflink;
        let id = BlockId { major: 252, minor };
        machine.filesystems.insert(id, fs);
        machine.mount_one(id);
    }

    /// Adds a disk and a stable link to it (`/dev/disk/by-id/…`); answers its number.
    pub fn add_disk(&self, link: impl AsRef<Path>, spec: DiskSpec) -> BlockId {
        let mut machine = self.machine();
        let number = u32::try_from(machine.disks.len()).unwrap_or(0) + 1;
        let block = BlockId { major: 8, minor: 16 * number };
        let node = PathBuf::from(format!("/dev/sim{number}"));
        let disk = Disk {
            size: spec.size,
            serial: spec.serial,
            wwn: spec.wwn,
            sector_size: 512,
            content: spec.content,
            holders: Vec::new(),
        };
        machine.disks.insert(block, disk);
        machine.add_node(&node, block);
        machine.plant(link.as_ref(), Node::new(NodeKind::Link(node), 0o777));
        block
    }

    /// Makes a stable link lead to another disk, as a swapped cable does.
    pub fn relink(&self, link: impl AsRef<Path>, node: impl Into<PathBuf>) {
        self.machine().plant(link.as_ref(), Node::new(NodeKind::Link(node.into()), 0o777));
    }

    /// Changes a disk: its serial number, content, holders…
    pub fn set_disk_content(&self, block: BlockId, content: Content) {
        if let Some(disk) = self.machine().disks.get_mut(&block) {
            disk.content = content;
        }
    }

    /// Who else holds a disk, in words.
    pub fn set_disk_holders(&self, block: BlockId, holders: Vec<String>) {
        if let Some(disk) = self.machine().disks.get_mut(&block) {
            disk.holders = holders;
        }
    }

    /// Makes a small file, flushed, with its parents.
    pub fn plant_file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut machine = self.machine();
        machine.plant(path.as_ref(), Node::file(bytes, 0o644));
        machine.sync_all();
    }

    /// Makes a directory, flushed, with its parents.
    pub fn plant_directory(&self, path: impl AsRef<Path>) {
        let mut machine = self.machine();
        if machine.find(path.as_ref()).is_none() {
            machine.plant(path.as_ref(), Node::directory(0o755));
        }
        machine.sync_all();
    }

    /// Makes a symbolic link, flushed, with its parents.
    pub fn plant_link(&self, path: impl AsRef<Path>, to: impl Into<PathBuf>) {
        let mut machine = self.machine();
        machine.plant(path.as_ref(), Node::new(NodeKind::Link(to.into()), 0o777));
        machine.sync_all();
    }

    /// Makes a file that stands for a disk, flushed, with its parents: an image csictl knows nothing of.
    pub fn plant_image(&self, path: impl AsRef<Path>, size: u64, content: Content) {
        let mut machine = self.machine();
        machine.plant(path.as_ref(), Node::image(size, 0, content));
        machine.sync_all();
    }

    /// Removes a file or a whole directory, as `rm -r` does; mounts below are left alone.
    pub fn remove_all(&self, path: impl AsRef<Path>) {
        let mut machine = self.machine();
        machine.uproot(path.as_ref());
        machine.sync_all();
    }

    /// Changes what an image file holds.
    pub fn set_image_content(&self, path: impl AsRef<Path>, content: Content) {
        let mut machine = self.machine();
        if let Some(spot) = machine.find(path.as_ref())
            && let Some(data) = machine.node_at_mut(&spot).and_then(Node::as_file_mut)
        {
            data.content = content;
        }
        machine.sync_all();
    }

    /// What a device or image holds.
    pub fn content(&self, path: impl AsRef<Path>) -> Option<Content> {
        self.machine().content_at("look", path.as_ref()).ok().cloned()
    }

    /// Cuts an image file short.
    pub fn truncate(&self, path: impl AsRef<Path>, size: u64) {
        let mut machine = self.machine();
        if let Some(spot) = machine.find(path.as_ref())
            && let Some(data) = machine.node_at_mut(&spot).and_then(Node::as_file_mut)
        {
            data.size = size;
            data.allocated = data.allocated.min(size);
        }
        machine.sync_all();
    }

    /// Takes away the topmost mount at a path behind csictl's back.
    pub fn pull_mount(&self, target: impl AsRef<Path>) {
        let mut machine = self.machine();
        if let Some(id) = machine.top(target.as_ref()).map(|entry| entry.mount.id) {
            machine.mounts.retain(|entry| entry.mount.id != id);
        }
        machine.settle();
    }

    /// Changes the options of the topmost mount at a path behind csictl's back.
    pub fn change_options(&self, target: impl AsRef<Path>, change: impl FnOnce(&mut Vec<String>)) {
        let mut machine = self.machine();
        if let Some(entry) = machine.mounts.iter_mut().rev().find(|entry| entry.mount.target == target.as_ref()) {
            change(&mut entry.mount.options);
        }
    }

    /// Mounts a stranger's tmpfs.
    pub fn mount_foreign(&self, target: impl AsRef<Path>) {
        let mut machine = self.machine();
        let request = crate::host::FsMount {
            source: "stranger".into(),
            fs_type: "tmpfs".to_owned(),
            bind_directory: false,
            expect: None,
            target: target.as_ref().to_owned(),
            trusted_root: "/".into(),
            options: vec!["rw".to_owned()],
            shared: false,
        };
        let _mounted = machine.mount(false, &request);
    }

    /// Loop numbers that others use.
    pub fn take_loops(&self, numbers: impl IntoIterator<Item = u32>) {
        self.machine().taken_loops.extend(numbers);
    }

    /// A process of another program keeps a mount busy.
    pub fn hold_mount(&self, target: impl AsRef<Path>, pid: u32) {
        let mut machine = self.machine();
        let holder = machine.stranger(pid, "cwd");
        machine.busy_mounts.entry(target.as_ref().to_owned()).or_default().push(holder);
    }

    /// A process of another program has a device open.
    pub fn hold_device(&self, block: BlockId, pid: u32) {
        let mut machine = self.machine();
        let holder = machine.stranger(pid, "fd 3");
        machine.busy_devices.entry(block).or_default().push(holder);
    }

    /// Processes of other programs end.
    pub fn release_all(&self) {
        let mut machine = self.machine();
        machine.busy_mounts.clear();
        machine.busy_devices.clear();
        machine.settle();
    }

    /// Freezes what is mounted at a path, by somebody who has gone.
    pub fn leave_frozen(&self, target: impl AsRef<Path>) {
        let mut machine = self.machine();
        if let Some(fs) = machine.top(target.as_ref()).map(|entry| entry.fs) {
            machine.left_frozen.insert(fs);
        }
    }

    /// Whether what is mounted at a path is frozen.
    pub fn is_frozen(&self, target: impl AsRef<Path>) -> bool {
        let machine = self.machine();
        machine.top(target.as_ref()).is_some_and(|entry| machine.is_frozen(entry.fs))
    }

    /// From now on every freeze is over before it was of use.
    pub fn set_freezes_expire(&self, expire: bool) {
        self.machine().freezes_expire = expire;
    }

    /// A mount namespace of somebody else that lives, or does no longer.
    pub fn set_namespace(&self, namespace: MountNamespace, lives: bool) {
        let mut machine = self.machine();
        if lives {
            machine.namespaces.insert(namespace);
        } else {
            machine.namespaces.remove(&namespace);
        }
    }

    /// A helper program that is not installed.
    pub fn remove_tool(&self, name: &str) {
        self.machine().missing_tools.insert(name.to_owned());
    }

    /// Whether discards reach the file behind a loop device.
    pub fn loop_discards(&self, index: u32) -> Option<bool> {
        self.machine().loops.get(&index).map(|l| l.discard)
    }
}

impl Machine {
    fn stranger(&self, pid: u32, what: &str) -> Holder {
        Holder {
            pid,
            command: "postgres".to_owned(),
            mount_namespace: self.facts.mount_namespace.inode,
            what: vec![what.to_owned()],
        }
    }

    /// Everything reaches the disks.
    pub(super) fn sync_all(&mut self) {
        for fs in self.filesystems.values_mut() {
            fs.tree.persist_all();
        }
    }

    fn mount_one(&mut self, id: BlockId) {
        let kept: Vec<_> = std::mem::take(&mut self.mounts);
        let others: Vec<BlockId> = self.filesystems.keys().copied().filter(|other| *other != id).collect();
        let mut bases = Vec::new();
        for other in others {
            let Some(fs) = self.filesystems.get_mut(&other) else { continue };
            bases.push((other, fs.base.take()));
        }
        self.mounts = kept;
        self.mount_base();
        for (other, base) in bases {
            if let Some(fs) = self.filesystems.get_mut(&other) {
                fs.base = base;
            }
        }
    }

    fn uproot(&mut self, path: &Path) {
        let Some(spot) = self.find(path) else { return };
        let names: Vec<_> = self
            .node_at(&spot)
            .and_then(Node::entries)
            .map(|entries| entries.keys().cloned().collect())
            .unwrap_or_default();
        for name in names {
            self.uproot(&path.join(name));
        }
        if let Ok((parent, name)) = self.parent("remove", path)
            && parent.fs == spot.fs
            && let Some(inode) = self.tree_mut(parent.fs).and_then(|tree| tree.unlink(parent.inode, &name))
        {
            self.forget(parent.fs, inode);
        }
    }
}
