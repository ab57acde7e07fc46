//! What csictl writes down because the kernel cannot tell it: whose a volume is, the spec as last applied, the file-system
//! UUID chosen for it, the targets made for it. No secrets, and nothing that the kernel knows better.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::attachment::Attachment;
use super::capability::Capability;
use super::capacity::Capacity;
use super::device::{BlockId, DiskId, FileId};
use super::filesystem::{FormatPolicy, FsType, FsUuid};
use super::mount_namespace::MountNamespace;
use super::name::{GroupId, Name, SnapshotId, VolumeId};
use super::owner::Owner;
use super::pod::{PublishKind, PublishSpec};
use super::probe::Probe;
use super::volume::{Ownership, VolumeSpec};

/// The version of the record format this csictl writes. A record of a newer one is never touched.
pub const RECORD_VERSION: u32 = 1;

/// How far the file system of a volume is known to have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormatMark {
    /// No mkfs of ours has begun.
    #[default]
    None,
    /// A mkfs with the recorded UUID was begun: what lies there may be half of it and may be made again.
    Begun,
    /// A mkfs was verified, or the file system came with its source: it is never made again.
    Done,
}

/// The durable record of a volume, `STATE/volumes/ID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// The spec as last applied.
    pub spec: VolumeSpec,
    /// The UUID chosen for its file system.
    pub fs_uuid: Option<FsUuid>,
    /// How far formatting has come.
    pub format: FormatMark,
    /// Its file system was on its disk when csictl first used it: it is left as it is, size and all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The disk of a volume on a device, as the volume was made for it or last used it or, with [`FormatMark::Begun`], as about to be formatted: on
    /// no other may the remains of a mkfs be made again or an approval wipe anything, whatever the path leads to by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskId>,
    /// The image behind it, as last seen; a hint that is checked against the image's own identity.
    pub image: Option<FileId>,
    /// Set before a loop without AUTOCLEAR is attached (raw block), so that a crashed run's loop is found.
    pub attach_mark: bool,
    /// Whether csictl made the directory of a directory volume.
    pub made_directory: bool,
    /// Targets (and parents) that csictl made and may therefore remove, by path.
    pub made_targets: BTreeMap<PathBuf, PublishKind>,
    /// Targets at which its manifest shows it, as last done: after a boot nothing else tells that it was up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shown_at: BTreeMap<PathBuf, PublishKind>,
    /// Owner and mode as last given to the root inode, so that a later chown by an application is not undone.
    #[serde(default)]
    pub applied_ownership: Ownership,
    /// A modify was begun and is not known to have ended: the machine is anywhere between `spec` and what was asked for then. The next
    /// modify does everything once more, whatever it asks for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub modifying: bool,
    /// An expand to this size was begun and is not known to have ended: the image may have it already. The next expand or attach settles it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growing: Option<Capacity>,
    /// The size that its image has beyond what is asked for: an expand that was interrupted gave it that, and nobody asks for it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grown: Option<Capacity>,
    /// What a CreateVolume call asked for; `None` for a manifest's volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The node it is published to by an orchestrator, until that takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<Attachment>,
    /// The image that its deletion has begun to remove: until that is done, its file may still be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removing: Option<FileId>,
    /// Left its manifest with its data kept.
    pub released: bool,
    /// Rebuilt from the image because the record was lost or corrupt: counts as protected and formatted until its
    /// manifest is applied again.
    pub rebuilt: bool,
    /// When it was created (RFC 3339).
    pub created_at: String,
}

impl VolumeRecord {
    /// Whether what a probe finds on a disk can be this volume's, so that an approval to lose the volume's data is one to lose this.
    pub fn is_on(&self, disk: &DiskId, probe: &Probe) -> bool {
        let same_disk = self.disk.as_ref().map(|ours| ours.is(disk));
        match (self.spec.fs_type(), self.fs_uuid, self.format) {
            _ if probe.is_blank() => true,
            (Some(fs), Some(uuid), FormatMark::Done) => {
                // What came with its disk, or from an import, is csictl's to lose only where csictl has used it.
                let known = !self.adopted || self.disk.is_some();
                (probe.is_fs(fs, uuid) && known) || (probe.is_half_made(fs, uuid) && same_disk == Some(true))
            }
            (Some(fs), Some(_), FormatMark::Begun) => self.may_be_resumed(fs, disk, probe),
            // Whatever a raw volume holds is its user's. A disk that is not known to be the volume's is not.
            _ => same_disk == Some(true),
        }
    }

    /// Whether what a probe finds on a disk is what a mkfs of this volume left there when it was interrupted.
    pub fn may_be_resumed(&self, fs: FsType, disk: &DiskId, probe: &Probe) -> bool {
        self.format == FormatMark::Begun
            && self.fs_uuid.is_some_and(|uuid| {
                // The UUID was chosen for this one file system: whoever has it is it, on whichever disk.
                probe.is_fs(fs, uuid)
                    || (probe.is_half_made(fs, uuid) && self.disk.as_ref().is_some_and(|begun| begun.is(disk)))
            })
    }

    /// Why remains of a mkfs are not made again on a disk that is not known to be the one on which it ran, and what to do.
    pub fn remains_elsewhere(place: &str, probe: &Probe) -> (String, &'static str) {
        (
            format!(
                "{place} holds {probe}: a mkfs of csictl's may have left that, but this is not known to be the disk on which it ran"
            ),
            "make sure it is the right disk; if its data may go, zero it (blkdiscard --zeroout) and apply again",
        )
    }

    /// What keeps the remains of an interrupted mkfs from being made again, as the code of a refusal and in words.
    pub fn keeps_remains(&self, policy: FormatPolicy) -> Option<(&'static str, &'static str)> {
        if policy == FormatPolicy::Never {
            return Some(("not-blank", "fs.format is \"never\""));
        }
        self.protected().then_some(("protected", "it is protected"))
    }

    /// The words for that, and what to do.
    pub fn remains_are_kept(place: &str, probe: &Probe, why: &str) -> (String, &'static str) {
        (
            format!(
                "{place} holds {probe}: a mkfs of csictl's was interrupted there, and {why}, so it is not formatted again"
            ),
            "see that nothing of it is needed, zero it by hand (blkdiscard --zeroout), and apply again",
        )
    }

    /// Whether this is known to be another disk than the volume was on.
    pub fn was_on_another(&self, disk: &DiskId) -> bool {
        self.disk.as_ref().is_some_and(|was| was.is_another(disk))
    }

    /// Why a raw volume, whose bytes do not say whose they are, does not get this disk, and what to do; `None` where it may be its own.
    pub fn raw_elsewhere(&self, path: &Path, disk: &DiskId) -> Option<(String, &'static str)> {
        let ours = self.disk.as_ref().filter(|ours| self.spec.is_raw() && ours.is_another(disk))?;
        let told = |disk: &DiskId| {
            let said = disk.serial.as_ref().or(disk.wwn.as_ref());
            let said = said.map_or_else(String::new, |said| format!(" '{said}'"));
            format!("{}{said}", Capacity::bytes(disk.size))
        };
        Some((
            format!(
                "{} leads to another disk ({}) than the volume was on ({})",
                path.display(),
                told(disk),
                told(ours)
            ),
            "bring the right disk back; if this is the one that is meant, let go of the volume first (csictl destroy MANIFEST --delete-data NAME: no \
             byte of a disk is lost by that), and apply again",
        ))
    }

    /// Why a disk with this on it is not this volume's to lose, and what to do: the same words from a plan and from a verb.
    pub fn stands_elsewhere(&self, place: &str, probe: &Probe) -> (String, &'static str) {
        let fs = self.spec.fs_type().map_or_else(|| "this volume".to_owned(), |fs| fs.to_string());
        let uuid = self.fs_uuid.map_or_else(String::new, |uuid| format!(" {uuid}"));
        (
            format!("{place} holds {probe}; what may be lost is {fs}{uuid}"),
            "bring the right disk back; one that csictl has never used is not wiped by an approval: if its data may go, zero it by hand (blkdiscard --zeroout)",
        )
    }

    /// What it counts for in its pool: its size, or that to which it may have grown already.
    pub fn nominal(&self) -> Option<Capacity> {
        self.least().max(self.growing)
    }

    /// What its image has at least: one that is smaller was cut.
    pub fn least(&self) -> Option<Capacity> {
        self.spec.required().max(self.grown)
    }

    /// Whether all that it is made of was there when this was written. An image gets its name as the last step, and a power cut may take
    /// the word of that from the record: where this says no, it may be there all the same.
    pub fn is_in_place(&self) -> bool {
        self.image.is_some() || self.spec.backing.as_image().is_none()
    }

    /// Whether its image never got its name, as far as this says, and is not being removed either.
    pub fn is_unmade(&self) -> bool {
        let image = self.spec.backing.as_image().is_some() && self.image.is_none() && self.removing.is_none();
        image && !self.rebuilt && self.format != FormatMark::Done
    }

    /// Whether a step that loses data is refused whatever is approved.
    ///
    /// A rebuilt record is only as good as the image's word. A manifest's waits for its manifest to confirm it; over gRPC there is nothing
    /// to confirm it with, and DeleteVolume names the very id that the image bears.
    pub fn protected(&self) -> bool {
        self.spec.prevent_destroy || (self.rebuilt && self.spec.owner != Owner::Csi)
    }
}

/// The durable record of a snapshot, `STATE/snapshots/ID.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its id.
    pub id: SnapshotId,
    /// Whose it is.
    pub owner: Owner,
    /// The name it was asked for.
    pub name: String,
    /// The volume it was taken of.
    pub volume: VolumeId,
    /// The file that holds its bytes.
    pub path: PathBuf,
    /// Its nominal size.
    pub size: Capacity,
    /// The file system inside it.
    pub fs_type: Option<FsType>,
    /// The UUID of that file system, which a volume made from it must not keep.
    pub fs_uuid: Option<FsUuid>,
    /// The sector size its file system was made for.
    pub sector_size: super::backing::SectorSize,
    /// Whether the bytes are all there and durable.
    pub ready: bool,
    /// When it was taken (RFC 3339).
    pub created_at: String,
    /// The group it was taken with, which is deleted as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// The file as it was when it was taken: tells the pool it lies in from whatever else lies at the same path. `None` in old records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileId>,
}

/// How far a group of snapshots is on its way. There is no state for one that is still being copied: what has no record is disposable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupState {
    /// All copies are durable under their temporary names; they are being given their own names and records.
    Placing,
    /// Every member has its name and its record.
    Ready,
    /// It is being deleted; some members may be gone.
    Deleting,
}

/// The durable record of a group of snapshots, `STATE/groups/ID.json`. Written once all copies of all volumes are durable, it is what
/// makes the group exist; it carries its members' records whole, so that any later run can finish or undo what a killed one began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its id.
    pub id: GroupId,
    /// Whose it is.
    pub owner: Owner,
    /// The name it was asked for.
    pub name: String,
    /// How far it is.
    pub state: GroupState,
    /// Its snapshots, in order of their volumes' ids.
    pub members: Vec<SnapshotRecord>,
    /// The moment of all its snapshots (RFC 3339).
    pub created_at: String,
}

/// The limits of a project's pools as its last apply had them, `STATE/limits/PROJECT.json`: what is done to one of its volumes by name, without
/// its manifest, is held to them too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsRecord {
    /// The project.
    pub project: Name,
    /// Limits by the pools' directories; pools without one are left out.
    pub limits: BTreeMap<PathBuf, Capacity>,
}

/// What holds only until the next boot, `RUN/volumes/ID.json`; void under another boot id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The volume.
    pub id: VolumeId,
    /// The boot it belongs to.
    pub boot_id: String,
    /// Inode of the mount namespace that staged; from another one that lives nothing is mutated.
    pub mount_namespace: u64,
    /// The kernel's own number for it, where it has one (see [`MountNamespace`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount_namespace_id: Option<u64>,
    /// Where it is staged, once staging began.
    pub staging_path: Option<PathBuf>,
    /// The mount options it was staged with, as asked.
    pub stage_options: Vec<String>,
    /// The capability it was staged with, where an orchestrator staged it.
    #[serde(default)]
    pub stage_capability: Option<Capability>,
    /// Whether stage attached its loop device because nobody had; then unstage takes it away.
    #[serde(default)]
    pub stage_attached: bool,
    /// Whether what is staged has still to grow to its device, since its file system grows only once it is mounted. Until that is done it is not
    /// as it should be, however it looks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub grows: bool,
    /// N of `/dev/loopN`, a hint that is checked.
    pub loop_index: Option<u32>,
    /// The existing block device that is staged, or whose node is published: its path may lead elsewhere later.
    #[serde(default)]
    pub device: Option<BlockId>,
    /// The directory that is staged: it may be gone later.
    #[serde(default)]
    pub directory: Option<FileId>,
    /// Publishes as asked, by target.
    pub publishes: BTreeMap<PathBuf, PublishSpec>,
    /// What was made for them, as it was made: another directory or file in its place is somebody else's. Numbers of devices hold for a
    /// boot, and so does this; of what was made before it only the path is known.
    #[serde(default)]
    pub made: BTreeMap<PathBuf, FileId>,
}

impl RunRecord {
    /// The mount namespace that staged.
    pub fn namespace(&self) -> MountNamespace {
        MountNamespace { inode: self.mount_namespace, id: self.mount_namespace_id }
    }

    /// Whether a mount of the volume's may be at this path: where it is staged or published.
    pub fn names(&self, path: &Path) -> bool {
        self.staging_path.as_deref() == Some(path) || self.publishes.contains_key(path)
    }
}

/// Who an image says it is: the JSON in its `trusted.csictl` attribute. Enough to adopt it when its record is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageIdentity {
    /// The id of the volume or snapshot.
    pub id: String,
    /// Whose it is.
    pub owner: Owner,
    /// Whether it is a snapshot.
    pub snapshot: bool,
    /// Its file system, where csictl made or copied one.
    pub fs_type: Option<FsType>,
    /// That file system's UUID.
    pub fs_uuid: Option<FsUuid>,
    /// The sector size it was made for.
    pub sector_size: super::backing::SectorSize,
    /// Whether its manifest forbids destroying it.
    pub protected: bool,
    /// Whether it lives from its one publish to its unpublish.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ephemeral: bool,
    /// The group that a snapshot was taken with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<GroupId>,
    /// Whether the deletion of that group was asked for, and begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
}

/// A record as found on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Recorded<T> {
    /// There is none.
    #[default]
    Absent,
    /// A whole one.
    Present(T),
    /// Bytes that are no record: to be set aside and rebuilt.
    Corrupt {
        /// What is wrong with them.
        cause: String,
    },
    /// A record of a csictl that is newer than this one: not to be touched.
    Newer {
        /// Its version.
        version: u32,
    },
    /// It could not be read (no permission, say).
    Unknown {
        /// Why.
        cause: String,
    },
}

impl<T> Recorded<T> {
    /// The record, where there is a whole one.
    pub const fn present(&self) -> Option<&T> {
        match self {
            Self::Present(record) => Some(record),
            _ => None,
        }
    }
}
