//! One volume's life, call by call, with the time each took.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Instant;

use csictl::csi::proto::volume_capability::{AccessMode, AccessType, BlockVolume, MountVolume, access_mode};
use csictl::csi::proto::{
    CapacityRange, CreateVolumeRequest, DeleteVolumeRequest, NodeGetVolumeStatsRequest, NodePublishVolumeRequest,
    NodeStageVolumeRequest, NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest, VolumeCapability,
};
use tonic::Status;

use super::server::Server;

#[derive(Clone, Copy)]
pub enum Kind {
    Ext4,
    Block,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Block => "block",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rpc {
    Create,
    Stage,
    Publish,
    Stats,
    Unpublish,
    Unstage,
    Delete,
}

impl Rpc {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "CreateVolume",
            Self::Stage => "NodeStageVolume",
            Self::Publish => "NodePublishVolume",
            Self::Stats => "NodeGetVolumeStats",
            Self::Unpublish => "NodeUnpublishVolume",
            Self::Unstage => "NodeUnstageVolume",
            Self::Delete => "DeleteVolume",
        }
    }
}

pub struct Volume<'a> {
    server: &'a Server,
    kind: Kind,
    name: String,
    id: std::cell::RefCell<String>,
}

type Answer = Result<(), Status>;
type Call<'a> = fn(&Volume<'a>) -> Answer;

impl<'a> Volume<'a> {
    pub fn new(server: &'a Server, kind: Kind, name: &str) -> Self {
        Self { server, kind, name: name.to_owned(), id: std::cell::RefCell::default() }
    }

    /// Its whole life.
    pub fn live(&self) -> Result<Vec<(Rpc, f64)>, Status> {
        let calls: [(Rpc, Call<'a>); 6] = [
            (Rpc::Create, Self::create),
            (Rpc::Stage, Self::stage),
            (Rpc::Publish, Self::publish),
            (Rpc::Unpublish, Self::unpublish),
            (Rpc::Unstage, Self::unstage),
            (Rpc::Delete, Self::delete),
        ];
        let mut times = Vec::new();
        for (rpc, call) in calls {
            let begun = Instant::now();
            call(self)?;
            times.push((rpc, begun.elapsed().as_secs_f64()));
        }
        let _ = std::fs::remove_dir(self.staging());
        Ok(times)
    }

    /// How long one call takes, which has to succeed.
    pub fn timed(&self, rpc: Rpc, call: Call<'a>) -> f64 {
        let begun = Instant::now();
        call(self).unwrap_or_else(|status| panic!("{}: {status}", rpc.name()));
        begun.elapsed().as_secs_f64()
    }

    fn capability(&self) -> Option<VolumeCapability> {
        let access_type = match self.kind {
            Kind::Ext4 => AccessType::Mount(MountVolume { fs_type: "ext4".into(), ..MountVolume::default() }),
            Kind::Block => AccessType::Block(BlockVolume {}),
        };
        let access_mode = Some(AccessMode { mode: access_mode::Mode::SingleNodeWriter.into() });
        Some(VolumeCapability { access_type: Some(access_type), access_mode })
    }

    fn staging(&self) -> PathBuf {
        self.server.folder.join("staging").join(&self.name)
    }

    fn target(&self) -> PathBuf {
        self.server.folder.join("targets").join(&self.name)
    }

    fn id(&self) -> String {
        self.id.borrow().clone()
    }

    pub fn create(&self) -> Answer {
        let request = CreateVolumeRequest {
            name: self.name.clone(),
            capacity_range: Some(CapacityRange { required_bytes: 1 << 30, limit_bytes: 0 }),
            volume_capabilities: self.capability().into_iter().collect(),
            parameters: HashMap::from([("allocate".to_owned(), "sparse".to_owned())]),
            ..CreateVolumeRequest::default()
        };
        let made = self.server.runtime.block_on(self.server.controller().create_volume(request))?.into_inner();
        *self.id.borrow_mut() = made.volume.unwrap().volume_id;
        Ok(())
    }

    pub fn stage(&self) -> Answer {
        std::fs::create_dir_all(self.staging()).unwrap();
        let request = NodeStageVolumeRequest {
            volume_id: self.id(),
            staging_target_path: self.staging().display().to_string(),
            volume_capability: self.capability(),
            ..NodeStageVolumeRequest::default()
        };
        self.server.runtime.block_on(self.server.node().node_stage_volume(request)).map(drop)
    }

    pub fn publish(&self) -> Answer {
        std::fs::create_dir_all(self.target().parent().unwrap()).unwrap();
        let request = NodePublishVolumeRequest {
            volume_id: self.id(),
            staging_target_path: self.staging().display().to_string(),
            target_path: self.target().display().to_string(),
            volume_capability: self.capability(),
            ..NodePublishVolumeRequest::default()
        };
        self.server.runtime.block_on(self.server.node().node_publish_volume(request)).map(drop)
    }

    pub fn stats(&self) -> Answer {
        let volume_path = self.target().display().to_string();
        let request =
            NodeGetVolumeStatsRequest { volume_id: self.id(), volume_path, ..NodeGetVolumeStatsRequest::default() };
        self.server.runtime.block_on(self.server.node().node_get_volume_stats(request)).map(drop)
    }

    pub fn unpublish(&self) -> Answer {
        let target_path = self.target().display().to_string();
        let request = NodeUnpublishVolumeRequest { volume_id: self.id(), target_path };
        self.server.runtime.block_on(self.server.node().node_unpublish_volume(request)).map(drop)
    }

    pub fn unstage(&self) -> Answer {
        let staging_target_path = self.staging().display().to_string();
        let request = NodeUnstageVolumeRequest { volume_id: self.id(), staging_target_path };
        self.server.runtime.block_on(self.server.node().node_unstage_volume(request)).map(drop)
    }

    pub fn delete(&self) -> Answer {
        let request = DeleteVolumeRequest { volume_id: self.id(), ..DeleteVolumeRequest::default() };
        self.server.runtime.block_on(self.server.controller().delete_volume(request)).map(drop)
    }
}
