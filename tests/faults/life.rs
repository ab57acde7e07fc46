//! One volume's life as an orchestrator leads it, call by call, against a server that may be killed in any of them. Every call is repeated as an
//! orchestrator repeats it; at the end nothing may be left.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use csictl::csi::proto::{
    ControllerPublishVolumeRequest, ControllerUnpublishVolumeRequest, CreateSnapshotRequest,
    CreateVolumeGroupSnapshotRequest, CreateVolumeRequest, DeleteSnapshotRequest, DeleteVolumeGroupSnapshotRequest,
    DeleteVolumeRequest, VolumeCapability, VolumeContentSource,
};
use tonic::{Code, Status};

use super::checker;
use super::figures::Verdict;
use super::oracle::nothing_left_up;
use super::tracer::{Trace, Watch};
use crate::csi::calls;
use crate::support::Place;
use crate::support::serving::Serving;

const MIB: i64 = 1 << 20;
const TEXT: &str = "the canary of an orchestrator's volume";

/// What an orchestrator asks for.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub fs: Option<&'static str>,
    pub mib: i64,
    /// Whether it is copied too, by each of [`COPIES`].
    pub copies: bool,
}

pub const EXT4: Kind = Kind { name: "ext4", fs: Some("ext4"), mib: 16, copies: false };
pub const XFS: Kind = Kind { name: "xfs", fs: Some("xfs"), mib: 300, copies: false };
pub const BTRFS: Kind = Kind { name: "btrfs", fs: Some("btrfs"), mib: 256, copies: false };
pub const BLOCK: Kind = Kind { name: "block", fs: None, mib: 8, copies: false };

/// A server's place, and the ids its answers gave.
pub struct Life {
    // The server goes before its place does.
    pub serving: Option<Serving>,
    pub place: Place,
    kind: Kind,
    volume: RefCell<String>,
    second: RefCell<String>,
    copies: RefCell<BTreeSet<String>>,
    snapshot: RefCell<String>,
    group: RefCell<(String, Vec<String>)>,
}

/// A call of that life.
pub type Call = (&'static str, fn(&Life) -> Result<(), Status>);

/// The step of a life in which the volume's data is looked at once more, by several calls.
pub const LOOK: &str = "a look at what has grown";

/// The steps that make a volume of another's content, of a kind that is copied.
pub const COPIES: [&str; 2] = ["CreateVolume from a snapshot", "CreateVolume from a volume"];

/// The step by which a volume is down and has all of its sizes behind it.
const DETACH: &str = "ControllerUnpublishVolume";

/// All of them, in order.
pub const CALLS: [Call; 21] = [
    ("CreateVolume", Life::create),
    ("ControllerPublishVolume", Life::attach),
    ("NodeStageVolume", Life::stage),
    ("NodePublishVolume", Life::publish),
    ("ControllerExpandVolume", Life::expand),
    ("NodeExpandVolume", Life::node_expand),
    ("ControllerModifyVolume", Life::modify),
    ("CreateSnapshot", Life::snapshot),
    ("CreateVolumeGroupSnapshot", Life::group),
    (COPIES[0], Life::restore),
    (COPIES[1], Life::clone_volume),
    ("NodeUnpublishVolume", Life::unpublish),
    ("NodeUnstageVolume", Life::unstage),
    ("ControllerExpandVolume of what is down", Life::expand_down),
    ("NodeStageVolume of what has grown", Life::stage),
    (LOOK, Life::look),
    ("NodeUnstageVolume once more", Life::unstage),
    (DETACH, Life::detach),
    ("DeleteVolumeGroupSnapshot", Life::delete_group),
    ("DeleteSnapshot", Life::delete_snapshot),
    ("DeleteVolume", Life::delete),
];
const PUBLISHED: usize = 3;
const UNPUBLISHED: usize = 11;

impl Life {
    pub fn new(kind: Kind) -> Self {
        let place = Place::new();
        let serving = Some(Serving::start(&place, &[]));
        fs::create_dir_all(place.join("pods")).unwrap();
        fs::create_dir_all(place.join("plugins/stage")).unwrap();
        let (volume, second, copies, snapshot, group) = Default::default();
        Self { serving, place, kind, volume, second, copies, snapshot, group }
    }

    pub fn server(&self) -> &Serving {
        self.serving.as_ref().unwrap()
    }

    /// The next life of the server, if it was killed or is to be.
    pub fn revive(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.kill();
        }
        self.serving = Some(Serving::start(&self.place, &[]));
    }

    /// The same after a tracer saw the server's end.
    pub fn revive_from(&mut self, watch: Watch) -> Trace {
        let trace = watch.end();
        if let Some(serving) = self.serving.take() {
            serving.seen_to_end();
        }
        self.serving = Some(Serving::start(&self.place, &[]));
        trace
    }

    /// Leads the life from one call up to another.
    #[track_caller]
    pub fn lead(&self, from: usize, to: usize) {
        for (name, call) in &CALLS[from..to] {
            call(self).unwrap_or_else(|status| panic!("{name}: {:?}: {}", status.code(), status.message()));
        }
    }

    /// The call that was broken off is repeated, and so is the rest of the life; then nothing is left.
    pub fn ends_well(&self, broken: usize) -> Verdict {
        let mut verdict = Verdict::default();
        for (index, (name, call)) in CALLS.iter().enumerate().skip(broken) {
            if (PUBLISHED + 1..=UNPUBLISHED).contains(&index) && !(index == UNPUBLISHED && broken == index) {
                self.check(&mut verdict);
            }
            if *name == DETACH && self.kind.fs.is_some() {
                let image = self.place.state().join(format!("pool/{}.img", self.volume.borrow()));
                verdict.wrong.extend(checker::short(&image));
            }
            if let Err(status) = call(self) {
                verdict.lost_bytes += if status.code() == Code::DataLoss { TEXT.len() } else { 0 };
                verdict.wrong.push(format!("{name} again: {:?}: {}", status.code(), status.message()));
            }
        }
        nothing_left_up(&self.place, &mut verdict);
        let state = self.place.state();
        for folder in ["pool", "volumes", "snapshots", "groups"] {
            let names: Vec<_> = fs::read_dir(state.join(folder))
                .map(|entries| entries.map(|entry| entry.unwrap().file_name()).collect())
                .unwrap_or_default();
            verdict.expect(names.is_empty(), || format!("left in {folder}: {names:?}"));
        }
        verdict.expect(!self.target().exists(), || "the target is left".to_owned());
        verdict
    }

    fn capability(&self) -> VolumeCapability {
        self.kind.fs.map_or_else(calls::block, |fs| calls::mounted(fs, &[]))
    }

    fn target(&self) -> PathBuf {
        self.place.join("pods/target")
    }

    fn staging(&self) -> PathBuf {
        self.place.join("plugins/stage")
    }

    fn made(&self, name: &str, capability: VolumeCapability, mib: i64) -> Result<String, Status> {
        self.made_of(name, capability, mib, None)
    }

    fn made_of(
        &self,
        name: &str,
        capability: VolumeCapability,
        mib: i64,
        source: Option<VolumeContentSource>,
    ) -> Result<String, Status> {
        let request = CreateVolumeRequest {
            name: name.into(),
            capacity_range: Some(calls::range(mib * MIB, 0)),
            volume_capabilities: vec![capability],
            parameters: [("allocate".to_owned(), "sparse".to_owned())].into(),
            volume_content_source: source,
            ..Default::default()
        };
        let answer = self.server().call(self.server().controller().create_volume(request))?;
        Ok(answer.volume.unwrap().volume_id)
    }

    fn create(&self) -> Result<(), Status> {
        *self.volume.borrow_mut() = self.made("pvc-1", self.capability(), self.kind.mib)?;
        Ok(())
    }

    fn attach(&self) -> Result<(), Status> {
        let request = ControllerPublishVolumeRequest {
            volume_id: self.volume.borrow().clone(),
            node_id: "node-1".into(),
            volume_capability: Some(self.capability()),
            ..Default::default()
        };
        self.server().call(self.server().controller().controller_publish_volume(request)).map(drop)
    }

    fn stage(&self) -> Result<(), Status> {
        let request = calls::stage(&self.volume.borrow(), &self.staging(), &self.capability());
        self.server().call(self.server().node().node_stage_volume(request)).map(drop)
    }

    fn publish(&self) -> Result<(), Status> {
        let request = calls::publish(&self.volume.borrow(), &self.staging(), &self.target(), &self.capability(), false);
        self.server().call(self.server().node().node_publish_volume(request))?;
        self.write();
        Ok(())
    }

    /// ext4 grows while it is mounted only with a privilege that a test machine may lack: it grows later, when it is down.
    fn expand(&self) -> Result<(), Status> {
        if self.kind.fs == Some("ext4") {
            return Ok(());
        }
        self.controller_expand(20)
    }

    fn expand_down(&self) -> Result<(), Status> {
        self.controller_expand(40)
    }

    fn controller_expand(&self, more: i64) -> Result<(), Status> {
        let request = calls::expand(&self.volume.borrow(), calls::range((self.kind.mib + more) * MIB, 0));
        self.server().call(self.server().controller().controller_expand_volume(request)).map(drop)
    }

    fn look(&self) -> Result<(), Status> {
        let request = calls::publish(&self.volume.borrow(), &self.staging(), &self.target(), &self.capability(), false);
        self.server().call(self.server().node().node_publish_volume(request))?;
        let mut found = Verdict::default();
        self.check(&mut found);
        self.look_at_copies(&mut found)?;
        self.unpublish()?;
        if found.lost_bytes == 0 { Ok(()) } else { Err(Status::data_loss(found.wrong.join("; "))) }
    }

    /// By more than the controller did, where it can be while it is mounted.
    fn node_expand(&self) -> Result<(), Status> {
        let more = if self.kind.fs == Some("ext4") { 0 } else { 30 };
        let range = calls::range((self.kind.mib + more) * MIB, 0);
        let request = calls::node_expand(&self.volume.borrow(), &self.target(), Some(range));
        self.server().call(self.server().node().node_expand_volume(request)).map(drop)
    }

    fn modify(&self) -> Result<(), Status> {
        // Small ones get all their bytes; mount options are for the next stage.
        let pair = if self.kind.mib < 64 { ("allocate", "full") } else { ("mount_options", "noatime") };
        let request = calls::modify(&self.volume.borrow(), &[pair]);
        self.server().call(self.server().controller().controller_modify_volume(request)).map(drop)
    }

    fn snapshot(&self) -> Result<(), Status> {
        let request = CreateSnapshotRequest {
            source_volume_id: self.volume.borrow().clone(),
            name: "snap-1".into(),
            ..Default::default()
        };
        let answer = self.server().call(self.server().controller().create_snapshot(request))?;
        *self.snapshot.borrow_mut() = answer.snapshot.unwrap().snapshot_id;
        Ok(())
    }

    fn group(&self) -> Result<(), Status> {
        // Writes to a raw device in use cannot be held for a moment with the others'.
        if self.kind.fs.is_none() {
            return Ok(());
        }
        let second = self.made("pvc-2", calls::block(), 4)?;
        let request = CreateVolumeGroupSnapshotRequest {
            name: "group-1".into(),
            source_volume_ids: vec![self.volume.borrow().clone(), second.clone()],
            ..Default::default()
        };
        *self.second.borrow_mut() = second;
        let answer = self.server().call(self.server().group().create_volume_group_snapshot(request))?;
        let group = answer.group_snapshot.unwrap();
        let members = group.snapshots.iter().map(|snapshot| snapshot.snapshot_id.clone()).collect();
        *self.group.borrow_mut() = (group.group_snapshot_id, members);
        Ok(())
    }

    fn restore(&self) -> Result<(), Status> {
        self.copy("pvc-restored", calls::of_snapshot(&self.snapshot.borrow()))
    }

    fn clone_volume(&self) -> Result<(), Status> {
        self.copy("pvc-cloned", calls::of_volume(&self.volume.borrow()))
    }

    fn copy(&self, name: &str, source: Option<VolumeContentSource>) -> Result<(), Status> {
        if self.kind.copies {
            // Larger than the source, so that a copy is grown as well.
            let id = self.made_of(name, self.capability(), self.kind.mib + 60, source)?;
            self.copies.borrow_mut().insert(id);
        }
        Ok(())
    }

    /// Each copy holds what its source held.
    fn look_at_copies(&self, found: &mut Verdict) -> Result<(), Status> {
        let (stage, target) = (self.place.join("plugins/copy"), self.place.join("pods/copy"));
        for id in self.copies.borrow().iter() {
            fs::create_dir_all(&stage).unwrap();
            let (server, capability) = (self.server(), self.capability());
            server.call(server.node().node_stage_volume(calls::stage(id, &stage, &capability)))?;
            let publish = calls::publish(id, &stage, &target, &capability, false);
            server.call(server.node().node_publish_volume(publish))?;
            self.check_at(&target, found);
            server.call(server.node().node_unpublish_volume(calls::unpublish(id, &target)))?;
            server.call(server.node().node_unstage_volume(calls::unstage(id, &stage)))?;
        }
        Ok(())
    }

    fn unpublish(&self) -> Result<(), Status> {
        let request = calls::unpublish(&self.volume.borrow(), &self.target());
        self.server().call(self.server().node().node_unpublish_volume(request)).map(drop)
    }

    fn unstage(&self) -> Result<(), Status> {
        let request = calls::unstage(&self.volume.borrow(), &self.staging());
        self.server().call(self.server().node().node_unstage_volume(request)).map(drop)
    }

    fn detach(&self) -> Result<(), Status> {
        let request = ControllerUnpublishVolumeRequest {
            volume_id: self.volume.borrow().clone(),
            node_id: "node-1".into(),
            ..Default::default()
        };
        self.server().call(self.server().controller().controller_unpublish_volume(request)).map(drop)
    }

    fn delete_group(&self) -> Result<(), Status> {
        let (group_snapshot_id, snapshot_ids) = self.group.borrow().clone();
        if group_snapshot_id.is_empty() {
            return Ok(());
        }
        let request = DeleteVolumeGroupSnapshotRequest { group_snapshot_id, snapshot_ids, ..Default::default() };
        self.server().call(self.server().group().delete_volume_group_snapshot(request)).map(drop)
    }

    fn delete_snapshot(&self) -> Result<(), Status> {
        let request = DeleteSnapshotRequest { snapshot_id: self.snapshot.borrow().clone(), ..Default::default() };
        self.server().call(self.server().controller().delete_snapshot(request)).map(drop)
    }

    fn delete(&self) -> Result<(), Status> {
        let made = [self.second.borrow().clone(), self.volume.borrow().clone()];
        for id in self.copies.borrow().iter().cloned().chain(made).filter(|id| !id.is_empty()) {
            let request = DeleteVolumeRequest { volume_id: id, ..Default::default() };
            self.server().call(self.server().controller().delete_volume(request))?;
        }
        Ok(())
    }

    fn canary(&self, target: &Path) -> PathBuf {
        if self.kind.fs.is_some() { target.join("canary") } else { target.to_owned() }
    }

    fn write(&self) {
        use std::io::Write;
        // A raw device's is written where it is.
        let path = self.canary(&self.target());
        let mut file = fs::OpenOptions::new().create(self.kind.fs.is_some()).write(true).open(path).unwrap();
        file.write_all(TEXT.as_bytes()).unwrap();
        file.sync_all().unwrap();
    }

    fn check(&self, verdict: &mut Verdict) {
        self.check_at(&self.target(), verdict);
    }

    fn check_at(&self, target: &Path, verdict: &mut Verdict) {
        use std::io::Read;
        let mut found = vec![0; TEXT.len()];
        let read = fs::File::open(self.canary(target)).and_then(|mut file| file.read_exact(&mut found));
        if read.is_err() || found != TEXT.as_bytes() {
            verdict.lost_bytes += TEXT.len();
            verdict.wrong.push(format!("the canary at {} is gone: {read:?}", target.display()));
        }
    }
}
