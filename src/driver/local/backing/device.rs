//! An existing block device: proven to be the one meant, formatted at stage, and erased only for an approved replacement.

use crate::driver::local::guard;
use crate::driver::local::own;
use crate::driver::local::session::Session;
use crate::driver::{Refusal, Result};
use crate::model::observed::ObservedDevice;
use crate::model::record::{FormatMark, VolumeRecord};
use crate::model::{DeviceBacking, Probe};

/// Adopts the file system on a device whose record was lost: it must be exactly the one asked for. The device then counts as formatted.
pub fn adopt(s: &Session<'_>, backing: &DeviceBacking, record: &mut VolumeRecord) {
    let Some(fs) = record.spec.fs_type() else { return };
    if let Probe::Known(found) = s.host().probe(&backing.path)
        && found.kind == fs.as_str()
    {
        record.fs_uuid = found.uuid.and_then(|uuid| uuid.parse().ok());
        record.format = FormatMark::Done;
        // Whose it is, is not known any more.
        record.adopted = true;
    }
}

/// Refuses a device that a new volume could not be staged on: another than expected, in use, or holding what is neither blank nor
/// asked for. `record` is that of a volume of which nothing is made yet.
pub fn ready(s: &Session<'_>, backing: &DeviceBacking, record: &VolumeRecord) -> Result<()> {
    let device = idle(s, backing)?;
    let Some(fs) = &record.spec.fs else { return Ok(()) };
    let probe = s.host().probe(&backing.path);
    let place = backing.path.display().to_string();
    guard::formatting(s, record, fs, (&place, Some(&device.disk)), &probe).map(drop)
}

/// The device, proven to be the one expected, and used by nobody.
fn idle(s: &Session<'_>, backing: &DeviceBacking) -> Result<ObservedDevice> {
    let device = guard::device(s, backing)?;
    let mounts = s.host().mount_table().map_err(|error| s.fail(error))?;
    if let Some(mount) = mounts.iter().find(|mount| own::shows_block(s.host(), mount, device.block)) {
        return Err(s.refuse(
            Refusal::NotReady,
            format!("{} is mounted at {}", backing.path.display(), mount.target.display()),
            "unpublish and unstage it first",
        ));
    }
    guard::device_is_free(s, backing, &device)?;
    Ok(device)
}

/// Erases what is on the device, whose loss was approved, and proves it blank. `record` is that of the volume which was there.
pub fn erase(s: &Session<'_>, backing: &DeviceBacking, record: &VolumeRecord) -> Result<()> {
    let device = idle(s, backing)?;
    guard::is_its_disk(s, record, &backing.path.display().to_string(), &device.disk)?;
    s.host().erase_signatures(&backing.path, device.block).map_err(|error| s.fail(error))?;
    let probe = s.host().probe(&backing.path);
    if probe.is_blank() {
        return Ok(());
    }
    Err(s.refuse(
        Refusal::NotBlank,
        format!("{} holds {probe} after its signatures were erased", backing.path.display()),
        "look at it with blkid -p; nothing was formatted",
    ))
}
