//! The names of what is never finished under them: the temporary files of images, snapshots and records, and what a growth has left to do. And
//! the lock of whoever works on one.

use std::path::{Path, PathBuf};

use crate::model::{Layout, Owner, VolumeId};

/// The id inside a temporary's one known name, `.ID.img.part` or `.ID.snap.part`.
pub(super) fn temporary_of(path: &Path) -> Option<VolumeId> {
    let name = path.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".part")?;
    name.strip_suffix(".img").or_else(|| name.strip_suffix(".snap"))?.parse().ok()
}

/// The id inside the name of what a growth has left to do, `.ID.img.grow`.
pub(super) fn growth_of(path: &Path) -> Option<VolumeId> {
    path.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".img.grow")?.parse().ok()
}

/// The id inside the name of a record that was never finished, `.ID.json.tmp`.
pub(super) fn record_temporary_of(path: &Path) -> Option<VolumeId> {
    path.file_name()?.to_str()?.strip_prefix('.')?.strip_suffix(".json.tmp")?.parse().ok()
}

/// Whether an id is one that this owner gives: a project's begin with its name, those made over gRPC have none.
pub(super) fn is_of(owner: &Owner, id: &VolumeId) -> bool {
    match owner {
        Owner::Project(project) => id.as_str().starts_with(&format!("{project}.")),
        Owner::Csi => !id.as_str().contains('.'),
    }
}

/// The lock of a snapshot of which only the id's text is known.
pub(super) fn snapshot_lock(layout: &Layout, id: &VolumeId) -> PathBuf {
    layout.locks().join(format!("{id}@snapshot"))
}

/// The lock of whoever makes a temporary file.
pub(super) fn lock_of_temporary(layout: &Layout, path: &Path, id: &VolumeId) -> PathBuf {
    if path.to_string_lossy().ends_with(".snap.part") { snapshot_lock(layout, id) } else { layout.volume_lock(id) }
}
