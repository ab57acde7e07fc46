//! Thawing a volume whose stage was frozen by a run that was killed with all it started, the child that holds the freeze too, and whose mount
//! namespace is gone. Nothing is mounted any more, but the frozen file system keeps its loop device: nobody could detach it, and
//! whoever mounted it again would wait for ever at the first write.

use crate::host::{Host, HostError};
use crate::model::{Done, Layout, VolumeId};
use crate::state::Reader;

/// Thaws the file system of a volume of which no mount is seen. The caller holds the volume's lock.
///
/// # Errors
/// The loop devices can't be looked at, or it can't be mounted for that.
pub(super) fn thaw_unseen(host: &dyn Host, layout: &Layout, id: &VolumeId) -> Result<Done, HostError> {
    let recorded = Reader::new(host, layout).volume(id);
    let Some(record) = recorded.present() else { return Ok(Done::Already) };
    // A device of the host's may be somebody else's by now; its next stage thaws it.
    let (Some(backing), Some(fs)) = (record.spec.backing.as_image(), record.spec.fs_type()) else {
        return Ok(Done::Already);
    };
    let path = backing.image_path(id);
    let Some(image) = host.stat(&path)?.filter(|image| record.image == Some(image.file)) else {
        return Ok(Done::Already);
    };
    match host.loop_of_image(&path, image.file, None)? {
        Some(device) => host.thaw_unmounted(&device.node(), fs),
        None => Ok(Done::Already),
    }
}
