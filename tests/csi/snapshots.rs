//! Snapshots over the socket: the rules that drivers get wrong.

use std::collections::HashMap;

use csictl::csi::proto::{CreateSnapshotRequest, DeleteSnapshotRequest, GetSnapshotRequest, ListSnapshotsRequest};
use tonic::Code;

use super::shop::{Frozen, code, list, mount_pool, run, snapshot, volumes};
use crate::support::Place;
use crate::support::serving::Serving;

fn delete(id: &str) -> DeleteSnapshotRequest {
    DeleteSnapshotRequest { snapshot_id: id.into(), ..DeleteSnapshotRequest::default() }
}

#[test]
fn a_snapshot_is_taken_once_found_again_and_deleted_twice() {
    let place = Place::new();
    volumes(&place, "shop.toml", &place.join("pool"), &["db", "log"], false);
    let serving = Serving::start(&place, &[]);
    let first = snapshot(&serving, "shop.db", "nightly").unwrap();
    assert!(first.ready_to_use);
    assert_eq!((first.size_bytes, first.source_volume_id.as_str()), (32 << 20, "shop.db"));
    assert!(first.creation_time.unwrap().seconds > 1_700_000_000);

    assert_eq!(snapshot(&serving, "shop.db", "nightly").unwrap(), first, "a retry answers the same");
    assert_eq!(code(snapshot(&serving, "shop.log", "nightly")), Code::AlreadyExists);
    let get = GetSnapshotRequest { snapshot_id: first.snapshot_id.clone(), ..GetSnapshotRequest::default() };
    assert_eq!(serving.ok(serving.controller().get_snapshot(get.clone())).snapshot.unwrap(), first);

    serving.ok(serving.controller().delete_snapshot(delete(&first.snapshot_id)));
    serving.ok(serving.controller().delete_snapshot(delete(&first.snapshot_id)));
    serving.refused(Code::NotFound, serving.controller().get_snapshot(get));
    assert_eq!(list(&serving, ListSnapshotsRequest::default()).0, Vec::<String>::new());
    let left: Vec<_> = std::fs::read_dir(place.join("pool")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "only the two images are left: {left:?}");
}

#[test]
fn bad_requests_have_the_codes_of_the_specification() {
    let place = Place::new();
    volumes(&place, "shop.toml", &place.join("pool"), &["db"], false);
    let serving = Serving::start(&place, &[]);
    let asked = |volume: &str, name: &str, parameter: &str| CreateSnapshotRequest {
        source_volume_id: volume.into(),
        name: name.into(),
        parameters: HashMap::from([(parameter.into(), "x".into())]),
        ..CreateSnapshotRequest::default()
    };
    let known = "csi.storage.k8s.io/volumesnapshot/name";
    let long = "x".repeat(129);
    for (volume, name, parameter, expected) in [
        ("", "n", known, Code::InvalidArgument),
        ("shop.db", "", known, Code::InvalidArgument),
        ("shop.db", "a\nb", known, Code::InvalidArgument),
        ("shop.db", &long, known, Code::InvalidArgument),
        ("shop.db", "n", "speed", Code::InvalidArgument),
        ("shop.none", "n", known, Code::NotFound),
        ("../shop.db", "n", known, Code::NotFound),
    ] {
        let message = serving.refused(expected, serving.controller().create_snapshot(asked(volume, name, parameter)));
        assert!(!message.contains('\n'), "{message}");
    }
    serving.ok(serving.controller().create_snapshot(asked("shop.db", "Ünïcödé ../ 名前", known)));
    let controller = || serving.controller();
    serving.refused(Code::InvalidArgument, controller().delete_snapshot(delete("")));
    serving.refused(Code::InvalidArgument, controller().get_snapshot(GetSnapshotRequest::default()));
    for id in ["../../victim", "none", "A b"] {
        serving.ok(controller().delete_snapshot(delete(id)));
        let get = GetSnapshotRequest { snapshot_id: id.into(), ..GetSnapshotRequest::default() };
        serving.refused(Code::NotFound, controller().get_snapshot(get));
    }
}

#[test]
fn a_projects_snapshot_is_listed_and_not_deleted() {
    let place = Place::new();
    volumes(&place, "shop.toml", &place.join("pool"), &["db"], false);
    place.ok(&["snapshot", "create", "db", "mine", "--yes"]);
    let serving = Serving::start(&place, &[]);
    let theirs = snapshot(&serving, "shop.db", "theirs").unwrap();
    let (ids, _) = list(&serving, ListSnapshotsRequest::default());
    assert_eq!(ids, ["shop.mine", &theirs.snapshot_id]);
    let message = serving.refused(Code::FailedPrecondition, serving.controller().delete_snapshot(delete("shop.mine")));
    assert!(message.contains("project shop"), "{message}");
    assert!(place.ok(&["get", "snapshots"]).contains(&theirs.snapshot_id), "the command line sees both");
    place.ok(&["apply", "shop.toml", "--yes"]);
    assert_eq!(list(&serving, ListSnapshotsRequest::default()).0.len(), 2, "apply leaves gRPC's snapshots alone");
}

#[test]
fn lists_have_a_stable_order_and_tokens_that_last() {
    let place = Place::new();
    volumes(&place, "shop.toml", &place.join("pool"), &["db", "log"], false);
    let serving = Serving::start(&place, &[]);
    let mut ids: Vec<String> = (0..5)
        .map(|n| snapshot(&serving, if n < 3 { "shop.db" } else { "shop.log" }, &format!("s{n}")).unwrap().snapshot_id)
        .collect();
    let of_db = &mut ids[..3].to_vec();
    of_db.sort();
    ids.sort();
    let by_volume = ListSnapshotsRequest { source_volume_id: "shop.db".into(), ..Default::default() };
    assert_eq!(list(&serving, by_volume.clone()), (of_db.clone(), String::new()));
    let by_id = ListSnapshotsRequest { snapshot_id: ids[1].clone(), ..Default::default() };
    assert_eq!(list(&serving, by_id), (vec![ids[1].clone()], String::new()));
    for (volume, snapshot) in [("shop.none", ""), ("", "none"), ("../x", ""), ("", "../x")] {
        let request = ListSnapshotsRequest {
            source_volume_id: volume.into(),
            snapshot_id: snapshot.into(),
            ..Default::default()
        };
        assert_eq!(list(&serving, request), (Vec::new(), String::new()), "{volume}{snapshot}");
    }

    let page =
        |token: &str| ListSnapshotsRequest { max_entries: 2, starting_token: token.to_owned(), ..Default::default() };
    let (first, token) = list(&serving, page(""));
    assert_eq!(first, ids[..2]);
    // The last entry of the page goes, and the token still continues behind it.
    serving.ok(serving.controller().delete_snapshot(delete(&first[1])));
    let (second, token) = list(&serving, page(&token));
    assert_eq!(second, ids[2..4]);
    assert_eq!(list(&serving, page(&token)), (vec![ids[4].clone()], String::new()));
    for bad in ["-5", "5", "2", "x", "1.00000000.a"] {
        serving.refused(Code::Aborted, serving.controller().list_snapshots(page(bad)));
    }
    let negative = ListSnapshotsRequest { max_entries: -1, ..Default::default() };
    serving.refused(Code::InvalidArgument, serving.controller().list_snapshots(negative));
}

#[test]
fn a_slow_copy_makes_no_other_volume_wait() {
    let place = Place::new();
    let slow = mount_pool(&place, "slow", &["mkfs.ext4", "-q"], 128);
    volumes(&place, "big.toml", &slow, &["data"], false);
    volumes(&place, "shop.toml", &place.join("pool"), &["db"], false);
    let serving = Serving::start(&place, &[]);
    let frozen = Frozen::at(&slow);
    let ask = |volume: &str, name: &str| CreateSnapshotRequest {
        source_volume_id: volume.into(),
        name: name.into(),
        ..Default::default()
    };
    serving.block_on(async {
        // The copy can't begin to write while its pool is frozen, however long that is.
        let call = |name: &'static str| {
            let mut controller = serving.controller();
            tokio::spawn(async move { controller.create_snapshot(ask("big.data", name)).await })
        };
        let (mut one, mut other) = (call("one"), call("other"));
        // Of two calls on one volume the second is sent away at once; the first is at work then.
        let (refused, copy) = tokio::select! {
            refused = &mut one => (refused, other),
            refused = &mut other => (refused, one),
        };
        assert_eq!(refused.unwrap().unwrap_err().code(), Code::Aborted);
        serving.controller().create_snapshot(ask("shop.db", "quick")).await.unwrap();
        serving.controller().list_snapshots(ListSnapshotsRequest::default()).await.unwrap();
        assert!(!copy.is_finished(), "the other volume's calls passed by the copy");
        drop(frozen);
        assert!(copy.await.unwrap().unwrap().into_inner().snapshot.unwrap().ready_to_use);
    });
    assert_eq!(list(&serving, ListSnapshotsRequest::default()).0.len(), 2);
}

#[test]
fn a_snapshot_of_a_volume_in_use_is_whole() {
    let place = Place::new();
    volumes(&place, "shop.toml", &place.join("pool"), &["db"], true);
    std::fs::write(place.join("root/db/file"), "before").unwrap();
    let serving = Serving::start(&place, &[]);
    snapshot(&serving, "shop.db", "nightly").unwrap();
    std::fs::write(place.join("root/db/file"), "after").unwrap();
    assert_eq!(std::fs::read_dir(place.join("run/frozen")).unwrap().count(), 0, "nothing is left frozen");
    let copy = std::fs::read_dir(place.join("pool"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "snap"))
        .unwrap();
    let at = place.join("look");
    std::fs::create_dir(&at).unwrap();
    run(std::process::Command::new("mount").args(["-o", "loop,ro"]).arg(&copy).arg(&at));
    assert_eq!(std::fs::read_to_string(at.join("file")).unwrap(), "before");
}
