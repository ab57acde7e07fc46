//! Which volumes a node takes: so many and no more, attached first or not, and none that is another's.

use csictl::model::FsType;
use tonic::Code;

use super::Rig;
use crate::csi::calls::{self, block, controller_publish, mounted};

#[test]
fn volumes_that_nobody_attached_count_too() {
    let rig = Rig::with(&["--max-volumes-per-node", "2"]);
    let ids = ["vol-1", "vol-2", "vol-3"].map(|id| rig.volume(id, Some(FsType::Ext4), 16));
    let raw = rig.volume("vol-4", None, 16);
    let staged = |id: &str| calls::stage(id, &rig.staging(id), &mounted("", &[]));
    rig.stage(&ids[0], &mounted("", &[]));
    rig.stage(&ids[1], &mounted("", &[]));
    let mut node = rig.serving.node();
    let before = (rig.place.loops(), rig.place.mounts());

    let message = rig.serving.refused(Code::ResourceExhausted, node.node_stage_volume(staged(&ids[2])));
    assert!(message.contains("node-1") && message.contains('2'), "{message}");
    let device = calls::stage(&raw, &rig.staging(&raw), &block());
    rig.serving.refused(Code::ResourceExhausted, node.node_stage_volume(device));
    let publish = controller_publish(&ids[2], "node-1", &mounted("", &[]), false);
    rig.serving.refused(Code::ResourceExhausted, rig.serving.controller().controller_publish_volume(publish));
    assert_eq!((rig.place.loops(), rig.place.mounts()), before);

    rig.stage(&ids[0], &mounted("", &[]));
    rig.unstage(&ids[1]);
    rig.stage(&raw, &block());
    rig.serving.refused(Code::ResourceExhausted, node.node_stage_volume(staged(&ids[1])));
}

#[test]
fn a_volume_published_to_another_node_is_not_staged_here() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let publish = controller_publish(&id, "node-1", &mounted("", &[]), false);
    rig.serving.ok(rig.serving.controller().controller_publish_volume(publish));
    let Rig { serving, place } = rig;
    assert_eq!(serving.end(), Some(0));
    let serving = crate::support::serving::Serving::start(&place, &["--node-id", "node-2"]);
    let rig = Rig { serving, place };

    let stage = calls::stage(&id, &rig.staging(&id), &mounted("", &[]));
    let message = rig.serving.refused(Code::FailedPrecondition, rig.serving.node().node_stage_volume(stage));

    assert!(message.contains("node-1") && message.contains("node-2"), "{message}");
    assert_eq!(super::mounted_at(&rig.staging(&id)), None);
}
