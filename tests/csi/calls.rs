//! Requests as an orchestrator builds them, with the usual in every field that a test does not speak of.

#![allow(dead_code)]

use std::path::Path;

use csictl::csi::proto::volume_capability::access_mode::Mode;
use csictl::csi::proto::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume};
use csictl::csi::proto::volume_content_source::{SnapshotSource, Type, VolumeSource};
use csictl::csi::proto::{
    CapacityRange, ControllerExpandVolumeRequest, ControllerModifyVolumeRequest, ControllerPublishVolumeRequest,
    ControllerUnpublishVolumeRequest, CreateVolumeRequest, DeleteVolumeRequest, ListVolumesRequest,
    NodeExpandVolumeRequest, NodeGetVolumeStatsRequest, NodePublishVolumeRequest, NodeStageVolumeRequest,
    NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, VolumeCapability, VolumeContentSource,
};

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A mounted file system of this type with these flags, for one writer.
pub fn mounted(fs_type: &str, flags: &[&str]) -> VolumeCapability {
    let mount_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let mount = MountVolume { fs_type: fs_type.into(), mount_flags, volume_mount_group: String::new() };
    VolumeCapability {
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
        access_type: Some(AccessType::Mount(mount)),
    }
}

/// A raw block device for one writer.
pub fn block() -> VolumeCapability {
    VolumeCapability { access_type: Some(AccessType::Block(BlockVolume {})), ..mounted("", &[]) }
}

/// The same for others than one writer.
pub fn with_mode(capability: VolumeCapability, mode: Mode) -> VolumeCapability {
    VolumeCapability { access_mode: Some(AccessMode { mode: mode.into() }), ..capability }
}

/// The same with its files given to a group.
pub fn with_group(capability: &VolumeCapability, group: &str) -> VolumeCapability {
    let Some(AccessType::Mount(mut mount)) = capability.access_type.clone() else { panic!("not mounted") };
    mount.volume_mount_group = group.into();
    VolumeCapability { access_type: Some(AccessType::Mount(mount)), ..capability.clone() }
}

pub fn stage(id: &str, path: &Path, capability: &VolumeCapability) -> NodeStageVolumeRequest {
    NodeStageVolumeRequest {
        volume_id: id.into(),
        staging_target_path: text(path),
        volume_capability: Some(capability.clone()),
        ..NodeStageVolumeRequest::default()
    }
}

pub fn unstage(id: &str, path: &Path) -> NodeUnstageVolumeRequest {
    NodeUnstageVolumeRequest { volume_id: id.into(), staging_target_path: text(path) }
}

pub fn publish(
    id: &str,
    staging: &Path,
    target: &Path,
    capability: &VolumeCapability,
    readonly: bool,
) -> NodePublishVolumeRequest {
    NodePublishVolumeRequest {
        volume_id: id.into(),
        staging_target_path: text(staging),
        target_path: text(target),
        volume_capability: Some(capability.clone()),
        readonly,
        ..NodePublishVolumeRequest::default()
    }
}

pub fn unpublish(id: &str, target: &Path) -> NodeUnpublishVolumeRequest {
    NodeUnpublishVolumeRequest { volume_id: id.into(), target_path: text(target) }
}

pub fn stats(id: &str, path: &Path) -> NodeGetVolumeStatsRequest {
    NodeGetVolumeStatsRequest { volume_id: id.into(), volume_path: text(path), staging_target_path: String::new() }
}

pub fn range(required: i64, limit: i64) -> CapacityRange {
    CapacityRange { required_bytes: required, limit_bytes: limit }
}

pub fn node_expand(id: &str, path: &Path, range: Option<CapacityRange>) -> NodeExpandVolumeRequest {
    NodeExpandVolumeRequest {
        volume_id: id.into(),
        volume_path: text(path),
        capacity_range: range,
        ..NodeExpandVolumeRequest::default()
    }
}

pub fn expand(id: &str, range: CapacityRange) -> ControllerExpandVolumeRequest {
    ControllerExpandVolumeRequest {
        volume_id: id.into(),
        capacity_range: Some(range),
        ..ControllerExpandVolumeRequest::default()
    }
}

/// Volumes whose size does not matter, with nothing reserved.
pub fn create(name: &str, capability: &VolumeCapability, required: i64) -> CreateVolumeRequest {
    CreateVolumeRequest {
        name: name.into(),
        capacity_range: Some(range(required, 0)),
        volume_capabilities: vec![capability.clone()],
        parameters: words(&[("allocate", "sparse")]),
        ..CreateVolumeRequest::default()
    }
}

pub fn words<Map: FromIterator<(String, String)>>(pairs: &[(&str, &str)]) -> Map {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn of_volume(id: &str) -> Option<VolumeContentSource> {
    let volume = VolumeSource { volume_id: id.into() };
    Some(VolumeContentSource { r#type: Some(Type::Volume(volume)) })
}

pub fn of_snapshot(id: &str) -> Option<VolumeContentSource> {
    let snapshot = SnapshotSource { snapshot_id: id.into() };
    Some(VolumeContentSource { r#type: Some(Type::Snapshot(snapshot)) })
}

pub fn delete(id: &str) -> DeleteVolumeRequest {
    DeleteVolumeRequest { volume_id: id.into(), ..DeleteVolumeRequest::default() }
}

pub fn controller_publish(
    id: &str,
    node: &str,
    capability: &VolumeCapability,
    readonly: bool,
) -> ControllerPublishVolumeRequest {
    ControllerPublishVolumeRequest {
        volume_id: id.into(),
        node_id: node.into(),
        volume_capability: Some(capability.clone()),
        readonly,
        ..ControllerPublishVolumeRequest::default()
    }
}

pub fn controller_unpublish(id: &str, node: &str) -> ControllerUnpublishVolumeRequest {
    ControllerUnpublishVolumeRequest {
        volume_id: id.into(),
        node_id: node.into(),
        ..ControllerUnpublishVolumeRequest::default()
    }
}

pub fn list(max_entries: i32, token: &str) -> ListVolumesRequest {
    ListVolumesRequest { max_entries, starting_token: token.into() }
}

pub fn modify(id: &str, pairs: &[(&str, &str)]) -> ControllerModifyVolumeRequest {
    ControllerModifyVolumeRequest {
        volume_id: id.into(),
        mutable_parameters: words(pairs),
        ..ControllerModifyVolumeRequest::default()
    }
}
