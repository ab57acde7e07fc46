//! unpublish (CSI 1.12, NodeUnpublishVolume): takes our mounts at one target away, then the target if csictl made it. Works
//! without a record and with one of a newer csictl: nobody should be unable to take down.

use std::path::{Path, PathBuf};

use crate::driver::{Refusal, Result};
use crate::host::ErrorKind;
use crate::model::action::{Outcome, UnpublishRequest};
use crate::model::record::{Recorded, RunRecord, VolumeRecord};
use crate::model::{Done, PublishKind};

use super::own::{self, Own};
use super::session::Session;
use super::{LocalDriver, chain, places};

pub(super) fn unpublish(driver: &LocalDriver, request: &UnpublishRequest) -> Result<Outcome> {
    let mut s = driver.open(&request.id)?;
    let record = s.known()?;
    if request.remove_target {
        not_a_manifests(&s, &request.target)?;
        not_the_stage(&s, &request.target)?;
    }
    let mut own = Own::to_take_down(&s, record.as_ref())?;
    own.also_at(&request.target, record.is_none() && request.remove_target);
    let (mut done, foreign) = own.unmount_all(&s, &request.target, &request.trusted_root)?;
    if let (Some(foreign), true, true) = (&foreign, request.remove_target, record.is_some()) {
        return Err(s.refuse(
            Refusal::Foreign,
            format!("{} is mounted at {}, and is not of this volume", own::describe(foreign), request.target.display()),
            "take that mount away by hand; csictl leaves alone what is not this volume's",
        ));
    }
    let made = record.as_ref().is_some_and(|record| record.made_targets.contains_key(&request.target));
    let mut removed = false;
    let mut left = Vec::new();
    if foreign.is_none()
        && !request.comes_back
        && (made || request.remove_target && !places::is_kept(&s, &request.target))
    {
        match remove(&s, &request.target, &request.trusted_root, request.kind)? {
            Removal::Removed => (removed, done) = (true, Done::Changed),
            Removal::Left(why) => left.push(format!("{} is left: {why}", request.target.display())),
            Removal::Absent => {}
        }
    }
    let kept = if let Some(mut record) = record {
        if removed {
            record.made_targets.remove(&request.target);
        }
        if !request.comes_back && record.shown_at.remove(&request.target).is_some() {
            done = Done::Changed;
        }
        if foreign.is_none() && !request.comes_back && forget_targets(&s, &mut record, Some(request))? == Done::Changed
        {
            done = Done::Changed;
        }
        Some(record)
    } else {
        if removed {
            remove_orphaned_parents(&s, request)?;
        }
        None
    };
    let mut run = s.run.present().cloned();
    let known = run.as_mut().is_some_and(|run| run.publishes.remove(&request.target).is_some());
    if known {
        done = Done::Changed;
    }
    if let Some(run) = &mut run {
        // A path that goes on to be csictl's is one that could not be removed yet.
        let ours = |path: &PathBuf| kept.as_ref().is_some_and(|record| record.made_targets.contains_key(path));
        // What stays for its next publish may lie in a file system that is another device then.
        let stays = |path: &PathBuf| request.comes_back && request.target.starts_with(path);
        run.made.retain(|path, _| ours(path) && !stays(path));
    }
    let mut notes = s.put_less(kept, run.take_if(|_| !chain::runs_here(driver)))?;
    if let (Some(run), true) = (run, known) {
        s.run = Recorded::Present(run);
        s.unwritten.insert(request.target.clone());
    }
    notes.extend(s.thawed_note());
    chain::keep(s);
    notes.append(&mut left);
    Ok(Outcome { done, notes })
}

/// Refuses to take away for an orchestrator what a manifest published.
fn not_a_manifests(s: &Session<'_>, target: &Path) -> Result<()> {
    let Some(publish) = s.run.present().and_then(|run| run.publishes.get(target)) else { return Ok(()) };
    if publish.capability.is_some() {
        return Ok(());
    }
    Err(s.refuse(
        Refusal::Foreign,
        format!("pod {} of a manifest has it at {}", publish.pod, target.display()),
        "take it out of that pod and apply, or csictl destroy the pod",
    ))
}

/// Refuses to take the stage away under the name of a publish: what is published would lose what it is checked against.
fn not_the_stage(s: &Session<'_>, target: &Path) -> Result<()> {
    let staged = |run: &RunRecord| run.staging_path.as_deref() == Some(target) && !run.publishes.contains_key(target);
    if !s.run.present().is_some_and(staged) {
        return Ok(());
    }
    Err(s.refuse(
        Refusal::NotReady,
        format!("it is staged at {}, not published there", target.display()),
        "unstage it there (NodeUnstageVolume) once it is published nowhere",
    ))
}

/// What became of a path that is to be removed.
enum Removal {
    Removed,
    Absent,
    /// It stays, for this reason: that keeps nobody from taking down.
    Left(String),
}

/// Removes one empty path. One that csictl made and somebody filled since is left, and one in a file system that takes no writes.
fn remove(s: &Session<'_>, path: &Path, trusted_root: &Path, kind: PublishKind) -> Result<Removal> {
    let not_ours = || Removal::Left("there is something in it that is not the volume's".to_owned());
    if let Some(made) = s.run.present().and_then(|run| run.made.get(path)) {
        match s.host().stat(path).map_err(|error| s.fail(error))? {
            None => return Ok(Removal::Absent),
            Some(there) if there.file != *made => return Ok(not_ours()),
            Some(_) => {}
        }
    }
    let below = path.starts_with(trusted_root) && path != trusted_root;
    let root = if below { trusted_root } else { Path::new("/") };
    match s.host().remove_target(root, path, kind) {
        Ok(Done::Changed) => Ok(Removal::Removed),
        Ok(Done::Already) => Ok(Removal::Absent),
        Err(error) => match error.kind {
            ErrorKind::NotFound => Ok(Removal::Absent),
            // A link or a file in its place is somebody else's: nothing of csictl's is there to remove.
            ErrorKind::NotEmpty | ErrorKind::Busy | ErrorKind::Exists | ErrorKind::Foreign | ErrorKind::UnsafePath => {
                Ok(not_ours())
            }
            ErrorKind::ReadOnly => Ok(Removal::Left("what it lies in is read-only".to_owned())),
            _ => Err(s.fail(error)),
        },
    }
}

/// Removes what csictl made for a target and its parents, deepest first, and what is gone from the record. Without a request:
/// everything that was made for this volume and is not mounted.
pub(super) fn forget_targets(
    s: &Session<'_>,
    record: &mut VolumeRecord,
    request: Option<&UnpublishRequest>,
) -> Result<Done> {
    let mut done = Done::Already;
    let paths: Vec<(PathBuf, PublishKind)> =
        record.made_targets.iter().rev().map(|(path, kind)| (path.clone(), *kind)).collect();
    for (path, kind) in paths {
        let root = match request {
            Some(request) if !request.target.starts_with(&path) => continue,
            Some(request) => request.trusted_root.as_path(),
            None => Path::new("/"),
        };
        if !s.host().mounts_at(&path).map_err(|error| s.fail(error))?.is_empty() {
            continue;
        }
        match remove(s, &path, root, kind)? {
            Removal::Removed => done = Done::Changed,
            Removal::Absent => {}
            Removal::Left(_) => continue,
        }
        record.made_targets.remove(&path);
    }
    if let Some(request) = request
        && remove_orphaned_parents(s, request)? == Done::Changed
    {
        done = Done::Changed;
    }
    Ok(done)
}

/// Parents (the pod's root too) that another volume's publish made, could not remove while this one's target was in them, and that are
/// empty now. What no record says csictl made stays.
fn remove_orphaned_parents(s: &Session<'_>, request: &UnpublishRequest) -> Result<Done> {
    let mut done = Done::Already;
    for parent in request.target.ancestors().skip(1) {
        let fail = |error| s.fail(error);
        if parent.parent().is_none() {
            break;
        }
        if s.host().stat(parent).map_err(fail)?.is_none() {
            continue;
        }
        let empty = s.host().is_empty(parent).unwrap_or(false);
        if !empty || !s.host().mounts_at(parent).map_err(fail)?.is_empty() || !made_by_another(s, parent)? {
            break;
        }
        if !matches!(remove(s, parent, &request.trusted_root, PublishKind::Mount)?, Removal::Removed) {
            break;
        }
        done = Done::Changed;
    }
    Ok(done)
}

/// Whether some other volume's record says that csictl made it. Reads records, but only for an empty directory that is left.
fn made_by_another(s: &Session<'_>, path: &Path) -> Result<bool> {
    let reader = s.driver.reader();
    let ids = reader.volume_ids().map_err(|error| s.fail(error))?;
    Ok(ids
        .iter()
        .filter(|id| **id != s.id)
        .any(|id| reader.volume(id).present().is_some_and(|record| record.made_targets.contains_key(path))))
}
