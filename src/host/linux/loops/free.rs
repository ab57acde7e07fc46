//! Which free loop device a worker tries next.
//!
//! LOOP_CTL_GET_FREE tells everybody the same number until somebody has attached it, and LOOP_CONFIGURE makes the losers wait
//! for the winner before it refuses them: sixteen workers would stand in a queue of one. So the numbers that workers of
//! this process are at are kept here, and the next worker gets the next free one. Other processes are met by EBUSY.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use loopdev::{LoopControl, LoopDevice};

use super::sysfs;
use crate::host::linux::sys;

/// What this process is at.
struct InFlight {
    taken: BTreeSet<u32>,
    /// Where the search goes on when the lowest free number is taken.
    next: u32,
}

static IN_FLIGHT: Mutex<InFlight> = Mutex::new(InFlight { taken: BTreeSet::new(), next: 0 });

fn in_flight() -> MutexGuard<'static, InFlight> {
    IN_FLIGHT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An opened device that looked free, and that no other worker of this process is at.
pub struct Candidate {
    /// N of `/dev/loopN`.
    pub index: u32,
    /// It, opened for writing.
    pub device: File,
    /// Dropped once it is attached, or is somebody else's.
    pub reservation: Reservation,
}

/// Keeps other workers of this process away from a number.
pub struct Reservation(u32);

impl Drop for Reservation {
    fn drop(&mut self) {
        in_flight().taken.remove(&self.0);
    }
}

/// The next candidate.
///
/// # Errors
/// The kernel makes no more, or a device that was just there can't be opened: worth another try.
pub fn candidate(control: &LoopControl) -> io::Result<Candidate> {
    let (reservation, opened) = reserve(control)?;
    let index = reservation.0;
    let device = match opened {
        Some(device) => device,
        None => match LoopDevice::open(format!("/dev/loop{index}")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => control.add(index)?,
            answer => answer?,
        },
    };
    Ok(Candidate { index, device: sys::own(device), reservation })
}

fn reserve(control: &LoopControl) -> io::Result<(Reservation, Option<LoopDevice>)> {
    let mut state = in_flight();
    let lowest = control.next_free()?;
    let index = lowest.minor()?;
    if state.taken.insert(index) {
        // All below are attached or taken, so the search for the next begins here.
        state.next = index + 1;
        return Ok((Reservation(index), Some(lowest)));
    }
    loop {
        let index = state.next;
        state.next += 1;
        if fs::symlink_metadata(sysfs(index).join("loop")).is_err() && state.taken.insert(index) {
            return Ok((Reservation(index), None));
        }
    }
}
