//! What tests do to the machine: faults, crashes, reboots, power cuts, disks, processes of others, and files that have to live.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use crate::host::{ErrorKind, Holder};
use crate::model::observed::HostFacts;
use crate::model::{BlockId, FsType, FsUuid, SectorSize};

use super::fault::{Effect, Fate, Process, When};
use super::machine::{Canary, Disk, HostFs, Links, Machine, Walk};
use super::tree::{Content, FsImage, Node, NodeKind, ROOT, Tree};
use super::{Inner, SimHost};

const ROOT_FS: BlockId = BlockId { major: 8, minor: 1 };
const DEV_FS: BlockId = BlockId { major: 0, minor: 5 };
const RUN_FS: BlockId = BlockId { major: 0, minor: 24 };
const TIB: u64 = 1 << 40;

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

fn host_fs(fs_type: &str, source: &str, base: &str, memory: bool) -> HostFs {
    HostFs {
        tree: Tree::new(0o755),
        fs_type: fs_type.to_owned(),
        source: PathBuf::from(source),
        total: TIB,
        reflink: false,
        memory,
        base: Some(PathBuf::from(base)),
    }
}

impl SimHost {
    /// A machine that has just booted, and the first process on it.
    pub fn new() -> Self {
        let facts = HostFacts {
            hostname: "sim".to_owned(),
            boot_id: "b0075eed-0000-4000-8000-000000000000".to_owned(),
            mount_namespace: 4_026_531_841,
            privileged: true,
            can_grow_ext4_online: true,
        };
        let filesystems = [
            (ROOT_FS, host_fs("ext4", "/dev/sda1", "/", false)),
            (DEV_FS, host_fs("devtmpfs", "udev", "/dev", true)),
            (RUN_FS, host_fs("tmpfs", "tmpfs", "/run", true)),
        ];
        let mut machine = Machine {
            namespaces: BTreeSet::from([facts.mount_namespace]),
            facts,
            boots: 0,
            filesystems: filesystems.into_iter().collect(),
            disks: Default::default(),
            loops: Default::default(),
            taken_loops: BTreeSet::new(),
            mounts: Vec::new(),
            anonymous: Default::default(),
            tokens: Vec::new(),
            left_frozen: BTreeSet::new(),
            freezes_expire: false,
            busy_mounts: Default::default(),
            busy_devices: Default::default(),
            missing_tools: BTreeSet::new(),
            processes: [(1, Process::default())].into_iter().collect(),
            effects: Vec::new(),
            canaries: Vec::new(),
            violations: Vec::new(),
            next_token: 1,
            next_mount: 20,
            next_anonymous: 40,
        };
        machine.mount_base();
        for directory in ["/etc", "/srv", "/tmp", "/var/lib", "/var/tmp"] {
            // The tree is new: there is nothing in the way.
            let _made = machine.make_dir(Path::new(directory), 0o755);
        }
        machine.sync_all();
        Self { inner: Arc::new(Inner { machine: Mutex::new(machine), changed: Condvar::new() }), process: 1 }
    }

    /// A copy of the whole machine as it is now, with a first process of its own; what happens to one does not happen to the other.
    #[must_use]
    pub fn fork(&self) -> Self {
        let machine = self.machine().clone();
        let copy =
            Self { inner: Arc::new(Inner { machine: Mutex::new(machine), changed: Condvar::new() }), process: 0 };
        copy.revive()
    }

    /// Another process on the same machine.
    #[must_use]
    pub fn spawn(&self) -> Self {
        let mut machine = self.machine();
        let process = machine.processes.keys().next_back().map_or(1, |last| last + 1);
        machine.processes.insert(process, Process::default());
        Self { inner: Arc::clone(&self.inner), process }
    }

    /// Kills every process and starts a new one: locks, loop holds and freezes of the old ones are gone.
    #[must_use]
    pub fn revive(&self) -> Self {
        let mut machine = self.machine();
        let processes: Vec<u64> = machine.processes.keys().copied().collect();
        for process in processes {
            machine.kill(process);
        }
        drop(machine);
        self.inner.changed.notify_all();
        self.spawn()
    }

    /// Boots anew: mounts, loops, memory and processes are gone, the boot id is another.
    #[must_use]
    pub fn reboot(&self) -> Self {
        let mut machine = self.machine();
        machine.sync_all();
        machine.boot();
        drop(machine);
        self.revive()
    }

    /// Takes the power away and boots: everything that was not flushed is lost, too.
    #[must_use]
    pub fn power_cut(&self) -> Self {
        let mut machine = self.machine();
        for fs in machine.filesystems.values_mut().filter(|fs| !fs.memory) {
            fs.tree.power_cut();
        }
        machine.boot();
        drop(machine);
        self.revive()
    }

    // ---- faults ----

    /// Effect `n` of this process, counted from 0, fails with this kind of error and does nothing.
    pub fn fail_at(&self, n: u64, kind: ErrorKind) {
        self.fault(n, Fate::Fail(When::Before, kind));
    }

    /// Effect `n` of this process fails having done a part of its work, or all of it.
    pub fn fail_at_when(&self, n: u64, kind: ErrorKind, when: When) {
        self.fault(n, Fate::Fail(when, kind));
    }

    /// Every effect from `n` on fails.
    pub fn fail_from(&self, n: u64, kind: ErrorKind) {
        if let Some(process) = self.machine().processes.get_mut(&self.process) {
            process.fail_from = Some((n, kind));
        }
    }

    /// This process is killed at effect `n`: that one and everything later is answered with an error that
    /// [`super::is_crash`] knows.
    pub fn crash_at(&self, n: u64, when: When) {
        self.fault(n, Fate::Crash(when));
    }

    fn fault(&self, n: u64, fate: Fate) {
        if let Some(process) = self.machine().processes.get_mut(&self.process) {
            process.faults.insert(n, fate);
        }
    }

    /// Whether this process was killed.
    pub fn is_dead(&self) -> bool {
        self.machine().processes.get(&self.process).is_none_or(|process| process.dead)
    }

    /// How many effects this process has tried.
    pub fn count(&self) -> u64 {
        self.machine().processes.get(&self.process).map_or(0, |process| process.count)
    }

    /// Every effect tried on this machine by any process, oldest first.
    pub fn effects(&self) -> Vec<Effect> {
        self.machine().effects.clone()
    }

    /// Forgets the effects so far.
    pub fn clear_effects(&self) {
        self.machine().effects.clear();
    }

    // ---- the machine ----

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
    pub fn set_namespace(&self, namespace: u64, lives: bool) {
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

    // ---- data ----

    /// An application writes a file through a mount and flushes it; [`SimHost::check`] says if it is ever lost.
    ///
    /// # Panics
    /// When nothing can be written there: the test is wrong.
    pub fn write_canary(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut machine = self.machine();
        let path = path.as_ref();
        machine.plant(path, Node::file(bytes, 0o644)).expect("a canary is written where a file can be made");
        let place = machine.place_of(path).expect("a canary is written where something is mounted");
        machine.flush_at(path);
        machine.canaries.push(Canary { place: place.0, path: Some(place.1), bytes: bytes.to_vec() });
    }

    /// An application writes to raw storage and flushes it.
    ///
    /// # Panics
    /// When there is no such device: the test is wrong.
    pub fn write_raw_canary(&self, device: impl AsRef<Path>, bytes: &[u8]) {
        let mut machine = self.machine();
        let block = machine.block_at(device.as_ref()).expect("a raw canary is written to a device");
        let place = machine.place_of_device(block).expect("a raw canary is written to a device that is there");
        *machine.content_mut(block).expect("the device is there") = Content::Data(bytes.to_vec());
        machine.persist_device(block);
        machine.canaries.push(Canary { place, path: None, bytes: bytes.to_vec() });
    }

    /// A file as an application reads it.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let machine = self.machine();
        match machine.walk(path.as_ref(), Links::Follow) {
            Walk::Found(spot) => machine.node_at(&spot)?.as_file().map(|data| data.bytes.clone()),
            _ => None,
        }
    }

    /// The loss of everything at this place (an image's or disk's path) was allowed by name.
    pub fn forgive(&self, place: impl AsRef<Path>) {
        self.machine().canaries.retain(|canary| canary.place != place.as_ref());
    }
}

impl Machine {
    fn stranger(&self, pid: u32, what: &str) -> Holder {
        Holder {
            pid,
            command: "postgres".to_owned(),
            mount_namespace: self.facts.mount_namespace,
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

    /// Where the bytes of a path really lie: the image, disk or directory, and the path inside.
    fn place_of(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let Walk::Found(parent) = self.walk(path.parent()?, Links::Follow) else { return None };
        let name = path.file_name()?;
        let entry = self.entry(parent.mount)?;
        let inner = parent.path.strip_prefix(&entry.mount.target).ok()?;
        let inner = entry.mount.root.join(inner).join(name);
        if self.filesystems.contains_key(&parent.fs) {
            let base = self.filesystems.get(&parent.fs)?.base.clone()?;
            return Some((base, inner));
        }
        Some((self.place_of_device(parent.fs)?, inner))
    }

    /// The path of a disk's node, or of the image behind a loop.
    fn place_of_device(&self, block: BlockId) -> Option<PathBuf> {
        if self.disks.contains_key(&block) {
            let dev = self.tree(DEV_FS)?;
            let name = dev.get(ROOT)?.entries()?.iter().find(|(_, inode)| {
                dev.get(**inode).is_some_and(|node| node.is_block() && node.kind == NodeKind::Block(block))
            })?;
            return Some(Path::new("/dev").join(name.0));
        }
        let backing = self.loops.get(&block.minor)?.device.backing;
        self.path_of(self.of_shown(backing.device), backing.inode)
    }

    /// A path that leads to an inode of a file system of the machine.
    pub(super) fn path_of(&self, fs: BlockId, inode: u64) -> Option<PathBuf> {
        let base = self.filesystems.get(&fs)?.base.clone()?;
        let tree = self.tree(fs)?;
        let mut todo = vec![(ROOT, base)];
        while let Some((at, path)) = todo.pop() {
            for (name, child) in tree.get(at).and_then(Node::entries).into_iter().flatten() {
                if *child == inode {
                    return Some(path.join(name));
                }
                todo.push((*child, path.join(name)));
            }
        }
        None
    }

    fn flush_at(&mut self, path: &Path) {
        let Some(spot) = self.find(path) else { return };
        if self.filesystems.contains_key(&spot.fs) {
            if let Some(fs) = self.filesystems.get_mut(&spot.fs) {
                fs.tree.persist_all();
            }
        } else {
            self.persist_device(spot.fs);
        }
    }
}
