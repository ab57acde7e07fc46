//! What a volume is copied from: another volume's image or a snapshot, locked, proven to be what it says, and frozen for the
//! copy where somebody may be writing to it.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{CopyMethod, CopyRequest, ErrorKind, Freeze, Host, HostError, LockMode, Observe};
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{Capacity, FileId, FsType, FsUuid, LoopDevice, ObjectRef, SectorSize, SnapshotId, Source, VolumeId};
use crate::state::VolumeLock;

use super::own::{self, Own};
use super::session::{Session, host_failure, state_error, with_help};
use super::{LocalDriver, growth, guard};

/// How often what nothing holds still is copied before it is given up.
const TRIES: u32 = 3;
/// Longer than the kernel's clock for times of files takes from one value to the next.
const TICK: Duration = Duration::from_millis(20);
/// A pool with less is full: a file system's own bookkeeping takes that much.
const FULL: u64 = 1 << 20;

/// When a file was last written to, in seconds and nanoseconds; nothing where it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastWrite(Option<(i64, i64)>);

impl LastWrite {
    /// Whether it was written to since.
    pub fn is_passed(self, now: Self) -> bool {
        self != now
    }

    fn is_older_than(self, age: Duration) -> bool {
        let Some((seconds, nanos)) = self.0 else { return false };
        let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else { return false };
        let at = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        SystemTime::now().duration_since(at).is_ok_and(|since| since > age)
    }
}

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

/// A file system held still for a copy, marked so that a run after a killed one thaws it.
pub(super) struct Frozen<'d> {
    host: &'d dyn Host,
    freeze: Option<Freeze>,
    mark: Option<PathBuf>,
    until: Instant,
}

impl Frozen<'_> {
    /// Whether it has been frozen all the time.
    pub fn held(&self) -> bool {
        self.freeze.as_ref().is_some_and(Freeze::held)
    }

    /// Thaws it, and answers whether it was frozen until then.
    pub fn end(mut self) -> bool {
        self.freeze.take().is_some_and(Freeze::end)
    }

    /// When it is thawed, whatever is done by then.
    pub fn until(&self) -> Instant {
        self.until
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        drop(self.freeze.take());
        if let Some(mark) = &self.mark {
            // A mark too many is harmless: what it names is not frozen.
            let _ = self.host.remove_small(mark, false);
        }
    }
}

/// What was copied is of no one moment: writes paused for as long as they may (it is past `until`) and the copy was not done, or somebody
/// else ended the pause.
pub(super) fn not_of_one_moment(
    driver: &LocalDriver,
    object: &ObjectRef,
    path: &Path,
    until: Option<Instant>,
    undo: Option<Box<HostError>>,
) -> DriverError {
    let over = until.is_none_or(|until| Instant::now() >= until);
    let (kind, cause, help) = if over {
        let seconds = driver.freeze_timeout.as_secs();
        (
            ErrorKind::TimedOut,
            format!("writes may pause for {seconds} s at most and the copy took longer; it was given up"),
            "put the pool on xfs or btrfs, where a copy takes no time, or unstage the volume for it",
        )
    } else {
        (
            ErrorKind::Other,
            "somebody thawed its file system, or ended the process that held it frozen, while it was copied: what was \
             written since may be torn in the copy, which was taken away"
                .to_owned(),
            "find out who thaws file systems here (a backup or guest agent, fsfreeze --unfreeze), and try again",
        )
    };
    let error = Box::new(HostError::new(kind, "copy", path, cause));
    with_help(DriverError::Host { object: object.clone(), error, help: None, undo }, help)
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

impl Origin<'_> {
    /// Copies it to a temporary name, as it is at one moment.
    pub fn copy(
        &self,
        driver: &LocalDriver,
        lock: &VolumeLock,
        request: &CopyRequest,
        notes: &mut Vec<String>,
    ) -> Result<CopyMethod> {
        let host = driver.host();
        let fail = |error: HostError| host_failure(&self.object, error);
        let Some((mount_point, node)) = &self.freeze else {
            let method = self.copy_unwritten(driver, lock, request)?;
            if self.raw_node.is_some() {
                notes.push(format!(
                    "{} is in use as a raw device: the copy is what a power cut would leave",
                    self.object
                ));
            }
            return Ok(method);
        };
        self.not_onto_itself(driver, mount_point, &request.to_part)?;
        let frozen = self.freeze_at(driver, mount_point)?;
        let request = &CopyRequest { until: Some(frozen.until()), ..request.clone() };
        let method = host.flush_device(node).and_then(|()| host.copy_image(request, lock.own()));
        let (held, until) = (frozen.held(), frozen.until());
        let held = frozen.end() && held;
        match method {
            Ok(method) if held => return Ok(method),
            Err(error) if error.kind != ErrorKind::TimedOut => return Err(fail(error)),
            _ => {}
        }
        // What was read after the thaw may be torn: it is no copy of any moment.
        let removed = host.remove_image(&request.to_part, None).err().map(Box::new);
        Err(not_of_one_moment(driver, &self.object, &self.path, Some(until), removed))
    }

    /// Copies what nothing holds still: a raw device that is in use, and what is down or only read, but for whoever writes to it past csictl. What is
    /// read in a moment (reflink) is what a power cut would leave; what takes longer is of one moment only if nobody wrote meanwhile.
    fn copy_unwritten(&self, driver: &LocalDriver, lock: &VolumeLock, request: &CopyRequest) -> Result<CopyMethod> {
        let host = driver.host();
        let fail = |error: HostError| host_failure(&self.object, error);
        for _ in 0..TRIES {
            if let Some(node) = &self.raw_node {
                host.flush_device(node).map_err(fail)?;
            }
            let before = self.last_write(driver)?;
            let method = host.copy_image(request, lock.own()).map_err(fail)?;
            if method == CopyMethod::Reflink || !before.is_passed(self.last_write(driver)?) {
                return Ok(method);
            }
            host.remove_image(&request.to_part, None).map_err(fail)?;
        }
        Err(DriverError::refused(
            Refusal::Busy,
            self.object.clone(),
            format!("it was written to each of the {TRIES} times that it was copied: such a copy is torn"),
            "stop who writes to it for as long as that takes, or put the pool on xfs or btrfs, where a copy takes no time",
        ))
    }

    /// When its image was last written to, as of a moment after which any write shows.
    pub fn last_write(&self, driver: &LocalDriver) -> Result<LastWrite> {
        let look = || {
            let facts = driver.host().stat(&self.path).map_err(|error| host_failure(&self.object, error))?;
            Ok::<_, DriverError>(LastWrite(facts.map(|facts| (facts.modified, facts.modified_nanos))))
        };
        let last = look()?;
        if last.is_older_than(TICK) {
            return Ok(last);
        }
        // Two writes in one tick of the kernel's clock have one time.
        sleep(TICK);
        Ok(last)
    }

    /// Refuses a copy that would be written to the very file system which is held still for it.
    fn not_onto_itself(&self, driver: &LocalDriver, mount_point: &Path, copy: &Path) -> Result<()> {
        let device = |path: &Path| {
            let facts = driver.host().stat(path).map_err(|error| host_failure(&self.object, error))?;
            Ok(facts.map(|facts| facts.file.device))
        };
        let folder = copy.parent().unwrap_or(Path::new("/"));
        let (frozen, into) = (device(mount_point)?, device(folder)?);
        if frozen.is_none() || frozen != into {
            return Ok(());
        }
        Err(DriverError::refused(
            Refusal::Unsupported,
            self.object.clone(),
            format!("{} lies on the volume itself, which is frozen while it is copied", folder.display()),
            "keep pools off the volumes themselves, or unstage the volume first",
        ))
    }

    /// Whether somebody may be writing to its raw device now, which nothing can hold still.
    pub fn in_use_raw(&self) -> bool {
        self.raw_in_use
    }

    /// The mounted file system that is held still while it is copied, and the device that is flushed then.
    pub fn writable_at(&self) -> Option<(&Path, &Path)> {
        self.freeze.as_ref().map(|(mount_point, node)| (mount_point.as_path(), node.as_path()))
    }

    /// Holds a writable file system still until the answer is dropped.
    pub fn freeze<'d>(&self, driver: &'d LocalDriver) -> Result<Option<Frozen<'d>>> {
        self.writable_at().map(|(mount_point, _)| self.freeze_at(driver, mount_point)).transpose()
    }

    fn freeze_at<'d>(&self, driver: &'d LocalDriver, mount_point: &Path) -> Result<Frozen<'d>> {
        let fail = |error: HostError| host_failure(&self.object, error);
        let mark = self.mark_frozen(driver)?;
        let until = Instant::now() + driver.freeze_timeout;
        // Where this fails the mark stays: what is frozen already may be what a killed run left.
        let freeze = driver.host().freeze(mount_point, driver.freeze_timeout);
        let freeze = freeze.map_err(|error| self.full(driver).unwrap_or_else(|| fail(error)))?;
        Ok(Frozen { host: driver.host(), freeze: Some(freeze), mark, until })
    }

    /// A file system whose image finds no room in its pool any more can't write what it has to before it holds still: an I/O error that
    /// is the pool's.
    fn full(&self, driver: &LocalDriver) -> Option<DriverError> {
        let pool = self.path.parent()?;
        let free = driver.host().usage(pool).ok()?.available;
        let message = format!("its pool {} is full: what it has still to write finds no room", pool.display());
        let help = "free space there first";
        (free < FULL).then(|| DriverError::refused(Refusal::NoSpace, self.object.clone(), message, help))
    }

    /// Written before a volume is frozen, so that a run after a killed one knows what to thaw without asking every mount.
    fn mark_frozen(&self, driver: &LocalDriver) -> Result<Option<PathBuf>> {
        let ObjectRef::Volume(id) = &self.object else { return Ok(None) };
        let fail = |error: HostError| host_failure(&self.object, error);
        driver.host().make_dir(&driver.layout().frozen(), 0o700).map_err(fail)?;
        let mark = driver.layout().frozen_mark(id);
        driver.host().write_small(&mark, b"", false).map_err(fail)?;
        Ok(Some(mark))
    }
}
