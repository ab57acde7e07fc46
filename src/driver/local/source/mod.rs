//! What a volume is copied from: another volume's image or a snapshot, locked, proven to be what it says, and frozen for the
//! copy where somebody may be writing to it.

mod copying;

use std::path::{Path, PathBuf};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{HostError, LockMode, Observe};
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{Capacity, FileId, FsType, FsUuid, LoopDevice, ObjectRef, SectorSize, SnapshotId, Source, VolumeId};
use crate::state::VolumeLock;

pub(super) use copying::{Frozen, not_of_one_moment};

use super::own::{self, Own};
use super::session::{Session, host_failure, state_error};
use super::{LocalDriver, growth, guard};

/// Something to copy from, locked while this lives.
pub(super) struct Origin<'a> {
    pub object: ObjectRef,
    pub path: PathBuf,
    pub file: FileId,
    pub size: Capacity,
    pub fs_type: Option<FsType>,
    pub fs_uuid: Option<FsUuid>,
    pub sector_size: SectorSize,
    /// Where it is mounted writable, and through which device.
    freeze: Option<(PathBuf, PathBuf)>,
    /// The loop device through which it is used raw.
    raw_node: Option<PathBuf>,
    /// Whether that device has been given to somebody.
    raw_in_use: bool,
    _lock: OriginLock<'a>,
}

/// Only held, never looked at.
#[expect(dead_code, reason = "the guards inside keep the origin locked")]
enum OriginLock<'a> {
    Volume(Box<Session<'a>>),
    Snapshot(VolumeLock),
}

/// How a volume that is copied is mounted by csictl.
enum OwnMount {
    /// Not at all.
    None,
    /// So that nobody can write.
    ReadOnly,
    /// Here, so that somebody may write.
    Writable(PathBuf),
}

/// What somebody else mounted through a loop device of an image may be written to while it is copied, and is not csictl's to freeze.
fn not_mounted_by_others(host: &dyn Observe, object: &ObjectRef, path: &Path, file: FileId) -> Result<()> {
    let fail = |error: HostError| host_failure(object, error);
    for device in host.loops_of_image(path, file).map_err(fail)? {
        if device.read_only {
            continue;
        }
        let here = host.device(&device.node()).map_err(fail)?.map(|seen| seen.holders);
        let elsewhere = host.holders(device.block, None).unwrap_or_default();
        let mounts =
            elsewhere.iter().flat_map(|holder| &holder.what).filter(|what| what.starts_with("mount ")).cloned();
        let mut used: Vec<String> = here.into_iter().flatten().chain(mounts).collect();
        if used.is_empty() {
            // A mount in a namespace whose processes can't be seen, or of a file system that tells another device.
            if !host.is_claimed(&device.node()).map_err(fail)? {
                continue;
            }
            used.push("somebody has it for himself alone (a mount in another mount namespace?)".to_owned());
        }
        return Err(DriverError::refused(
            Refusal::Busy,
            object.clone(),
            format!("{} is in use, and not by csictl: {}", device.node().display(), used.join(", ")),
            "a copy of what somebody may be writing to is torn: take that mount away, or mount the volume with csictl",
        ));
    }
    Ok(())
}

impl LocalDriver {
    pub(super) fn origin(&self, source: &Source) -> Result<Origin<'_>> {
        match source {
            Source::Volume(id) => self.volume_origin(id),
            Source::Snapshot(id) => self.snapshot_origin(id),
        }
    }

    /// The image of a volume. Many may copy it at a time, but only one may freeze it.
    pub(super) fn volume_origin(&self, id: &VolumeId) -> Result<Origin<'_>> {
        let origin = self.locked_volume_origin(id, LockMode::Shared)?;
        if origin.freeze.is_none() {
            return Ok(origin);
        }
        drop(origin);
        self.locked_volume_origin(id, LockMode::Exclusive)
    }

    fn locked_volume_origin(&self, id: &VolumeId, mode: LockMode) -> Result<Origin<'_>> {
        let mut s = self.open_as(id, mode)?;
        s.same_namespace()?;
        if matches!(s.record, Recorded::Corrupt { .. }) && mode == LockMode::Shared {
            drop(s);
            return self.locked_volume_origin(id, LockMode::Exclusive);
        }
        let record = s.existing()?;
        let Some(backing) = record.spec.backing.as_image() else {
            return Err(s.refuse(
                Refusal::Unsupported,
                format!("volume {id} is a {}: only images can be copied", record.spec.backing.kind()),
                "copy its files with a tool for files",
            ));
        };
        let image = guard::image(&s, &record, backing)?;
        let device = own::loop_of(&s, &record)?;
        if growth::is_pending(&s, &record)? {
            // Half grown it is nothing to copy; to finish it takes the volume for oneself.
            if mode == LockMode::Shared {
                drop(s);
                return self.locked_volume_origin(id, LockMode::Exclusive);
            }
            let node = device.as_ref().map_or_else(|| image.path.clone(), LoopDevice::node);
            growth::finish(&s, &record, &node)?;
        }
        let mut freeze = None;
        let mut raw_node = None;
        let mounted = match &device {
            Some(device) if record.spec.is_raw() => {
                raw_node = Some(device.node());
                OwnMount::ReadOnly
            }
            Some(_) => self.own_mount(&s, &record)?,
            None => OwnMount::None,
        };
        match (mounted, &device) {
            (OwnMount::Writable(mount_point), Some(device)) => freeze = Some((mount_point, device.node())),
            (OwnMount::None, _) => not_mounted_by_others(s.host(), &s.object(), &image.path, image.file)?,
            _ => {}
        }
        let identity = image.identity.as_ref();
        let given = s.run.present().is_some_and(|run| run.staging_path.is_some() || !run.publishes.is_empty());
        let raw_in_use = raw_node.is_some() && given;
        Ok(Origin {
            object: s.object(),
            path: image.path.clone(),
            file: image.file,
            size: image.size,
            fs_type: identity.and_then(|identity| identity.fs_type),
            fs_uuid: identity.and_then(|identity| identity.fs_uuid),
            sector_size: identity.map_or(backing.sector_size, |identity| identity.sector_size),
            freeze,
            raw_node,
            raw_in_use,
            _lock: OriginLock::Volume(Box::new(s)),
        })
    }

    /// How the volume is mounted; refused when freezing it would freeze csictl itself.
    fn own_mount(&self, s: &Session<'_>, record: &VolumeRecord) -> Result<OwnMount> {
        let own = Own::of(s, Some(record))?;
        let mut places: Vec<PathBuf> = Vec::new();
        if let Some(run) = s.run.present() {
            places.extend(run.staging_path.clone());
            places.extend(run.publishes.keys().cloned());
        }
        places.push(s.layout().staging_path(&s.id));
        for place in places {
            let stack = own.stack(s, &place)?;
            let Some(mount) = stack.top() else { continue };
            // A read-only bind may show a file system that is written through another one.
            if mount.super_read_only() {
                return Ok(OwnMount::ReadOnly);
            }
            let pool = record.spec.backing.as_image().map(|image| image.pool_path.clone());
            for kept in [Some(s.layout().state.clone()), Some(s.layout().run.clone()), pool].into_iter().flatten() {
                let facts = s.host().stat(&kept).map_err(|error| s.fail(error))?;
                if facts.is_some_and(|facts| facts.file.device == mount.device) {
                    return Err(s.refuse(
                        Refusal::Unsupported,
                        format!("freezing it would freeze {} too, which lies on it", kept.display()),
                        "keep the state directory and pools off the volumes themselves, or unstage it first",
                    ));
                }
            }
            return Ok(OwnMount::Writable(place));
        }
        Ok(OwnMount::None)
    }

    /// A snapshot's file. Many may copy it at a time, and nobody deletes it meanwhile.
    fn snapshot_origin(&self, id: &SnapshotId) -> Result<Origin<'_>> {
        let object = ObjectRef::Snapshot(id.clone());
        self.prepare(&object)?;
        let lock = VolumeLock::snapshot(self.host(), &self.layout, id, LockMode::Shared, self.lock_timeout)
            .map_err(|error| state_error(&object, error))?;
        let refuse = |refusal, message: String, help: &str| {
            Err(DriverError::refused(refusal, object.clone(), message, help.to_owned()))
        };
        let record = match self.reader().snapshot(id) {
            Recorded::Present(record) if record.ready => record,
            Recorded::Newer { version } => {
                let message = format!("its record has version {version}, written by a newer csictl");
                return refuse(Refusal::NewerRecord, message, "use that csictl");
            }
            Recorded::Unknown { cause } | Recorded::Corrupt { cause } => {
                let message = format!("its record can't be used: {cause}");
                return refuse(Refusal::NotReady, message, "take it again under its name: that adopts the file");
            }
            Recorded::Present(_) | Recorded::Absent => {
                return refuse(Refusal::NotFound, format!("no snapshot {id} is recorded"), "take it first");
            }
        };
        let image = super::snapshot::file_of(self, &record)?;
        let Some(image) = image else {
            let message = format!("its file {} is gone", record.path.display());
            return refuse(Refusal::WrongIdentity, message, "bring the file back, or delete the snapshot");
        };
        not_mounted_by_others(self.host(), &object, &image.path, image.file)?;
        let identity = image.identity.as_ref();
        Ok(Origin {
            object: object.clone(),
            path: image.path.clone(),
            file: image.file,
            size: image.size,
            fs_type: identity.and_then(|identity| identity.fs_type),
            fs_uuid: identity.and_then(|identity| identity.fs_uuid),
            sector_size: identity.map_or(record.sector_size, |identity| identity.sector_size),
            freeze: None,
            raw_node: None,
            raw_in_use: false,
            _lock: OriginLock::Snapshot(lock),
        })
    }
}
