//! VolumeCondition (CSI 1.12, alpha): what the driver finds wrong with a volume, in one sentence for the orchestrator. Who asks about one volume
//! gets a look at the machine; lists get what a background pass has seen, so that they cost none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::Status;

use super::plugin::Plugin;
use super::proto::VolumeCondition;
use super::status;
use crate::model::VolumeId;
use crate::model::record::VolumeRecord;

/// From the end of one background pass to the next.
const PAUSE: Duration = Duration::from_secs(30);
/// Volumes looked at before others get the processor.
const BATCH: usize = 64;
/// The rest after each batch.
const REST: Duration = Duration::from_millis(5);

/// The longest message (CSI 1.12, "Size Limits", leaves it open; orchestrators put it into events).
const MESSAGE_MAX: usize = 1024;

/// The condition of a volume with these problems.
pub fn of(problems: &[String]) -> VolumeCondition {
    if problems.is_empty() {
        return VolumeCondition { abnormal: false, message: "the volume is as it should be".to_owned() };
    }
    let mut message = problems.join("; ");
    if message.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(end);
    }
    VolumeCondition { abnormal: true, message }
}

/// Looks at one volume now.
///
/// # Errors
/// INTERNAL when this boot's records cannot be read.
pub fn look(plugin: &Plugin, record: &VolumeRecord) -> Result<VolumeCondition, Status> {
    let run = plugin.driver().run_record(&record.spec.id).map_err(|error| status::of(&error))?;
    Ok(of(&plugin.driver().problems(record, run.as_ref())))
}

/// What the last background pass has seen. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Conditions(Arc<Mutex<Arc<Seen>>>);

/// What one pass has seen.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<VolumeId, Arc<VolumeCondition>>);

/// The condition of a volume that was not looked at yet: nothing bad is known of it.
pub fn unseen() -> VolumeCondition {
    VolumeCondition { abnormal: false, message: "not looked at yet".to_owned() }
}

impl Seen {
    /// The condition of a volume.
    pub fn of(&self, id: &VolumeId) -> VolumeCondition {
        self.0.get(id).map_or_else(unseen, |known| VolumeCondition::clone(known))
    }

    /// All of them in order of their ids. One that is as it was in the pass before is the same [`Arc`].
    pub fn iter(&self) -> impl Iterator<Item = (&VolumeId, &Arc<VolumeCondition>)> {
        self.0.iter()
    }
}

impl Conditions {
    /// All that the last pass has seen: a list asks for it once.
    pub fn last(&self) -> Arc<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets what was seen of a volume: one that is new is not the one that had its name.
    pub fn forget(&self, id: &VolumeId) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.contains_key(id) {
            let others = last.0.iter().filter(|(other, _)| *other != id);
            *last = Arc::new(Seen(others.map(|(id, condition)| (id.clone(), condition.clone())).collect()));
        }
    }

    /// Looks at every volume.
    ///
    /// # Errors
    /// INTERNAL when the records cannot be read.
    pub fn pass(&self, plugin: &Plugin) -> Result<(), Status> {
        let (records, before) = (plugin.volumes()?, self.last());
        let mut seen = BTreeMap::new();
        for (at, (id, record)) in records.iter().enumerate() {
            if let Some(record) = record.present() {
                let now = look(plugin, record)?;
                let same = before.0.get(id).filter(|was| ***was == now).cloned();
                seen.insert(id.clone(), same.unwrap_or_else(|| Arc::new(now)));
            }
            if at % BATCH == BATCH - 1 {
                std::thread::sleep(REST);
            }
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Seen(seen));
        Ok(())
    }
}

/// Looks at all volumes again and again, on a thread of its own, as long as the plugin lives.
pub fn watch(plugin: &Plugin) {
    let weak = plugin.downgrade();
    let passes = move || {
        while let Some(plugin) = weak.upgrade() {
            if let Err(failed) = plugin.conditions().clone().pass(&plugin) {
                tracing::warn!("volumes could not be looked at: {}", failed.message());
            }
            drop(plugin);
            std::thread::sleep(PAUSE);
        }
    };
    if let Err(error) = std::thread::Builder::new().name("conditions".to_owned()).spawn(passes) {
        tracing::warn!("volumes are not looked at in the background: {error}");
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn condition(message: &str) -> Arc<VolumeCondition> {
        Arc::new(VolumeCondition { abnormal: message == "ill", message: message.to_owned() })
    }

    /// What a pass has seen, by id.
    pub(crate) fn seen(conditions: &[(&str, &str)]) -> Arc<Seen> {
        Arc::new(Seen(conditions.iter().map(|(id, says)| (id.parse().unwrap(), condition(says))).collect()))
    }

    impl Seen {
        /// The same with this one changed.
        pub(crate) fn and(&self, id: &str, says: &str) -> Self {
            let mut all = self.0.clone();
            all.insert(id.parse().unwrap(), condition(says));
            Self(all)
        }
    }

    #[test]
    fn a_new_volume_does_not_have_the_condition_of_the_one_before() {
        let conditions = Conditions(Arc::new(Mutex::new(seen(&[("one", "ill"), ("two", "well")]))));

        conditions.forget(&"one".parse().unwrap());

        assert_eq!(conditions.last().of(&"one".parse().unwrap()), unseen());
        assert_eq!(conditions.last().of(&"two".parse().unwrap()).message, "well");
    }

    #[test]
    fn a_condition_names_what_is_wrong_and_stays_short() {
        assert!(!of(&[]).abnormal);
        let two = of(&["its image is gone".to_owned(), "the pool is full".to_owned()]);
        assert_eq!((two.abnormal, two.message.as_str()), (true, "its image is gone; the pool is full"));
        assert!(of(&["ü".repeat(2000)]).message.len() <= MESSAGE_MAX);
    }
}
