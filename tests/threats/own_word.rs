//! Threat: a record that somebody edited or brought along says that a file may go. What may be lost is what the file says of itself: that it
//! is protected, that it lives with its pod, that its group is being deleted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use csictl::csi::proto::{
    CreateSnapshotRequest, CreateVolumeGroupSnapshotRequest, DeleteSnapshotRequest, DeleteVolumeGroupSnapshotRequest,
    VolumeGroupSnapshot,
};
use csictl::model::record::{GroupRecord, GroupState, Recorded, SnapshotRecord, VolumeRecord};
use csictl::state::record::{decode, encode};

use super::machine::ONE_VOLUME;
use crate::csi::calls;
use crate::support::Place;
use crate::support::place::detach;
use crate::support::serving::Serving;

const MIB: i64 = 1 << 20;

fn volume(serving: &Serving, name: &str) -> String {
    let create = calls::create(name, &calls::mounted("ext4", &[]), 16 * MIB);
    serving.ok(serving.controller().create_volume(create)).volume.unwrap().volume_id
}

fn take(serving: &Serving, volumes: &[&str]) -> Result<VolumeGroupSnapshot, tonic::Status> {
    let request = CreateVolumeGroupSnapshotRequest {
        name: "nightly".into(),
        source_volume_ids: volumes.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    };
    let answer = serving.call(serving.group().create_volume_group_snapshot(request));
    answer.map(|answer| answer.group_snapshot.unwrap())
}

fn delete_group(serving: &Serving, group: &VolumeGroupSnapshot) -> Result<(), tonic::Status> {
    let request = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: group.group_snapshot_id.clone(),
        snapshot_ids: group.snapshots.iter().map(|snapshot| snapshot.snapshot_id.clone()).collect(),
        ..Default::default()
    };
    serving.call(serving.group().delete_volume_group_snapshot(request)).map(drop)
}

fn snapshots(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.state().join("pool")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "snap")).collect();
    found.sort();
    found
}

fn group_record(place: &Place, id: &str) -> (PathBuf, GroupRecord) {
    let path = place.state().join(format!("groups/{id}.json"));
    match decode::<GroupRecord>(&fs::read(&path).unwrap(), id) {
        Recorded::Present(record) => (path, record),
        other => panic!("{other:?}"),
    }
}

/// A group of two volumes and a snapshot that is in no group.
struct Grouped {
    place: Place,
    volumes: [String; 2],
    group: VolumeGroupSnapshot,
    alone: SnapshotRecord,
    files: Vec<PathBuf>,
}

fn grouped() -> Grouped {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let volumes = [volume(&serving, "pvc-1"), volume(&serving, "pvc-2")];
    let group = take(&serving, &[&volumes[0], &volumes[1]]).unwrap();
    let request =
        CreateSnapshotRequest { source_volume_id: volumes[0].clone(), name: "s".into(), ..Default::default() };
    let id = serving.ok(serving.controller().create_snapshot(request)).snapshot.unwrap().snapshot_id;
    let bytes = fs::read(place.state().join(format!("snapshots/{id}.json"))).unwrap();
    let Recorded::Present(alone) = decode::<SnapshotRecord>(&bytes, &id) else { panic!("no record") };
    drop(serving);
    let files = snapshots(&place);
    assert_eq!(files.len(), 3);
    Grouped { place, volumes, group, alone, files }
}

#[test]
fn a_group_record_that_was_edited_to_be_deleted_gets_no_snapshot_deleted() {
    for what in ["its own members", "a snapshot of nobody's group", "named as its member everywhere"] {
        let Grouped { place, volumes, group, alone, files } = grouped();
        let (path, mut record) = group_record(&place, &group.group_snapshot_id);
        record.state = GroupState::Deleting;
        if what != "its own members" {
            let named = SnapshotRecord { group: Some(record.id.clone()), ..alone.clone() };
            if what.starts_with("named") {
                let own = place.state().join(format!("snapshots/{}.json", alone.id));
                fs::write(own, encode(&named)).unwrap();
            }
            record.members = vec![named];
        }
        fs::write(&path, encode(&record)).unwrap();

        let (code, said) = place.exit(&["gc", "--yes"]);
        assert!(code != 0 && said.contains("does not say"), "{what}: {code} {said}");
        let serving = Serving::start(&place, &[]);
        let again = take(&serving, &[&volumes[0], &volumes[1]]);

        assert!(again.is_err(), "{what}");
        assert_eq!(snapshots(&place), files, "{what}");
    }
}

#[test]
fn a_standing_group_whose_record_names_anothers_snapshot_gets_it_not_deleted() {
    let Grouped { place, group, alone, files, .. } = grouped();
    let (path, mut record) = group_record(&place, &group.group_snapshot_id);
    record.members = vec![SnapshotRecord { group: Some(record.id.clone()), ..alone.clone() }];
    fs::write(&path, encode(&record)).unwrap();
    let serving = Serving::start(&place, &[]);
    let mut named = group.clone();
    named.snapshots.truncate(1);
    named.snapshots[0].snapshot_id = alone.id.to_string();

    let answer = delete_group(&serving, &named);

    assert!(answer.is_err());
    assert_eq!(snapshots(&place), files);
}

#[test]
fn an_imported_group_that_is_being_deleted_is_a_standing_one() {
    let Grouped { place, group, files, .. } = grouped();
    let (path, record) = group_record(&place, &group.group_snapshot_id);
    fs::write(&path, encode(&GroupRecord { state: GroupState::Deleting, ..record })).unwrap();
    place.write("document.json", &place.ok(&["state", "export"]));
    fs::remove_file(&path).unwrap();

    place.ok(&["state", "import", "document.json"]);
    place.ok(&["gc", "--yes"]);
    let serving = Serving::start(&place, &[]);
    assert_eq!(snapshots(&place), files);

    delete_group(&serving, &group).unwrap();
    assert_eq!(snapshots(&place).len(), 1, "what is asked for is done");
}

#[test]
fn an_unpublish_deletes_no_volume_whose_image_does_not_say_that_it_is_ephemeral() {
    for door in ["edited", "imported"] {
        let place = Place::new();
        let serving = Serving::start(&place, &[]);
        let id = volume(&serving, "pvc-1");
        let (stage, target) = (place.join("stage"), place.join("target"));
        fs::create_dir_all(&stage).unwrap();
        drop(serving);
        let path = place.state().join(format!("volumes/{id}.json"));
        let Recorded::Present(mut record) = decode::<VolumeRecord>(&fs::read(&path).unwrap(), &id) else {
            panic!("no record")
        };
        record.spec.ephemeral = true;
        fs::write(&path, encode(&record)).unwrap();
        if door == "imported" {
            place.write("document.json", &place.ok(&["state", "export"]));
            fs::remove_file(&path).unwrap();
            place.ok(&["state", "import", "document.json"]);
        }
        let serving = Serving::start(&place, &[]);
        let capability = calls::mounted("ext4", &[]);

        serving.ok(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
        serving.ok(serving.node().node_publish_volume(calls::publish(&id, &stage, &target, &capability, false)));
        fs::write(target.join("keep"), "precious").unwrap();
        // Whatever an orchestrator does next, and however often.
        serving.ok(serving.node().node_unpublish_volume(calls::unpublish(&id, &target)));
        serving.ok(serving.node().node_unstage_volume(calls::unstage(&id, &stage)));
        serving.ok(serving.node().node_unpublish_volume(calls::unpublish(&id, &target)));

        serving.ok(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
        assert_eq!(fs::read_to_string(stage.join("keep")).unwrap(), "precious", "{door}");
        serving.ok(serving.node().node_unstage_volume(calls::unstage(&id, &stage)));
    }
}

#[test]
fn an_inline_ephemeral_volume_takes_no_image_that_is_not_ephemeral() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let id = volume(&serving, "pvc-1");
    let image = place.state().join(format!("pool/{id}.img"));
    fs::remove_file(place.state().join(format!("volumes/{id}.json"))).unwrap();
    let target = place.join("target");
    let mut request = calls::publish(&id, Path::new(""), &target, &calls::mounted("ext4", &[]), false);
    request.volume_context = calls::words(&[("csi.storage.k8s.io/ephemeral", "true"), ("size", "16Mi")]);

    let answer = serving.call(serving.node().node_publish_volume(request));
    let _ = serving.call(serving.node().node_unpublish_volume(calls::unpublish(&id, &target)));

    assert!(answer.is_err());
    assert!(image.exists());
}

#[test]
fn what_the_image_says_is_protected_no_edited_or_imported_record_gets_deleted() {
    let place = Place::new();
    let protected = ONE_VOLUME.replace("[volumes.data]\n", "[volumes.data]\nprevent_destroy = true\n");
    let manifest = place.write("m.toml", &protected);
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("pods/web/data/keep"), "precious").unwrap();
    place.ok(&["destroy", "m.toml", "--yes"]);
    let path = place.state().join("volumes/p.data.json");
    let Recorded::Present(mut record) = decode::<VolumeRecord>(&fs::read(&path).unwrap(), "p.data") else {
        panic!("no record")
    };
    record.spec.prevent_destroy = false;
    record.released = true;
    fs::write(&path, encode(&record)).unwrap();
    let document = place.ok(&["state", "export"]);
    let edited = fs::read(&path).unwrap();

    for door in ["edited", "imported"] {
        fs::write(&path, &edited).unwrap();
        if door == "imported" {
            fs::remove_file(&path).unwrap();
            place.write("document.json", &document);
            place.ok(&["state", "import", "document.json"]);
        }
        for words in [
            &["delete", "p.data", "--yes", "--approve", "volume.data=delete"][..],
            &["destroy", "m.toml", "--yes", "--delete-data", "data"],
            &["gc", "--yes", "--approve", "volume.p.data=delete"],
        ] {
            let (code, said) = place.exit(words);
            assert!(code == 5 || words[0] == "gc", "{door} {words:?}: {code} {said}");
            assert!(place.join("pool/p.data.img").exists(), "{door} {words:?}: {said}");
        }
    }

    // Its manifest lifts it, as before.
    fs::write(&manifest, ONE_VOLUME).unwrap();
    place.ok(&["apply", "m.toml", "--yes"]);
    assert_eq!(fs::read_to_string(place.join("pods/web/data/keep")).unwrap(), "precious");
    place.ok(&["destroy", "m.toml", "--yes", "--delete-data", "data"]);
    assert!(!place.join("pool/p.data.img").exists());
}

/// The record is lost, and a backup copy of the image lies in another pool: one approval is no choice between the two.
#[test]
fn gc_removes_none_of_two_images_that_say_to_be_one_volume() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.write("pools.toml", "version = 1\nproject = \"q\"\n[pools.backup]\npath = \"backup\"\n");
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["snapshot", "create", "data", "s", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    fs::create_dir(place.join("backup")).unwrap();
    for name in ["p.data.img", "p.s.snap"] {
        super::data_loss::shell(&place, &format!("cp --preserve=xattr,mode --sparse=always pool/{name} backup/{name}"));
    }
    fs::remove_file(place.state().join("volumes/p.data.json")).unwrap();
    fs::remove_file(place.state().join("snapshots/p.s.json")).unwrap();
    let (pool, backup) = (place.join("pool"), place.join("backup"));
    let gc = |more: &[&str]| {
        let pools = ["--config", "m.toml", "--config", "pools.toml"];
        place.exit(&[&["gc", "--yes"], &pools[..], more].concat())
    };

    for (flag, name) in [("volume.p.data=delete", "p.data.img"), ("snapshot.p.s=delete", "p.s.snap")] {
        let (code, said) = gc(&["--approve", flag]);
        assert_eq!(code, 5, "{flag}: {said}");
        for folder in [&pool, &backup] {
            let path = folder.join(name);
            assert!(path.exists() && said.contains(path.to_str().unwrap()), "{flag}: {said}");
        }
        // Moved away, the other is one, and goes by name.
        fs::rename(backup.join(name), place.join("away")).unwrap();
        let (code, said) = gc(&["--approve", flag]);
        assert_eq!(code, 0, "{flag}: {said}");
        assert!(!pool.join(name).exists() && place.join("away").exists());
        fs::remove_file(place.join("away")).unwrap();
    }
}

/// A backup copy that keeps the extended attributes says of itself what the image says.
#[test]
fn a_volume_whose_record_is_lost_is_not_its_backup_copy() {
    let place = Place::new();
    let pools = ["pa", "pb"].map(|name| {
        let pool = place.join(name);
        fs::create_dir(&pool).unwrap();
        fs::set_permissions(&pool, PermissionsExt::from_mode(0o700)).unwrap();
        pool
    });
    let config = place.write(
        "c.toml",
        &format!(
            "version = 1\n[pools.a]\npath = \"{}\"\n[pools.b]\npath = \"{}\"\n[classes.fast]\npool = \"b\"\n",
            pools[0].display(),
            pools[1].display()
        ),
    );
    let serving = Serving::start(&place, &["--config", config.to_str().unwrap()]);
    let capability = calls::mounted("ext4", &[]);
    let mut create = calls::create("pvc-1", &capability, 16 * MIB);
    create.parameters.insert("class".into(), "fast".into());
    let id = serving.ok(serving.controller().create_volume(create)).volume.unwrap().volume_id;
    let [copy, image] = [0, 1].map(|n| pools[n].join(format!("{id}.img")));
    let copied = Command::new("cp").args(["--preserve=all", "--sparse=always"]).args([&image, &copy]).status().unwrap();
    assert!(copied.success());
    let stage = place.join("stage");
    fs::create_dir(&stage).unwrap();
    let record = place.state().join(format!("volumes/{id}.json"));
    fs::write(&record, "").unwrap();

    let staged = serving.call(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
    let deleted = serving.call(serving.controller().delete_volume(calls::delete(&id)));

    let message = staged.unwrap_err().message().to_owned();
    assert!(message.contains(copy.to_str().unwrap()) && message.contains(image.to_str().unwrap()), "{message}");
    assert!(copy.exists() && image.exists(), "{deleted:?}");
    fs::remove_file(&copy).unwrap();
    serving.ok(serving.node().node_stage_volume(calls::stage(&id, &stage, &capability)));
    serving.ok(serving.node().node_unstage_volume(calls::unstage(&id, &stage)));
}

/// A damaged record takes nothing from what the file itself says, and from who uses it.
#[test]
fn a_snapshot_whose_record_is_damaged_is_not_deleted_while_it_is_attached_or_a_groups_member() {
    let Grouped { place, group, alone, files, .. } = grouped();
    let member = group.snapshots[0].snapshot_id.clone();
    let records = [
        format!("groups/{}", group.group_snapshot_id),
        format!("snapshots/{member}"),
        format!("snapshots/{}", alone.id),
    ];
    for record in records {
        fs::write(place.state().join(format!("{record}.json")), "{\"half").unwrap();
    }
    let shown = Command::new("losetup").args(["--find", "--show", "--read-only"]).arg(&alone.path).output().unwrap();
    let node = PathBuf::from(String::from_utf8(shown.stdout).unwrap().trim());
    let serving = Serving::start(&place, &[]);
    let delete = |id: &str| {
        let request = DeleteSnapshotRequest { snapshot_id: id.into(), ..Default::default() };
        serving.call(serving.controller().delete_snapshot(request)).map(drop)
    };

    assert!(delete(&member).is_err());
    let message = delete(alone.id.as_str()).unwrap_err().message().to_owned();
    assert!(message.contains(node.to_str().unwrap()), "{message}");
    assert_eq!(snapshots(&place), files);

    detach(&node, place.path());
    delete(alone.id.as_str()).unwrap();
    assert_eq!(snapshots(&place).len(), files.len() - 1);
}
