//! Which processes have something open in many mounts at once: every process is looked at one time, each of its links with one call, which
//! tells the mount it was opened through and the file system it lies on. `who` asks the same of one mount, and looks at more.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::who;
use crate::host::{Holder, UsedMount};
use crate::model::BlockId;

/// The mounts asked about, by what tells that something lies in them.
struct Asked {
    by_id: HashMap<u64, Vec<usize>>,
    /// Of those whose file system is seen whole: a bind of a part lies on one that the whole machine may use.
    by_device: HashMap<BlockId, Vec<usize>>,
    /// All file systems that any of them shows.
    devices: HashSet<BlockId>,
}

impl Asked {
    fn of(mounts: &[UsedMount<'_>]) -> Self {
        let mut asked = Self { by_id: HashMap::new(), by_device: HashMap::new(), devices: HashSet::new() };
        for (index, used) in mounts.iter().enumerate() {
            asked.devices.insert(used.mount.device);
            asked.by_id.entry(used.mount.id).or_default().push(index);
            if used.whole && used.mount.root == Path::new("/") {
                asked.by_device.entry(used.mount.device).or_default().push(index);
                // btrfs shows another device number in stat than in the mount table.
                let shown = fs::symlink_metadata(&used.mount.target).map(|metadata| who::split(metadata.dev()));
                if let Some(shown) = shown.ok().filter(|shown| *shown != used.mount.device) {
                    asked.by_device.entry(shown).or_default().push(index);
                }
            }
        }
        asked
    }

    /// Whether a process maps a file of any of the file systems: cheaper to ask than where each of its mappings lies.
    fn is_mapped(&self, folder: &Path) -> bool {
        let maps = fs::read_to_string(folder.join("maps")).unwrap_or_default();
        who::mapped_devices(&maps).any(|device| self.devices.contains(&device) || self.by_device.contains_key(&device))
    }

    /// The mounts that the file behind one of the kernel's links in /proc lies in.
    fn of_link(&self, link: &Path) -> impl Iterator<Item = usize> + '_ {
        // The kernel's own link leads to the very inode, which is answered from memory.
        let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let facts = statx(CWD, link, flags, StatxFlags::MNT_ID).ok();
        let found = facts.map(|facts| {
            let device = BlockId { major: facts.stx_dev_major, minor: facts.stx_dev_minor };
            let through = self.by_id.get(&facts.stx_mnt_id);
            let on = self.by_device.get(&device);
            (through, on)
        });
        found.into_iter().flat_map(|(through, on)| through.into_iter().chain(on).flatten().copied())
    }
}

/// For each mount the processes that have something open in it, which keeps it from being unmounted.
pub fn users(mounts: &[UsedMount<'_>]) -> Vec<Vec<Holder>> {
    let asked = Asked::of(mounts);
    let mut users: Vec<Vec<Holder>> = mounts.iter().map(|_| Vec::new()).collect();
    for pid in who::processes() {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let mut held: HashMap<usize, Vec<String>> = HashMap::new();
        let mut note = |link: &Path, what: &str| {
            for index in asked.of_link(link) {
                let words = held.entry(index).or_default();
                if words.last().is_none_or(|last| last != what) {
                    words.push(what.to_owned());
                }
            }
        };
        for name in ["cwd", "root", "exe"] {
            note(&folder.join(name), name);
        }
        for (number, link) in numbered(&folder.join("fd")) {
            note(&link, &format!("fd {number}"));
        }
        if asked.is_mapped(&folder) {
            entries(&folder.join("map_files")).for_each(|link| note(&link, "mmap"));
        }
        if held.is_empty() {
            continue;
        }
        let command = fs::read_to_string(folder.join("comm")).unwrap_or_default().trim_end().to_owned();
        let mount_namespace = who::facts_namespace(&pid.to_string()).unwrap_or_default();
        for (index, what) in held {
            users[index].push(Holder { pid, command: command.clone(), mount_namespace, what });
        }
    }
    users
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn numbered(folder: &Path) -> Vec<(u32, PathBuf)> {
    let number = |path: PathBuf| Some((path.file_name()?.to_str()?.parse().ok()?, path));
    let mut all: Vec<_> = entries(folder).filter_map(number).collect();
    all.sort_unstable();
    all
}
