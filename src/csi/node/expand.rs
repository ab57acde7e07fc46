//! NodeExpandVolume (CSI 1.12): file, loop and file system grow, as far as ControllerExpandVolume has not grown them already. With
//! `--node-local` it is the only expansion there is.

use tonic::Status;

use super::ask;
use crate::csi::controller::expand::{Sizes, grow};
use crate::csi::plugin::Plugin;
use crate::csi::proto::{NodeExpandVolumeRequest, NodeExpandVolumeResponse};
use crate::exec::lanes::Lane;

pub(super) async fn node_expand_volume(
    plugin: &Plugin,
    request: NodeExpandVolumeRequest,
) -> Result<NodeExpandVolumeResponse, Status> {
    let id = ask::volume_id(&request.volume_id)?;
    let path = ask::volume_path(&request.volume_path)?;
    let sizes = request.capacity_range.as_ref().map(Sizes::read).transpose()?.unwrap_or_default();
    request.volume_capability.as_ref().map(crate::csi::capability::Capability::read).transpose()?;
    ask::maps(&[("secrets", &request.secrets)])?;
    let id = id.ok_or_else(|| ask::unknown(&request.volume_id))?;
    let claimed = id.clone();
    let work = move |plugin: &Plugin| {
        let record = ask::record(plugin, &id)?;
        let run = plugin.driver().run_record(&id).map_err(ask::failed)?;
        if plugin.driver().measure(&record, run.as_ref(), &path).map_err(ask::failed)?.is_none() {
            let path = path.display();
            return Err(Status::not_found(format!("volume {id} is neither staged nor published at {path}")));
        }
        grow(plugin, &record, sizes)
    };
    let size = plugin.run(&[claimed.as_str()], Lane::Mkfs, work).await?;
    Ok(NodeExpandVolumeResponse { capacity_bytes: size.wire() })
}
