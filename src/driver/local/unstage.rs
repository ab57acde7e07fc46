//! unstage (CSI 1.12, NodeUnstageVolume): unmounts the staging path and says so only after looking again.

use crate::driver::{Refusal, Result};
use crate::host::ErrorKind;
use crate::model::Done;
use crate::model::action::{Outcome, UnstageRequest};
use crate::model::record::VolumeRecord;

use super::LocalDriver;
use super::guard;
use super::own::{self, Own};
use super::session::Session;
use super::unpublish::forget_targets;

pub(super) fn unstage(driver: &LocalDriver, request: &UnstageRequest) -> Result<Outcome> {
    let mut s = driver.open(&request.id)?;
    let record = s.known()?;
    let own = Own::to_take_down(&s, record.as_ref())?;
    let raw = record.as_ref().is_some_and(|record| record.spec.is_raw());
    if let Some(run) = s.run.present().filter(|_| request.by_orchestrator) {
        if run.staging_path.as_ref().is_some_and(|path| *path != request.staging_path) {
            // Nothing of it is at that path; where it is staged is another call's business.
            return Ok(Done::Already.into());
        }
        if run.staging_path.is_some() && run.stage_capability.is_none() {
            return Err(s.refuse(
                Refusal::Foreign,
                format!("a manifest has it staged at {}", request.staging_path.display()),
                "take it down with csictl destroy",
            ));
        }
    }
    not_published(&s, &own, record.as_ref())?;
    let mut done = Done::Already;
    let root = own::staging_root(&s, &request.staging_path);
    let (unmounted, foreign) = own.unmount_staged(&s, &request.staging_path, &root)?;
    driver.let_go(&request.id);
    if unmounted == Done::Changed {
        done = Done::Changed;
    }
    let mut left = None;
    // An orchestrator's staging path is the orchestrator's; csictl removes only its own.
    if foreign.is_none() && request.staging_path.starts_with(s.layout().staging()) {
        match s.host().remove_dir(&request.staging_path) {
            Ok(Done::Changed) => done = Done::Changed,
            Ok(Done::Already) => {}
            Err(error) if error.kind == ErrorKind::NotFound => {}
            // Nothing is mounted there any more; an empty directory too many keeps nobody from taking down.
            Err(error) if error.kind == ErrorKind::ReadOnly => left = Some(error.to_string()),
            Err(error) => return Err(s.fail(error)),
        }
    }
    let mut run = s.run.present().cloned();
    // What stage attached goes with it: a raw volume's, and one that AUTOCLEAR leaves as long as anybody has the device open.
    let staged_raw = run.as_ref().is_some_and(|run| run.stage_attached);
    let goes = |record: &&VolumeRecord| if raw { staged_raw } else { record.attachment.is_none() };
    if let Some(record) = record.as_ref().filter(|_| request.by_orchestrator).filter(goes)
        && let Some(device) = own::loop_of(&s, record)?
    {
        guard::not_the_last(&s, record, &device, &device.node().display().to_string())?;
        own::detach(&s, record, &device)?;
        done = Done::Changed;
    }
    if let Some(run) = &mut run {
        if run.staging_path.take().is_some() {
            done = Done::Changed;
        }
        run.stage_options.clear();
        run.stage_capability = None;
        run.grows = false;
        run.publishes.clear();
        run.device = None;
        run.directory = None;
        // A loop with AUTOCLEAR went with its mount; if it did not, detach finds it by its file.
        if !raw || std::mem::take(&mut run.stage_attached) {
            run.loop_index = None;
        }
    }
    let mut less = None;
    if let Some(mut record) = record
        && !record.made_targets.is_empty()
        && forget_targets(&s, &mut record, None)? == Done::Changed
    {
        done = Done::Changed;
        less = Some(record);
    }
    let mut notes = s.put_less(less, run)?;
    if notes.is_empty()
        && let Some((file, path)) = s.record.present().and_then(|record| {
            // What a controller published, detach has to write down as no longer so.
            let plain = !record.spec.is_raw() && record.attachment.is_none();
            let image = record.spec.backing.as_image().filter(|_| plain)?;
            Some((record.image?, image.image_path(&s.id)))
        })
    {
        driver.set_unstaged(&s.id, path, file);
    }
    notes.extend(s.thawed_note());
    notes.extend(left.map(|cause| format!("taken down, but its directory is left: {cause}")));
    Ok(Outcome { done, notes })
}

/// Refuses while any target still shows it.
pub(super) fn not_published(s: &Session<'_>, own: &Own, record: Option<&VolumeRecord>) -> Result<()> {
    let mut targets: Vec<_> = s.run.present().into_iter().flat_map(|run| run.publishes.keys().cloned()).collect();
    targets.extend(record.into_iter().flat_map(|record| record.made_targets.keys().cloned()));
    for target in targets {
        if !own.stack(s, &target)?.ours.is_empty() {
            return Err(s.refuse(
                Refusal::NotReady,
                format!("it is still published at {}", target.display()),
                "unpublish it there first",
            ));
        }
    }
    Ok(())
}
