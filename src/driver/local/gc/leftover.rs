//! What a crashed run can leave, in words, and what it takes to remove it.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::driver::{DriverError, Refusal, Result};
use crate::model::{Approval, FileId, GroupId, Layout, Loss, ObjectRef, SnapshotId, VolumeId};

use super::names::{growth_of, record_temporary_of, temporary_of};

/// Something that a crashed run left.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leftover {
    /// A volume frozen for a copy that was never ended: whoever writes to it hangs. The first, since nothing of it can be
    /// unmounted before.
    Frozen {
        /// Which.
        volume: VolumeId,
    },
    /// A group of snapshots that was not ended: its copies are all there, and it only has to get or lose its names and records.
    Group {
        /// Which.
        group: GroupId,
    },
    /// A temporary file in a pool.
    Temporary {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no file where csictl keeps one of its own. Nobody knows whose it is, so it is only shown.
    InTheWay {
        /// Where.
        path: PathBuf,
    },
    /// A loop device of an image of ours that no record owns.
    Loop {
        /// N of `/dev/loopN`.
        index: u32,
        /// Its image.
        image: PathBuf,
        /// The image's file.
        #[serde(skip)]
        file: FileId,
    },
    /// The image of a volume without a record: its data is lost with it, so it goes only by name.
    Image {
        /// Where.
        path: PathBuf,
        /// Whose, by its own word.
        volume: VolumeId,
        /// The file.
        #[serde(skip)]
        file: FileId,
    },
    /// A snapshot without a record, likewise.
    Snapshot {
        /// Where.
        path: PathBuf,
        /// Which, by its own word.
        snapshot: SnapshotId,
        /// The file.
        #[serde(skip)]
        file: FileId,
    },
    /// A mount below the run directory that no record owns.
    Mount {
        /// Where.
        target: PathBuf,
        /// What is mounted, in words.
        what: String,
    },
}

/// A volume without a record that is in use all the same: its image's own word, or where it is staged, says that it is csictl's. Nothing of
/// it is taken away: an apply of its manifest takes it over as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct InUse {
    /// Which, by its id.
    pub volume: String,
    /// Where it is mounted or bound.
    pub places: Vec<PathBuf>,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<_> = self.places.iter().map(|place| place.display().to_string()).collect();
        write!(f, "volume {} has no record and is in use at {}", self.volume, places.join(", "))
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen { volume } => write!(f, "frozen file system of volume {volume}"),
            Self::Group { group } => write!(f, "unfinished {}", ObjectRef::Group(group.clone())),
            Self::Temporary { path } => write!(f, "temporary file {}", path.display()),
            Self::InTheWay { path } => write!(f, "{}, which is no file", path.display()),
            Self::Loop { index, image, .. } => write!(f, "/dev/loop{index} on {}", image.display()),
            Self::Image { path, volume, .. } => write!(f, "image {} of volume {volume}", path.display()),
            Self::Snapshot { path, snapshot, .. } => write!(f, "snapshot {} ({snapshot})", path.display()),
            Self::Mount { target, what } => write!(f, "mount of {what} at {}", target.display()),
        }
    }
}

impl Leftover {
    /// Why it is one.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Frozen { .. } => {
                "its copy was never ended, or somebody froze it: writes to it wait until it is thawed"
            }
            Self::Group { .. } => "taking or deleting it was interrupted; what was begun is ended",
            Self::Temporary { path } if growth_of(path).is_some() => {
                "what a growth had left to do, of an image that is gone"
            }
            Self::Temporary { .. } => "an image or snapshot that was never finished",
            Self::InTheWay { .. } => "it is in the way of a file of csictl's own: remove it by hand",
            Self::Loop { .. } => "its image says it is csictl's, and no volume is recorded for it",
            Self::Image { .. } | Self::Snapshot { .. } => "it says it is csictl's, and nothing is recorded for it",
            Self::Mount { .. } => "it lies in csictl's run directory, and no volume is recorded for it",
        }
    }

    /// The approval that its removal takes: data is never removed without. `None` for what holds none.
    pub fn approval(&self) -> Option<Approval> {
        let object = match self {
            Self::Image { volume, .. } => ObjectRef::Volume(volume.clone()),
            Self::Snapshot { snapshot, .. } => ObjectRef::Snapshot(snapshot.clone()),
            _ => return None,
        };
        Some(Approval { object, loss: Loss::Delete })
    }

    /// The file that holds data, where it is one.
    pub fn data_at(&self) -> Option<&Path> {
        match self {
            Self::Image { path, .. } | Self::Snapshot { path, .. } => Some(path),
            _ => None,
        }
    }

    /// Whether it is only shown: what it is, and whose, nobody here can know.
    pub const fn is_only_shown(&self) -> bool {
        matches!(self, Self::InTheWay { .. })
    }

    /// How that approval is typed: by the whole id, since no record has a name for it.
    pub fn approve_flag(&self) -> Option<String> {
        match self {
            Self::Image { volume, .. } => Some(format!("--approve volume.{volume}=delete")),
            Self::Snapshot { snapshot, .. } => Some(format!("--approve snapshot.{snapshot}=delete")),
            _ => None,
        }
    }
}

/// Refuses to remove one of several files that one approval would be for: a backup copy that carries its attribute says the same.
///
/// # Errors
/// [`DriverError::Refused`], naming all of them.
pub fn unambiguous(leftover: &Leftover, found: &[Leftover]) -> Result<()> {
    let Some(needed) = leftover.approval() else { return Ok(()) };
    let same = found.iter().filter(|other| other.approval().as_ref() == Some(&needed));
    let paths: Vec<_> = same.filter_map(Leftover::data_at).map(|path| path.display().to_string()).collect();
    if paths.len() < 2 {
        return Ok(());
    }
    let message =
        format!("{} say all of themselves that they are it, and one approval is no choice", paths.join(" and "));
    let help = "move all but one of them out of the pools, or remove by hand what may go";
    Err(DriverError::refused(Refusal::WrongIdentity, needed.object, message, help))
}

/// What a leftover's errors are about: the volume its name speaks of.
pub(super) fn object_of(leftover: &Leftover) -> ObjectRef {
    let id = match leftover {
        Leftover::Group { group } => return ObjectRef::Group(group.clone()),
        Leftover::Snapshot { snapshot, .. } => return ObjectRef::Snapshot(snapshot.clone()),
        Leftover::Frozen { volume } | Leftover::Image { volume, .. } => Some(volume.clone()),
        Leftover::Temporary { path } => temporary_of(path).or_else(|| growth_of(path)),
        Leftover::InTheWay { path } => {
            temporary_of(path).or_else(|| growth_of(path)).or_else(|| record_temporary_of(path))
        }
        Leftover::Loop { image, .. } => image.file_stem().and_then(OsStr::to_str).and_then(|id| id.parse().ok()),
        Leftover::Mount { target, .. } => target.file_name().and_then(OsStr::to_str).and_then(|id| id.parse().ok()),
    };
    id.map_or_else(|| ObjectRef::Pool(Layout::default_pool_name()), ObjectRef::Volume)
}
