//! What a plan file remembers to know whether it is stale: one number over the steps and over everything they were made from. Looking again
//! gives the same number exactly as long as the plan would be the same and acts on the same files, devices and mounts.
//!
//! Not a signature: it guards against a changed machine, not against a forger, who could as well run csictl.

use std::fmt::{self, Write};

use crate::model::observed::{Observed, ObservedBacking};
use crate::model::{ObjectRef, VolumeId};

use super::Plan;

/// Offset basis and prime of the 128-bit FNV-1a hash.
const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// Hashes what is written to it, so that nothing has to be held as text.
struct Hasher(u128);

impl Write for Hasher {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u128::from(byte)).wrapping_mul(PRIME);
        }
        Ok(())
    }
}

/// The fingerprint of a plan made from `observed`: 32 hexadecimal digits. The same for the same values in one version of csictl.
pub fn fingerprint(plan: &Plan, observed: &Observed) -> String {
    let mut hasher = Hasher(BASIS);
    // Writing to a hasher can't fail.
    let _ = write_plan(&mut hasher, plan, observed);
    format!("{:032x}", hasher.0)
}

fn write_plan(out: &mut Hasher, plan: &Plan, observed: &Observed) -> fmt::Result {
    write!(out, "{};{};{};", env!("CARGO_PKG_VERSION"), plan.desired.project, observed.host.boot_id)?;
    for step in &plan.steps {
        write!(out, "{:?}{:?}{:?};", step.action, step.after, step.risk)?;
    }
    write!(out, "{:?}{:?}", plan.refused, plan.unknown)?;
    let mut acted: Vec<ObjectRef> = plan.steps.iter().map(super::Step::object).collect();
    acted.sort_unstable();
    acted.dedup();
    for object in &acted {
        match object {
            ObjectRef::Volume(id) => write_volume(out, id, observed)?,
            ObjectRef::Snapshot(id) => write!(out, "{:?};", observed.snapshots.get(id))?,
            ObjectRef::Group(_) | ObjectRef::Pod(_) | ObjectRef::Pool(_) => {}
        }
    }
    Ok(())
}

/// Identities, not measures: use and allocation change all the time and mean nothing.
fn write_volume(out: &mut Hasher, id: &VolumeId, observed: &Observed) -> fmt::Result {
    let Some(seen) = observed.volumes.get(id) else { return out.write_str("never seen;") };
    write!(out, "{id}{:?}{:?}", seen.record, seen.run)?;
    match &seen.backing {
        ObservedBacking::Image(image) => write!(out, "{:?}{:?}{:?}", image.file, image.size, image.identity)?,
        ObservedBacking::Directory { file, .. } => write!(out, "{file:?}")?,
        other => write!(out, "{other:?}")?,
    }
    let staged = seen.staged.as_ref().map(|staged| (&staged.mount.target, &staged.mount.options, staged.depth));
    write!(out, "{:?}{:?}{staged:?}", seen.loop_device, seen.probe)?;
    for publish in &seen.published {
        write!(out, "{:?}{:?}{}", publish.target, publish.mount.options, publish.depth)?;
    }
    out.write_str(";")
}
