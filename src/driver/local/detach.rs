//! detach (CSI 1.12, ControllerUnpublishVolume): takes the loop device away, if nothing uses it.

use std::path::Path;

use crate::driver::Result;
use crate::model::action::Outcome;
use crate::model::record::{RunRecord, VolumeRecord};
use crate::model::{Done, FileId, VolumeId};

use super::own::Own;
use super::{LocalDriver, create, guard, own, unstage};

pub(super) fn detach(driver: &LocalDriver, id: &VolumeId) -> Result<Outcome> {
    if let Some((path, file)) = driver.take_unstaged(id)
        && is_free(driver, &path, file)
    {
        return Ok(Done::Already.into());
    }
    let mut s = driver.open(id)?;
    let record = s.known()?;
    let mut done = Done::Already;
    if let Some(record) = &record {
        let device = own::loop_of(&s, record)?;
        if let Some(device) = device {
            let own = Own::of(&s, Some(record))?;
            unstage::not_published(&s, &own, Some(record))?;
            create::taken_down(&s, record)?;
            guard::not_the_last(&s, record, &device, &device.node().display().to_string())?;
            driver.let_go(id);
            done = own::detach(&s, record, &device)?;
        }
    }
    driver.let_go(id);
    let run = s.run.present().map(|run| RunRecord { loop_index: None, ..run.clone() });
    let published = s.record.present().filter(|record| record.attachment.is_some());
    let record = published.map(|record| VolumeRecord { attachment: None, ..record.clone() });
    if record.is_some() {
        done = Done::Changed;
    }
    let notes = s.put_less(record, run)?;
    Ok(Outcome { done, notes })
}

/// Whether it is certain that no loop device shows the image: the file is the one that was unstaged, and behind no device. With AUTOCLEAR
/// that is so after the last unmount, when the records say it too; to see it takes no lock.
fn is_free(driver: &LocalDriver, path: &Path, file: FileId) -> bool {
    let host = driver.host();
    let there = host.stat(path).ok().flatten().is_some_and(|facts| facts.file == file);
    there && matches!(host.loop_of_image(path, file, None), Ok(None))
}
