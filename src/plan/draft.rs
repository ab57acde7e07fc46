//! A plan in the making: what it is made from, and what was found so far beside the steps.

use crate::model::observed::{Observed, ObservedBacking, ObservedVolume};
use crate::model::record::Recorded;
use crate::model::{Backing, Desired, FsType, Layout, ObjectRef, SectorSize, Source, VolumeId, VolumeSpec};

use super::course::{Course, NEVER_SEEN};
use super::decide::{SourceFacts, is_full};
use super::graph::Graph;
use super::guards;
use super::{Change, Drift, Plan, Refused};

/// A plan in the making.
pub(super) struct Draft<'a> {
    /// What is wanted.
    pub desired: &'a Desired,
    /// What was seen.
    pub observed: &'a Observed,
    /// Where csictl keeps things.
    pub layout: &'a Layout,
    /// The steps.
    pub graph: Graph,
    /// What becomes of each object.
    pub changes: Vec<Change>,
    /// What drifted.
    pub drift: Vec<Drift>,
    /// What the user should know.
    pub notes: Vec<(ObjectRef, String)>,
    /// What could not be read.
    pub unknown: Vec<(ObjectRef, String)>,
    /// What is refused.
    pub refused: Vec<Refused>,
}

impl<'a> Draft<'a> {
    /// An empty one.
    pub fn new(desired: &'a Desired, observed: &'a Observed, layout: &'a Layout) -> Self {
        Self {
            desired,
            observed,
            layout,
            graph: Graph::default(),
            changes: Vec::new(),
            drift: Vec::new(),
            notes: Vec::new(),
            unknown: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Whether a volume's state could not be read, which is then said once; nothing is planned for it.
    pub fn is_unknown(&mut self, id: &VolumeId, seen: &ObservedVolume) -> bool {
        let mut causes = seen.unknown.clone();
        if let Recorded::Unknown { cause } = &seen.record {
            let cause = format!("its record: {cause}");
            if !causes.contains(&cause) {
                causes.push(cause);
            }
        }
        if causes.is_empty() {
            return false;
        }
        self.unknown.push((ObjectRef::Volume(id.clone()), causes.join("; ")));
        true
    }

    /// What a volume would be made from.
    ///
    /// # Errors
    /// The refusal; `None` where the source could not be read, which is said already.
    pub fn source_facts(&mut self, id: &VolumeId, source: &Source) -> Result<SourceFacts, Option<Refused>> {
        let object = ObjectRef::Volume(id.clone());
        match source {
            Source::Volume(from) => self.volume_as_source(&object, from),
            Source::Snapshot(from) => {
                let seen = self.observed.snapshots.get(from);
                match seen.map(|seen| &seen.record) {
                    Some(Recorded::Present(record)) => Ok(SourceFacts {
                        size: Some(record.size),
                        fs: record.fs_type,
                        sector_size: record.sector_size,
                        raw: record.fs_type.is_none(),
                    }),
                    Some(Recorded::Unknown { cause }) => {
                        let place = format!("its source snapshot.{}: {cause}", from.short());
                        self.unknown.push((object, place));
                        Err(None)
                    }
                    _ => match self.desired.snapshots.get(from) {
                        Some(snapshot) => self.volume_as_source(&object, &snapshot.volume),
                        None => {
                            let message = format!("its source snapshot.{} does not exist", from.short());
                            let help = "csictl get snapshots lists those there are";
                            Err(Some(guards::not_found(&object, message, help)))
                        }
                    },
                }
            }
        }
    }

    fn volume_as_source(&mut self, object: &ObjectRef, from: &VolumeId) -> Result<SourceFacts, Option<Refused>> {
        let seen = self.observed.volumes.get(from).unwrap_or(&NEVER_SEEN);
        if let Recorded::Unknown { cause } = &seen.record {
            self.unknown.push((object.clone(), format!("its source {}: {cause}", guards::named(from))));
            return Err(None);
        }
        let spec = seen.record.present().map(|record| &record.spec).or_else(|| self.desired.volumes.get(from));
        let Some(spec) = spec else {
            let message = format!("its source {} does not exist", guards::named(from));
            let help = "declare it, or csictl get volumes for those there are";
            return Err(Some(guards::not_found(object, message, help)));
        };
        let Backing::Image(image) = &spec.backing else {
            let message =
                format!("its source {} is a {}; only images can be copied", guards::named(from), spec.backing.kind());
            return Err(Some(guards::refuse(
                "unsupported",
                object,
                message,
                "copy its files into a new volume instead",
            )));
        };
        let seen_size = match &seen.backing {
            ObservedBacking::Image(image) => Some(image.size),
            _ => None,
        };
        let size = seen_size.or_else(|| spec.required());
        let (fs, sector_size) = match seen.record.present() {
            Some(_) => (spec.fs_type(), image.sector_size),
            None => self.inherited(spec),
        };
        Ok(SourceFacts { size, fs, sector_size, raw: spec.is_raw() })
    }

    /// The file system and sector size that a volume which is not made yet will have: those its source has when it is copied,
    /// which is before this plan replaces that source. What the manifest says of a clone is what its source will be afterwards.
    fn inherited(&self, spec: &VolumeSpec) -> (Option<FsType>, SectorSize) {
        let of = |spec: &VolumeSpec| {
            (spec.fs_type(), spec.backing.as_image().map(|image| image.sector_size).unwrap_or_default())
        };
        let mut at = spec;
        // No chain is longer than there are volumes, unless it bites its own tail.
        for _ in 0..=self.desired.volumes.len() {
            let volume = match &at.source {
                Some(Source::Volume(id)) => id,
                Some(Source::Snapshot(id)) => {
                    if let Some(Recorded::Present(taken)) = self.observed.snapshots.get(id).map(|seen| &seen.record) {
                        return (taken.fs_type, taken.sector_size);
                    }
                    let Some(snapshot) = self.desired.snapshots.get(id) else { break };
                    &snapshot.volume
                }
                None => break,
            };
            if let Some(record) = self.observed.volumes.get(volume).and_then(|seen| seen.record.present()) {
                return of(&record.spec);
            }
            let Some(source) = self.desired.volumes.get(volume) else { break };
            at = source;
        }
        of(at)
    }

    /// Says where `full` cannot be promised, where something is to be allocated.
    pub fn note_full(&mut self, course: &Course<'_>) {
        let Some(image) = course.spec.backing.as_image().filter(|_| is_full(&course.spec)) else { return };
        let pool = self.observed.pools.get(&image.pool);
        if pool.is_some_and(|pool| pool.fs_type == "btrfs") {
            let note = format!(
                "allocate = \"full\" cannot be promised: pool {} is on btrfs, which copies on write",
                image.pool
            );
            self.notes.push((ObjectRef::Volume(course.id.clone()), note));
        } else if course.spec.source.is_some() && pool.is_some_and(|pool| pool.reflink) {
            let note = "allocate = \"full\" cannot be promised: it shares extents with its source";
            self.notes.push((ObjectRef::Volume(course.id.clone()), note.to_owned()));
        }
    }

    /// The plan, steps in order.
    pub fn finish(mut self) -> Plan {
        let steps = match std::mem::take(&mut self.graph).order() {
            Ok(steps) => steps,
            Err(cycle) => {
                let names: Vec<_> = cycle.objects.iter().map(ToString::to_string).collect();
                let message = format!("these wait for each other: {}", names.join(", "));
                let help = "a volume's bytes cannot lie below its own target, nor those of two below each other's";
                self.refused.push(guards::refuse("incompatible", &cycle.objects[0], message, help));
                Vec::new()
            }
        };
        self.changes.sort_by(|a, b| a.object.cmp(&b.object));
        self.drift.sort();
        self.notes.sort();
        self.notes.dedup();
        self.unknown.sort();
        self.unknown.dedup();
        self.refused.sort_by(|a, b| (&a.object, a.code, &a.message).cmp(&(&b.object, b.code, &b.message)));
        self.refused.dedup();
        Plan {
            desired: self.desired.clone(),
            changes: self.changes,
            drift: self.drift,
            notes: self.notes,
            unknown: self.unknown,
            refused: self.refused,
            steps,
        }
    }
}
