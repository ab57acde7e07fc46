//! How far a volume has come, in the words of `status`: read from the kernel and the record, never stored.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::Probe;
use crate::model::observed::{ObservedBacking, ObservedVolume};
use crate::model::record::{FormatMark, Recorded, VolumeRecord};

/// The phases, in the order of a volume's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing is behind it: it has no record, or one of a making that never came to an image.
    Absent,
    /// It has a record and its backing.
    Created,
    /// A loop device shows it.
    Attached,
    /// Mounted at its staging path.
    Staged,
    /// At least one pod sees it.
    Published,
    /// Left its manifest, data kept.
    Released,
    /// Its record is unreadable for this csictl, or what it describes is gone or another.
    Failed,
    /// Nobody could look (no privilege).
    Unknown,
}

impl Phase {
    /// The phase of a volume as seen.
    pub fn of(seen: &ObservedVolume) -> Self {
        match &seen.record {
            Recorded::Unknown { .. } => return Self::Unknown,
            Recorded::Corrupt { .. } | Recorded::Newer { .. } => return Self::Failed,
            Recorded::Present(record) if is_lost(record, seen) => return Self::Failed,
            _ => {}
        }
        if !seen.published.is_empty() {
            Self::Published
        } else if seen.staged.is_some() {
            Self::Staged
        } else if seen.loop_device.is_some() {
            Self::Attached
        } else {
            match seen.record.present() {
                Some(record) if record.released => Self::Released,
                Some(record) if is_begun_only(record, seen) => Self::Absent,
                Some(_) => Self::Created,
                None if !seen.unknown.is_empty() => Self::Unknown,
                None => Self::Absent,
            }
        }
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Created => "created",
            Self::Attached => "attached",
            Self::Staged => "staged",
            Self::Published => "published",
            Self::Released => "released",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether its image was never made: a creation that failed leaves its record, so that the next apply takes it up.
fn is_begun_only(record: &VolumeRecord, seen: &ObservedVolume) -> bool {
    record.format == FormatMark::Begun
        && record.spec.backing.as_image().is_some()
        && record.image.is_none()
        && seen.backing == ObservedBacking::Missing
        && seen.unknown.is_empty()
}

/// Whether bytes that the record vouches for are not where they should be.
fn is_lost(record: &VolumeRecord, seen: &ObservedVolume) -> bool {
    let blank = seen.probe.as_ref().is_some_and(Probe::is_blank) && record.format == FormatMark::Done;
    let missing =
        seen.backing == ObservedBacking::Missing && (record.image.is_some() || record.format == FormatMark::Done);
    blank || missing && seen.unknown.is_empty() || matches!(seen.backing, ObservedBacking::Wrong(_))
}
