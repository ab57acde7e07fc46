//! Inline ephemeral volumes (Kubernetes, CSI inline volumes): made, staged and shown by NodePublishVolume, taken down and deleted by
//! NodeUnpublishVolume, with the verbs of any other volume. The mark in the record tells the unpublish, after a restart or a reboot too,
//! that the data goes; the unpublish is its own approval of that loss. A killed publish is finished by the next one, a killed
//! unpublish likewise.

use std::collections::HashMap;
use std::path::PathBuf;

use tonic::Status;

use super::{ask, publish};
use crate::csi::capability::Capability;
use crate::csi::parameters::{Parameters, kept, shown};
use crate::csi::plugin::Plugin;
use crate::csi::provision::{self, Wish};
use crate::csi::size_range::Range;
use crate::driver::Driver;
use crate::model::action::{CreateRequest, DeleteRequest, StageRequest, UnstageRequest};
use crate::model::record::{Recorded, VolumeRecord};
use crate::model::{Approval, Asked, Capacity, Loss, ObjectRef, PublishSpec, VolumeId, VolumeMode, VolumeSpec};

/// Says in a volume context that the volume lives with its pod.
const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";
/// The size, an attribute of the pod's volume: `16MiB`, `16Mi` or bytes.
const SIZE: &str = "size";

/// Whether a publish is of an inline ephemeral volume.
pub(super) fn is_asked(context: &HashMap<String, String>) -> Result<bool, Status> {
    match context.get(EPHEMERAL).map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(Status::invalid_argument(format!(
            "volume_context {EPHEMERAL} is '{}': use true or false",
            shown(other)
        ))),
    }
}

/// What is to be made, checked.
pub(super) struct Wanted {
    spec: VolumeSpec,
    asked: Asked,
    capability: Capability,
}

impl Wanted {
    /// Reads it from a publish. Every attribute but the size is a parameter as CreateVolume has them.
    pub(super) fn read(
        plugin: &Plugin,
        id: &VolumeId,
        capability: &Capability,
        context: &HashMap<String, String>,
    ) -> Result<Self, Status> {
        if capability.volume_mode == VolumeMode::Block {
            return Err(Status::invalid_argument("an inline ephemeral volume is mounted: it can't be raw block"));
        }
        let mut attributes = context.clone();
        let size = attributes.remove(SIZE).map(|text| size(&text)).transpose()?;
        let parameters = Parameters::read(&attributes, &HashMap::new())?;
        let capabilities = vec![capability.clone()];
        let wish = Wish {
            id: id.clone(),
            name: id.as_str(),
            capabilities: &capabilities,
            parameters: &parameters,
            range: Range { required: size.map_or(0, Capacity::get), limit: None },
            origin: None,
        };
        let spec = provision::spec(&plugin.storage(), &wish)?;
        let asked = Asked { fs_type: parameters.fs_type, parameters: kept(context), capabilities, ..Asked::default() };
        Ok(Self { spec: VolumeSpec { ephemeral: true, ..spec }, asked, capability: capability.clone() })
    }
}

/// `16MiB`, bytes, or `16Mi` as Kubernetes writes quantities.
fn size(text: &str) -> Result<Capacity, Status> {
    let binary = text.strip_suffix('i').map(|_| format!("{text}B"));
    binary.as_deref().unwrap_or(text).parse().map_err(|why| {
        Status::invalid_argument(format!("volume attribute size '{}': {why}; write 16Mi, 16MiB or bytes", shown(text)))
    })
}

/// Makes it, stages it in csictl's own directory and shows it. What a failure leaves is taken down again, unless it was there before.
pub(super) fn publish(plugin: &Plugin, wanted: Wanted, mut publish: PublishSpec) -> Result<(), Status> {
    let id = publish.volume.clone();
    let known = match plugin.driver().record(&id) {
        Recorded::Absent => false,
        Recorded::Present(record) if record.spec.ephemeral => true,
        _ => return Err(Status::already_exists(format!("volume {id} is there already and is no ephemeral one"))),
    };
    let staging_path = plugin.driver().layout().staging_path(&id);
    publish.staging_path = Some(staging_path.clone());
    let made = make(plugin, wanted, staging_path, &publish);
    if made.is_err() && !known {
        // The failure that led here is the one that tells; what could not be taken down goes with the unpublish that follows.
        let _ = end(plugin, &id);
    }
    made
}

fn make(plugin: &Plugin, wanted: Wanted, staging_path: PathBuf, publish: &PublishSpec) -> Result<(), Status> {
    let (driver, id) = (plugin.driver(), &publish.volume);
    let reservation = match plugin.driver().record(id) {
        Recorded::Absent => plugin.ledger().reserve_volume(plugin, &wanted.spec)?,
        _ => None,
    };
    let create = CreateRequest { spec: wanted.spec, replaces: false, approval: None, asked: Some(wanted.asked) };
    driver.create(&create).map_err(ask::failed)?;
    drop(reservation);
    let stage =
        StageRequest { id: id.clone(), staging_path, mount_options: Vec::new(), capability: Some(wanted.capability) };
    driver.stage(&stage).map_err(ask::failed)?;
    publish::shown(plugin, publish)
}

/// Deletes an ephemeral volume that no target shows any more; leaves any other volume alone.
pub(super) fn end_if_unpublished(plugin: &Plugin, record: Option<&VolumeRecord>) -> Result<(), Status> {
    let Some(record) = record.filter(|record| record.spec.ephemeral) else { return Ok(()) };
    let id = &record.spec.id;
    let run = plugin.driver().run_record(id).map_err(ask::failed)?;
    if run.is_some_and(|run| !run.publishes.is_empty()) {
        return Ok(());
    }
    end(plugin, id)
}

/// Takes it down and deletes it. The image's own word decides: an unpublish is the approval of a loss only where the volume was made to be
/// lost with it, and a record that says so may have been edited or brought.
fn end(plugin: &Plugin, id: &VolumeId) -> Result<(), Status> {
    let driver = plugin.driver();
    if let Some(kept) = driver.kept_from_unpublish(id).map_err(ask::failed)? {
        tracing::warn!(volume_id = %id, "{} does not say that its volume is ephemeral: it is kept", kept.display());
        return Ok(());
    }
    let staging_path = driver.layout().staging_path(id);
    let unstage = UnstageRequest { id: id.clone(), staging_path, by_orchestrator: true };
    driver.unstage(&unstage).map_err(ask::failed)?;
    let approval = Some(Approval { object: ObjectRef::Volume(id.clone()), loss: Loss::Delete });
    driver.delete(&DeleteRequest { id: id.clone(), approval }).map(drop).map_err(ask::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_pods_write_them() {
        for (text, bytes) in [("16Mi", 16 << 20), ("16MiB", 16 << 20), ("16777216", 16 << 20), ("1Gi", 1 << 30)] {
            assert_eq!(size(text).unwrap(), Capacity::bytes(bytes), "{text}");
        }
        for bad in ["", "16M", "-1", "many", "0", "i", "99999999Ei"] {
            assert_eq!(size(bad).unwrap_err().code(), tonic::Code::InvalidArgument, "{bad}");
        }
    }
}
