//! Threat: a copy is made of what somebody writes to. Somebody thaws what csictl holds frozen for a copy (a guest agent thaws all file systems, `fsfreeze --unfreeze`). Writers go on while
//! the copy is made, which may be torn: it is no snapshot.

use std::fs;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use csictl::csi::proto::CreateVolumeGroupSnapshotRequest;
use csictl::host::Host;
use csictl::host::linux::LinuxHost;
use csictl::model::Done;
use nix::libc;

use super::machine::ONE_VOLUME;
use crate::support::Place;
use crate::support::place::{detach, unwrapped};
use crate::support::serving::Serving;

/// Thaws a file system as soon as anybody has frozen it; whether it did, once it is told that all is over.
fn thaws(path: PathBuf) -> (Arc<AtomicBool>, JoinHandle<bool>) {
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let agent = thread::spawn(move || {
        let host = LinuxHost::new();
        while !told.load(Ordering::Relaxed) {
            if host.thaw(&path).unwrap() == Done::Changed {
                return true;
            }
        }
        false
    });
    (over, agent)
}

/// Writes to a device until it is told that all is over.
fn writes(device: fs::File) -> (Arc<AtomicBool>, JoinHandle<()>) {
    let over = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&over);
    let writer = thread::spawn(move || {
        for n in 0_u64.. {
            if told.load(Ordering::Relaxed) {
                break;
            }
            device.write_all_at(&n.to_le_bytes().repeat(512), 0).unwrap();
        }
    });
    (over, writer)
}

fn snapshots(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.join("pool")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains(".snap")).collect()
}

#[test]
fn a_snapshot_during_which_somebody_thawed_the_volume_is_none() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("pods/web/data/keep"), "precious").unwrap();
    let (over, agent) = thaws(place.run().join("staging/p.data"));

    let (code, said) = place.exit(&["snapshot", "create", "data", "s", "--yes"]);

    over.store(true, Ordering::Relaxed);
    assert!(agent.join().unwrap(), "nobody thawed it: {said}");
    assert!(code == 1 && said.contains("somebody thawed"), "{code}: {said}");
    assert_eq!(snapshots(&place), Vec::<String>::new());
    place.ok(&["snapshot", "create", "data", "s", "--yes"]);
    assert_eq!(snapshots(&place), ["p.s.snap"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_group_during_which_somebody_thawed_one_of_its_volumes_is_none() {
    let place = Place::new();
    let two = ONE_VOLUME.replace("[pods.web]", "[volumes.more]\ncapacity = \"16MiB\"\n[pods.web]")
        + "[[pods.web.mounts]]\nvolume = \"more\"\npath = \"/web/more\"\n";
    place.write("m.toml", &two);
    place.ok(&["apply", "m.toml", "--yes"]);
    let serving = Serving::start(&place, &[]);
    let take = || {
        let request = CreateVolumeGroupSnapshotRequest {
            name: "nightly".into(),
            source_volume_ids: vec!["p.data".into(), "p.more".into()],
            ..Default::default()
        };
        serving.call(serving.group().create_volume_group_snapshot(request))
    };
    let (over, agent) = thaws(place.run().join("staging/p.data"));

    let answer = take();

    over.store(true, Ordering::Relaxed);
    assert!(agent.join().unwrap(), "nobody thawed it: {answer:?}");
    let message = answer.unwrap_err().message().to_owned();
    assert!(message.contains("somebody thawed"), "{message}");
    assert_eq!(snapshots(&place), Vec::<String>::new());
    take().unwrap();
    assert_eq!(snapshots(&place).len(), 2);
    drop(serving);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

/// Nobody can hold a raw device's writer still: what is read byte by byte meanwhile is of no one moment.
#[test]
fn a_snapshot_of_a_raw_volume_that_is_written_to_all_the_time_is_none() {
    let place = Place::new();
    let manifest = "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.raw]\nvolume_mode = \"block\"\ncapacity = \"64MiB\"\n\
                    [pods.db]\nroot = \"db\"\n[[pods.db.devices]]\nvolume = \"raw\"\npath = \"/raw\"\n";
    place.write("m.toml", manifest);
    place.ok(&["apply", "m.toml", "--yes"]);
    let device = fs::OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(place.join("db/raw")).unwrap();
    device.write_all_at(&vec![7; 32 << 20], 0).unwrap();
    let (over, writer) = writes(device);

    let (code, said) = place.exit(&["snapshot", "create", "raw", "s", "--yes"]);

    over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(code != 0 && unwrapped(&said).contains("such a copy is torn"), "{code}: {said}");
    assert_eq!(snapshots(&place), Vec::<String>::new());
    place.ok(&["snapshot", "create", "raw", "s", "--yes"]);
    assert_eq!(snapshots(&place), ["p.s.snap"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

/// What is down nobody holds still either: somebody may write to it through a loop device of his own.
#[test]
fn what_somebody_writes_to_past_csictl_is_no_copy_alone_and_in_no_group() {
    let place = Place::new();
    let manifest = "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.raw]\nvolume_mode = \"block\"\ncapacity = \"64MiB\"\n";
    place.write("m.toml", manifest);
    place.ok(&["apply", "m.toml", "--yes"]);
    let image = place.join("pool/p.raw.img");
    let shown = Command::new("losetup").args(["--find", "--show"]).arg(&image).output().unwrap();
    let node = PathBuf::from(String::from_utf8(shown.stdout).unwrap().trim());
    let device = fs::OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(&node).unwrap();
    device.write_all_at(&vec![7; 32 << 20], 0).unwrap();
    let (over, writer) = writes(device);
    let serving = Serving::start(&place, &[]);
    let group = || {
        let request = CreateVolumeGroupSnapshotRequest {
            name: "nightly".into(),
            source_volume_ids: vec!["p.raw".into()],
            ..Default::default()
        };
        serving.call(serving.group().create_volume_group_snapshot(request))
    };

    let (code, said) = place.exit(&["snapshot", "create", "raw", "s", "--yes"]);
    let grouped = group();

    over.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(code == 5 && unwrapped(&said).contains("such a copy is torn"), "{code}: {said}");
    assert!(grouped.unwrap_err().message().contains("such a copy is torn"));
    assert_eq!(snapshots(&place), Vec::<String>::new());
    detach(&node, place.path());
    place.ok(&["snapshot", "create", "raw", "s", "--yes"]);
    group().unwrap();
    assert_eq!(snapshots(&place).len(), 2);
}
