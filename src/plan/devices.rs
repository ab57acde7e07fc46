//! One device, one volume: what a volume wants to stand on must not be another's, now or in the same manifest. A device that
//! changes hands takes two applies, for the first has to let go of it before anybody can say what is on it.

use std::collections::HashMap;
use std::path::Path;

use crate::model::observed::{Observed, ObservedBacking, ObservedDevice};
use crate::model::{Backing, BlockId, Desired, ObjectRef, VolumeId};

use super::Refused;
use super::course::Course;
use super::guards::{named, refuse};

/// Which volume each device belongs to.
pub(super) struct Devices<'a> {
    recorded: HashMap<&'a Path, &'a VolumeId>,
    seen: HashMap<BlockId, &'a VolumeId>,
    /// All of them as seen, since one may be a part of another.
    all: Vec<(&'a ObservedDevice, &'a VolumeId)>,
}

impl<'a> Devices<'a> {
    /// Those of recorded volumes that were not released, and, by their number, those the manifest names.
    pub fn of(desired: &'a Desired, observed: &'a Observed) -> Self {
        let mut devices = Self { recorded: HashMap::new(), seen: HashMap::new(), all: Vec::new() };
        for (id, seen) in &observed.volumes {
            let record = seen.record.present().filter(|record| !record.released);
            if let Some(Backing::Device(device)) = record.map(|record| &record.spec.backing) {
                devices.recorded.entry(&device.path).or_insert(id);
            }
            if let ObservedBacking::Device(device) = &seen.backing
                && (record.is_some() || desired.volumes.contains_key(id))
            {
                devices.all.push((device, id));
                // A recorded volume goes before one that only asks.
                let owner = devices.seen.entry(device.block).or_insert(id);
                let only_asks = |id: &VolumeId| observed.volumes[id].record.present().is_none_or(|r| r.released);
                if record.is_some() && only_asks(owner) {
                    *owner = id;
                }
            }
        }
        devices
    }

    /// Refuses a device that is another volume's.
    pub fn taken(&self, course: &Course<'_>) -> Option<Refused> {
        let Backing::Device(device) = &course.spec.backing else { return None };
        let by_number = match &course.seen.backing {
            ObservedBacking::Device(seen) => self.seen.get(&seen.block),
            _ => None,
        };
        let at_path = self.recorded.get(device.path.as_path());
        let other = at_path.or(by_number).filter(|other| **other != course.id).or_else(|| self.partly(course))?;
        let message = format!("{} is the device of {} ({other})", device.path.display(), named(other));
        let help = format!(
            "a disk with its partitions, and what stands on them, is one volume's: first apply a manifest without {}, then one that gives its device away",
            named(other)
        );
        Some(refuse("incompatible", &ObjectRef::Volume(course.id.clone()), message, help))
    }

    /// The volume that has a part of what a new one asks for, or the whole of it; of two that are new, each is the other's.
    fn partly(&self, course: &Course<'_>) -> Option<&&'a VolumeId> {
        let ObservedBacking::Device(mine) = &course.seen.backing else { return None };
        if course.record.is_some_and(|record| !record.released) {
            return None;
        }
        self.all.iter().find(|(other, id)| **id != *course.id && other.overlaps(mine)).map(|(_, id)| id)
    }
}
