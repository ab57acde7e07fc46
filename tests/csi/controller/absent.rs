//! Pools that are away for a while: what lies in them is neither deleted nor forgotten, and nothing is mounted in their place.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use csictl::csi::proto::{
    CreateVolumeGroupSnapshotRequest, DeleteSnapshotRequest, DeleteVolumeGroupSnapshotRequest, GetCapacityRequest,
    ListSnapshotsRequest,
};
use tonic::Code;

use super::Rig;
use crate::csi::calls::{self, mounted};
use crate::csi::shop::{list, mount_pool, run, snapshot};
use crate::support::Place;
use crate::support::serving::Serving;

/// A rig whose only pool is a file system of its own, and where that is.
fn rig() -> (Rig, PathBuf) {
    let place = Place::new();
    let pool = mount_pool(&place, "disk", &["mkfs.ext4", "-q"], 96);
    place.write("storage.toml", &format!("[pools.disk]\npath = \"{}\"\n", pool.display()));
    let serving = Serving::start(&place, &["--config", "storage.toml"]);
    (Rig { serving, place }, pool)
}

/// Does something while another directory is in the pool's place, and while none is.
fn while_away(place: &Place, pool: &Path, mut work: impl FnMut()) {
    let away = place.join("away");
    fs::create_dir_all(&away).unwrap();
    run(Command::new("mount").arg("--move").arg(pool).arg(&away));
    work();
    fs::remove_dir(pool).unwrap();
    work();
    fs::create_dir(pool).unwrap();
    run(Command::new("mount").arg("--move").arg(&away).arg(pool));
}

fn files(pool: &Path, end: &str) -> usize {
    super::names(pool).iter().filter(|name| name.ends_with(end)).count()
}

#[test]
fn a_snapshot_whose_pool_is_away_is_neither_deleted_nor_forgotten() {
    let (rig, pool) = rig();
    let id = rig.volume("db", &mounted("", &[]), 16);
    let taken = snapshot(&rig.serving, &id, "nightly").unwrap();
    let delete = || DeleteSnapshotRequest { snapshot_id: taken.snapshot_id.clone(), ..Default::default() };
    let mut controller = rig.serving.controller();

    while_away(&rig.place, &pool, || {
        let message = rig.serving.refused(Code::FailedPrecondition, controller.delete_snapshot(delete()));
        assert!(message.contains(pool.to_str().unwrap()) && message.contains("mount the pool"), "{message}");
        assert_eq!(list(&rig.serving, ListSnapshotsRequest::default()).0, std::slice::from_ref(&taken.snapshot_id));
    });

    rig.serving.ok(controller.delete_snapshot(delete()));
    assert_eq!((files(&pool, ".snap"), list(&rig.serving, ListSnapshotsRequest::default()).0.len()), (0, 0));
}

#[test]
fn a_group_whose_pool_is_away_is_neither_deleted_nor_forgotten() {
    let (rig, pool) = rig();
    let ids = ["a", "b"].map(|name| rig.volume(name, &mounted("", &[]), 16));
    let request =
        CreateVolumeGroupSnapshotRequest { name: "both".into(), source_volume_ids: ids.to_vec(), ..Default::default() };
    let group = rig.serving.ok(rig.serving.group().create_volume_group_snapshot(request)).group_snapshot.unwrap();
    let delete = || DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: group.group_snapshot_id.clone(),
        snapshot_ids: group.snapshots.iter().map(|member| member.snapshot_id.clone()).collect(),
        ..Default::default()
    };
    let mut groups = rig.serving.group();

    while_away(&rig.place, &pool, || {
        let call = groups.delete_volume_group_snapshot(delete());
        let message = rig.serving.refused(Code::FailedPrecondition, call);
        assert!(message.contains(pool.to_str().unwrap()) && message.contains("mount the pool"), "{message}");
        assert_eq!(list(&rig.serving, ListSnapshotsRequest::default()).0.len(), 2);
    });

    rig.serving.ok(groups.delete_volume_group_snapshot(delete()));
    assert_eq!((files(&pool, ".snap"), list(&rig.serving, ListSnapshotsRequest::default()).0.len()), (0, 0));
}

#[test]
fn a_deletion_that_was_killed_does_not_forget_the_image_while_its_pool_is_away() {
    let (rig, pool) = rig();
    let id = rig.volume("db", &mounted("", &[]), 16);
    let Rig { serving, place } = rig;
    assert_eq!(serving.end(), Some(0));
    let doomed = Serving::start_flagged_under(&place, &["--config", "storage.toml"], |command| {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-P"]).arg(pool.join(format!("{id}.img")));
        strace.args(["-e", "trace=unlinkat", "-e", "inject=unlinkat:signal=SIGKILL", "--"]);
        strace.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            strace.env(name, value.unwrap_or_default());
        }
        strace.current_dir(command.get_current_dir().unwrap());
        strace
    });
    let doomed = doomed.expect("it serves until it deletes something");
    doomed.call(doomed.controller().delete_volume(calls::delete(&id))).expect_err("it is killed in it");
    drop(doomed);
    assert_eq!(files(&pool, ".img"), 1, "it was killed before the image was gone");
    let rig = Rig { serving: Serving::start(&place, &["--config", "storage.toml"]), place };

    while_away(&rig.place, &pool, || {
        let mut controller = rig.serving.controller();
        let message = rig.serving.refused(Code::FailedPrecondition, controller.delete_volume(calls::delete(&id)));
        assert!(message.contains("mount the pool"), "{message}");
    });

    rig.delete(&id);
    assert_eq!((files(&pool, ".img"), rig.records().len()), (0, 0));
}

#[test]
fn a_pool_that_only_a_snapshot_speaks_of_is_not_mounted_over() {
    let place = Place::new();
    let pool = place.join("old");
    crate::csi::shop::volumes(&place, "shop.toml", &pool, &["db"], false);
    let rig = Rig { serving: Serving::start(&place, &[]), place };
    snapshot(&rig.serving, "shop.db", "kept").unwrap();
    rig.place.ok(&["destroy", "shop.toml", "--yes", "--delete-data", "db"]);
    let id = rig.volume("other", &mounted("", &[]), 16);
    let mut node = rig.serving.node();

    for path in [pool.clone(), pool.join("in")] {
        let stage = calls::stage(&id, &path, &mounted("", &[]));
        let message = rig.serving.refused(Code::InvalidArgument, node.node_stage_volume(stage));
        assert!(message.contains("pool"), "{message}");
    }
}

#[test]
fn nothing_is_made_in_a_pool_that_is_away_and_it_has_no_capacity() {
    let (rig, pool) = rig();
    rig.volume("db", &mounted("", &[]), 16);
    let capacity = || rig.serving.ok(rig.serving.controller().get_capacity(GetCapacityRequest::default()));
    assert!(capacity().available_capacity > 0);

    while_away(&rig.place, &pool, || {
        let message = rig.refused(Code::FailedPrecondition, calls::create("log", &mounted("", &[]), 16 << 20));
        assert!(message.contains("is not mounted"), "{message}");
        assert_eq!(capacity().available_capacity, 0);
    });

    rig.volume("log", &mounted("", &[]), 16);
    assert_eq!(files(&pool, ".img"), 2);
}

#[test]
fn a_snapshot_whose_record_is_torn_is_deleted_by_its_files_own_word() {
    let (rig, pool) = rig();
    let id = rig.volume("db", &mounted("", &[]), 16);
    let taken = snapshot(&rig.serving, &id, "nightly").unwrap();
    rig.delete(&id);
    let record = rig.place.join("state/snapshots").join(format!("{}.json", taken.snapshot_id));
    let whole = fs::read(&record).unwrap();
    fs::write(&record, &whole[..whole.len() / 3]).unwrap();

    let delete = DeleteSnapshotRequest { snapshot_id: taken.snapshot_id, ..Default::default() };
    rig.serving.ok(rig.serving.controller().delete_snapshot(delete));

    assert_eq!((files(&pool, ".snap"), record.exists()), (0, false));
}

#[test]
fn a_snapshot_of_an_earlier_volume_of_that_name_is_not_taken_for_one_of_this() {
    let (rig, _) = rig();
    let id = rig.volume("db", &mounted("", &[]), 16);
    let taken = snapshot(&rig.serving, &id, "nightly").unwrap();
    rig.delete(&id);
    assert_eq!(rig.volume("db", &mounted("", &[]), 16), id, "ids are made of names");

    // Moments are recorded in seconds: be it made in the same or in the next one.
    for pause in [0, 1100] {
        std::thread::sleep(std::time::Duration::from_millis(pause));
        let refused = snapshot(&rig.serving, &id, "nightly").unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert!(refused.message().contains("earlier volume"), "{}", refused.message());
    }
    assert_eq!(list(&rig.serving, ListSnapshotsRequest::default()).0, [taken.snapshot_id]);
}
