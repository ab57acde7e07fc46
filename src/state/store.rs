//! Records on disk. [`Reader`] needs only the reading half of a host, so that planning and reporting cannot write; [`Store`]
//! writes, and only into directories nobody but root can write to.

use std::path::{Path, PathBuf};

use crate::host::{ErrorKind, FileFacts, FileKind, Host, HostError, Observe};
use crate::model::record::{GroupRecord, LimitsRecord, Recorded, RunRecord, SnapshotRecord, VolumeRecord};
use crate::model::{Done, GroupId, Layout, Name, SnapshotId, VolumeId};

use super::StateError;
use super::record::{Record, decode, encode};

/// Permissions of every directory csictl keeps records in.
const DIRECTORY_MODE: u32 = 0o700;
const SUFFIX: &str = ".json";
/// A record is appended to within one block, which the file has already: an append can then not fail half-way for want of space.
const APPEND_UP_TO: u64 = 4096;

/// Every directory that is trusted.
fn directories(layout: &Layout) -> [PathBuf; 7] {
    [
        layout.state.clone(),
        layout.volumes(),
        layout.snapshots(),
        layout.locks(),
        layout.run.clone(),
        layout.run_volumes(),
        layout.staging(),
    ]
}

fn secure(path: &Path, facts: &FileFacts) -> Result<(), StateError> {
    let insecure = |problem: String| StateError::Insecure { path: path.to_owned(), problem };
    if facts.kind != FileKind::Directory {
        return Err(insecure("is not a directory".to_owned()));
    }
    if facts.uid != 0 {
        return Err(insecure(format!("belongs to user {}, not to root", facts.uid)));
    }
    if facts.mode & 0o022 != 0 {
        return Err(insecure(format!("has mode {:04o}: others may write to it", facts.mode & 0o7777)));
    }
    Ok(())
}

/// Reads records.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    host: &'a dyn Observe,
    layout: &'a Layout,
}

impl<'a> Reader<'a> {
    /// A reader of the records below `layout`.
    pub fn new(host: &'a dyn Observe, layout: &'a Layout) -> Self {
        Self { host, layout }
    }

    /// Looks whether nobody but root can write to the directories that are there.
    ///
    /// # Errors
    /// [`StateError::Insecure`] naming the directory and what is wrong with it.
    pub fn check(&self) -> Result<(), StateError> {
        for directory in directories(self.layout) {
            if let Some(facts) = self.host.stat(&directory)? {
                secure(&directory, &facts)?;
            }
        }
        Ok(())
    }

    /// The durable record of a volume.
    pub fn volume(&self, id: &VolumeId) -> Recorded<VolumeRecord> {
        self.read(&self.layout.volume_record(id), id.as_str())
    }

    /// The durable record of a snapshot.
    pub fn snapshot(&self, id: &SnapshotId) -> Recorded<SnapshotRecord> {
        self.read(&self.layout.snapshot_record(id), id.as_str())
    }

    /// The durable record of a group of snapshots.
    pub fn group(&self, id: &GroupId) -> Recorded<GroupRecord> {
        self.read(&self.layout.group_record(id), id.as_str())
    }

    /// The limits of a project's pools as its last apply had them.
    pub fn limits(&self, project: &Name) -> Recorded<LimitsRecord> {
        self.read(&self.layout.limits_record(project), project.as_str())
    }

    /// The boot-scoped record of a volume; [`Recorded::Absent`] when it is of another boot.
    pub fn run(&self, id: &VolumeId, boot_id: &str) -> Recorded<RunRecord> {
        match self.read::<RunRecord>(&self.layout.run_record(id), id.as_str()) {
            Recorded::Present(run) if run.boot_id != boot_id => Recorded::Absent,
            other => other,
        }
    }

    /// The volumes that have a record, whatever its state, in order.
    ///
    /// # Errors
    /// The directory is there and can't be read.
    pub fn volume_ids(&self) -> Result<Vec<VolumeId>, HostError> {
        self.ids(&self.layout.volumes())
    }

    /// The snapshots that have a record, in order.
    ///
    /// # Errors
    /// The directory is there and can't be read.
    pub fn snapshot_ids(&self) -> Result<Vec<SnapshotId>, HostError> {
        self.ids(&self.layout.snapshots())
    }

    /// The groups of snapshots that have a record, in order.
    ///
    /// # Errors
    /// The directory is there and can't be read.
    pub fn group_ids(&self) -> Result<Vec<GroupId>, HostError> {
        self.ids(&self.layout.groups())
    }

    /// The volumes that have a boot-scoped record, in order.
    ///
    /// # Errors
    /// The directory is there and can't be read.
    pub fn run_ids(&self) -> Result<Vec<VolumeId>, HostError> {
        self.ids(&self.layout.run_volumes())
    }

    /// The id of the record that a file of this name would hold.
    pub fn id_of<T: std::str::FromStr>(name: &std::ffi::OsStr) -> Option<T> {
        name.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
    }

    fn ids<T: std::str::FromStr + Ord>(&self, directory: &Path) -> Result<Vec<T>, HostError> {
        let names = self.host.list(directory)?;
        let mut ids: Vec<T> = names.iter().filter_map(|name| Self::id_of(name)).collect();
        ids.sort();
        Ok(ids)
    }

    fn read<T: Record>(&self, path: &Path, id: &str) -> Recorded<T> {
        match self.host.read_small(path) {
            Ok(None) => Recorded::Absent,
            Ok(Some(bytes)) => decode(&bytes, id),
            // A link, a directory or a pipe in its place is no more a record than broken bytes are.
            Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::UnsafePath) => {
                Recorded::Corrupt { cause: error.cause }
            }
            Err(error) => Recorded::Unknown { cause: error.to_string() },
        }
    }
}

/// Writes records.
#[derive(Clone, Copy)]
pub struct Store<'a> {
    host: &'a dyn Host,
    layout: &'a Layout,
}

impl<'a> Store<'a> {
    /// A store below `layout`.
    pub fn new(host: &'a dyn Host, layout: &'a Layout) -> Self {
        Self { host, layout }
    }

    /// Makes the directories that are missing and refuses those into which others could write.
    ///
    /// # Errors
    /// [`StateError::Insecure`] naming the directory and what is wrong with it.
    pub fn prepare(&self) -> Result<(), StateError> {
        for directory in directories(self.layout) {
            self.prepare_directory(&directory)?;
        }
        Ok(())
    }

    fn prepare_directory(&self, path: &Path) -> Result<(), StateError> {
        let facts = match self.host.stat(path)? {
            Some(facts) => facts,
            None => {
                self.host.make_dir(path, DIRECTORY_MODE)?;
                let gone = || HostError::new(ErrorKind::NotFound, "make directory", path, "it is gone again");
                self.host.stat(path)?.ok_or_else(gone)?
            }
        };
        secure(path, &facts)
    }

    /// Writes a volume's record; with `durable`, it survives a power cut when this returns. One that need not is appended where the file
    /// has room: replacing it makes and frees an inode, for which thousands of volumes stand in one queue.
    ///
    /// # Errors
    /// The machine's; the old record is intact then.
    pub fn put_volume(&self, record: &VolumeRecord, durable: bool) -> Result<(), HostError> {
        let path = self.layout.volume_record(&record.spec.id);
        let line = encode(record);
        if !durable && self.host.append_small(&path, &line, APPEND_UP_TO)? == Done::Changed {
            return Ok(());
        }
        self.host.write_small(&path, &line, durable)
    }

    /// Removes a volume's record.
    ///
    /// # Errors
    /// The machine's.
    pub fn remove_volume(&self, id: &VolumeId) -> Result<(), HostError> {
        self.host.remove_small(&self.layout.volume_record(id), true).map(drop)
    }

    /// Writes a snapshot's record durably.
    ///
    /// # Errors
    /// The machine's.
    pub fn put_snapshot(&self, record: &SnapshotRecord) -> Result<(), HostError> {
        self.host.write_small(&self.layout.snapshot_record(&record.id), &encode(record), true)
    }

    /// Removes a snapshot's record.
    ///
    /// # Errors
    /// The machine's.
    pub fn remove_snapshot(&self, id: &SnapshotId) -> Result<(), HostError> {
        self.host.remove_small(&self.layout.snapshot_record(id), true).map(drop)
    }

    /// Writes a group's record durably; its directory is made with the first, since most machines have none.
    ///
    /// # Errors
    /// The machine's, or a directory into which others could write.
    pub fn put_group(&self, record: &GroupRecord) -> Result<(), StateError> {
        self.prepare_directory(&self.layout.groups())?;
        Ok(self.host.write_small(&self.layout.group_record(&record.id), &encode(record), true)?)
    }

    /// Removes a group's record.
    ///
    /// # Errors
    /// The machine's.
    pub fn remove_group(&self, id: &GroupId) -> Result<(), HostError> {
        self.host.remove_small(&self.layout.group_record(id), true).map(drop)
    }

    /// Writes down the limits of a project's pools, if they are others than those it last had.
    ///
    /// # Errors
    /// The machine's, or a directory into which others could write.
    pub fn put_limits(&self, record: &LimitsRecord) -> Result<Done, StateError> {
        let was = Reader::new(self.host, self.layout).limits(&record.project);
        let same = match &was {
            Recorded::Present(was) => was == record,
            Recorded::Absent => record.limits.is_empty(),
            Recorded::Newer { .. } | Recorded::Unknown { .. } => true,
            Recorded::Corrupt { .. } => false,
        };
        if same {
            return Ok(Done::Already);
        }
        self.prepare()?;
        self.prepare_directory(&self.layout.limits())?;
        self.host.write_small(&self.layout.limits_record(&record.project), &encode(record), true)?;
        Ok(Done::Changed)
    }

    /// Writes a volume's boot-scoped record.
    ///
    /// # Errors
    /// The machine's.
    pub fn put_run(&self, record: &RunRecord) -> Result<(), HostError> {
        let path = self.layout.run_record(&record.id);
        match self.host.write_small(&path, &encode(record), false) {
            // What is no file is no record.
            Err(error)
                if self.host.stat(&path).ok().flatten().is_some_and(|facts| facts.kind == FileKind::Directory) =>
            {
                let aside = self.layout.run.join("set-aside");
                self.prepare_directory(&aside).map_err(|_| error)?;
                self.host.set_aside(&path, &aside)?;
                self.host.write_small(&path, &encode(record), false)
            }
            other => other,
        }
    }

    /// Removes a volume's boot-scoped record.
    ///
    /// # Errors
    /// The machine's.
    pub fn remove_run(&self, id: &VolumeId) -> Result<(), HostError> {
        self.host.remove_small(&self.layout.run_record(id), false).map(drop)
    }

    /// Sets a volume's record aside because it is no record; answers where it lies now.
    ///
    /// # Errors
    /// The machine's.
    pub fn set_volume_aside(&self, id: &VolumeId) -> Result<PathBuf, StateError> {
        self.prepare_directory(&self.layout.set_aside())?;
        Ok(self.host.set_aside(&self.layout.volume_record(id), &self.layout.set_aside())?)
    }

    /// Sets a snapshot's record aside.
    ///
    /// # Errors
    /// The machine's.
    pub fn set_snapshot_aside(&self, id: &SnapshotId) -> Result<PathBuf, StateError> {
        self.prepare_directory(&self.layout.set_aside())?;
        Ok(self.host.set_aside(&self.layout.snapshot_record(id), &self.layout.set_aside())?)
    }

    /// Sets a group's record aside.
    ///
    /// # Errors
    /// The machine's.
    pub fn set_group_aside(&self, id: &GroupId) -> Result<PathBuf, StateError> {
        self.prepare_directory(&self.layout.set_aside())?;
        Ok(self.host.set_aside(&self.layout.group_record(id), &self.layout.set_aside())?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::model::record::{FormatMark, VolumeRecord};
    use crate::model::{
        AccessMode, Allocate, Backing, Capacity, CapacityRange, FsSpec, FsType, ImageBacking, Ownership, Reclaim,
        SectorSize, VolumeMode, VolumeSpec,
    };

    /// An ext4 image volume of 64 MiB in `/pool`.
    pub(crate) fn image_spec(id: &str) -> VolumeSpec {
        let (project, name) = id.split_once('.').unwrap();
        VolumeSpec {
            id: id.parse().unwrap(),
            owner: format!("project:{project}").parse().unwrap(),
            name: name.to_owned(),
            description: None,
            volume_mode: VolumeMode::Filesystem,
            capacity: Some(CapacityRange { required: Capacity::mib(64), limit: None }),
            access_mode: AccessMode::SingleNodeSingleWriter,
            backing: Backing::Image(ImageBacking {
                pool: "main".parse().unwrap(),
                pool_path: "/pool".into(),
                allocate: Allocate::Sparse,
                direct_io: false,
                sector_size: SectorSize::B512,
            }),
            fs: Some(FsSpec::plain(FsType::Ext4)),
            fs_type_given: true,
            mount_options: Vec::new(),
            source: None,
            reclaim: Reclaim::Retain,
            prevent_destroy: false,
            ownership: Ownership::default(),
            fs_group: None,
            ephemeral: false,
        }
    }

    /// A record of [`image_spec`].
    pub(crate) fn volume_record(id: &str) -> VolumeRecord {
        VolumeRecord {
            spec: image_spec(id),
            fs_uuid: None,
            format: FormatMark::None,
            adopted: false,
            disk: None,
            image: None,
            attach_mark: false,
            made_directory: false,
            made_targets: std::collections::BTreeMap::new(),
            shown_at: std::collections::BTreeMap::new(),
            applied_ownership: Ownership::default(),
            modifying: false,
            growing: None,
            grown: None,
            asked: None,
            attachment: None,
            removing: None,
            released: false,
            rebuilt: false,
            created_at: "2026-01-01T00:00:00Z".to_owned(),
        }
    }
}
