//! All records as one JSON document, `csictl.state/1`: for a backup, and for moving a machine's volumes. It carries records, no
//! data and no secrets; what it says of images is checked against the images themselves when they are next used.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::host::{Host, Observe};
use crate::model::record::{FormatMark, GroupRecord, GroupState, Recorded, SnapshotRecord, VolumeRecord};
use crate::model::{Backing, Layout};

use super::{GlobalLock, Reader, StateError, Store};

/// The schema of the document.
pub const STATE_SCHEMA: &str = "csictl.state/1";

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateDocument {
    /// [`STATE_SCHEMA`].
    pub schema: String,
    /// The machine it comes from.
    pub hostname: String,
    /// When (RFC 3339).
    pub exported_at: String,
    /// Volumes, in order of id.
    pub volumes: Vec<VolumeRecord>,
    /// Snapshots, in order of id.
    pub snapshots: Vec<SnapshotRecord>,
    /// Groups of snapshots, in order of id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupRecord>,
}

/// What an import did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Records written.
    pub written: usize,
    /// Records that were there already, the same.
    pub unchanged: usize,
}

/// Everything recorded on this machine.
///
/// # Errors
/// A record that is corrupt, newer or can't be read: an export that leaves it out in silence would be no backup.
pub fn export(host: &dyn Observe, layout: &Layout, now: String) -> Result<StateDocument, StateError> {
    let reader = Reader::new(host, layout);
    let mut volumes = Vec::new();
    for id in reader.volume_ids()? {
        volumes.extend(whole(reader.volume(&id), &format!("the record of volume {id}"))?);
    }
    let mut snapshots = Vec::new();
    for id in reader.snapshot_ids()? {
        snapshots.extend(whole(reader.snapshot(&id), &format!("the record of snapshot {id}"))?);
    }
    let mut groups = Vec::new();
    for id in reader.group_ids()? {
        groups.extend(whole(reader.group(&id), &format!("the record of group {id}"))?);
    }
    let hostname = host.facts()?.hostname;
    Ok(StateDocument { schema: STATE_SCHEMA.to_owned(), hostname, exported_at: now, volumes, snapshots, groups })
}

/// Writes the records of a document, all or none of which may differ from what is there.
///
/// # Errors
/// [`StateError::Document`] when it is of another schema or a record is there already and differs; nothing was written then.
pub fn import(
    host: &dyn Host,
    layout: &Layout,
    document: &StateDocument,
    timeout: std::time::Duration,
) -> Result<Imported, StateError> {
    if document.schema != STATE_SCHEMA {
        return Err(StateError::Document(format!("the document is a '{}', not a {STATE_SCHEMA}", document.schema)));
    }
    let store = Store::new(host, layout);
    store.prepare()?;
    let _alone = GlobalLock::exclusive(host, layout, timeout)?;
    let reader = Reader::new(host, layout);
    let mut volumes = Vec::new();
    for given in &document.volumes {
        let record = as_imported(given);
        let what = format!("the record of volume {}", record.spec.id);
        match whole(reader.volume(&record.spec.id), &what)? {
            None => volumes.push(record),
            Some(there) if there == *given || there == record => {}
            Some(_) => return Err(differs(&what)),
        }
    }
    let mut snapshots = Vec::new();
    for record in &document.snapshots {
        let what = format!("the record of snapshot {}", record.id);
        match whole(reader.snapshot(&record.id), &what)? {
            None => snapshots.push(record),
            Some(there) if there == *record => {}
            Some(_) => return Err(differs(&what)),
        }
    }
    let mut groups = Vec::new();
    for given in &document.groups {
        let record = group_as_imported(given);
        let what = format!("the record of group {}", record.id);
        match whole(reader.group(&record.id), &what)? {
            None => groups.push(record),
            Some(there) if there == *given || there == record => {}
            Some(_) => return Err(differs(&what)),
        }
    }
    for record in &volumes {
        store.put_volume(record, true)?;
    }
    for record in &snapshots {
        store.put_snapshot(record)?;
    }
    for record in &groups {
        store.put_group(record)?;
    }
    let written = volumes.len() + snapshots.len() + groups.len();
    let given = document.volumes.len() + document.snapshots.len() + document.groups.len();
    Ok(Imported { written, unchanged: given - written })
}

/// What may be believed of a volume's record that comes from elsewhere. That csictl made a directory, and may therefore remove it or give
/// it another owner, is known only where it was made: a document that claims it of `/etc` must not get it.
///
/// Nor can anybody else know that a mkfs was begun here, whose remains may be made again, or that the file system on a disk of this machine is
/// csictl's own: it is used as it is, and neither grows nor is repaired.
fn as_imported(record: &VolumeRecord) -> VolumeRecord {
    let begun = record.format == FormatMark::Begun;
    VolumeRecord {
        made_directory: false,
        made_targets: BTreeMap::new(),
        shown_at: BTreeMap::new(),
        format: if begun { FormatMark::None } else { record.format },
        fs_uuid: record.fs_uuid.filter(|_| !begun),
        disk: None,
        adopted: record.adopted || matches!(record.spec.backing, Backing::Device(_)),
        ..record.clone()
    }
}

/// A deletion that was begun elsewhere was asked for by nobody here.
fn group_as_imported(record: &GroupRecord) -> GroupRecord {
    let state = if record.state == GroupState::Deleting { GroupState::Ready } else { record.state };
    GroupRecord { state, ..record.clone() }
}

fn differs(what: &str) -> StateError {
    StateError::Document(format!("{what} is there already and differs: nothing was imported"))
}

fn whole<T>(recorded: Recorded<T>, what: &str) -> Result<Option<T>, StateError> {
    match recorded {
        Recorded::Absent => Ok(None),
        Recorded::Present(record) => Ok(Some(record)),
        Recorded::Corrupt { cause } | Recorded::Unknown { cause } => {
            Err(StateError::Document(format!("{what} can't be read: {cause}")))
        }
        Recorded::Newer { version } => {
            Err(StateError::Document(format!("{what} has version {version}, written by a newer csictl")))
        }
    }
}
