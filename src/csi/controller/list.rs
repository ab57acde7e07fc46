//! ListVolumes and ControllerGetVolume (CSI 1.12): what there is, where it is used, how it is. Everything comes from records in memory, encoded
//! once ([`crate::csi::listing`]): a list costs no look at the kernel, whose state of each volume is looked after in the background.

use tonic::Status;

use super::volume::{existing, id_of, is_whole, unknown, volume_of};
use crate::csi::condition::Seen;
use crate::csi::entry::Entry;
use crate::csi::listing::Line;
use crate::csi::plugin::Plugin;
use crate::csi::proto::controller_get_volume_response::VolumeStatus as OneStatus;
use crate::csi::proto::list_volumes_response::VolumeStatus;
use crate::csi::proto::{
    ControllerGetVolumeRequest, ControllerGetVolumeResponse, ListVolumesRequest, ListVolumesResponse, VolumeCondition,
};
use crate::csi::{condition, page, request};
use crate::exec::lanes::Lane;
use crate::model::VolumeId;
use crate::model::record::{Recorded, VolumeRecord};

/// The most entries of one page: a client takes messages of 4 MiB, and an entry has some hundred bytes.
const PAGE_MAX: i32 = 8192;

pub(super) async fn list_volumes(plugin: &Plugin, call: ListVolumesRequest) -> Result<ListVolumesResponse, Status> {
    page::last_of(&call.starting_token)?;
    let most = match call.max_entries {
        0 => PAGE_MAX,
        given => given.min(PAGE_MAX),
    };
    let work = move |plugin: &Plugin| {
        let (records, seen) = (plugin.volumes()?, plugin.conditions().last());
        let fresh = |id: &VolumeId, record: &_| entry(plugin, &seen, id, record);
        plugin.listing().with(&records, &seen, fresh, |lines| {
            let there =
                |line: &&Line| line.settled || line.record.present().is_none_or(|record| is_whole(plugin, record));
            let (page, next_token) =
                page::page(lines.iter().filter(there), |line| line.id.as_str(), &call.starting_token, most)?;
            Ok(ListVolumesResponse { entries: page.into_iter().map(Line::entry).collect(), next_token })
        })
    };
    plugin.run(&[], Lane::Kernel, work).await
}

fn entry(plugin: &Plugin, seen: &Seen, id: &VolumeId, record: &Recorded<VolumeRecord>) -> Entry {
    let volume = record.present().map_or_else(|| unknown(plugin, id), |record| volume_of(plugin, record));
    let condition = condition(seen, id, record);
    Entry::new(volume, VolumeStatus { published_node_ids: nodes(plugin, record), volume_condition: Some(condition) })
}

fn nodes(plugin: &Plugin, record: &Recorded<VolumeRecord>) -> Vec<String> {
    if plugin.config().node_local {
        return Vec::new();
    }
    let attachment = record.present().and_then(|record| record.attachment.as_ref());
    attachment.map(|attachment| attachment.node.clone()).into_iter().collect()
}

fn condition(seen: &Seen, id: &VolumeId, record: &Recorded<VolumeRecord>) -> VolumeCondition {
    let abnormal = |message: String| VolumeCondition { abnormal: true, message };
    match record {
        Recorded::Present(_) | Recorded::Absent => seen.of(id),
        Recorded::Corrupt { cause } => abnormal(format!("volume {id}: its record is damaged: {cause}")),
        Recorded::Newer { version } => {
            abnormal(format!("volume {id}: its record has version {version}, of a newer csictl"))
        }
        Recorded::Unknown { cause } => abnormal(format!("volume {id}: its record can't be read: {cause}")),
    }
}

pub(super) async fn controller_get_volume(
    plugin: &Plugin,
    call: ControllerGetVolumeRequest,
) -> Result<ControllerGetVolumeResponse, Status> {
    let id = id_of(request::required("volume_id", &call.volume_id)?)?;
    let work = move |plugin: &Plugin| {
        let records = plugin.volumes()?;
        existing(plugin, &records, &id)?;
        let record = records.get(&id).map_or(&Recorded::Absent, AsRef::as_ref);
        let Entry { volume, status, .. } = entry(plugin, &plugin.conditions().last(), &id, record);
        let now = record.present().map(|record| condition::look(plugin, record)).transpose()?;
        let status = status.map(|status| OneStatus {
            published_node_ids: status.published_node_ids,
            volume_condition: now.or(status.volume_condition),
        });
        Ok(ControllerGetVolumeResponse { volume, status })
    };
    plugin.run(&[], Lane::Kernel, work).await
}
