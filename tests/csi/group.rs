//! Snapshots of several volumes at one moment: consistent with each other, all or none.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use csictl::csi::proto::group_controller_service_capability::{Type, rpc};
use csictl::csi::proto::{
    CreateVolumeGroupSnapshotRequest, DeleteSnapshotRequest, DeleteVolumeGroupSnapshotRequest,
    GetVolumeGroupSnapshotRequest, GroupControllerGetCapabilitiesRequest, ListSnapshotsRequest, VolumeGroupSnapshot,
};
use tonic::{Code, Status};

use super::shop::{Frozen, code, list, mount_pool, run, snapshot, volumes};
use crate::support::Place;
use crate::support::place::detach;
use crate::support::serving::Serving;

fn asked(name: &str, volumes: &[&str]) -> CreateVolumeGroupSnapshotRequest {
    CreateVolumeGroupSnapshotRequest {
        name: name.into(),
        source_volume_ids: volumes.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    }
}

fn take(serving: &Serving, name: &str, volumes: &[&str]) -> Result<VolumeGroupSnapshot, Status> {
    let answer = serving.call(serving.group().create_volume_group_snapshot(asked(name, volumes)));
    answer.map(|answer| answer.group_snapshot.unwrap())
}

fn members(group: &VolumeGroupSnapshot) -> Vec<String> {
    group.snapshots.iter().map(|snapshot| snapshot.snapshot_id.clone()).collect()
}

fn delete(serving: &Serving, id: &str, snapshots: &[String]) -> Result<(), Status> {
    let request = DeleteVolumeGroupSnapshotRequest {
        group_snapshot_id: id.into(),
        snapshot_ids: snapshots.to_vec(),
        ..Default::default()
    };
    serving.call(serving.group().delete_volume_group_snapshot(request)).map(drop)
}

fn get(serving: &Serving, id: &str, snapshots: &[String]) -> Result<VolumeGroupSnapshot, Status> {
    let request = GetVolumeGroupSnapshotRequest {
        group_snapshot_id: id.into(),
        snapshot_ids: snapshots.to_vec(),
        ..Default::default()
    };
    serving.call(serving.group().get_volume_group_snapshot(request)).map(|answer| answer.group_snapshot.unwrap())
}

/// Files of a pool that end so.
fn files(pool: &Path, end: &str) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(pool).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().ends_with(end)).collect();
    paths.sort();
    paths
}

#[test]
fn a_group_is_taken_once_shown_as_one_and_deleted_as_one() {
    let place = Place::new();
    let pool = place.join("pool");
    volumes(&place, "shop.toml", &pool, &["a", "b"], false);
    let serving = Serving::start(&place, &[]);
    let capabilities =
        serving.ok(serving.group().group_controller_get_capabilities(GroupControllerGetCapabilitiesRequest {}));
    let Some(Type::Rpc(rpc)) = capabilities.capabilities[0].r#type else { panic!("no rpc") };
    assert_eq!(rpc.r#type(), rpc::Type::CreateDeleteGetVolumeGroupSnapshot);

    let group = take(&serving, "nightly", &["shop.b", "shop.a"]).unwrap();
    assert!(group.ready_to_use && group.creation_time.is_some());
    assert_eq!(group.snapshots.len(), 2);
    for member in &group.snapshots {
        assert!(member.ready_to_use);
        assert_eq!(member.group_snapshot_id, group.group_snapshot_id);
        assert_eq!((member.creation_time, member.size_bytes), (group.creation_time, 32 << 20));
    }
    let ids = members(&group);
    let id = group.group_snapshot_id.as_str();
    assert_eq!(take(&serving, "nightly", &["shop.a", "shop.b"]).unwrap(), group, "whatever the order");
    assert_eq!(code(take(&serving, "nightly", &["shop.a"])), Code::AlreadyExists);
    assert_eq!(get(&serving, id, &ids).unwrap(), group);

    let mut listed = ids.clone();
    listed.sort();
    assert_eq!(list(&serving, ListSnapshotsRequest::default()).0, listed);
    let alone = DeleteSnapshotRequest { snapshot_id: ids[0].clone(), ..Default::default() };
    let message = serving.refused(Code::InvalidArgument, serving.controller().delete_snapshot(alone));
    assert!(message.contains(id), "{message}");
    for wrong in [vec![], vec![ids[0].clone()], vec![ids[0].clone(), "none".into()]] {
        assert_eq!(code(get(&serving, id, &wrong)), Code::InvalidArgument);
        assert_eq!(code(delete(&serving, id, &wrong)), Code::InvalidArgument);
    }

    // The command line sees them, keeps them, and carries them over.
    let shown = place.ok(&["get", "snapshots", "-o", "json"]);
    assert_eq!(shown.matches(&format!("\"group\": \"{id}\"")).count(), 2, "{shown}");
    assert!(place.ok(&["status"]).contains("shop.a"));
    let approve = format!("snapshot.{}=delete", ids[0]);
    let (exit, said) = place.exit(&["snapshot", "delete", &ids[0], "--yes", "--approve", &approve]);
    assert!(exit == 5 && said.contains("csictl::guard::group-member"), "{exit} {said}");
    assert!(place.ok(&["gc", "--dry-run"]).contains("nothing is left over"));
    let state = place.ok(&["state", "export"]);
    assert!(state.contains(id), "{state}");
    place.write("state.json", &state);
    assert!(place.ok(&["state", "import", "state.json"]).contains("imported 0 records"));

    delete(&serving, id, &ids).unwrap();
    delete(&serving, id, &ids).unwrap();
    assert_eq!(code(get(&serving, id, &ids)), Code::NotFound);
    assert_eq!(list(&serving, ListSnapshotsRequest::default()).0, Vec::<String>::new());
    assert_eq!(files(&pool, ".snap"), Vec::<PathBuf>::new());
}

#[test]
fn a_group_of_which_somebody_has_attached_a_snapshot_is_kept_whole() {
    let place = Place::new();
    let pool = place.join("pool");
    volumes(&place, "shop.toml", &pool, &["a", "b"], false);
    let serving = Serving::start(&place, &[]);
    let group = take(&serving, "nightly", &["shop.a", "shop.b"]).unwrap();
    let (id, ids) = (group.group_snapshot_id.as_str(), members(&group));
    let taken = files(&pool, ".snap");
    let looked_at = taken.last().unwrap();
    let shown = Command::new("losetup").args(["--find", "--show", "--read-only"]).arg(looked_at).output().unwrap();
    let node = PathBuf::from(String::from_utf8(shown.stdout).unwrap().trim());

    let refused = delete(&serving, id, &ids).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains(node.to_str().unwrap()), "{}", refused.message());
    assert_eq!(files(&pool, ".snap"), taken);
    assert_eq!(get(&serving, id, &ids).unwrap(), group);

    detach(&node, place.path());
    delete(&serving, id, &ids).unwrap();
    assert_eq!(files(&pool, ".snap"), Vec::<PathBuf>::new());
}

#[test]
fn bad_requests_leave_nothing() {
    let place = Place::new();
    let pool = place.join("pool");
    volumes(&place, "shop.toml", &pool, &["a", "b"], false);
    let serving = Serving::start(&place, &[]);
    for (name, of, expected) in [
        ("", vec!["shop.a"], Code::InvalidArgument),
        ("n", vec![], Code::InvalidArgument),
        ("n", vec![""], Code::InvalidArgument),
        ("n", vec!["shop.a", "shop.a"], Code::InvalidArgument),
        ("n", vec!["shop.a", "shop.none"], Code::NotFound),
        ("n", vec!["shop.a", "../x"], Code::NotFound),
    ] {
        assert_eq!(code(take(&serving, name, &of)), expected, "{name} {of:?}");
    }
    let parameters = HashMap::from([("speed".to_owned(), "1".to_owned())]);
    let unknown = CreateVolumeGroupSnapshotRequest { parameters, ..asked("n", &["shop.a"]) };
    serving.refused(Code::InvalidArgument, serving.group().create_volume_group_snapshot(unknown));
    assert_eq!(code(delete(&serving, "", &[])), Code::InvalidArgument);
    assert_eq!(code(get(&serving, "", &[])), Code::InvalidArgument);
    for id in ["none", "../../victim", "A b"] {
        delete(&serving, id, &["x".into()]).unwrap();
        assert_eq!(code(get(&serving, id, &["x".into()])), Code::NotFound);
    }
    assert_eq!(files(&pool, ".snap").len() + files(&pool, ".part").len(), 0);
}

/// The number a copy of a volume holds.
fn number_in(place: &Place, copy: &Path) -> u64 {
    let at = place.join("look");
    std::fs::create_dir_all(&at).unwrap();
    run(Command::new("mount").args(["-o", "loop,ro"]).arg(copy).arg(&at));
    let bytes = std::fs::read(at.join("number")).unwrap();
    run(Command::new("umount").arg(&at));
    u64::from_le_bytes(bytes.try_into().unwrap())
}

fn of_one_moment(place: &Place, pool: &Path) {
    volumes(place, "shop.toml", pool, &["a", "b"], true);
    let open = |name: &str| std::fs::File::create(place.join("root").join(name).join("number")).unwrap();
    let (first, second) = (open("a"), open("b"));
    for file in [&first, &second] {
        file.write_all_at(&0u64.to_le_bytes(), 0).unwrap();
    }
    let serving = Serving::start(place, &[]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whatever is in the second was in the first before.
        let writer = scope.spawn(|| {
            let mut number = 0u64;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                first.write_all_at(&number.to_le_bytes(), 0).unwrap();
                second.write_all_at(&number.to_le_bytes(), 0).unwrap();
            }
            number
        });
        let groups: Vec<_> = (0..3).map(|n| take(&serving, &format!("g{n}"), &["shop.a", "shop.b"])).collect();
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 0, "somebody wrote meanwhile");
        for group in groups {
            let group = group.unwrap();
            let of = |volume: &str| {
                let member = group.snapshots.iter().find(|snapshot| snapshot.source_volume_id == volume).unwrap();
                number_in(place, &pool.join(format!("{}.snap", member.snapshot_id)))
            };
            let (a, b) = (of("shop.a"), of("shop.b"));
            assert!(b <= a && a <= b + 1, "a has {a}, b has {b}: not of one moment");
        }
    });
    assert_eq!(std::fs::read_dir(place.join("run/frozen")).unwrap().count(), 0, "nothing is left frozen");
}

#[test]
fn a_writer_to_two_volumes_is_cut_at_one_moment() {
    let place = Place::new();
    of_one_moment(&place, &place.join("pool"));
}

#[test]
fn a_writer_to_two_volumes_is_cut_at_one_moment_where_extents_are_shared() {
    let place = Place::new();
    let pool = mount_pool(&place, "xfs", &["mkfs.xfs", "-q", "-m", "reflink=1"], 512);
    of_one_moment(&place, &pool);
}

#[test]
fn a_server_killed_in_the_middle_leaves_nobody_frozen_and_no_half_group() {
    let place = Place::new();
    let stuck = mount_pool(&place, "stuck", &["mkfs.ext4", "-q"], 128);
    let pool = place.join("pool");
    volumes(&place, "shop.toml", &pool, &["a"], true);
    let text = std::fs::read_to_string(place.join("shop.toml")).unwrap();
    place.write(
        "warehouse.toml",
        &text
            .replace("shop", "warehouse")
            .replace(pool.to_str().unwrap(), stuck.to_str().unwrap())
            .replace(".a]", ".z]")
            .replace("\"a\"", "\"z\"")
            .replace("/a\"", "/z\"")
            .replace("pods.app", "pods.other"),
    );
    place.ok(&["apply", "warehouse.toml", "--yes"]);
    let serving = Serving::start(&place, &[]);
    // The second volume cannot be frozen while the pool below it is: the call stays in the middle, the first volume frozen.
    let frozen = Frozen::at(&stuck);
    let mut group = serving.group();
    let mut call =
        Box::pin(async move { group.create_volume_group_snapshot(asked("n", &["shop.a", "warehouse.z"])).await });
    let begun = Instant::now();
    let marks = || std::fs::read_dir(place.join("run/frozen")).map_or(0, Iterator::count);
    while marks() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{}", serving.log());
        let soon = tokio::time::Duration::from_millis(20);
        assert!(serving.block_on(async { tokio::time::timeout(soon, &mut call).await }).is_err(), "it cannot end");
    }
    serving.kill();
    let mut write = Command::new("sh")
        .args(["-c", "echo after > \"$0\""])
        .arg(place.join("root/a/file"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while write.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the first volume is still frozen");
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(frozen);
    let serving = Serving::start(&place, &[]);
    assert_eq!(list(&serving, ListSnapshotsRequest::default()).0, Vec::<String>::new());
    assert_eq!(marks(), 0);
    std::fs::write(place.join("root/z/file"), "after").unwrap();
    let group = take(&serving, "n", &["shop.a", "warehouse.z"]).unwrap();
    assert_eq!(group.snapshots.len(), 2);
    assert_eq!(files(&pool, ".part").len() + files(&stuck, ".part").len(), 0);
    snapshot(&serving, "shop.a", "alone").unwrap();
    place.ok(&["destroy", "warehouse.toml", "--yes"]);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}
