//! An existing block device: its number, size, sectors, serial and WWN, and who else holds it. Read from sysfs and udev's
//! database, so that looking at a disk does not open it; a loop device is asked for its file.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

use super::errors::{failed, wrong};
use super::{identity, lookup, loops, sys};
use crate::host::{ErrorKind, Result};
use crate::model::observed::ObservedDevice;
use crate::model::{BlockId, Capacity, DiskId};

/// The unit of `size` in sysfs, whatever the device's sectors are.
const SYSFS_SECTOR: u64 = 512;

/// A block device, links followed; `boot` says which boot this is.
pub fn observe(path: &Path, boot: &str) -> Result<Option<ObservedDevice>> {
    const ACT: &str = "look at device";
    let metadata = match fs::metadata(path) {
        Err(error) if super::files::is_missing(&error) => return Ok(None),
        answer => answer.map_err(failed(ACT, path))?,
    };
    if !metadata.file_type().is_block_device() {
        return Err(wrong(ErrorKind::Foreign, ACT, path, "it is not a block device"));
    }
    let (major, minor) = sys::device_numbers(metadata.rdev());
    let block = BlockId { major, minor };
    let folder = sysfs(block);
    // A partition has its disk's queue and identity.
    let disk = if folder.join("partition").exists() { folder.join("..") } else { folder.clone() };
    let sectors: u64 = word(&folder.join("size"))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong(ErrorKind::NotFound, ACT, path, format!("{} does not tell its size", folder.display())))?;
    let udev = Udev::of(block);
    let number = |path: PathBuf| word(&path).and_then(|text| text.parse::<u64>().ok());
    let serial = udev
        .get("ID_SERIAL_SHORT")
        .or_else(|| first_word(&disk, &["serial", "device/serial", "dm/uuid", "md/uuid"]))
        .or_else(|| udev.get("ID_SERIAL"));
    let wwn = udev.get("ID_WWN").or_else(|| first_word(&disk, &["wwid", "device/wwid"]));
    let sequence = number(disk.join("diskseq"));
    let shown = Shown::by(block, &folder);
    Ok(Some(ObservedDevice {
        block,
        disk: DiskId {
            size: sectors * SYSFS_SECTOR,
            start: number(folder.join("start")).unwrap_or(0) * SYSFS_SECTOR,
            wwn: wwn.clone(),
            serial: serial.clone(),
            sequence: sequence.map(|sequence| (boot.to_owned(), sequence)),
        },
        size: Capacity::bytes(sectors * SYSFS_SECTOR),
        serial,
        wwn,
        sector_size: first_word(&disk, &["queue/logical_block_size"]).and_then(|text| text.parse().ok()).unwrap_or(512),
        holders: holders(block, &folder)?,
        stands_on: stands_on(block),
        shows_image_of: shown.image_of,
        unseen_file: shown.unseen,
    }))
}

/// The kernel's own node of a block device, `/dev/NAME`, which no link leads astray; proven to be that device. `meant` is the path that
/// led to it.
///
/// # Errors
/// The device is gone, or there is another in that place.
pub fn node(block: BlockId, meant: &Path) -> Result<PathBuf> {
    const ACT: &str = "look for the node of";
    let told = fs::read_to_string(sysfs(block).join("uevent")).map_err(failed(ACT, meant))?;
    let name = told.lines().find_map(|line| line.strip_prefix("DEVNAME=")).unwrap_or_default();
    let node = Path::new("/dev").join(name);
    let is_it = fs::symlink_metadata(&node).is_ok_and(|facts| {
        let (major, minor) = sys::device_numbers(facts.rdev());
        facts.file_type().is_block_device() && BlockId { major, minor } == block
    });
    if is_it {
        return Ok(node);
    }
    let cause = format!("{} is not device {block}, which {} led to", node.display(), meant.display());
    Err(wrong(ErrorKind::Foreign, ACT, meant, cause))
}

/// Whether somebody has claimed a device: whoever asks to have it alone, for a moment, is told.
pub fn is_claimed(path: &Path) -> Result<bool> {
    let flags = OFlags::RDONLY | OFlags::EXCL | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(_) => Ok(false),
        Err(Errno::BUSY) => Ok(true),
        Err(error) => Err(failed("ask for", path)(error.into())),
    }
}

/// What a loop device shows.
#[derive(Default)]
struct Shown {
    /// Whose image, by the image's own word.
    image_of: Option<String>,
    /// The file, if it is not at the path that the kernel tells: unlinked, or in another mount namespace.
    unseen: Option<PathBuf>,
}

impl Shown {
    fn by(block: BlockId, folder: &Path) -> Self {
        let Some(told) = word(&folder.join("loop/backing_file")) else { return Self::default() };
        let file = PathBuf::from(told);
        let Ok(Some(device)) = loops::look(block.minor) else { return Self { unseen: Some(file), image_of: None } };
        if !fs::symlink_metadata(&file).is_ok_and(|facts| loops::file_id(&facts) == device.backing) {
            return Self { unseen: Some(file), image_of: None };
        }
        let identity = identity::read(&file).ok().flatten();
        Self { image_of: identity.map(|identity| identity.id), unseen: None }
    }
}

/// Every device below one: the disk of a partition, what dm and md made it from, the device that a loop device shows.
fn stands_on(block: BlockId) -> Vec<BlockId> {
    let mut found = Vec::new();
    let mut left = vec![block];
    while let Some(folder) = left.pop().map(sysfs) {
        let mut below: Vec<BlockId> = Vec::new();
        let number = |folder: &Path| word(&folder.join("dev")).and_then(|text| parse_block(&text));
        if folder.join("partition").exists() {
            below.extend(number(&folder.join("..")));
        }
        for slave in fs::read_dir(folder.join("slaves")).into_iter().flatten().flatten() {
            below.extend(number(&slave.path()));
        }
        let shown = word(&folder.join("loop/backing_file")).and_then(|path| fs::metadata(path).ok());
        if let Some(facts) = shown.filter(|facts| facts.file_type().is_block_device()) {
            let (major, minor) = sys::device_numbers(facts.rdev());
            below.push(BlockId { major, minor });
        }
        below.retain(|below| !found.contains(below));
        found.extend(&below);
        left.extend(below);
    }
    found
}

fn sysfs(block: BlockId) -> PathBuf {
    PathBuf::from(format!("/sys/dev/block/{block}"))
}

fn word(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn first_word(folder: &Path, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| word(&folder.join(name)))
}

/// Who holds a device, in words: mounts in this namespace, dm and md above it, swap, and the same of its partitions.
fn holders(block: BlockId, folder: &Path) -> Result<Vec<String>> {
    let mut parts = vec![(block, folder.to_owned(), String::new())];
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let below = entry.path();
        if below.join("partition").exists()
            && let Some(number) = word(&below.join("dev")).and_then(|text| parse_block(&text))
        {
            parts.push((number, below, format!("its partition {} is ", entry.file_name().to_string_lossy())));
        }
    }
    let table = lookup::table()?;
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    let mut found = Vec::new();
    for (number, below, prefix) in parts {
        for mount in table.iter().filter(|mount| mount.device == number || source_is(&mount.source, number)) {
            found.push(format!("{prefix}mounted at {}", mount.target.display()));
        }
        for holder in fs::read_dir(below.join("holders")).into_iter().flatten().flatten() {
            let name = holder.file_name().to_string_lossy().into_owned();
            let known = word(&holder.path().join("dm/name")).map(|dm| format!(" ({dm})")).unwrap_or_default();
            found.push(format!("{prefix}held by {name}{known}"));
        }
        let is_swap =
            |line: &&str| line.split_whitespace().next().is_some_and(|path| source_is(Path::new(path), number));
        if swaps.lines().skip(1).any(|line| is_swap(&line)) {
            found.push(format!("{prefix}used as swap"));
        }
    }
    found.dedup();
    Ok(found)
}

/// btrfs and swap name their device by path only.
fn source_is(source: &Path, block: BlockId) -> bool {
    source.starts_with("/dev")
        && fs::metadata(source).is_ok_and(|metadata| {
            let (major, minor) = sys::device_numbers(metadata.rdev());
            metadata.file_type().is_block_device() && BlockId { major, minor } == block
        })
}

fn parse_block(text: &str) -> Option<BlockId> {
    let (major, minor) = text.split_once(':')?;
    Some(BlockId { major: major.parse().ok()?, minor: minor.parse().ok()? })
}

/// udev's properties of a device, where udev runs.
struct Udev(String);

impl Udev {
    fn of(block: BlockId) -> Self {
        Self(fs::read_to_string(format!("/run/udev/data/b{block}")).unwrap_or_default())
    }

    fn get(&self, key: &str) -> Option<String> {
        let lines = self.0.lines().filter_map(|line| line.strip_prefix("E:")?.split_once('='));
        lines.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
    }
}
