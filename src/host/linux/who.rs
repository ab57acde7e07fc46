//! Who keeps a mount or a device busy: processes of every mount namespace, found by device number and not by path, because in
//! another namespace or root the path is another one; of a bind that shows a part of a file system, by the id of its mount.

use std::collections::HashSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::{lookup, sys};
use crate::host::{Holder, Result};
use crate::model::{BlockId, MountNamespace, NamespaceState};

/// How a held file is known to count.
enum Held {
    /// By the device of its file system; with `nodes`, also descriptors of the device itself, which keep a loop but no mount.
    Device { devices: HashSet<BlockId>, nodes: bool },
    /// By the mount it was opened through: a bind of a directory or of a device node lies on a file system that the whole machine
    /// uses, and only those who came in through the bind keep it.
    Mount { id: u64, devices: HashSet<BlockId> },
}

impl Held {
    fn devices(&self) -> &HashSet<BlockId> {
        match self {
            Self::Device { devices, .. } | Self::Mount { devices, .. } => devices,
        }
    }

    /// Whether the file behind one of the kernel's links in /proc counts.
    fn has(&self, link: &Path) -> bool {
        match self {
            // Follows the kernel's own link to the very inode, which stat answers without touching the file.
            Self::Device { devices, nodes } => fs::metadata(link).is_ok_and(|metadata| {
                devices.contains(&split(metadata.dev()))
                    || (*nodes && metadata.file_type().is_block_device() && devices.contains(&split(metadata.rdev())))
            }),
            Self::Mount { id, .. } => mount_id(link, AtFlags::empty()) == Some(*id),
        }
    }
}

/// Holders of the file system on `device`, or of the block device itself.
pub fn holders(device: BlockId, target: Option<&Path>) -> Result<Vec<Holder>> {
    let held = held(device, target);
    let own = facts_namespace("self");
    let mut seen = HashSet::from([own]);
    let mut found = Vec::new();
    for pid in processes() {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let Some(mount_namespace) = facts_namespace(&pid.to_string()) else { continue };
        let mut what = open_files(&folder, &held);
        what.extend(mapped(&folder, &held));
        // One process stands for its namespace; a mount there keeps the device, not this mount.
        if let Held::Device { devices, .. } = &held
            && seen.insert(Some(mount_namespace))
        {
            what.extend(mounts(&folder, devices));
        }
        if !what.is_empty() {
            let command = fs::read_to_string(folder.join("comm")).unwrap_or_default().trim_end().to_owned();
            found.push(Holder { pid, command, mount_namespace, what });
        }
    }
    if let Some(target) = target {
        found.extend(nested(target, own.unwrap_or_default())?);
    }
    Ok(found)
}

fn held(device: BlockId, target: Option<&Path>) -> Held {
    let mut devices = HashSet::from([device]);
    let Some(target) = target else { return Held::Device { devices, nodes: true } };
    // btrfs shows another device number in stat than in the mount table.
    if let Ok(metadata) = fs::symlink_metadata(target) {
        devices.insert(split(metadata.dev()));
    }
    let whole = lookup::stack_at(target).is_ok_and(|stack| stack.last().is_none_or(|top| top.root == Path::new("/")));
    match mount_id(target, AtFlags::SYMLINK_NOFOLLOW) {
        Some(id) if !whole => Held::Mount { id, devices },
        _ => Held::Device { devices, nodes: false },
    }
}

/// The id of the mount a path lies on, the same in every namespace.
fn mount_id(path: &Path, flags: AtFlags) -> Option<u64> {
    statx(CWD, path, flags | AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID).ok().map(|facts| facts.stx_mnt_id)
}

/// A holder in a few words: `postgres (pid 812: cwd, fd 7)`.
pub fn describe(holder: &Holder) -> String {
    let shown: Vec<&str> = holder.what.iter().take(3).map(String::as_str).collect();
    let more = if holder.what.len() > 3 { ", …" } else { "" };
    if holder.pid == Holder::NO_PROCESS {
        return format!("{}{more}", shown.join(", "));
    }
    format!("{} (pid {}: {}{more})", holder.command, holder.pid, shown.join(", "))
}

pub(super) fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

pub(super) fn split(device: u64) -> BlockId {
    let (major, minor) = sys::device_numbers(device);
    BlockId { major, minor }
}

/// Inode of a process's mount namespace; of this *thread's* for `self`.
pub fn facts_namespace(pid: &str) -> Option<u64> {
    fs::metadata(namespace_path(pid)).ok().map(|metadata| metadata.ino())
}

/// This thread's mount namespace.
pub fn this_namespace() -> MountNamespace {
    MountNamespace { inode: facts_namespace("self").unwrap_or_default(), id: namespace_id("self") }
}

/// Whether any process lives in that namespace.
pub fn namespace_state(namespace: MountNamespace) -> NamespaceState {
    // The number that the kernel gives once is asked for only where the other is the same.
    let lives_there = |pid: &str| {
        facts_namespace(pid) == Some(namespace.inode)
            && namespace.is(MountNamespace { inode: namespace.inode, id: namespace_id(pid) })
    };
    if lives_there("self") || processes().into_iter().any(|pid| lives_there(&pid.to_string())) {
        NamespaceState::Lives
    } else if sees_all_processes() {
        NamespaceState::Gone
    } else {
        NamespaceState::Untold
    }
}

/// Whether /proc shows the processes of the whole machine: those of its first process namespace.
fn sees_all_processes() -> bool {
    // PROC_PID_INIT_INO (linux/proc_ns.h).
    const FIRST: u64 = 0xEFFF_FFFC;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|facts| facts.ino() == FIRST)
}

/// The kernel's number for a process's mount namespace.
fn namespace_id(pid: &str) -> Option<u64> {
    let file = fs::File::open(namespace_path(pid)).ok()?;
    sys::mount_namespace_id(file.as_fd()).ok()
}

/// Where the kernel shows a process's mount namespace; this *thread's* for `self`.
fn namespace_path(pid: &str) -> PathBuf {
    PathBuf::from(if pid == "self" { "/proc/thread-self/ns/mnt".to_owned() } else { format!("/proc/{pid}/ns/mnt") })
}

/// `cwd`, `root`, `exe` and descriptors that count.
fn open_files(folder: &Path, held: &Held) -> Vec<String> {
    let mut what: Vec<String> =
        ["cwd", "root", "exe"].into_iter().filter(|name| held.has(&folder.join(name))).map(str::to_owned).collect();
    let descriptors = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = descriptors
        .filter(|entry| held.has(&entry.path()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    what.extend(numbers.into_iter().map(|number| format!("fd {number}")));
    what
}

/// The devices of mapped files; 00:00 is memory without a file.
pub(super) fn mapped_devices(maps: &str) -> impl Iterator<Item = BlockId> + '_ {
    maps.lines().filter_map(|line| {
        let (major, minor) = line.split_whitespace().nth(3)?.split_once(':')?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        Some(BlockId { major: number(major)?, minor: number(minor)? })
    })
}

/// `mmap` where a file that counts is mapped.
fn mapped(folder: &Path, held: &Held) -> Option<String> {
    let maps = fs::read_to_string(folder.join("maps")).ok()?;
    let on_device = mapped_devices(&maps).any(|device| held.devices().contains(&device));
    let through =
        || fs::read_dir(folder.join("map_files")).into_iter().flatten().flatten().any(|e| held.has(&e.path()));
    (on_device && (matches!(held, Held::Device { .. }) || through())).then(|| "mmap".to_owned())
}

/// Mounts of the devices in another namespace.
fn mounts(folder: &Path, devices: &HashSet<BlockId>) -> Vec<String> {
    let Ok(text) = fs::read(folder.join("mountinfo")) else { return Vec::new() };
    let table = lookup::parse(&text).unwrap_or_default();
    let ours = table.iter().filter(|mount| devices.contains(&mount.device));
    ours.map(|mount| format!("mount {}", mount.target.display())).collect()
}

/// Mounts below the target in this namespace: they keep it busy though no process does.
fn nested(target: &Path, mount_namespace: u64) -> Result<Option<Holder>> {
    let table = lookup::table()?;
    let below = table.iter().filter(|mount| mount.target != target && mount.target.starts_with(target));
    let what: Vec<String> = below.map(|mount| format!("mount {}", mount.target.display())).collect();
    let (pid, command) = (Holder::NO_PROCESS, String::new());
    Ok((!what.is_empty()).then_some(Holder { pid, command, mount_namespace, what }))
}
