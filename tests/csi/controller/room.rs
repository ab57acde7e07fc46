//! Pools: what still fits, told by GetCapacity and held by CreateVolume, also when many ask at once.

use csictl::csi::proto::{CreateVolumeRequest, GetCapacityRequest, GetCapacityResponse, Topology};
use tonic::Code;

use super::{MIB, Rig};
use crate::csi::calls::{block, create, mounted, with_mode, words};

const LIMITED: &str = "[pools.main]\npath = \"main\"\nlimit = \"200MiB\"\n";

fn capacity(rig: &Rig, request: GetCapacityRequest) -> GetCapacityResponse {
    rig.serving.ok(rig.serving.controller().get_capacity(request))
}

#[test]
fn as_many_as_fit_are_made_however_many_ask_at_once() {
    let rig = Rig::configured(LIMITED);
    let requests: Vec<CreateVolumeRequest> =
        (0..8).map(|number| create(&format!("v{number}"), &block(), 50 * MIB)).collect();

    let codes: Vec<Code> = rig.serving.block_on(async {
        let calls: Vec<_> = requests
            .iter()
            .map(|request| {
                let (mut controller, request) = (rig.serving.controller(), request.clone());
                tokio::spawn(
                    async move { controller.create_volume(request).await.map_or_else(|s| s.code(), |_| Code::Ok) },
                )
            })
            .collect();
        let mut codes = Vec::new();
        for call in calls {
            codes.push(call.await.unwrap());
        }
        codes
    });

    assert_eq!(codes.iter().filter(|code| **code == Code::Ok).count(), 4, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Code::ResourceExhausted).count(), 4, "{codes:?}");
    assert_eq!(super::names(&rig.place.join("main")).len(), 4);
    // A retry of one that is there asks for no room.
    let there = codes.iter().position(|code| *code == Code::Ok).unwrap();
    rig.make(requests[there].clone());
    assert_eq!(capacity(&rig, GetCapacityRequest::default()).available_capacity, 0);
    let id = rig.listed()[0].clone();
    rig.delete(&id);
    assert_eq!(capacity(&rig, GetCapacityRequest::default()).available_capacity, 50 * MIB);
}

#[test]
fn what_is_reserved_is_not_given_to_full_volumes() {
    let rig = Rig::configured("[pools.main]\npath = \"main\"\nreserve = \"1000TiB\"\n");
    let mut full = create("full", &block(), MIB);
    full.parameters.clear();

    let message = rig.refused(Code::ResourceExhausted, full);

    assert!(message.contains("pool 'main'"), "{message}");
    rig.volume("sparse", &block(), 1);
    assert_eq!(rig.records().len(), 1);
}

#[test]
fn capacity_depends_on_where_and_for_what() {
    use csictl::csi::proto::volume_capability::access_mode::Mode;
    let rig = Rig::configured(&format!("{LIMITED}[classes.fast]\nfs = {{ type = \"xfs\" }}\n"));
    let all = GetCapacityRequest::default;
    let of = |capability| GetCapacityRequest { volume_capabilities: vec![capability], ..all() };
    let at = |node: &str| GetCapacityRequest {
        accessible_topology: Some(Topology { segments: words(&[("topology.csi.csictl.io/node", node)]) }),
        ..all()
    };
    let fast = GetCapacityRequest { parameters: words(&[("class", "fast")]), ..all() };
    for (what, request, available, least) in [
        ("all", all(), 200 * MIB, Some(16 * MIB)),
        ("raw", of(block()), 200 * MIB, Some(4096)),
        ("btrfs", of(mounted("btrfs", &[])), 200 * MIB, Some(109 * MIB)),
        ("a class whose smallest volume is larger", fast, 0, None),
        ("here", at("node-1"), 200 * MIB, Some(16 * MIB)),
        ("elsewhere", at("node-9"), 0, None),
        ("many nodes", of(with_mode(block(), Mode::MultiNodeMultiWriter)), 0, None),
    ] {
        let answer = capacity(&rig, request);
        assert_eq!((answer.available_capacity, answer.minimum_volume_size), (available, least), "{what}");
        assert_eq!(answer.maximum_volume_size, Some(available), "{what}");
    }
    let unknown = GetCapacityRequest { parameters: words(&[("class", "slow")]), ..all() };
    rig.serving.refused(Code::InvalidArgument, rig.serving.controller().get_capacity(unknown));
}

#[test]
fn where_nobody_chooses_a_pool_neither_a_volume_nor_a_capacity_is_had() {
    let rig = Rig::configured("[pools.one]\npath = \"one\"\n[pools.other]\npath = \"other\"\n");
    let mut request = create("v", &block(), MIB);

    let created = rig.refused(Code::InvalidArgument, request.clone());
    let asked = GetCapacityRequest::default();
    let told = rig.serving.refused(Code::InvalidArgument, rig.serving.controller().get_capacity(asked));

    assert!(created.contains("several pools") && created == told, "{created} / {told}");
    request.parameters.extend([("pool".to_owned(), "one".to_owned())]);
    rig.make(request);
    let asked = GetCapacityRequest { parameters: words(&[("pool", "one")]), ..Default::default() };
    assert!(capacity(&rig, asked).available_capacity > 0);
}

/// Runs snapshots of these volumes at once, and answers their codes.
fn snapshots_at_once(rig: &Rig, volumes: &[String]) -> Vec<Code> {
    rig.serving.block_on(async {
        let calls: Vec<_> = volumes
            .iter()
            .map(|volume| {
                let mut controller = rig.serving.controller();
                let request = csictl::csi::proto::CreateSnapshotRequest {
                    source_volume_id: volume.clone(),
                    name: format!("of-{volume}"),
                    ..Default::default()
                };
                tokio::spawn(async move {
                    controller.create_snapshot(request).await.map_or_else(|s| s.code(), |_| Code::Ok)
                })
            })
            .collect();
        let mut codes = Vec::new();
        for call in calls {
            codes.push(call.await.unwrap());
        }
        codes
    })
}

#[test]
fn snapshots_at_once_stay_below_the_limit_too() {
    let rig = Rig::configured("[pools.main]\npath = \"main\"\nlimit = \"130MiB\"\n");
    let volumes: Vec<String> = (0..10).map(|number| rig.volume(&format!("v{number}"), &block(), 10)).collect();

    let codes = snapshots_at_once(&rig, &volumes);

    assert_eq!(codes.iter().filter(|code| **code == Code::Ok).count(), 3, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Code::ResourceExhausted).count(), 7, "{codes:?}");
    assert_eq!(super::names(&rig.place.join("main")).iter().filter(|name| name.ends_with(".snap")).count(), 3);
    // What is there already asks for no room.
    let there = codes.iter().position(|code| *code == Code::Ok).unwrap();
    assert_eq!(snapshots_at_once(&rig, &volumes[there..=there]), [Code::Ok]);
    let group = csictl::csi::proto::CreateVolumeGroupSnapshotRequest {
        name: "both".into(),
        source_volume_ids: volumes[..2].to_vec(),
        ..Default::default()
    };
    rig.serving.refused(Code::ResourceExhausted, rig.serving.group().create_volume_group_snapshot(group));
}

#[test]
fn expansions_at_once_stay_below_the_limit_too() {
    let rig = Rig::configured("[pools.main]\npath = \"main\"\nlimit = \"130MiB\"\n");
    let volumes: Vec<String> = (0..10).map(|number| rig.volume(&format!("v{number}"), &block(), 10)).collect();

    let codes: Vec<Code> = rig.serving.block_on(async {
        let calls: Vec<_> = volumes
            .iter()
            .map(|volume| {
                let (mut controller, request) = (
                    rig.serving.controller(),
                    crate::csi::calls::expand(volume, crate::csi::calls::range(20 * MIB, 0)),
                );
                tokio::spawn(async move {
                    controller.controller_expand_volume(request).await.map_or_else(|s| s.code(), |_| Code::Ok)
                })
            })
            .collect();
        let mut codes = Vec::new();
        for call in calls {
            codes.push(call.await.unwrap());
        }
        codes
    });

    assert_eq!(codes.iter().filter(|code| **code == Code::Ok).count(), 3, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Code::ResourceExhausted).count(), 7, "{codes:?}");
}

#[test]
fn a_snapshot_that_finds_its_pool_full_says_so() {
    let place = crate::support::Place::new();
    let pool = crate::csi::shop::mount_pool(&place, "disk", &["mkfs.ext4", "-q", "-m", "0"], 64);
    place.write("storage.toml", &format!("[pools.disk]\npath = \"{}\"\n", pool.display()));
    let serving = crate::support::serving::Serving::start(&place, &["--config", "storage.toml"]);
    let rig = Rig { serving, place };
    let id = rig.volume("db", &mounted("", &[]), 40);
    let target = rig.up(&id, &mounted("", &[]));
    // The pool is filled by others first, then the volume has writes that find no room any more.
    let _ = std::fs::write(pool.join("filler"), vec![1; 64 << 20]);
    let _ = std::fs::write(target.join("data"), vec![2; 8 << 20]);

    let refused = crate::csi::shop::snapshot(&rig.serving, &id, "nightly").unwrap_err();

    assert_eq!(refused.code(), Code::ResourceExhausted, "{}", refused.message());
    assert!(refused.message().contains(pool.to_str().unwrap()), "{}", refused.message());
    assert!(!super::names(&pool).iter().any(|name| name.contains(".snap")), "{:?}", super::names(&pool));
    std::fs::remove_file(pool.join("filler")).unwrap();
}
