//! Every record of volumes, or of snapshots, in memory, so that a list, a count or a sum reads no file.
//!
//! Records are files that the command line writes too, so a copy of them is worth something only if it is never stale: before each answer the
//! names that changed since the last one are asked for ([`crate::host::Observe::watch`]) and only those records read again. A verb
//! that has returned has renamed its record, and the kernel had noted the rename before that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::host::{Changes, DirectoryWatch, HostError, Observe};
use crate::model::record::{Recorded, SnapshotRecord, VolumeRecord};
use crate::model::{Layout, SnapshotId, VolumeId};
use crate::state::Reader;

/// What is kept as a record and can be listed.
pub trait Indexed: Send + Sync + Sized + 'static {
    /// Its id.
    type Id: Ord + Clone + std::str::FromStr + Send + Sync;

    /// Where its records are.
    fn directory(layout: &Layout) -> std::path::PathBuf;

    /// The ids that have one.
    ///
    /// # Errors
    /// The directory can't be read.
    fn ids(reader: &Reader<'_>) -> Result<Vec<Self::Id>, HostError>;

    /// One of them.
    fn read(reader: &Reader<'_>, id: &Self::Id) -> Recorded<Self>;
}

impl Indexed for VolumeRecord {
    type Id = VolumeId;

    fn directory(layout: &Layout) -> std::path::PathBuf {
        layout.volumes()
    }

    fn ids(reader: &Reader<'_>) -> Result<Vec<VolumeId>, HostError> {
        reader.volume_ids()
    }

    fn read(reader: &Reader<'_>, id: &VolumeId) -> Recorded<Self> {
        reader.volume(id)
    }
}

impl Indexed for SnapshotRecord {
    type Id = SnapshotId;

    fn directory(layout: &Layout) -> std::path::PathBuf {
        layout.snapshots()
    }

    fn ids(reader: &Reader<'_>) -> Result<Vec<SnapshotId>, HostError> {
        reader.snapshot_ids()
    }

    fn read(reader: &Reader<'_>, id: &SnapshotId) -> Recorded<Self> {
        reader.snapshot(id)
    }
}

/// All records at one moment, by id. Sharing it costs nothing.
pub type Records<T> = Arc<BTreeMap<<T as Indexed>::Id, Arc<Recorded<T>>>>;

/// The records of one directory.
pub struct Index<T: Indexed>(Mutex<Inner<T>>);

struct Inner<T: Indexed> {
    watch: Box<dyn DirectoryWatch>,
    records: Records<T>,
    /// Whether `records` is all there is; not until it was read once without an error.
    whole: bool,
    /// Those that could not be read, and may be the next time.
    unread: Vec<T::Id>,
}

impl<T: Indexed> Index<T> {
    /// Of the records below this layout; nothing is read yet.
    pub fn new(host: &dyn Observe, layout: &Layout) -> Self {
        let watch = host.watch(&T::directory(layout));
        Self(Mutex::new(Inner { watch, records: Arc::default(), whole: false, unread: Vec::new() }))
    }

    /// Every record as it is now. Records that are damaged, or of a newer csictl, are among them.
    ///
    /// # Errors
    /// The directory of records can't be read.
    pub fn records(&self, host: &dyn Observe, layout: &Layout) -> Result<Records<T>, HostError> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = Reader::new(host, layout);
        match inner.watch.changes() {
            Changes::Names(names) if inner.whole => {
                let mut ids = std::mem::take(&mut inner.unread);
                ids.extend(names.iter().filter_map(|name| Reader::id_of::<T::Id>(name)));
                inner.read(&reader, ids);
            }
            Changes::Names(_) | Changes::All => {
                inner.whole = false;
                inner.records = Arc::default();
                inner.unread.clear();
                let ids = T::ids(&reader)?;
                inner.read(&reader, ids);
                inner.whole = true;
            }
        }
        Ok(inner.records.clone())
    }
}

impl<T: Indexed> Inner<T> {
    fn read(&mut self, reader: &Reader<'_>, ids: Vec<T::Id>) {
        if ids.is_empty() {
            return;
        }
        let records = Arc::make_mut(&mut self.records);
        for id in ids {
            match T::read(reader, &id) {
                Recorded::Absent => drop(records.remove(&id)),
                record => {
                    if matches!(record, Recorded::Unknown { .. }) {
                        self.unread.push(id.clone());
                    }
                    records.insert(id, Arc::new(record));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::host::linux::LinuxHost;
    use crate::host::sim::SimHost;
    use crate::state::Store;
    use crate::state::store::tests::volume_record;

    fn ids(index: &Index<VolumeRecord>, host: &dyn Observe, layout: &Layout) -> Vec<String> {
        index.records(host, layout).unwrap().keys().map(ToString::to_string).collect()
    }

    fn comes_and_goes(host: &dyn Host, layout: &Layout) {
        let store = Store::new(host, layout);
        let index = Index::<VolumeRecord>::new(host, layout);
        assert!(ids(&index, host, layout).is_empty(), "there is no directory yet");
        store.prepare().unwrap();
        for id in ["shop.a", "shop.b"] {
            store.put_volume(&volume_record(id), false).unwrap();
        }
        assert_eq!(ids(&index, host, layout), ["shop.a", "shop.b"]);

        store.remove_volume(&"shop.a".parse().unwrap()).unwrap();
        store.put_volume(&volume_record("shop.c"), false).unwrap();
        host.write_small(&layout.volumes().join("shop.b.json"), b"torn", false).unwrap();

        assert_eq!(ids(&index, host, layout), ["shop.b", "shop.c"]);
        let records = index.records(host, layout).unwrap();
        let states: Vec<_> = records.values().map(|record| record.present().is_some()).collect();
        assert_eq!(states, [false, true], "a torn record is listed as what it is");
    }

    #[test]
    fn the_next_answer_knows_what_was_written_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        comes_and_goes(&LinuxHost::new(), &Layout::new(folder.path().join("state"), folder.path().join("run")));
        comes_and_goes(&SimHost::new(), &Layout::new("/state", "/run/csictl"));
    }

    #[test]
    fn what_was_handed_out_stays_as_it_was() {
        let (host, layout) = (SimHost::new(), Layout::new("/state", "/run/csictl"));
        let store = Store::new(&host, &layout);
        store.prepare().unwrap();
        let index = Index::<VolumeRecord>::new(&host, &layout);
        let before = index.records(&host, &layout).unwrap();

        store.put_volume(&volume_record("shop.a"), false).unwrap();

        assert_eq!((before.len(), index.records(&host, &layout).unwrap().len()), (0, 1));
    }

    #[test]
    fn an_answer_is_never_made_from_half_a_look() {
        let (host, layout) = (SimHost::new(), Layout::new("/state", "/run/csictl"));
        host.plant_file("/state/volumes", b"no directory");
        let index = Index::<VolumeRecord>::new(&host, &layout);

        for _ in 0..2 {
            assert!(index.records(&host, &layout).is_err());
        }
    }
}
