//! Taking a volume's own mounts at one path away, whatever lies on them, over them or waits in them; and no others.

use std::path::Path;
use std::time::Instant;

use super::{Own, describe, shows_block};
use crate::driver::local::session::Session;
use crate::driver::local::{freezing, guard};
use crate::driver::{DriverError, Refusal, Result};
use crate::host::{ErrorKind, Unmount};
use crate::model::device::LOOP_MAJOR;
use crate::model::{Done, Mount};

/// More mounts than anybody stacks; beyond it something else mounts as fast as we unmount.
const MOST_STACKED: usize = 64;

impl Own {
    /// Refuses the unmount with which the last of the bytes would go: the kernel frees a loop device with its last mount, and the file
    /// behind this one may have no name any more.
    fn not_the_last_mount(&self, s: &Session<'_>, top: &Mount) -> Result<()> {
        let Some(device) = &self.nameless else { return Ok(()) };
        let Some(record) = s.record.present().filter(|_| device.autoclear) else { return Ok(()) };
        let table = s.host().mount_table().map_err(|error| s.fail(error))?;
        let others = table.iter().any(|mount| mount.id != top.id && shows_block(s.host(), mount, device.block));
        if others || !shows_block(s.host(), top, device.block) {
            return Ok(());
        }
        guard::not_the_last(s, record, device, &format!("the mount at {}", top.target.display()))
    }

    /// Refuses to call down what is only elsewhere: a rename of the target that had begun before it was mounted on may end after, and carry the
    /// mount along. Looked for where a record names a path at which nothing is.
    fn not_carried_away(&self, s: &Session<'_>, path: &Path) -> Result<()> {
        let Some(run) = s.run.present().filter(|run| run.names(path)) else { return Ok(()) };
        // At the stage of a raw volume nothing is ever mounted.
        let raw = s.record.present().is_some_and(|record| record.spec.is_raw());
        let Some(block) = self.block().filter(|_| !raw) else { return Ok(()) };
        let known = |mount: &Mount| {
            let places = run.publishes.keys().chain(run.staging_path.as_ref()).chain(&self.places);
            places.into_iter().any(|place| mount.target.starts_with(place))
        };
        let table = s.host().mount_table().map_err(|error| s.fail(error))?;
        let Some(stray) = table.iter().find(|mount| !known(mount) && shows_block(s.host(), mount, block)) else {
            return Ok(());
        };
        let stray = stray.target.display();
        let message = format!("nothing is mounted at {}, but the volume is at {stray}", path.display());
        Err(s.refuse(
            Refusal::UnsafePath,
            message,
            format!(
                "the path was exchanged, or somebody bound it there: take the mount at {stray} away, and try again"
            ),
        ))
    }

    /// Takes away our mounts at a path until none is left, and answers what was done and a foreign mount that is seen there. Somebody who
    /// waits for a write to a frozen file system keeps it busy and cannot be ended: then it is thawed.
    pub fn unmount_all(&self, s: &Session<'_>, path: &Path, trusted_root: &Path) -> Result<(Done, Option<Mount>)> {
        self.take_away(s, path, trusted_root, false)
    }

    /// The same at the staging path. Frozen by a run that was killed, the file system could not be unmounted: it is thawed first.
    pub fn unmount_staged(&self, s: &Session<'_>, path: &Path, trusted_root: &Path) -> Result<(Done, Option<Mount>)> {
        self.take_away(s, path, trusted_root, true)
    }

    fn take_away(
        &self,
        s: &Session<'_>,
        path: &Path,
        trusted_root: &Path,
        mut thaw: bool,
    ) -> Result<(Done, Option<Mount>)> {
        let mut done = Done::Already;
        let mut thawed = None;
        let mut left = MOST_STACKED;
        while left > 0 {
            let stack = self.stack(s, path)?;
            if thaw && stack.top().is_some() {
                thaw = false;
                if freezing::thaw(s, path) == Done::Changed {
                    thawed = Some(Instant::now());
                    s.thawed.set(true);
                }
            }
            let Some(top) = stack.top() else {
                if let (Some(foreign), false) = (&stack.foreign, stack.ours.is_empty()) {
                    return Err(s.refuse(
                        Refusal::Foreign,
                        format!("{} is mounted over it at {}", describe(foreign), path.display()),
                        "take that mount away by hand first; csictl leaves alone what is not this volume's",
                    ));
                }
                let published = s.run.present().is_some_and(|run| run.publishes.contains_key(path));
                if published && stack.foreign.is_none() && done == Done::Already {
                    // A path leads only to what is on top, so that a mount which was covered looks like none.
                    covering(s, path)?.map_or(Ok(()), |cover| Err(covered(s, path, &cover)))?;
                }
                if stack.foreign.is_none() && done == Done::Already {
                    self.not_carried_away(s, path)?;
                }
                return Ok((done, stack.foreign));
            };
            self.not_the_last_mount(s, top)?;
            let request = Unmount {
                target: path.to_owned(),
                trusted_root: trusted_root.to_owned(),
                expect: top.device,
                // The root's name is the volume's content to change, at this very moment if need be.
                root: (!self.is_told_by_device(s, top)?).then(|| top.root.clone()),
            };
            let answer = s.host().unmount(&request);
            if !matches!(answer, Ok(Done::Changed))
                && let Some(cover) = covering(s, path)?
            {
                return Err(covered(s, path, &cover));
            }
            if answer.as_ref().is_err_and(|error| error.kind == ErrorKind::Busy) {
                let first = thawed.is_none() && freezing::thaw(s, path) == Done::Changed;
                if first {
                    thawed = Some(Instant::now());
                    s.thawed.set(true);
                }
                if freezing::writers_end(thawed) {
                    continue;
                }
            }
            left -= 1;
            if answer.map_err(|error| s.busy(error, top.device, Some(path)))? == Done::Changed {
                done = Done::Changed;
                if self.without_discards && top.device.major == LOOP_MAJOR {
                    // With AUTOCLEAR the loop may have gone with this mount.
                    s.host().renew_loop(top.device.minor);
                }
            }
        }
        Err(s.refuse(
            Refusal::Busy,
            format!("{MOST_STACKED} mounts were taken away at {} and there are more", path.display()),
            "find out who keeps mounting there",
        ))
    }
}

/// The mount that was made over the one at `path`, on a directory above it, so that nobody can reach it any more.
fn covering(s: &Session<'_>, path: &Path) -> Result<Option<Mount>> {
    let table = s.host().mount_table().map_err(|error| s.fail(error))?;
    Ok(table.top(path).and_then(|mount| table.covering(mount)).cloned())
}

fn covered(s: &Session<'_>, path: &Path, cover: &Mount) -> DriverError {
    let over = cover.target.display();
    let message = format!("what is mounted at {} cannot be reached: {over} was mounted over it", path.display());
    s.refuse(Refusal::Busy, message, format!("take away what is mounted at {over} first, then this"))
}
