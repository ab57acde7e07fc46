//! Copying a source as it is at one moment: what is mounted to be written to is held still meanwhile; what nothing can hold still is copied
//! again until nobody wrote to it.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use super::Origin;
use crate::driver::local::LocalDriver;
use crate::driver::local::session::{host_failure, with_help};
use crate::driver::{DriverError, Refusal, Result};
use crate::host::{CopyMethod, CopyRequest, ErrorKind, Freeze, Host, HostError};
use crate::model::ObjectRef;
use crate::state::VolumeLock;

/// How often what nothing holds still is copied before it is given up.
const TRIES: u32 = 3;
/// Longer than the kernel's clock for times of files takes from one value to the next.
const TICK: Duration = Duration::from_millis(20);
/// A pool with less is full: a file system's own bookkeeping takes that much.
const FULL: u64 = 1 << 20;

/// When a file was last written to, in seconds and nanoseconds; nothing where it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver::local) struct LastWrite(Option<(i64, i64)>);

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

/// A file system held still for a copy, marked so that a run after a killed one thaws it.
pub(in crate::driver::local) struct Frozen<'d> {
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
pub(in crate::driver::local) fn not_of_one_moment(
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
