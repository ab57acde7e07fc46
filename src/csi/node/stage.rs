//! NodeStageVolume and NodeUnstageVolume (CSI 1.12): mounted once on this node.

use tonic::Status;

use super::ask;
use crate::csi::plugin::Plugin;
use crate::csi::proto::{
    NodeStageVolumeRequest, NodeStageVolumeResponse, NodeUnstageVolumeRequest, NodeUnstageVolumeResponse,
};
use crate::driver::Driver;
use crate::exec::lanes::Lane;
use crate::model::action::{StageRequest, UnstageRequest};
use crate::model::record::{Recorded, VolumeRecord};

pub(super) async fn node_stage_volume(
    plugin: &Plugin,
    request: NodeStageVolumeRequest,
) -> Result<NodeStageVolumeResponse, Status> {
    let id = ask::volume_id(&request.volume_id)?;
    let staging_path = ask::place(plugin, "staging_target_path", &request.staging_target_path)?.to_owned();
    let capability = ask::capability(request.volume_capability.as_ref())?;
    ask::maps(&[
        ("publish_context", &request.publish_context),
        ("secrets", &request.secrets),
        ("volume_context", &request.volume_context),
    ])?;
    let id = id.ok_or_else(|| ask::unknown(&request.volume_id))?;
    let stage = StageRequest { id: id.clone(), staging_path, mount_options: Vec::new(), capability: Some(capability) };
    let work = move |plugin: &Plugin| {
        let record = plugin.driver().record(&stage.id);
        // Whether it is there is told before what is wrong with the call.
        if record != Recorded::Absent {
            ask::for_mounts(plugin, "staging_target_path", &stage.staging_path)?;
            ask::not_below_a_file(plugin, "staging_target_path", &stage.staging_path)?;
            published_here(plugin, &record)?;
        }
        // Held until it is recorded as staged. One that has its place needs no other.
        let most = plugin.config().max_volumes_per_node;
        let _place = most.map(|most| plugin.take_place(&stage.id, most as usize)).transpose()?;
        plugin.driver().stage(&stage).map_err(ask::failed)
    };
    plugin.run(&[id.as_str()], Lane::Kernel, work).await?;
    Ok(NodeStageVolumeResponse {})
}

/// Refuses a volume that ControllerPublishVolume gave to another node.
fn published_here(plugin: &Plugin, record: &Recorded<VolumeRecord>) -> Result<(), Status> {
    let record = record.present();
    let Some((record, is)) = record.and_then(|record| Some((record, record.attachment.as_ref()?))) else {
        return Ok(());
    };
    let (node, ours) = (&is.node, &plugin.config().node_id);
    if node == ours {
        return Ok(());
    }
    Err(Status::failed_precondition(format!(
        "volume {} is published to node '{node}', and this is node '{ours}': take it away from there first (ControllerUnpublishVolume)",
        record.spec.id
    )))
}

pub(super) async fn node_unstage_volume(
    plugin: &Plugin,
    request: NodeUnstageVolumeRequest,
) -> Result<NodeUnstageVolumeResponse, Status> {
    let id = ask::volume_id(&request.volume_id)?;
    let staging_path = ask::place(plugin, "staging_target_path", &request.staging_target_path)?.to_owned();
    let Some(id) = id else { return Ok(NodeUnstageVolumeResponse {}) };
    let unstage = UnstageRequest { id: id.clone(), staging_path, by_orchestrator: true };
    plugin
        .run(&[id.as_str()], Lane::Kernel, move |plugin| plugin.driver().unstage(&unstage).map_err(ask::failed))
        .await?;
    Ok(NodeUnstageVolumeResponse {})
}
