//! Guards of existing block devices: the one that is meant, nobody else's, and no image of csictl's own.

use std::path::Path;

use crate::driver::local::session::Session;
use crate::driver::{Refusal, Result};
use crate::model::observed::ObservedDevice;
use crate::model::record::VolumeRecord;
use crate::model::{DeviceBacking, DiskId};

/// The device of a volume, proven to be the one expected.
pub(in crate::driver::local) fn device(s: &Session<'_>, backing: &DeviceBacking) -> Result<ObservedDevice> {
    let path = backing.path.display();
    let Some(device) = s.host().device(&backing.path).map_err(|error| s.fail(error))? else {
        return Err(s.refuse(
            Refusal::NotFound,
            format!("no block device is at {path}"),
            "plug it in, or correct device.path in the manifest",
        ));
    };
    if let Some((message, help)) = device.is_an_image(&backing.path) {
        return Err(s.refuse(Refusal::Foreign, message, help));
    }
    let wrong = |what: &str, is: String, expected: String| {
        Err(s.refuse(
            Refusal::WrongIdentity,
            format!("{path} has {what} {is}, expected is {expected}; nothing was written to it"),
            "make sure it is the right device, then correct device.expect in the manifest",
        ))
    };
    let expect = &backing.expect;
    if let Some(size) = expect.size
        && size.get().abs_diff(device.size.get()) > size.get() / 100
    {
        return wrong("size", device.size.to_string(), size.to_string());
    }
    let text = |value: Option<&String>| value.map_or_else(|| "none it tells".to_owned(), |v| format!("'{}'", v.trim()));
    for (what, expected, is) in [("serial number", &expect.serial, &device.serial), ("WWN", &expect.wwn, &device.wwn)] {
        if let Some(expected) = expected
            && is.as_deref().map(str::trim) != Some(expected.trim())
        {
            return wrong(what, text(is.as_ref()), format!("'{expected}'"));
        }
    }
    Ok(device)
}

/// Refuses a device that somebody else holds.
pub(in crate::driver::local) fn device_is_free(
    s: &Session<'_>,
    backing: &DeviceBacking,
    device: &ObservedDevice,
) -> Result<()> {
    if device.holders.is_empty() {
        return Ok(());
    }
    Err(s.refuse(
        Refusal::Busy,
        format!("{} is in use: {}", backing.path.display(), device.holders.join(", ")),
        "release it there first",
    ))
}

/// Refuses a raw device that somebody uses for himself alone, as a mount does: in another mount namespace nothing here shows it.
pub(in crate::driver::local) fn device_is_unclaimed(
    s: &Session<'_>,
    backing: &DeviceBacking,
    device: &ObservedDevice,
) -> Result<()> {
    if !s.host().is_claimed(&backing.path).map_err(|error| s.fail(error))? {
        return Ok(());
    }
    let holders = s.host().holders(device.block, None).unwrap_or_default();
    let who: Vec<String> = holders.iter().map(|holder| format!("{} (pid {})", holder.command, holder.pid)).collect();
    let who = if who.is_empty() { String::new() } else { format!(": {}", who.join(", ")) };
    Err(s.refuse(
        Refusal::Busy,
        format!(
            "somebody else uses {} for himself alone (a mount in another mount namespace?){who}",
            backing.path.display()
        ),
        "release it there first",
    ))
}

/// Refuses to give a raw volume another disk than it was on.
pub(in crate::driver::local) fn is_its_raw_disk(
    s: &Session<'_>,
    record: &VolumeRecord,
    backing: &DeviceBacking,
    device: &ObservedDevice,
) -> Result<()> {
    let Some((message, help)) = record.raw_elsewhere(&backing.path, &device.disk) else { return Ok(()) };
    Err(s.refuse(Refusal::WrongIdentity, message, help))
}

/// Refuses to erase a disk that is not known to be the volume's: its loss was approved, not that of whatever the path leads to now.
pub(in crate::driver::local) fn is_its_disk(
    s: &Session<'_>,
    record: &VolumeRecord,
    place: &str,
    disk: &DiskId,
) -> Result<()> {
    let probe = s.host().probe(Path::new(place));
    if record.is_on(disk, &probe) {
        return Ok(());
    }
    let (message, help) = record.stands_elsewhere(place, &probe);
    Err(s.refuse(Refusal::WrongIdentity, message, help))
}
