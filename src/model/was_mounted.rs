//! What a boot's record says was mounted for a volume, and whether a mount is that still: a device's path may lead to another device by now,
//! a directory be gone or moved, and what was mounted is the volume's all the same. Looking and taking down judge by this one rule.

use std::path::PathBuf;

use super::backing::Backing;
use super::device::{BlockId, FileId};
use super::mount::Mount;
use super::record::RunRecord;
use super::volume::VolumeSpec;

/// What was mounted, as recorded when it was.
#[derive(Debug, Clone, Default)]
pub struct WasMounted {
    /// The existing block device.
    pub device: Option<BlockId>,
    /// The path by which it was mounted.
    device_path: Option<PathBuf>,
    /// The directory.
    directory: Option<FileId>,
    /// Whether it is a directory at all, recorded or not.
    pub is_directory: bool,
}

impl WasMounted {
    /// What a boot's record tells of it.
    pub fn of(run: Option<&RunRecord>, spec: Option<&VolumeSpec>) -> Self {
        let device_path = match spec.map(|spec| &spec.backing) {
            Some(Backing::Device(device)) => Some(device.path.clone()),
            _ => None,
        };
        Self {
            device: run.and_then(|run| run.device),
            device_path,
            directory: run.and_then(|run| run.directory),
            is_directory: spec.is_some_and(|spec| matches!(spec.backing, Backing::Directory(_))),
        }
    }

    /// Whether a mount at a recorded place is what was mounted there. `is_of` answers whether it is of a block device, `shown` which file its
    /// root is; `stage` is the volume's stage, where another mount is meant.
    pub fn is(
        &self,
        mount: &Mount,
        is_of: impl FnOnce(BlockId) -> bool,
        shown: impl FnOnce() -> Option<FileId>,
        stage: Option<&Mount>,
    ) -> bool {
        // btrfs has a number of its own; asked in vain, it still tells the path.
        let by_path = || mount.fs_type == "btrfs" && Some(&mount.source) == self.device_path.as_ref();
        if self.device.is_some_and(|device| is_of(device) || by_path()) {
            return true;
        }
        // The file system of a directory is the host's, and anybody may have bound another part of it there.
        self.directory.is_some_and(|directory| {
            mount.device == directory.device
                && (mount.is_of_removed()
                    || stage.is_some_and(|stage| mount.root_as_it_was().starts_with(stage.root_as_it_was()))
                    || shown() == Some(directory))
        })
    }
}
