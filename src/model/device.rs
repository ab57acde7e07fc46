//! How the kernel names what it holds: device numbers, files by device and inode, loop devices by what is behind them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A block (or anonymous) device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockId {
    /// Major number; 7 for loop devices.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

/// Which disk, or part of one, a block device is, so that it is known again under whatever path: paths are links that turn, and numbers
/// are given away anew at every boot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DiskId {
    /// Its size in bytes.
    pub size: u64,
    /// Where it begins on its disk, in bytes; 0 for a whole one.
    pub start: u64,
    /// Its disk's World Wide Name, where it tells.
    pub wwn: Option<String>,
    /// Its disk's serial number, where it tells.
    pub serial: Option<String>,
    /// The boot in which it was seen, and the number the kernel gave its disk in that boot; no other gets it again (`diskseq` in sysfs).
    pub sequence: Option<(String, u64)>,
}

impl DiskId {
    /// Whether it is known to be another disk than `other`, by what they say of themselves, or, where they say nothing, by their size, their place
    /// and the kernel's numbers of one boot. One that has grown is still itself.
    pub fn is_another(&self, other: &Self) -> bool {
        if self.is(other) {
            return false;
        }
        let same_boot = matches!((&self.sequence, &other.sequence), (Some(one), Some(two)) if one.0 == two.0);
        if self.start == other.start && same_boot && self.sequence == other.sequence {
            return false;
        }
        let told = [(&self.wwn, &other.wwn), (&self.serial, &other.serial)];
        let mut both = told.iter().filter_map(|(one, two)| Some(one.as_ref()? == two.as_ref()?)).peekable();
        if both.peek().is_some() {
            return self.start != other.start || !both.all(|same| same);
        }
        (self.size, self.start) != (other.size, other.start) || same_boot
    }

    /// Whether both are known to be one disk. What cannot be told apart by anything the disk says of itself is not.
    pub fn is(&self, other: &Self) -> bool {
        if (self.size, self.start) != (other.size, other.start) {
            return false;
        }
        if self.sequence.is_some() && self.sequence == other.sequence {
            return true;
        }
        let told = [(&self.wwn, &other.wwn), (&self.serial, &other.serial)];
        let mut both = told.iter().filter_map(|(one, two)| Some(one.as_ref()? == two.as_ref()?)).peekable();
        both.peek().is_some() && both.all(|same| same)
    }
}

/// A file as the kernel knows it: the device its file system is on, and its inode. Paths lie, these do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// Device of the file system.
    pub device: BlockId,
    /// Inode number.
    pub inode: u64,
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} inode {}", self.device, self.inode)
    }
}

/// The major number of loop devices.
pub const LOOP_MAJOR: u32 = 7;

/// An attached loop device, from LOOP_GET_STATUS64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopDevice {
    /// N of `/dev/loopN`.
    pub index: u32,
    /// The device number of `/dev/loopN`.
    pub block: BlockId,
    /// The backing file.
    pub backing: FileId,
    /// Where in the backing file it begins, in bytes.
    pub offset: u64,
    /// How much of the backing file it shows at most, in bytes; 0 is all of it.
    #[serde(default)]
    pub size_limit: u64,
    /// Its size in bytes as the block layer has it.
    pub size: u64,
    /// Whether writes are refused.
    pub read_only: bool,
    /// Whether the kernel detaches it on last close.
    pub autoclear: bool,
    /// Whether direct I/O is in force.
    pub direct_io: bool,
    /// Logical sector size, in bytes.
    pub sector_size: u32,
}

impl LoopDevice {
    /// The device node, `/dev/loopN`.
    pub fn node(&self) -> PathBuf {
        PathBuf::from(format!("/dev/loop{}", self.index))
    }

    /// Whether it shows its backing file from the beginning to the end. One that shows a part of an image is never csictl's own.
    pub const fn shows_all(&self) -> bool {
        self.offset == 0 && self.size_limit == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_told_from_another_by_what_it_says_or_else_by_size_and_number() {
        let disk = |size, serial: Option<&str>, boot: &str, number| DiskId {
            size,
            start: 0,
            wwn: None,
            serial: serial.map(str::to_owned),
            sequence: Some((boot.to_owned(), number)),
        };
        let was = disk(10, Some("a"), "boot", 1);
        let silent = disk(10, None, "boot", 1);
        for (one, two, same, another) in [
            (&was, disk(10, Some("a"), "later", 7), true, false),
            (&was, disk(20, Some("a"), "later", 7), false, false),
            (&was, disk(20, Some("a"), "boot", 1), false, false),
            (&was, disk(10, Some("b"), "later", 7), false, true),
            (&was, disk(10, Some("b"), "boot", 2), false, true),
            (&silent, disk(10, None, "boot", 1), true, false),
            (&silent, disk(10, None, "boot", 2), false, true),
            (&silent, disk(10, None, "later", 1), false, false),
            (&silent, disk(20, None, "later", 1), false, true),
            (&silent, disk(20, None, "boot", 1), false, false),
        ] {
            assert_eq!((one.is(&two), one.is_another(&two)), (same, another), "{one:?} and {two:?}");
        }
    }
}
