//! How an orchestrator may use a volume: whether the capability it names fits the volume, and whether what it asks for again is what it
//! has. A manifest's volume is used as its spec says; there is no capability then.

use std::collections::BTreeSet;
use std::path::Path;

use crate::driver::{Refusal, Result};
use crate::model::record::{RunRecord, VolumeRecord};
use crate::model::{AccessMode, Capability, Owner, VolumeMode};

use super::own::Own;
use super::session::Session;

/// How many may use it: what an orchestrator asks for is its own volume's to grant; a manifest's volume grants no more than its spec.
pub(super) fn access_mode(record: &VolumeRecord, capability: Option<&Capability>) -> AccessMode {
    let granted = record.spec.access_mode;
    match capability {
        None => granted,
        Some(asked) if record.spec.owner == Owner::Csi || granted.allows_many() => asked.access_mode,
        Some(asked) if asked.access_mode.read_only() => asked.access_mode,
        Some(_) => granted,
    }
}

/// Whether nobody may write to it: its access mode says so, or ControllerPublishVolume did.
pub(super) fn read_only(record: &VolumeRecord, capability: Option<&Capability>) -> bool {
    access_mode(record, capability).read_only()
        || record.attachment.as_ref().is_some_and(|attachment| attachment.read_only)
}

/// Refuses a use that the volume is not made for.
pub(super) fn fits(s: &Session<'_>, record: &VolumeRecord, capability: Option<&Capability>) -> Result<()> {
    let Some(asked) = capability else { return Ok(()) };
    let spec = &record.spec;
    let no = |message: String, help: &str| Err(s.refuse(Refusal::Incompatible, message, help));
    if asked.volume_mode != spec.volume_mode {
        let words = |mode| if mode == VolumeMode::Block { "a raw block device" } else { "a mounted file system" };
        let message = format!("it is {}, asked is {}", words(spec.volume_mode), words(asked.volume_mode));
        return no(message, "ask for the access type it was created with");
    }
    if let Some(fs_type) = asked.fs_type
        && spec.fs_type() != Some(fs_type)
    {
        let is = spec.fs_type().map_or_else(|| format!("a {}", spec.backing.kind()), |fs| fs.to_string());
        return no(
            format!("it is {is}, asked is {fs_type}"),
            "ask for the file system it was created with, or for none",
        );
    }
    if spec.access_mode.read_only() && !asked.access_mode.read_only() {
        let message = format!("it allows {} only, asked is {}", spec.access_mode, asked.access_mode);
        return no(message, "ask for the access mode it was created with");
    }
    Ok(())
}

/// Whether two capabilities ask the same of this volume.
pub(super) fn same(record: &VolumeRecord, one: &Capability, other: &Capability) -> bool {
    let fs = |capability: &Capability| capability.fs_type.or(record.spec.fs_type());
    let flags = |capability: &Capability| capability.mount_flags.iter().cloned().collect::<BTreeSet<_>>();
    one.volume_mode == other.volume_mode
        && fs(one) == fs(other)
        && flags(one) == flags(other)
        && one.group == other.group
        && one.access_mode == other.access_mode
}

/// Refuses to stage for an orchestrator what is staged elsewhere, by a manifest, or with another capability (CSI 1.12, NodeStageVolume:
/// ALREADY_EXISTS). Answers whether it is staged there already.
pub(super) fn staged_already(
    s: &Session<'_>,
    own: &Own,
    record: &VolumeRecord,
    run: &RunRecord,
    (path, capability): (&Path, &Capability),
) -> Result<bool> {
    let Some(at) = &run.staging_path else { return Ok(false) };
    // A raw block volume has no mount that tells; its record of this boot does.
    if !record.spec.is_raw() && own.stack(s, at)?.ours.is_empty() {
        return Ok(false);
    }
    let with = run.stage_options.join(", ");
    let what = match &run.stage_capability {
        None => format!("its manifest has it staged at {}", at.display()),
        Some(_) if at != path => format!("it is staged already at {}, with mount options [{with}]", at.display()),
        Some(is) if !same(record, is, capability) => {
            format!("it is staged at {} with another capability (mount options [{with}])", at.display())
        }
        Some(_) => return Ok(true),
    };
    Err(s.refuse(Refusal::Exists, what, "unstage it there first, or ask for what is there"))
}
