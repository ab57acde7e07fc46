//! The course of one volume: what is to become of it, decided before any step is written down, so that volumes which lie on
//! each other's mounts can still push each other around. `emit` turns courses into steps, `describe` into text.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use crate::model::observed::{ObservedBacking, ObservedPublish, ObservedVolume};
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{Backing, Capacity, PublishKind, PublishSpec, VolumeId, VolumeSpec};

use super::orchestrated::Orchestrated;

/// A volume nobody has seen anything of.
pub(super) static NEVER_SEEN: ObservedVolume = ObservedVolume {
    asked_device: None,
    record: Recorded::Absent,
    run: None,
    backing: ObservedBacking::Missing,
    loop_device: None,
    moved_elsewhere: false,
    probe: None,
    staged: None,
    frozen: false,
    published: Vec::new(),
    covered: Vec::new(),
    hidden: Vec::new(),
    inside: BTreeMap::new(),
    used: None,
    foreign_namespace: None,
    held: Vec::new(),
    foreign_stage: None,
    unknown: Vec::new(),
};

/// Whether and how record and backing are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Make {
    /// They stay.
    Nothing,
    /// They are not there.
    New,
    /// The image is there and says it is ours, the record is not.
    Adopt,
    /// Create is called again on what is there: why.
    Again(&'static str),
    /// Something else takes the place of what is there, whose bytes are lost.
    Replace,
    /// Something else takes the place of what is there, which loses nothing: a device or directory keeps its bytes, memory has none.
    Exchange,
}

/// What happens to a volume that is no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It stays.
    Stay,
    /// Released, data kept.
    Release,
    /// Deleted, data lost.
    Delete,
    /// Its record goes, and there is nothing to lose: the bytes of a device or directory stay, memory was scratch.
    Forget,
}

/// A volume's growth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    /// The size as last applied, or as found.
    pub from: Capacity,
    /// The size to reach.
    pub to: Capacity,
}

/// The course of one volume.
#[derive(Debug)]
pub(super) struct Course<'a> {
    /// Which.
    pub id: &'a VolumeId,
    /// As it shall be; for one that leaves, as it was recorded.
    pub spec: Cow<'a, VolumeSpec>,
    /// Its whole record.
    pub record: Option<&'a VolumeRecord>,
    /// As it was seen.
    pub seen: &'a ObservedVolume,
    /// Its publishes as seen, by target.
    pub mounted: HashMap<&'a Path, &'a ObservedPublish>,
    /// Where it shall be seen, sorted by target.
    pub publishes: Vec<Cow<'a, PublishSpec>>,
    /// How it is made.
    pub make: Make,
    /// Its growth.
    pub grow: Option<Growth>,
    /// Differences that are changed in place, with the reason of the step; (what, old -> new).
    pub modify: Vec<(String, String)>,
    /// Options of its staging mount are put back, which is a modify without a difference of the spec.
    pub remount: bool,
    /// What forces its replacement.
    pub replaced: Vec<(String, String)>,
    /// How it ends.
    pub end: End,
    /// Why it has to be taken down before it may come up again.
    pub cycle: Option<String>,
    /// Targets that are there and have to be made again, with the reason.
    pub again: BTreeMap<PathBuf, String>,
    /// Whether something was lost without csictl.
    pub drifted: bool,
    /// What is mounted stays so though no pod is known to want it: only one property is asked to change.
    pub stays: bool,
    /// What an orchestrator has of it.
    pub orchestrated: Option<Orchestrated<'a>>,
    /// What an orchestrator has of it stays, though no pod of the manifest wants it.
    pub left_alone: bool,
}

impl<'a> Course<'a> {
    /// A course that leads nowhere yet.
    pub fn new(id: &'a VolumeId, spec: Cow<'a, VolumeSpec>, seen: &'a ObservedVolume) -> Self {
        Self {
            id,
            spec,
            record: seen.record.present(),
            seen,
            mounted: seen.published.iter().map(|publish| (publish.target.as_path(), publish)).collect(),
            publishes: Vec::new(),
            make: Make::Nothing,
            grow: None,
            modify: Vec::new(),
            remount: false,
            replaced: Vec::new(),
            end: End::Stay,
            cycle: None,
            again: BTreeMap::new(),
            drifted: false,
            stays: false,
            orchestrated: Orchestrated::of(seen),
            left_alone: false,
        }
    }

    /// Whether it shall serve pods.
    pub fn up(&self) -> bool {
        !self.publishes.is_empty()
    }

    /// Whether everything that holds it goes away first.
    pub fn comes_down(&self) -> bool {
        let idle = !self.up() && !self.stays && !self.left_alone;
        idle || self.cycle.is_some() || matches!(self.make, Make::Replace | Make::Exchange)
    }

    /// Whether it is mounted or attached now.
    pub fn is_up(&self) -> bool {
        self.seen.is_up()
    }

    /// What it was before, where that is known: the backing that is taken down.
    pub fn old_spec(&self) -> &VolumeSpec {
        self.record.map_or(&self.spec, |record| &record.spec)
    }

    /// The mount at a target, if it shows this volume.
    pub fn mounted_at(&self, target: &Path) -> Option<&'a ObservedPublish> {
        self.mounted.get(target).copied()
    }

    fn wants(&self, target: &Path) -> bool {
        self.publishes.binary_search_by(|publish| publish.target.as_path().cmp(target)).is_ok()
    }

    /// Every target to be taken away, in order.
    pub fn leaving(&self) -> Vec<Leaving<'a>> {
        let all = self.comes_down();
        let wanted =
            |target: &Path| self.stays || self.wants(target) || self.left_alone && self.is_orchestrators(target);
        let goes = |target: &Path| all || self.again.contains_key(target) || !wanted(target);
        let mounted = self.seen.published.iter().filter(|publish| goes(&publish.target));
        let mut leaving: Vec<Leaving<'a>> = mounted
            .map(|publish| Leaving {
                target: &publish.target,
                kind: publish.kind,
                seen: Some(publish),
                asked: self.asked(&publish.target),
            })
            .collect();
        // A recorded target whose mount was lost: a wanted one is simply published again, another is tidied away.
        let recorded = self.seen.run.iter().flat_map(|run| &run.publishes);
        let stale = recorded.filter(|(target, _)| self.mounted_at(target).is_none() && !wanted(target));
        leaving.extend(stale.map(|(target, asked)| Leaving {
            target,
            kind: asked.kind,
            seen: None,
            asked: Some(asked),
        }));
        // The same of an earlier boot.
        let before = self.record.into_iter().flat_map(|record| &record.shown_at);
        let before = before
            .filter(|(target, _)| self.mounted_at(target).is_none() && !wanted(target) && self.asked(target).is_none());
        leaving.extend(before.map(|(target, kind)| Leaving { target, kind: *kind, seen: None, asked: None }));
        leaving.sort_by_key(|leaving| leaving.target);
        leaving
    }

    /// The publishes to be made, in order of their targets.
    pub fn coming(&self) -> impl Iterator<Item = &PublishSpec> {
        let all = self.comes_down();
        let missing = move |publish: &&PublishSpec| {
            all || self.again.contains_key(&publish.target)
                || self.mounted_at(&publish.target).is_none()
                || self.is_unrecorded(&publish.target)
        };
        self.publishes.iter().map(AsRef::as_ref).filter(missing)
    }

    /// Whether it is mounted at a wanted target without a record of that, so that nobody would find it once the manifest no longer names it.
    pub fn is_unrecorded(&self, target: &Path) -> bool {
        self.orchestrated.is_none() && self.mounted_at(target).is_some() && self.asked(target).is_none()
    }

    /// The same of its stage.
    pub fn stage_is_unrecorded(&self) -> bool {
        let recorded = self.seen.run.as_ref().is_some_and(|run| run.staging_path.is_some());
        self.orchestrated.is_none() && self.seen.staged.is_some() && !recorded
    }

    /// A publish as it was last asked for.
    pub fn asked(&self, target: &Path) -> Option<&'a PublishSpec> {
        self.seen.run.as_ref().and_then(|run| run.publishes.get(target))
    }

    /// Whether an orchestrator published it at a target. What no record tells of is taken to be its.
    pub fn is_orchestrators(&self, target: &Path) -> bool {
        match self.asked(target) {
            Some(asked) => asked.capability.is_some(),
            None => self.orchestrated.is_some(),
        }
    }

    /// Whether every device publish is read-only, so that the loop itself has to be.
    pub fn attach_read_only(&self) -> bool {
        self.spec.is_raw() && self.up() && self.publishes.iter().all(|publish| publish.read_only)
    }

    /// The path its bytes lie below, where that could be another volume's mount.
    pub fn lies_at(&self) -> Option<&Path> {
        match &self.spec.backing {
            Backing::Image(image) => Some(&image.pool_path),
            Backing::Directory(directory) => Some(&directory.path),
            Backing::Device(_) | Backing::Tmpfs(_) => None,
        }
    }
}

/// A target that is to be taken away.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaving<'a> {
    /// Where.
    pub target: &'a Path,
    /// Directory or device.
    pub kind: PublishKind,
    /// The mount there.
    pub seen: Option<&'a ObservedPublish>,
    /// As it was asked for.
    pub asked: Option<&'a PublishSpec>,
}
