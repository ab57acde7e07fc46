//! ControllerModifyVolume: what can change in place, and nothing else.

use std::fs;
use std::os::unix::fs::MetadataExt;

use tonic::Code;

use super::Rig;
use crate::csi::calls::{block, modify, mounted};

#[test]
fn a_sparse_volume_becomes_full_and_never_sparse_again() {
    let rig = Rig::new();
    let id = rig.volume("one", &mounted("", &[]), 32);
    let mut controller = rig.serving.controller();

    for _ in 0..2 {
        rig.serving.ok(controller.controller_modify_volume(modify(&id, &[("allocate", "full")])));
    }

    let image = fs::metadata(rig.place.state().join("pool").join(format!("{id}.img"))).unwrap();
    assert!(image.blocks() * 512 >= 32 << 20);
    let back = controller.controller_modify_volume(modify(&id, &[("allocate", "sparse")]));
    rig.serving.refused(Code::InvalidArgument, back);
}

#[test]
fn mount_options_are_taken_up_by_the_next_stage() {
    let rig = Rig::new();
    let id = rig.volume("one", &mounted("", &[]), 16);
    let options = |target: &std::path::Path| {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        mounts.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap().to_owned()
    };
    let target = rig.up(&id, &mounted("", &[]));
    let before = options(&target);

    let mut controller = rig.serving.controller();
    rig.serving.ok(controller.controller_modify_volume(modify(&id, &[("mount_options", "noatime")])));

    assert_eq!(options(&target), before, "what is mounted stays as its caller asked");
    rig.down(&id);
    let target = rig.up(&id, &mounted("", &[]));
    assert!(options(&target).contains("noatime"), "{}", options(&target));
    rig.down(&id);
}

#[test]
fn what_is_fixed_or_unknown_is_refused() {
    let rig = Rig::new();
    let (id, raw) = (rig.volume("one", &mounted("", &[]), 16), rig.volume("raw", &block(), 1));
    for (code, request) in [
        (Code::InvalidArgument, modify(&id, &[("pool", "main")])),
        (Code::InvalidArgument, modify(&id, &[("iops", "100")])),
        (Code::InvalidArgument, modify(&id, &[("mount_options", "suid")])),
        (Code::InvalidArgument, modify(&raw, &[("mount_options", "noatime")])),
        (Code::InvalidArgument, modify("", &[("allocate", "full")])),
        (Code::NotFound, modify("vol-9", &[("allocate", "full")])),
        (Code::NotFound, modify("../x", &[("allocate", "full")])),
    ] {
        rig.serving.refused(code, rig.serving.controller().controller_modify_volume(request));
    }
}
