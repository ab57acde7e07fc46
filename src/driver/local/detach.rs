//! detach (CSI 1.12, ControllerUnpublishVolume): takes the loop device away, if nothing uses it.

use crate::driver::Result;
use crate::model::action::Outcome;
use crate::model::record::{RunRecord, VolumeRecord};
use crate::model::{Done, VolumeId};

use super::own::Own;
use super::{LocalDriver, create, own, unstage};

pub(super) fn detach(driver: &LocalDriver, id: &VolumeId) -> Result<Outcome> {
    let mut s = driver.open(id)?;
    let record = s.known()?;
    let mut done = Done::Already;
    if let Some(record) = &record {
        let device = own::loop_of(&s, record)?;
        if let Some(device) = device {
            let own = Own::of(&s, Some(record))?;
            unstage::not_published(&s, &own, Some(record))?;
            create::taken_down(&s, record)?;
            driver.let_go(id);
            done = s
                .host()
                .detach_loop(device.index, device.backing)
                .map_err(|error| s.busy(error, device.block, None))?;
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
