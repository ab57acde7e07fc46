//! The life of a machine: built, booted, copied, rebooted, cut off from power.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use crate::model::observed::HostFacts;
use crate::model::{BlockId, FileId, Mount, MountNamespace};

use super::fault::Process;
use super::machine::{HostFs, Machine, MountEntry};
use super::tree::{ROOT, Tree};
use super::walk::{Links, Walk};
use super::{Inner, SimHost};

pub(super) const ROOT_FS: BlockId = BlockId { major: 8, minor: 1 };
pub(super) const DEV_FS: BlockId = BlockId { major: 0, minor: 5 };
const RUN_FS: BlockId = BlockId { major: 0, minor: 24 };
const TIB: u64 = 1 << 40;

pub(super) fn host_fs(fs_type: &str, source: &str, base: &str, memory: bool) -> HostFs {
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
            mount_namespace: MountNamespace { inode: 4_026_531_841, id: Some(9) },
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
}

impl Machine {
    /// Everything that a boot ends, and the mounts that it makes.
    pub(super) fn boot(&mut self) {
        for process in self.processes.values_mut() {
            process.dead = true;
        }
        self.tokens.clear();
        self.mounts.clear();
        self.left_frozen.clear();
        self.busy_mounts.clear();
        self.busy_devices.clear();
        let backings: Vec<FileId> = self.loops.values().map(|l| l.device.backing).collect();
        let shown: BTreeMap<BlockId, BlockId> = self.anonymous.clone();
        self.loops.clear();
        for file in backings {
            let fs = shown.iter().find(|(_, anonymous)| **anonymous == file.device).map_or(file.device, |(fs, _)| *fs);
            if let Some(tree) = self.tree_mut(fs) {
                tree.forget(file.inode);
            }
        }
        self.boots += 1;
        self.facts.boot_id = format!("b0075eed-0000-4000-8000-{:012}", self.boots);
        self.namespaces = std::iter::once(self.facts.mount_namespace).collect();
        for fs in self.filesystems.values_mut().filter(|fs| fs.memory) {
            if fs.fs_type != "devtmpfs" {
                fs.tree = Tree::new(0o755);
            }
        }
        self.mount_base();
        self.settle();
    }

    /// Mounts what the machine has by itself, the root first.
    pub(super) fn mount_base(&mut self) {
        let mut base: Vec<(PathBuf, BlockId)> =
            self.filesystems.iter().filter_map(|(id, fs)| Some((fs.base.clone()?, *id))).collect();
        base.sort();
        for (target, id) in base {
            let Some(fs) = self.filesystems.get(&id) else { continue };
            let mount = Mount {
                id: 0,
                parent: 0,
                device: id,
                root: PathBuf::from("/"),
                target: target.clone(),
                fs_type: fs.fs_type.clone(),
                source: fs.source.clone(),
                options: vec!["rw".to_owned(), "relatime".to_owned()],
                super_options: vec!["rw".to_owned()],
                shared: true,
                slave: false,
            };
            if target == Path::new("/") {
                let mount = Mount { id: self.next_mount, ..mount };
                self.next_mount += 1;
                self.mounts.push(MountEntry { mount, fs: id, root: ROOT });
                continue;
            }
            if let Walk::Missing { parent, rest } = self.walk(&target, Links::Follow) {
                let _made = self.make_all("boot", parent, &rest, 0o755);
            }
            if let Some(at) = self.find(&target) {
                self.add_mount(&at, mount, id, ROOT);
            }
        }
    }
}
