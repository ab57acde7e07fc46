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
        ("a class", fast, 200 * MIB, Some(300 * MIB)),
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
