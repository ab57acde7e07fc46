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
use crate::model::record::Recorded;

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
        // Whether it is there is told before what is wrong with the call.
        if plugin.driver().record(&stage.id) != Recorded::Absent {
            ask::outside_pools(plugin, "staging_target_path", &stage.staging_path)?;
        }
        plugin.driver().stage(&stage).map_err(ask::failed)
    };
    plugin.run(&[id.as_str()], Lane::Kernel, work).await?;
    Ok(NodeStageVolumeResponse {})
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
