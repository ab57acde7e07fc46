//! Locks: one a volume, snapshot or group of snapshots, and a global one that everybody shares and `gc` holds alone. CLI and server use the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::host::{ErrorKind, Host, Lock, LockMode};
use crate::model::{GroupId, Layout, SnapshotId, VolumeId};

use super::StateError;

/// The lock of one volume, snapshot or group, with a share of the global one.
#[derive(Debug)]
pub struct VolumeLock {
    own: Lock,
    _global: Arc<Lock>,
}

impl VolumeLock {
    /// Takes a volume's lock, with a share of the global one that may be others' too ([`share_global`]).
    ///
    /// # Errors
    /// [`StateError::LockHeld`] when somebody else kept it for all of `timeout`.
    pub fn within(
        global: Arc<Lock>,
        host: &dyn Host,
        layout: &Layout,
        id: &VolumeId,
        mode: LockMode,
        timeout: Duration,
    ) -> Result<Self, StateError> {
        let own = take(host, layout.volume_lock(id), mode, timeout)?;
        Ok(Self { own, _global: global })
    }

    /// Takes a snapshot's lock.
    ///
    /// # Errors
    /// As [`VolumeLock::within`].
    pub fn snapshot(
        host: &dyn Host,
        layout: &Layout,
        id: &SnapshotId,
        mode: LockMode,
        timeout: Duration,
    ) -> Result<Self, StateError> {
        Self::at(host, layout, layout.snapshot_lock(id), mode, timeout)
    }

    /// Takes the lock of a group of snapshots. Order everywhere: volumes by id, then the group, then its snapshots by id.
    ///
    /// # Errors
    /// As [`VolumeLock::within`].
    pub fn group(host: &dyn Host, layout: &Layout, id: &GroupId, timeout: Duration) -> Result<Self, StateError> {
        Self::at(host, layout, layout.group_lock(id), LockMode::Exclusive, timeout)
    }

    fn at(
        host: &dyn Host,
        layout: &Layout,
        path: PathBuf,
        mode: LockMode,
        timeout: Duration,
    ) -> Result<Self, StateError> {
        let global = Arc::new(share_global(host, layout, timeout)?);
        let own = take(host, path, mode, timeout)?;
        Ok(Self { own, _global: global })
    }

    /// The volume's own lock, for the helpers that inherit it.
    pub fn own(&self) -> &Lock {
        &self.own
    }
}

/// Takes a share of the global lock: while anybody has one, nobody holds it alone.
///
/// # Errors
/// [`StateError::LockHeld`] when somebody held it alone for all of `timeout`.
pub fn share_global(host: &dyn Host, layout: &Layout, timeout: Duration) -> Result<Lock, StateError> {
    take(host, layout.global_lock(), LockMode::Shared, timeout)
}

/// Takes the lock of a pool's room.
///
/// # Errors
/// [`StateError::LockHeld`] when somebody else kept it for all of `timeout`.
pub fn pool(host: &dyn Host, layout: &Layout, pool: &Path, timeout: Duration) -> Result<Lock, StateError> {
    take(host, layout.pool_lock(pool), LockMode::Exclusive, timeout)
}

/// The global lock, held alone: no verb runs meanwhile.
#[derive(Debug)]
pub struct GlobalLock {
    _lock: Lock,
}

impl GlobalLock {
    /// Takes it.
    ///
    /// # Errors
    /// [`StateError::LockHeld`] while any other csictl works.
    pub fn exclusive(host: &dyn Host, layout: &Layout, timeout: Duration) -> Result<Self, StateError> {
        Ok(Self { _lock: take(host, layout.global_lock(), LockMode::Exclusive, timeout)? })
    }
}

fn take(host: &dyn Host, path: PathBuf, mode: LockMode, timeout: Duration) -> Result<Lock, StateError> {
    host.lock(&path, mode, timeout).map_err(|error| match error.kind {
        ErrorKind::LockHeld => StateError::LockHeld(path),
        _ => StateError::Host(error),
    })
}
