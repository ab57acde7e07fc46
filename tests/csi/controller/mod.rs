//! The controller's service over the socket: what an orchestrator asks for, what it gets, and what lies in records and pools afterwards.

mod absent;
mod attach;
mod create;
mod delete;
mod list;
mod modify;
mod room;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use csictl::csi::proto::{CreateVolumeRequest, Volume, VolumeCapability};
use tonic::Code;

use super::calls;
use crate::support::Place;
use crate::support::serving::Serving;

const MIB: i64 = 1 << 20;

/// A server in a place of its own.
pub struct Rig {
    serving: Serving,
    place: Place,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(&[])
    }

    pub fn with(flags: &[&str]) -> Self {
        let place = Place::new();
        Self { serving: Serving::start(&place, flags), place }
    }

    /// With this as its `--config`.
    pub fn configured(config: &str) -> Self {
        let place = Place::new();
        place.write("storage.toml", config);
        Self { serving: Serving::start(&place, &["--config", "storage.toml"]), place }
    }

    /// The next life of the server, with these flags, on the same machine.
    pub fn restarted(self, flags: &[&str]) -> Self {
        let Self { serving, place } = self;
        assert_eq!(serving.end(), Some(0));
        Self { serving: Serving::start(&place, flags), place }
    }

    pub fn make(&self, request: CreateVolumeRequest) -> Volume {
        self.serving.ok(self.serving.controller().create_volume(request)).volume.unwrap()
    }

    /// Asks for a volume that is refused, and answers why.
    pub fn refused(&self, code: Code, request: CreateVolumeRequest) -> String {
        self.serving.refused(code, self.serving.controller().create_volume(request))
    }

    /// A sparse volume of this size.
    pub fn volume(&self, name: &str, capability: &VolumeCapability, mib: i64) -> String {
        self.make(calls::create(name, capability, mib * MIB)).volume_id
    }

    pub fn delete(&self, id: &str) {
        self.serving.ok(self.serving.controller().delete_volume(calls::delete(id)));
    }

    /// The ids that ListVolumes answers.
    pub fn listed(&self) -> Vec<String> {
        let answer = self.serving.ok(self.serving.controller().list_volumes(calls::list(0, "")));
        answer.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id).collect()
    }

    /// Stages and publishes a volume and answers the target.
    pub fn up(&self, id: &str, capability: &VolumeCapability) -> PathBuf {
        let (staging, target) = (self.staging(id), self.place.join("pods").join(id));
        fs::create_dir_all(&staging).unwrap();
        fs::create_dir_all(self.place.join("pods")).unwrap();
        let mut node = self.serving.node();
        self.serving.ok(node.node_stage_volume(calls::stage(id, &staging, capability)));
        self.serving.ok(node.node_publish_volume(calls::publish(id, &staging, &target, capability, false)));
        target
    }

    pub fn staging(&self, id: &str) -> PathBuf {
        self.place.join("plugins").join(id)
    }

    pub fn down(&self, id: &str) {
        let target = self.place.join("pods").join(id);
        let mut node = self.serving.node();
        self.serving.ok(node.node_unpublish_volume(calls::unpublish(id, &target)));
        self.serving.ok(node.node_unstage_volume(calls::unstage(id, &self.staging(id))));
    }

    /// Names in the pool under the state directory.
    pub fn pool(&self) -> Vec<String> {
        names(&self.place.state().join("pool"))
    }

    /// Names of records.
    pub fn records(&self) -> Vec<String> {
        names(&self.place.state().join("volumes"))
    }
}

/// The names in a directory, sorted; none when it is missing.
pub fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
