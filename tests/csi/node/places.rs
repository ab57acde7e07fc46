//! Where nothing is mounted: over, in or above pools, records, the socket and the system's directories. The machine's own directories are
//! named only in calls that are refused, in a mount namespace of the test's own.

use std::fs;
use std::path::{Path, PathBuf};

use csictl::model::FsType;
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use tonic::Code;

use super::{Rig, mounted_at};
use crate::csi::calls;
use crate::csi::calls::{block, mounted};

/// A configuration with a second pool, and a rig with a volume in the first.
fn two_pools() -> (Rig, String, PathBuf) {
    let place = crate::support::Place::new();
    let other = place.join("other");
    fs::create_dir(&other).unwrap();
    let pools = [("default", place.state().join("pool")), ("other", other.clone())];
    let text = pools.map(|(name, path)| format!("[pools.{name}]\npath = \"{}\"\n", path.display())).concat();
    let config = place.write("serve.toml", &text);
    let serving = crate::support::serving::Serving::start(&place, &["--config", config.to_str().unwrap()]);
    let rig = Rig { serving, place };
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    (rig, id, other)
}

#[test]
fn no_mount_hides_a_pool_the_records_the_socket_or_the_system() {
    let (rig, id, other) = two_pools();
    let alias = rig.path("alias");
    fs::create_dir(&alias).unwrap();
    mount_bind(&other, &alias).unwrap();
    let folder = rig.place.path().to_owned();
    let mut refused = vec![
        rig.place.state().join("pool"),
        rig.place.state(),
        rig.place.run(),
        rig.place.run().join("staging/vol-2"),
        other.clone(),
        other.join("in"),
        other.join("./in/it"),
        alias.clone(),
        alias.join("in"),
        folder.parent().unwrap().to_owned(),
        folder,
        rig.path("csi"),
    ];
    // Nobody can make a directory in the last two, whatever the server thinks of it.
    let system = ["/", "/boot", "/etc", "/usr", "/var/lib", "/home/", "/proc", "/tmp", "/proc/x", "/sys/foo/bar"];
    refused.extend(system.map(PathBuf::from));
    let capability = mounted("", &[]);
    let node = || rig.serving.node();
    let before = rig.place.mounts();

    for path in &refused {
        let stage = calls::stage(&id, path, &capability);
        let message = rig.serving.refused(Code::InvalidArgument, node().node_stage_volume(stage));
        assert!(message.contains("is not for volumes to be mounted at"), "{message}");
    }
    assert_eq!(rig.place.mounts(), before);
    let staged = rig.stage(&id, &capability);
    let before = rig.place.mounts();
    for path in &refused {
        let publish = calls::publish(&id, &staged, path, &capability, false);
        rig.serving.refused(Code::InvalidArgument, node().node_publish_volume(publish));
    }
    let inline = super::ephemeral::inline("inline-1", Path::new("/sys/foo"), &[("size", "16Mi")]);
    rig.serving.refused(Code::InvalidArgument, node().node_publish_volume(inline));
    assert!(!rig.place.state().join("volumes/inline-1.json").exists(), "refused before anything is made");
    assert_eq!(rig.place.mounts(), before);
    assert!(mounted_at(Path::new("/boot")).is_none_or(|(fs, ..)| fs != "ext4") && !other.join("in").exists());
    rig.publish(&id, &capability, false);
    rig.down(&id);
    unmount(&alias, UnmountFlags::empty()).unwrap();
}

#[test]
fn a_pool_that_only_a_record_knows_is_not_hidden_by_another_volume() {
    let (rig, id, other) = two_pools();
    let manifest = format!(
        "project = \"shop\"\n[pools.far]\npath = \"{}\"\n[volumes.db]\npool = \"far\"\ncapacity = \"16MiB\"\nimage = {{ allocate = \"sparse\" }}\n",
        rig.path("far").display()
    );
    rig.place.write("m.toml", &manifest);
    rig.place.ok(&["apply", "m.toml", "--yes"]);
    let staged = rig.stage(&id, &mounted("", &[]));

    let publish = calls::publish(&id, &staged, &rig.path("far"), &mounted("", &[]), false);
    let message = rig.serving.refused(Code::InvalidArgument, rig.serving.node().node_publish_volume(publish));

    assert!(message.contains("pool") && other.is_dir(), "{message}");
    rig.unstage(&id);
}

#[test]
fn a_stage_is_no_target_and_is_not_taken_away_as_one() {
    let rig = Rig::new();
    let id = rig.volume("vol-1", Some(FsType::Ext4), 16);
    let staged = rig.stage(&id, &mounted("", &[]));
    let target = rig.publish(&id, &mounted("", &[]), false);
    let node = || rig.serving.node();

    let unpublish = calls::unpublish(&id, &staged);
    let message = rig.serving.refused(Code::FailedPrecondition, node().node_unpublish_volume(unpublish));
    assert!(message.contains("NodeUnstageVolume"), "{message}");
    for at in [&staged, &staged.join("in"), &rig.path("plugins")] {
        let publish = calls::publish(&id, &staged, at, &mounted("", &[]), false);
        rig.serving.refused(Code::InvalidArgument, node().node_publish_volume(publish));
    }

    assert!(mounted_at(&staged).is_some() && mounted_at(&target).is_some());
    rig.down(&id);
    assert!(mounted_at(&staged).is_none() && mounted_at(&target).is_none());
}

#[test]
fn a_publish_hides_nothing_and_an_unpublish_is_never_stuck() {
    let rig = Rig::new();
    let (id, raw) = (rig.volume("vol-1", Some(FsType::Ext4), 16), rig.volume("vol-raw", None, 4));
    let node = || rig.serving.node();
    for (id, capability) in [(&id, mounted("", &[])), (&raw, block())] {
        let staged = rig.stage(id, &capability);
        let full = rig.target(&format!("full-{id}"));
        let content = if *id == raw { full.clone() } else { full.join("precious") };
        fs::create_dir_all(content.parent().unwrap()).unwrap();
        fs::write(&content, "precious").unwrap();

        let publish = calls::publish(id, &staged, &full, &capability, false);
        let message = rig.serving.refused(Code::FailedPrecondition, node().node_publish_volume(publish));
        assert!(message.contains(full.to_str().unwrap()), "{message}");
        rig.serving.ok(node().node_unpublish_volume(calls::unpublish(id, &full)));
        assert_eq!(fs::read_to_string(&content).unwrap(), "precious");

        // Filled behind the mount, while nobody could see it: the volume goes, what is there stays.
        let target = rig.target(id);
        if *id == raw {
            fs::write(&target, "").unwrap();
        } else {
            fs::create_dir(&target).unwrap();
        }
        let below = rig.path(&format!("below-{id}"));
        fs::create_dir(&below).unwrap();
        mount_bind(rig.path("pods"), &below).unwrap();
        rig.publish(id, &capability, false);
        let hidden = below.join(id);
        fs::write(if *id == raw { hidden.clone() } else { hidden.join("late") }, "late").unwrap();
        rig.unpublish(id);
        rig.unpublish(id);
        assert!(mounted_at(&target).is_none() && target.exists());
        unmount(&below, UnmountFlags::empty()).unwrap();
        rig.unstage(id);
    }
    assert_eq!(rig.place.loops(), vec![]);
}
