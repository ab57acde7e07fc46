//! NodeGetVolumeStats (CSI 1.12): use and condition. It claims nothing: asking how a volume is never keeps a call on it waiting.

use tonic::Status;

use super::ask;
use crate::csi::condition;
use crate::csi::plugin::Plugin;
use crate::csi::proto::volume_usage::Unit;
use crate::csi::proto::{NodeGetVolumeStatsRequest, NodeGetVolumeStatsResponse, VolumeUsage};
use crate::driver::local::health::Measured;
use crate::exec::lanes::Lane;
use crate::host::FsUsage;

pub(super) async fn node_get_volume_stats(
    plugin: &Plugin,
    request: NodeGetVolumeStatsRequest,
) -> Result<NodeGetVolumeStatsResponse, Status> {
    let id = ask::volume_id(&request.volume_id)?;
    let path = ask::volume_path(&request.volume_path)?;
    let id = id.ok_or_else(|| ask::unknown(&request.volume_id))?;
    let work = move |plugin: &Plugin| {
        let record = ask::record(plugin, &id)?;
        let run = plugin.driver().run_record(&id).map_err(ask::failed)?;
        let measured = plugin.driver().measure(&record, run.as_ref(), &path).map_err(ask::failed)?;
        let measured = measured.ok_or_else(|| {
            Status::not_found(format!("volume {id} is neither staged nor published at {}", path.display()))
        })?;
        let condition = condition::of(&plugin.driver().problems(&record, run.as_ref()));
        Ok(NodeGetVolumeStatsResponse { usage: usage(&measured), volume_condition: Some(condition) })
    };
    plugin.run(&[], Lane::Kernel, work).await
}

fn usage(measured: &Measured) -> Vec<VolumeUsage> {
    match measured {
        Measured::Block(size) => vec![entry(Unit::Bytes, size.get(), 0, 0)],
        Measured::Filesystem(None) => Vec::new(),
        Measured::Filesystem(Some(FsUsage { total, used, available, inodes, inodes_used, .. })) => {
            let mut usage = vec![entry(Unit::Bytes, *total, *used, *available)];
            // btrfs has no number of inodes to be used up.
            if *inodes > 0 {
                usage.push(entry(Unit::Inodes, *inodes, *inodes_used, inodes.saturating_sub(*inodes_used)));
            }
            usage
        }
    }
}

fn entry(unit: Unit, total: u64, used: u64, available: u64) -> VolumeUsage {
    let whole = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    VolumeUsage { available: whole(available), total: whole(total), used: whole(used), unit: unit.into() }
}
