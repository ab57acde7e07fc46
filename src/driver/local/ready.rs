//! What has to be right on a block device before and just after its file system is mounted: a growth that was cut short is ended, what is blank is
//! formatted, what is there is checked, what is too small for its device grows.

use std::path::{Path, PathBuf};

use crate::driver::{DriverError, Result};
use crate::host::{ErrorKind, FormatRequest, GrowRequest};
use crate::model::record::VolumeRecord;
use crate::model::{BlockId, Capacity, DiskId, FormatPolicy, FsSpec, FsType, SectorSize};

use super::session::{Session, with_help};
use super::{growth, guard, neighbours};

/// What a file system may leave unused at the end of its device: less than any allocation group or block group.
const GROW_SLACK: u64 = 1 << 20;

/// Whether a mount with these options takes writes.
pub(super) fn is_writable(options: &[String]) -> bool {
    !options.iter().any(|option| option == "ro")
}

/// A block device about to be mounted.
pub(super) struct Storage {
    /// Which disk it is, where it is one and not an image.
    pub disk: Option<DiskId>,
    pub node: PathBuf,
    pub block: BlockId,
    pub size: u64,
    pub sector_size: SectorSize,
    pub discard: bool,
    /// Made and verified by this process a moment ago.
    pub verified: bool,
}

/// Everything that has to be right before a file system is mounted.
pub(super) fn make(
    s: &mut Session<'_>,
    record: &mut VolumeRecord,
    storage: &Storage,
    options: &[String],
    notes: &mut Vec<String>,
) -> Result<()> {
    let Some(fs) = record.spec.fs.clone() else { return Ok(()) };
    if storage.verified {
        return Ok(());
    }
    growth::finish(s, record, &storage.node)?;
    let probe = s.host().probe(&storage.node);
    let place = storage.node.display().to_string();
    let disk = storage.disk.as_ref();
    let mut decision = guard::formatting(s, record, &fs, (&place, disk), &probe)?;
    if let guard::Formatting::Resume(uuid) = decision
        && guard::came_to_its_end(s, fs.fs_type, &storage.node, &probe)?
    {
        decision = guard::Formatting::Ended(uuid);
    }
    if matches!(decision, guard::Formatting::Resume(_)) {
        guard::may_be_made_again(s, record, &fs, &place, &probe)?;
    }
    if matches!(decision, guard::Formatting::Needed | guard::Formatting::Resume(_)) {
        neighbours::free(s, record)?;
    }
    let fresh = matches!(decision, guard::Formatting::Needed | guard::Formatting::Resume(_));
    if matches!(decision, guard::Formatting::Adopt(_)) {
        notes.extend(guard::adopted_note(&fs, &place, &probe));
    }
    guard::format_device(s, record, decision, disk, format_request(&fs, storage))?;
    // What csictl did not make it does not repair either.
    if fresh || record.adopted {
        return Ok(());
    }
    if !is_writable(options) {
        // What is only read is not repaired either: the kernel mounts it as it is, or says why not.
        return Ok(());
    }
    s.host().check_filesystem(&storage.node, fs.fs_type, s.lock.own()).map_err(|error| {
        let repair = match fs.fs_type {
            FsType::Ext4 => "e2fsck -f",
            FsType::Xfs => "xfs_repair",
            FsType::Btrfs => "btrfs check",
        };
        with_help(s.fail(error), format!("unmounted and with a backup at hand: {repair} {place}"))
    })?;
    if fs.fs_type == FsType::Ext4 && is_short(s, record, storage)? {
        let files = growth::files(s, record)?;
        let request =
            GrowRequest { device: storage.node.clone(), fs: fs.fs_type, mount_point: None, files: Some(files) };
        match s.host().grow_filesystem(&request, s.lock.own()) {
            // Tried on a copy only: it is whole, and its files are wanted whatever its size.
            Err(error) if error.kind == ErrorKind::Ungrowable => {
                notes.push(format!("{}: it is used with the size it has; another capacity may do", error.cause));
            }
            answer => drop(answer.map_err(|error| s.fail(error))?),
        }
    }
    Ok(())
}

/// Whether its file system, not mounted yet, is smaller than its device and can grow only once it is: xfs and btrfs.
pub(super) fn grows_mounted(s: &Session<'_>, record: &VolumeRecord, storage: &Storage) -> Result<bool> {
    let Some(fs) = &record.spec.fs else { return Ok(false) };
    let can = fs.fs_type != FsType::Ext4 && growth::can_reach(Some(fs.fs_type), Capacity::bytes(storage.size));
    Ok(!storage.verified && can && is_short(s, record, storage)?)
}

/// Grows it.
pub(super) fn grow_mounted(s: &Session<'_>, record: &VolumeRecord, node: PathBuf, mount_point: &Path) -> Result<()> {
    let Some(fs) = &record.spec.fs else { return Ok(()) };
    let request = GrowRequest { device: node, fs: fs.fs_type, mount_point: Some(mount_point.to_owned()), files: None };
    s.host().grow_filesystem(&request, s.lock.own()).map_err(|error| s.fail(error)).map(drop)
}

/// Whether the file system is smaller than its device. One that csictl did not make, or was told never to make, is left at the size it has.
fn is_short(s: &Session<'_>, record: &VolumeRecord, storage: &Storage) -> Result<bool> {
    let Some(fs) = record.spec.fs.as_ref().filter(|fs| fs.format != FormatPolicy::Never && !record.adopted) else {
        return Ok(false);
    };
    let size = s.host().filesystem_size(&storage.node, fs.fs_type).map_err(|error| s.fail(error))?;
    Ok(size.get().saturating_add(GROW_SLACK) <= storage.size)
}

fn format_request(fs: &FsSpec, storage: &Storage) -> FormatRequest {
    FormatRequest {
        path: storage.node.clone(),
        fs: fs.fs_type,
        uuid: crate::model::FsUuid::random(),
        label: fs.label.clone(),
        options: fs.mkfs_options.clone(),
        sector_size: storage.sector_size,
        fresh_image: false,
        discard: storage.discard,
        block: Some(storage.block),
        resume: false,
        template: false,
    }
}

/// A mount that failed, in the light of what is on the device.
pub(super) fn explain(
    s: &Session<'_>,
    record: &VolumeRecord,
    storage: Option<&Storage>,
    error: DriverError,
) -> DriverError {
    let (Some(storage), Some(fs)) = (storage, &record.spec.fs) else { return error };
    let probe = s.host().probe(&storage.node);
    let place = storage.node.display().to_string();
    match guard::formatting(s, record, fs, (&place, storage.disk.as_ref()), &probe) {
        Err(refused) => refused,
        Ok(_) => with_help(error, format!("the kernel's log says more (dmesg); on it is {probe}")),
    }
}
