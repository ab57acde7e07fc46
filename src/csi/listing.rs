//! The entries of ListVolumes, encoded and kept from one call to the next. Of thousands of volumes few change between two lists: the others
//! are found to be the same by where their record and their condition lie in memory, and cost neither a string nor an encoding.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use prost::Message;
use prost::bytes::Bytes;

use super::condition::Seen;
use super::entry::Entry;
use super::index::Records;
use super::proto::VolumeCondition;
use crate::model::VolumeId;
use crate::model::record::{Recorded, VolumeRecord};

/// A volume as lists show it.
#[derive(Debug)]
pub struct Line {
    /// Which.
    pub id: VolumeId,
    /// Its record.
    pub record: Arc<Recorded<VolumeRecord>>,
    /// Whether its image was in place when its record was written: of others one has to look each time.
    pub settled: bool,
    condition: Option<Arc<VolumeCondition>>,
    encoded: Bytes,
}

impl Line {
    /// Its entry.
    pub fn entry(&self) -> Entry {
        Entry::encoded(self.encoded.clone())
    }
}

/// The lines of all volumes that are listed.
#[derive(Debug, Default)]
pub struct Listing(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// What the lines were made from. Weak, so that the index need not copy all it has for the next change.
    records: Weak<<Records<VolumeRecord> as std::ops::Deref>::Target>,
    seen: Weak<Seen>,
    lines: Vec<Line>,
}

impl Listing {
    /// Answers `ask` with the lines of these records in order of their ids; `entry` makes the entries of those that are not as they were.
    pub fn with<T>(
        &self,
        records: &Records<VolumeRecord>,
        seen: &Arc<Seen>,
        entry: impl Fn(&VolumeId, &Recorded<VolumeRecord>) -> Entry,
        ask: impl FnOnce(&[Line]) -> T,
    ) -> T {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.records.as_ptr() != Arc::as_ptr(records) || kept.seen.as_ptr() != Arc::as_ptr(seen) {
            kept.lines = lines(std::mem::take(&mut kept.lines), records, seen, entry);
            (kept.records, kept.seen) = (Arc::downgrade(records), Arc::downgrade(seen));
        }
        ask(&kept.lines)
    }
}

fn lines(
    before: Vec<Line>,
    records: &Records<VolumeRecord>,
    seen: &Seen,
    entry: impl Fn(&VolumeId, &Recorded<VolumeRecord>) -> Entry,
) -> Vec<Line> {
    let (mut before, mut conditions) = (before.into_iter().peekable(), seen.iter().peekable());
    let mut lines = Vec::with_capacity(records.len());
    // All three are in order of their ids: one walk through them, and no search.
    for (id, record) in records.iter().filter(|(_, record)| !is_ephemeral(record)) {
        while before.next_if(|line| line.id < *id).is_some() {}
        while conditions.next_if(|(other, _)| *other < id).is_some() {}
        let condition = conditions.next_if(|(other, _)| *other == id).map(|(_, condition)| condition);
        let was = before.next_if(|line| line.id == *id);
        let same = was.filter(|line| {
            let conditions = (line.condition.as_ref(), condition);
            let unchanged = match conditions {
                (Some(was), Some(is)) => Arc::ptr_eq(was, is),
                (was, is) => was.is_none() && is.is_none(),
            };
            unchanged && Arc::ptr_eq(&line.record, record)
        });
        lines.push(same.unwrap_or_else(|| Line {
            id: id.clone(),
            record: record.clone(),
            settled: record.present().is_none_or(VolumeRecord::is_in_place),
            condition: condition.cloned(),
            encoded: entry(id, record).encode_to_vec().into(),
        }));
    }
    lines
}

/// Inline ephemeral volumes are their pods' and in no list.
fn is_ephemeral(record: &Recorded<VolumeRecord>) -> bool {
    record.present().is_some_and(|record| record.spec.ephemeral)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;
    use crate::csi::condition::tests::seen;
    use crate::csi::proto::Volume;
    use crate::csi::proto::list_volumes_response::VolumeStatus;
    use crate::state::store::tests::volume_record;

    fn records(ids: &[&str]) -> BTreeMap<VolumeId, Arc<Recorded<VolumeRecord>>> {
        let present = |id: &&str| (id.parse().unwrap(), Arc::new(Recorded::Present(volume_record(id))));
        ids.iter().map(present).collect()
    }

    /// The ids that are listed, and those whose entries were made for it.
    fn listed(listing: &Listing, records: &Records<VolumeRecord>, seen: &Arc<Seen>) -> (Vec<String>, Vec<String>) {
        let made = RefCell::new(Vec::new());
        let entry = |id: &VolumeId, _: &Recorded<VolumeRecord>| {
            made.borrow_mut().push(id.to_string());
            Entry::new(Volume { volume_id: id.to_string(), ..Volume::default() }, VolumeStatus::default())
        };
        let sent = |line: &Line| Entry::decode(line.entry().encode_to_vec().as_slice()).unwrap().volume.unwrap();
        let ids = listing.with(records, seen, entry, |lines| lines.iter().map(|line| sent(line).volume_id).collect());
        (ids, made.into_inner())
    }

    #[test]
    fn only_what_changed_is_encoded_again_and_what_is_gone_is_not_listed() {
        let (listing, nothing) = (Listing::default(), seen(&[]));
        let mut all = records(&["s.a", "s.c", "s.d"]);
        let first = listed(&listing, &Arc::new(all.clone()), &nothing);
        all.remove("s.a");
        all.extend(records(&["s.b", "s.d"]));

        let second = listed(&listing, &Arc::new(all.clone()), &nothing);
        let again = listed(&listing, &Arc::new(all), &nothing);

        assert_eq!(first.0, ["s.a", "s.c", "s.d"]);
        assert_eq!(
            (second.0, second.1),
            (vec!["s.b".into(), "s.c".into(), "s.d".into()], vec!["s.b".into(), "s.d".into()])
        );
        assert_eq!(again.1, Vec::<String>::new());
    }

    #[test]
    fn a_condition_that_changed_is_shown_by_the_next_list() {
        let (listing, all) = (Listing::default(), Arc::new(records(&["s.a", "s.b"])));
        let well = seen(&[("s.a", "well"), ("s.b", "well")]);
        listed(&listing, &all, &seen(&[]));
        assert_eq!(listed(&listing, &all, &well).1, ["s.a", "s.b"]);

        let ill = Arc::new(well.and("s.b", "ill"));

        assert_eq!(listed(&listing, &all, &ill).1, ["s.b"]);
        assert_eq!(listed(&listing, &all, &seen(&[])).1, ["s.a", "s.b"], "nothing is known of them any more");
    }

    #[test]
    fn the_index_changes_its_records_in_place_while_lists_are_kept() {
        let (listing, mut all) = (Listing::default(), Arc::new(records(&["s.a"])));
        listed(&listing, &all, &seen(&[]));
        let before = all.keys().next().unwrap().as_str().as_ptr();

        Arc::make_mut(&mut all).extend(records(&["s.b"]));

        assert_eq!(all.keys().next().unwrap().as_str().as_ptr(), before, "nothing is copied");
        assert_eq!(listed(&listing, &all, &seen(&[])).0, ["s.a", "s.b"], "though it is the same map");
    }
}
