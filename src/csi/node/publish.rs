//! NodePublishVolume and NodeUnpublishVolume (CSI 1.12): shown at a pod's path; inline ephemeral volumes live from one to the other.

use std::path::PathBuf;

use tonic::Status;

use super::{ask, ephemeral};
use crate::csi::plugin::Plugin;
use crate::csi::proto::{
    NodePublishVolumeRequest, NodePublishVolumeResponse, NodeUnpublishVolumeRequest, NodeUnpublishVolumeResponse,
};
use crate::driver::Driver;
use crate::exec::lanes::Lane;
use crate::model::action::UnpublishRequest;
use crate::model::record::Recorded;
use crate::model::{Propagation, PublishKind, PublishSpec, VolumeId, VolumeMode};

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
        let work = move |plugin: &Plugin| ephemeral::publish(plugin, wanted, publish);
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
        publish.staging_path = Some(staging_path.ok_or_else(|| {
            Status::failed_precondition("staging_target_path is missing: stage it first (NodeStageVolume)")
        })?);
        plugin.driver().publish(&publish).map_err(ask::failed)
    };
    plugin.run(&[id.as_str()], Lane::Kernel, work).await?;
    Ok(NodePublishVolumeResponse {})
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

fn unpublish(plugin: &Plugin, id: VolumeId, target: PathBuf) -> Result<(), Status> {
    let driver = plugin.driver();
    let record = driver.record(&id);
    let facts = driver.host().stat(&target).ok().flatten();
    // What is there now decides how it is removed; only a directory is not unlinked.
    let directory = facts.is_none_or(|facts| facts.kind == crate::host::FileKind::Directory);
    let kind = if directory { PublishKind::Mount } else { PublishKind::Device };
    let request =
        UnpublishRequest { id, pod: None, target, trusted_root: PathBuf::from("/"), kind, remove_target: true };
    driver.unpublish(&request).map_err(ask::failed)?;
    ephemeral::end_if_unpublished(plugin, record.present())
}
