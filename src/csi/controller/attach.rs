//! ControllerPublishVolume and ControllerUnpublishVolume (CSI 1.12): the volume gets a block device on this node. To which node it is published is
//! kept with the volume, so that it outlives the server and a reboot as the orchestrator's own book does.

use std::collections::HashMap;
use std::path::Path;

use tonic::Status;

use super::volume::{existing, id_of, no_volume};
use crate::csi::capability::Capability;
use crate::csi::parameters::shown;
use crate::csi::plugin::{Place, Plugin};
use crate::csi::proto::{
    ControllerPublishVolumeRequest, ControllerPublishVolumeResponse, ControllerUnpublishVolumeRequest,
    ControllerUnpublishVolumeResponse,
};
use crate::csi::{request, status};
use crate::driver::Driver;
use crate::exec::lanes::Lane;
use crate::model::action::AttachRequest;
use crate::model::record::VolumeRecord;
use crate::model::{Attachment, Backing, VolumeId, VolumeMode};

/// Where the block device is, for people: whoever uses it looks for it again, since its number changes with a reboot.
const DEVICE_PATH: &str = "devicePath";
/// Bytes of a node id (CSI 1.12, NodeGetInfoResponse.node_id).
const NODE_ID_MAX: usize = 256;

pub(super) async fn controller_publish_volume(
    plugin: &Plugin,
    call: ControllerPublishVolumeRequest,
) -> Result<ControllerPublishVolumeResponse, Status> {
    plugin.only_central("ControllerPublishVolume")?;
    let text = request::required("volume_id", &call.volume_id)?;
    let node = node_id(&call.node_id)?;
    request::map("secrets", &call.secrets)?;
    request::map("volume_context", &call.volume_context)?;
    let capability = call.volume_capability.as_ref();
    let capability =
        Capability::read(capability.ok_or_else(|| Status::invalid_argument("volume_capability is missing"))?)?;
    let id = id_of(text)?;
    let read_only = call.readonly || capability.access_mode.read_only();
    let attachment = Attachment { node: node.to_owned(), read_only, capability };
    plugin.run(&[text], Lane::Kernel, move |plugin| publish(plugin, &id, attachment)).await
}

fn node_id(text: &str) -> Result<&str, Status> {
    match text.len() {
        0 => Err(Status::invalid_argument("node_id is missing")),
        len if len > NODE_ID_MAX => {
            Err(Status::invalid_argument(format!("node_id has {len} bytes, the most is {NODE_ID_MAX}")))
        }
        _ if text.chars().any(char::is_control) => Err(Status::invalid_argument("node_id has a control character")),
        _ => Ok(text),
    }
}

fn publish(plugin: &Plugin, id: &VolumeId, attachment: Attachment) -> Result<ControllerPublishVolumeResponse, Status> {
    let records = plugin.volumes()?;
    let record = existing(plugin, &records, id)?;
    let ours = &plugin.config().node_id;
    if attachment.node != *ours {
        let node = shown(&attachment.node);
        return Err(Status::not_found(format!("no node '{node}' is served here: this is '{ours}'")));
    }
    if let Some(record) = record {
        if record.spec.ephemeral {
            let message =
                format!("volume {id} is an inline ephemeral one: it lives and ends with its publish on the node");
            return Err(Status::failed_precondition(message));
        }
        fits(record, &attachment)?;
    }
    let place = take_place(plugin, id, record)?;
    let raw = attachment.capability.volume_mode == VolumeMode::Block;
    // A mounted volume is published read-only by its mounts: ext4 and xfs have a log to write even then.
    let request =
        AttachRequest { id: id.clone(), read_only: raw && attachment.read_only, attachment: Some(attachment) };
    plugin.driver().attach(&request).map_err(|error| status::of(&error))?;
    drop(place);
    let records = plugin.volumes()?;
    let record = existing(plugin, &records, id)?.ok_or_else(|| no_volume(id.as_str()))?;
    Ok(ControllerPublishVolumeResponse { publish_context: context(plugin, record)? })
}

/// Whether the volume can be used so at all.
fn fits(record: &VolumeRecord, attachment: &Attachment) -> Result<(), Status> {
    let (spec, asked) = (&record.spec, &attachment.capability);
    let id = &spec.id;
    if asked.volume_mode != spec.volume_mode {
        let is = if spec.is_raw() { "raw block" } else { "mounted" };
        return Err(Status::failed_precondition(format!("volume {id} is {is} and nothing else")));
    }
    match (asked.fs_type, spec.fs_type()) {
        (Some(asked), Some(has)) if asked != has => {
            Err(Status::failed_precondition(format!("volume {id} has {has}, not {asked}")))
        }
        _ => Ok(()),
    }
}

/// A place among the volumes this node takes; none is needed by one that has its place.
fn take_place(plugin: &Plugin, id: &VolumeId, record: Option<&VolumeRecord>) -> Result<Option<Place>, Status> {
    let Some(most) = plugin.config().max_volumes_per_node else { return Ok(None) };
    if record.is_some_and(|record| record.attachment.is_some()) {
        return Ok(None);
    }
    plugin.take_place(id, most as usize).map(Some)
}

/// What NodeStage may like to know: where the device is.
fn context(plugin: &Plugin, record: &VolumeRecord) -> Result<HashMap<String, String>, Status> {
    let device = match &record.spec.backing {
        Backing::Image(image) => {
            let path = image.image_path(&record.spec.id);
            let host = plugin.driver().host();
            let found = record.image.map(|file| host.loop_of_image(&path, file, None)).transpose();
            found.map_err(|error| status::of_host(&error))?.flatten().map(|device| device.node())
        }
        Backing::Device(device) => Some(device.path.clone()),
        Backing::Directory(_) | Backing::Tmpfs(_) => None,
    };
    let entry = |path: &Path| (DEVICE_PATH.to_owned(), path.display().to_string());
    Ok(device.iter().map(|path| entry(path)).collect())
}

pub(super) async fn controller_unpublish_volume(
    plugin: &Plugin,
    call: ControllerUnpublishVolumeRequest,
) -> Result<ControllerUnpublishVolumeResponse, Status> {
    plugin.only_central("ControllerUnpublishVolume")?;
    let text = request::required("volume_id", &call.volume_id)?;
    request::map("secrets", &call.secrets)?;
    let node = if call.node_id.is_empty() { None } else { Some(node_id(&call.node_id)?.to_owned()) };
    // What can't be an id is published nowhere.
    let Ok(id) = text.parse::<VolumeId>() else { return Ok(ControllerUnpublishVolumeResponse {}) };
    plugin.run(&[text], Lane::Kernel, move |plugin| unpublish(plugin, &id, node.as_deref())).await
}

/// `None`: from all nodes.
fn unpublish(plugin: &Plugin, id: &VolumeId, node: Option<&str>) -> Result<ControllerUnpublishVolumeResponse, Status> {
    let records = plugin.volumes()?;
    let Some(recorded) = records.get(id) else { return Ok(ControllerUnpublishVolumeResponse {}) };
    let attachment = recorded.present().map(|record| record.attachment.as_ref());
    let is_asked = match attachment {
        // Published to nobody: what is attached then was attached by a manifest's apply, or by NodeStage, and is theirs to take away.
        Some(None) => false,
        Some(Some(attachment)) => node.is_none_or(|node| node == attachment.node),
        None => true,
    };
    if is_asked {
        plugin.driver().detach(id).map_err(|error| status::of(&error))?;
    }
    Ok(ControllerUnpublishVolumeResponse {})
}
