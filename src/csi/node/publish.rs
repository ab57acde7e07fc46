//! NodePublishVolume and NodeUnpublishVolume (CSI 1.12): shown at a pod's path; inline ephemeral volumes live from one to the other.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use tonic::Status;

use super::{ask, ephemeral};
use crate::csi::plugin::Plugin;
use crate::csi::proto::{
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
};
use crate::driver::Driver;
use crate::exec::lanes::Lane;
use crate::host::Host;
use crate::model::action::UnpublishRequest;
use crate::model::device::LOOP_MAJOR;
use crate::model::record::Recorded;
use crate::model::{Done, Owner, Propagation, PublishKind, PublishSpec, VolumeId, VolumeMode};

pub(super) async fn node_publish_volume(
    plugin: &Plugin,
    request: NodePublishVolumeRequest,
) -> Result<NodePublishVolumeResponse, Status> {
    let id = ask::volume_id(&request.volume_id)?;
    let target = ask::place(plugin, "target_path", &request.target_path)?.to_owned();
    let capability = ask::capability(request.volume_capability.as_ref())?;
    ask::maps(&[
        ("publish_context", &request.publish_context),
        ("secrets", &request.secrets),
        ("volume_context", &request.volume_context),
    ])?;
    let id = id.ok_or_else(|| ask::unknown(&request.volume_id))?;
    let kind = match capability.volume_mode {
        VolumeMode::Block => PublishKind::Device,
        VolumeMode::Filesystem => PublishKind::Mount,
    };
    let mut publish = PublishSpec {
        pod: ask::pod(&request.volume_context),
        volume: id.clone(),
        target,
        trusted_root: PathBuf::from("/"),
        kind,
        sub_path: None,
        read_only: request.readonly,
        // As a plain bind has it where the orchestrator shares its mounts; a runtime that is asked for propagation needs that.
        propagation: Propagation::Bidirectional,
        capability: Some(capability),
        staging_path: None,
    };
    if ephemeral::is_asked(&request.volume_context)? {
        let asked = publish.capability.as_ref().ok_or_else(|| Status::internal("a publish without capability"))?;
        let wanted = ephemeral::Wanted::read(plugin, &id, asked, &request.volume_context)?;
        let work = move |plugin: &Plugin| {
            ask::for_mounts(plugin, "target_path", &publish.target)?;
            ask::not_below_a_file(plugin, "target_path", &publish.target)?;
            ephemeral::publish(plugin, wanted, publish)
        };
        plugin.run(&[id.as_str()], Lane::Mkfs, work).await?;
        return Ok(NodePublishVolumeResponse {});
    }
    let staging_path = match request.staging_target_path.as_str() {
        "" => None,
        text => Some(ask::place(plugin, "staging_target_path", text)?.to_owned()),
    };
    let work = move |plugin: &Plugin| {
        // Whether it is there is told before what the call should have said of it.
        if plugin.driver().record(&publish.volume) == Recorded::Absent {
            return Err(ask::unknown(publish.volume.as_str()));
        }
        ask::for_mounts(plugin, "target_path", &publish.target)?;
        publish.staging_path = Some(staging_path.ok_or_else(|| {
            Status::failed_precondition("staging_target_path is missing: stage it first (NodeStageVolume)")
        })?);
        ask::not_below_a_file(plugin, "target_path", &publish.target)?;
        shown(plugin, &publish)
    };
    plugin.run(&[id.as_str()], Lane::Kernel, work).await?;
    Ok(NodePublishVolumeResponse {})
}

/// Publishes, and warns of what nobody but csictl will see.
pub(super) fn shown(plugin: &Plugin, publish: &PublishSpec) -> Result<(), Status> {
    let outcome = plugin.driver().publish(publish).map_err(ask::failed)?;
    if outcome.done == Done::Changed {
        warn_of_private(plugin, publish);
    }
    Ok(())
}

/// A mount that only csictl's own mount namespace sees is none for the orchestrator, whatever the answer says.
fn warn_of_private(plugin: &Plugin, publish: &PublishSpec) {
    let parent = publish.target.parent().unwrap_or(&publish.target);
    if let Some(mount) = plugin.driver().host().seen_only_here(parent) {
        tracing::warn!(
            volume_id = %publish.volume,
            "{} is seen in csictl's own mount namespace only: {} is mounted there without shared propagation; give the container that \
             directory with mountPropagation: Bidirectional (Kubernetes), propagation = \"rshared\" (Nomad)",
            publish.target.display(),
            mount.target.display()
        );
    }
}

pub(super) async fn node_unpublish_volume(
    plugin: &Plugin,
    request: NodeUnpublishVolumeRequest,
) -> Result<NodeUnpublishVolumeResponse, Status> {
    let id = ask::volume_id(&request.volume_id)?;
    let target = ask::place(plugin, "target_path", &request.target_path)?.to_owned();
    let Some(id) = id else { return Ok(NodeUnpublishVolumeResponse {}) };
    let claimed = id.clone();
    let work = move |plugin: &Plugin| unpublish(plugin, id, target);
    plugin.run(&[claimed.as_str()], Lane::Kernel, work).await?;
    Ok(NodeUnpublishVolumeResponse {})
}

/// Whether what is mounted at a path is of an image that says it is this volume's: enough where records are lost.
fn shows_image_of(host: &dyn Host, id: &VolumeId, target: &Path) -> bool {
    let node = host.stat(target).ok().flatten().and_then(|facts| facts.device);
    let mounted = || host.mounts_at(target).ok()?.pop().filter(|mount| mount.device.major == LOOP_MAJOR);
    let Some(block) = node.or_else(|| mounted().map(|mount| mount.device)) else { return false };
    let backing = format!("/sys/dev/block/{block}/loop/backing_file");
    let Ok(Some(path)) = host.read_small(Path::new(&backing)) else { return false };
    let image = host.image(Path::new(OsStr::from_bytes(path.trim_ascii_end()))).ok().flatten();
    let says = image.and_then(|image| image.identity);
    says.is_some_and(|says| says.id == id.as_str() && says.owner == Owner::Csi && !says.snapshot)
}

fn unpublish(plugin: &Plugin, id: VolumeId, target: PathBuf) -> Result<(), Status> {
    let driver = plugin.driver();
    let mut record = driver.record(&id);
    // Whether one whose record is lost goes with its publish, its image says.
    if matches!(record, Recorded::Absent | Recorded::Corrupt { .. })
        && let Some(found) = driver.lost_ephemeral(&id).map_err(ask::failed)?
    {
        record = Recorded::Present(found);
    }
    let nothing_known = record == Recorded::Absent && driver.run_record(&id).map_err(ask::failed)?.is_none();
    if nothing_known && !shows_image_of(driver.host(), &id, &target) {
        // No volume of ours: whatever lies at that path is not ours to take away, be it a mount or a file.
        return Ok(());
    }
    let facts = driver.host().stat(&target).ok().flatten();
    // What is there now decides how it is removed; only a directory is not unlinked.
    let directory = facts.is_none_or(|facts| facts.kind == crate::host::FileKind::Directory);
    let kind = if directory { PublishKind::Mount } else { PublishKind::Device };
    let request = UnpublishRequest {
        id,
        pod: None,
        target,
        trusted_root: PathBuf::from("/"),
        kind,
        remove_target: true,
        comes_back: false,
    };
    let outcome = driver.unpublish(&request).map_err(ask::failed)?;
    for note in outcome.notes {
        tracing::info!(volume_id = %request.id, "{note}");
    }
    ephemeral::end_if_unpublished(plugin, record.present())
}
