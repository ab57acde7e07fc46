//! Who keeps a mount or a device busy: processes of every mount namespace, found by device number and not by path, because in
//! another namespace or root the path is another one.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{lookup, sys};
use crate::host::{Holder, Result};
use crate::model::BlockId;

/// Holders of the file system on `device`, or of the block device itself.
pub fn holders(device: BlockId, target: Option<&Path>) -> Result<Vec<Holder>> {
    let mut devices = HashSet::from([device]);
    // btrfs shows another device number in stat than in the mount table.
    if let Some(metadata) = target.and_then(|target| fs::symlink_metadata(target).ok()) {
        devices.insert(split(metadata.dev()));
    }
    let own = facts_namespace("self");
    let mut seen = HashSet::from([own]);
    let mut found = Vec::new();
    for pid in processes() {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let Some(mount_namespace) = facts_namespace(&pid.to_string()) else { continue };
        let mut what = open_files(&folder, &devices, target.is_none());
        what.extend(mapped(&folder, &devices));
        // One process stands for its namespace; a mount there keeps the device, not this mount.
        if seen.insert(Some(mount_namespace)) {
            what.extend(mounts(&folder, &devices));
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

/// A holder in a few words: `postgres (pid 812: cwd, fd 7)`.
pub fn describe(holder: &Holder) -> String {
    let shown: Vec<&str> = holder.what.iter().take(3).map(String::as_str).collect();
    let more = if holder.what.len() > 3 { ", …" } else { "" };
    format!("{} (pid {}: {}{more})", holder.command, holder.pid, shown.join(", "))
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

fn split(device: u64) -> BlockId {
    let (major, minor) = sys::device_numbers(device);
    BlockId { major, minor }
}

/// Inode of a process's mount namespace; of this *thread's* for `self`.
pub fn facts_namespace(pid: &str) -> Option<u64> {
    let path = if pid == "self" { "/proc/thread-self/ns/mnt".to_owned() } else { format!("/proc/{pid}/ns/mnt") };
    fs::metadata(path).ok().map(|metadata| metadata.ino())
}

/// Whether any process lives in that namespace.
pub fn namespace_lives(namespace: u64) -> bool {
    facts_namespace("self") == Some(namespace)
        || processes().into_iter().any(|pid| facts_namespace(&pid.to_string()) == Some(namespace))
}

/// `cwd`, `root`, `exe` and descriptors on one of the devices; with `nodes`, also descriptors of the device itself, which keep
/// a loop but no mount.
fn open_files(folder: &Path, devices: &HashSet<BlockId>, nodes: bool) -> Vec<String> {
    let on_device = |path: &Path| {
        // Follows the kernel's own link to the very inode, which stat answers without touching the file.
        fs::metadata(path).is_ok_and(|metadata| {
            devices.contains(&split(metadata.dev()))
                || (nodes && metadata.file_type().is_block_device() && devices.contains(&split(metadata.rdev())))
        })
    };
    let mut what: Vec<String> =
        ["cwd", "root", "exe"].into_iter().filter(|name| on_device(&folder.join(name))).map(str::to_owned).collect();
    let descriptors = fs::read_dir(folder.join("fd")).into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = descriptors
        .filter(|entry| on_device(&entry.path()))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    what.extend(numbers.into_iter().map(|number| format!("fd {number}")));
    what
}

/// `mmap` where a file of one of the devices is mapped.
fn mapped(folder: &Path, devices: &HashSet<BlockId>) -> Option<String> {
    let maps = fs::read_to_string(folder.join("maps")).ok()?;
    let is_ours = |line: &str| {
        let (major, minor) = line.split_whitespace().nth(3)?.split_once(':')?;
        let number = |text| u32::from_str_radix(text, 16).ok();
        Some(devices.contains(&BlockId { major: number(major)?, minor: number(minor)? }))
    };
    // 00:00 is memory without a file.
    maps.lines().any(|line| is_ours(line) == Some(true)).then(|| "mmap".to_owned())
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
    let pid = std::process::id();
    Ok((!what.is_empty()).then(|| Holder { pid, command: "kernel".to_owned(), mount_namespace, what }))
}
