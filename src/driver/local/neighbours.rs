//! What other projects need of this machine, judged again by the verb that is about to mount or make something. Records of others are read once
//! a process; after that only those that changed, which the kernel tells, so that publishing a thousand volumes reads no thousand records each.
//!
//! Two projects at once: each writes down what it is about to do, then looks for what stands against it. Whoever writes second sees the first,
//! and is refused; where each sees the other, both are. What is written down and not mounted counts as long as its volume is locked: after
//! that it is what a killed run left, or what somebody unmounted by hand.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::driver::{Refusal, Result};
use crate::host::{Changes, DirectoryWatch, HostError, LockMode};
use crate::model::record::VolumeRecord;
use crate::model::{Backing, Claim, Claims, Owner, Use, VolumeId};
use crate::state::Reader;

use super::LocalDriver;
use super::observe::parallel;
use super::session::Session;

/// The claims of everybody but one owner.
pub(super) struct Neighbours {
    owner: Owner,
    volumes: Box<dyn DirectoryWatch>,
    runs: Box<dyn DirectoryWatch>,
    claims: Claims,
    /// Whether they were read without an error since the watches began.
    whole: bool,
}

impl Neighbours {
    fn of(driver: &LocalDriver, owner: &Owner) -> Self {
        let (host, layout) = (driver.host(), driver.layout());
        Self {
            owner: owner.clone(),
            volumes: host.watch(&layout.volumes()),
            runs: host.watch(&layout.run_volumes()),
            claims: Claims::default(),
            whole: false,
        }
    }

    /// Reads what changed.
    fn refresh(&mut self, reader: &Reader<'_>, boot: &str) -> std::result::Result<(), HostError> {
        let ids: BTreeSet<VolumeId> = match (self.volumes.changes(), self.runs.changes()) {
            (Changes::Names(volumes), Changes::Names(runs)) if self.whole => {
                volumes.iter().chain(&runs).filter_map(|name: &OsString| Reader::id_of(name)).collect()
            }
            _ => {
                self.claims = Claims::default();
                reader.volume_ids()?.into_iter().chain(reader.run_ids()?).collect()
            }
        };
        let theirs: Vec<VolumeId> = ids.into_iter().filter(|id| !is_of(&self.owner, id)).collect();
        let read = parallel::map(theirs, |id| {
            let (record, run) = (reader.volume(&id), reader.run(&id, boot));
            (id, record, run)
        });
        for (id, record, run) in read {
            self.claims.remove(&id);
            let owner = record.present().map_or_else(|| Owner::by_id(&id), |record| record.spec.owner.clone());
            if owner == self.owner {
                continue;
            }
            if let Some(record) = record.present() {
                self.claims.add_record(record);
            }
            if let Some(run) = run.present() {
                self.claims.add_run(run, &owner, |_| true);
            }
        }
        self.whole = true;
        Ok(())
    }
}

/// Whether an id is one of this owner's own, as its name tells; one that only might be is read.
fn is_of(owner: &Owner, id: &VolumeId) -> bool {
    match owner {
        Owner::Project(project) => id.as_str().strip_prefix(project.as_str()).is_some_and(|rest| rest.starts_with('.')),
        Owner::Csi => !id.as_str().contains('.'),
    }
}

/// Asks about the claims of everybody but this volume's owner, as they are now.
fn asked<R>(s: &Session<'_>, owner: &Owner, ask: impl FnOnce(&Claims) -> R) -> Result<R> {
    let boot = &s.facts()?.boot_id;
    let mut kept = s.driver.neighbours();
    let neighbours = match &mut *kept {
        Some(neighbours) if neighbours.owner == *owner => neighbours,
        other => other.insert(Neighbours::of(s.driver, owner)),
    };
    neighbours.refresh(&s.driver.reader(), boot).map_err(|error| s.fail(error))?;
    Ok(ask(&neighbours.claims))
}

/// Whether a claim matters: a mount that is recorded may be gone.
fn counts(s: &Session<'_>, claim: &Claim<'_>) -> bool {
    match claim.what {
        Use::Stage | Use::Target => is_mounted(s, claim) || is_coming(s, claim),
        Use::Pool | Use::Directory | Use::Device => true,
    }
}

fn is_mounted(s: &Session<'_>, claim: &Claim<'_>) -> bool {
    s.host().mounts_at(claim.path).is_ok_and(|mounts| !mounts.is_empty())
}

/// Whether somebody is at work on the volume of a claim at which nothing is mounted yet. A lock that cannot be asked for is taken for held.
fn is_coming(s: &Session<'_>, claim: &Claim<'_>) -> bool {
    let lock = s.host().lock(&s.layout().volume_lock(claim.volume), LockMode::Shared, Duration::ZERO);
    // What was being mounted a moment ago is there now. Whoever comes later looks again, and sees what this one wrote down.
    lock.is_err() || is_mounted(s, claim)
}

/// Refuses a mount over, in or above what another one needs.
/// Answers the directories of others' images, which may go by other names too.
pub(super) fn uncovered(s: &Session<'_>, record: &VolumeRecord, path: &Path) -> Result<Vec<PathBuf>> {
    let (claim, pools) = asked(s, &record.spec.owner, |claims| {
        let claim = claims.against(path, Use::Target, |claim| counts(s, claim));
        let claim = claim.map(|claim| claim.stands_against(path, Use::Target));
        // Below what another one shows there is room for more, but not while that is on its way there: it would hide what is mounted first.
        let coming =
            || claims.above(path).find(|claim| !is_mounted(s, claim) && is_coming(s, claim) && !is_mounted(s, claim));
        let claim = claim.or_else(|| coming().map(|claim| claim.is_on_its_way_above(path)));
        (claim, claims.pools().map(Path::to_owned).collect())
    })?;
    let Some((message, help)) = claim else { return Ok(pools) };
    Err(s.refuse(Refusal::Foreign, message, help))
}

/// Writes the record of a volume that is about to be made, unless what it stands on is another one's.
pub(super) fn claim(s: &mut Session<'_>, record: &VolumeRecord) -> Result<()> {
    let before = s.record.clone();
    s.put_record(record.clone(), true)?;
    let Err(refused) = free(s, record) else { return Ok(()) };
    match before.present() {
        Some(before) => s.put_record(before.clone(), true)?,
        None => {
            s.store().remove_volume(&s.id).map_err(|error| s.fail(error))?;
            s.record = before;
        }
    }
    Err(refused)
}

/// Refuses to make a volume on what is another one's.
pub(super) fn free(s: &Session<'_>, record: &VolumeRecord) -> Result<()> {
    let owner = &record.spec.owner;
    let (path, what) = match &record.spec.backing {
        Backing::Image(image) => (&image.pool_path, Use::Pool),
        Backing::Directory(directory) => (&directory.path, Use::Directory),
        Backing::Device(device) => return device_is_free(s, owner, &device.path),
        Backing::Tmpfs(_) => return Ok(()),
    };
    let claim = asked(s, owner, |claims| {
        claims.against(path, what, |claim| counts(s, claim)).map(|claim| claim.stands_against(path, what))
    })?;
    let Some((message, help)) = claim else { return Ok(()) };
    Err(s.refuse(Refusal::Foreign, message, help))
}

fn device_is_free(s: &Session<'_>, owner: &Owner, path: &Path) -> Result<()> {
    let device = |path: &Path| s.host().device(path).ok().flatten();
    let ours = device(path);
    let claim = asked(s, owner, |claims| {
        let by_number = || {
            let ours = ours.as_ref()?;
            let other = claims.devices().find(|other| device(other).is_some_and(|other| other.overlaps(ours)))?;
            claims.against(other, Use::Device, |_| true)
        };
        let claim = claims.against(path, Use::Device, |_| true).or_else(by_number);
        claim.map(|claim| claim.stands_against(path, Use::Device))
    })?;
    let Some((message, help)) = claim else { return Ok(()) };
    Err(s.refuse(Refusal::Incompatible, message, help))
}
