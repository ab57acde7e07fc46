//! ListVolumes, ControllerGetVolume and ValidateVolumeCapabilities.

use std::collections::BTreeSet;
use std::fs;

use csictl::csi::proto::volume_capability::access_mode::Mode;
use csictl::csi::proto::{ControllerGetVolumeRequest, ValidateVolumeCapabilitiesRequest, VolumeCapability};
use csictl::host::linux::LinuxHost;
use csictl::model::record::{Recorded, VolumeRecord};
use csictl::model::{Layout, VolumeId};
use csictl::state::{Reader, Store};
use tonic::Code;

use super::{MIB, Rig};
use crate::csi::calls::{block, create, list, mounted, with_mode, words};

#[test]
fn a_strangers_token_is_aborted_and_the_server_lives() {
    let rig = Rig::new();
    let id = rig.volume("one", &block(), 1);
    for token in ["-5", "0", "99999999999999999999", "1.00000000.x", "\u{1f600}"] {
        rig.serving.refused(Code::Aborted, rig.serving.controller().list_volumes(list(1, token)));
    }
    rig.serving.refused(Code::InvalidArgument, rig.serving.controller().list_volumes(list(-1, "")));
    assert_eq!(rig.listed(), [id]);
}

#[test]
fn pages_show_each_volume_once_while_others_come_and_go() {
    let rig = Rig::new();
    let mut ids: Vec<String> = (0..5).map(|number| rig.volume(&format!("v{number}"), &block(), 1)).collect();
    ids.sort();
    let page = |token: &str| {
        let answer = rig.serving.ok(rig.serving.controller().list_volumes(list(2, token)));
        let ids: Vec<String> = answer.entries.into_iter().map(|entry| entry.volume.unwrap().volume_id).collect();
        (ids, answer.next_token)
    };
    let (first, next) = page("");
    assert_eq!(first, ids[..2]);
    // The last of the page goes, and one comes that belongs before it.
    rig.delete(&ids[1]);
    rig.place
        .write("m.toml", "project = \"a\"\n[volumes.a]\ncapacity = \"16MiB\"\nimage = { allocate = \"sparse\" }\n");
    rig.place.ok(&["apply", "m.toml", "--yes"]);
    let (second, next) = page(&next);
    let (third, end) = page(&next);
    assert_eq!((second, third, end.as_str()), (ids[2..4].to_vec(), ids[4..].to_vec(), ""));
    assert_eq!(page("").0[0], "a.a", "made by apply, listed from its first moment");
}

#[test]
fn five_thousand_volumes_are_listed_page_by_page_and_all_at_once() {
    let rig = Rig::new();
    let model = rig.volume("model", &block(), 1);
    let (host, layout) = (LinuxHost::new(), Layout::new(rig.place.state(), rig.place.run()));
    let id: VolumeId = model.parse().unwrap();
    let Recorded::Present(record) = Reader::new(&host, &layout).volume(&id) else { panic!("no record") };
    let store = Store::new(&host, &layout);
    for number in 0..4999 {
        let mut other: VolumeRecord = record.clone();
        other.spec.id = format!("vol-{number:04}").parse().unwrap();
        store.put_volume(&other, false).unwrap();
    }

    let (mut seen, mut token, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let answer = rig.serving.ok(rig.serving.controller().list_volumes(list(700, &token)));
        seen.extend(answer.entries.iter().map(|entry| entry.volume.as_ref().unwrap().volume_id.clone()));
        pages += 1;
        token = answer.next_token;
        if token.is_empty() {
            break;
        }
    }

    assert_eq!((seen.len(), pages), (5000, 8));
    assert_eq!(rig.listed().len(), 5000);
    store.remove_volume(&"vol-0000".parse().unwrap()).unwrap();
    assert_eq!(rig.listed().len(), 4999, "what is gone is not listed once more");
}

#[test]
fn one_volume_is_looked_at_there_and_then() {
    let rig = Rig::new();
    let id = rig.volume("one", &block(), 4);
    let get = |id: &str| {
        let request = ControllerGetVolumeRequest { volume_id: id.into() };
        rig.serving.call(rig.serving.controller().controller_get_volume(request))
    };
    let healthy = get(&id).unwrap();
    assert_eq!(healthy.volume.unwrap().capacity_bytes, 4 * MIB);
    assert!(!healthy.status.unwrap().volume_condition.unwrap().abnormal);

    fs::rename(rig.place.state().join("pool").join(format!("{id}.img")), rig.place.join("away")).unwrap();

    let ill = get(&id).unwrap().status.unwrap().volume_condition.unwrap();
    assert!(ill.abnormal && ill.message.contains("gone"), "{ill:?}");
    assert_eq!(get("vol-9").unwrap_err().code(), Code::NotFound);
    assert_eq!(get("../x").unwrap_err().code(), Code::NotFound);
    assert_eq!(get("").unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn capabilities_are_confirmed_or_it_is_said_why_not() {
    let rig = Rig::new();
    let id = rig.volume("one", &mounted("ext4", &[]), 16);
    let asking = |id: &str, capabilities: &[VolumeCapability]| ValidateVolumeCapabilitiesRequest {
        volume_id: id.into(),
        volume_capabilities: capabilities.to_vec(),
        ..ValidateVolumeCapabilitiesRequest::default()
    };
    let ask = |request| rig.serving.call(rig.serving.controller().validate_volume_capabilities(request));
    let good = ValidateVolumeCapabilitiesRequest {
        parameters: words(&[("allocate", "sparse")]),
        ..asking(&id, &[mounted("", &["noatime"]), with_mode(mounted("ext4", &[]), Mode::SingleNodeMultiWriter)])
    };
    let confirmed = ask(good.clone()).unwrap().confirmed.unwrap();
    assert_eq!((confirmed.volume_capabilities, confirmed.parameters), (good.volume_capabilities, good.parameters));

    let many = with_mode(mounted("", &[]), Mode::MultiNodeMultiWriter);
    let other = ValidateVolumeCapabilitiesRequest {
        parameters: words(&[("allocate", "full")]),
        ..asking(&id, &[mounted("", &[])])
    };
    for request in [
        asking(&id, &[many]),
        asking(&id, &[block()]),
        asking(&id, &[mounted("xfs", &[])]),
        asking(&id, &[mounted("", &["suid"])]),
        other,
    ] {
        let answer = ask(request.clone()).unwrap();
        assert!(answer.confirmed.is_none() && !answer.message.is_empty(), "{request:?}");
    }
    for (code, request) in [
        (Code::NotFound, asking("vol-9", &[block()])),
        (Code::InvalidArgument, asking("", &[block()])),
        (Code::InvalidArgument, asking(&id, &[])),
        (Code::InvalidArgument, asking(&id, &[VolumeCapability::default()])),
    ] {
        assert_eq!(ask(request).unwrap_err().code(), code);
    }
}

#[test]
fn a_volume_that_was_never_finished_is_no_volume_yet() {
    let rig = Rig::new();
    let request = create("one", &mounted("", &[]), 16 * MIB);
    let id = rig.make(request.clone()).volume_id;
    // As a server leaves it that is killed between the record and the image.
    let (host, layout) = (LinuxHost::new(), Layout::new(rig.place.state(), rig.place.run()));
    let Recorded::Present(mut record) = Reader::new(&host, &layout).volume(&id.parse().unwrap()) else { panic!() };
    fs::remove_file(rig.place.state().join("pool").join(format!("{id}.img"))).unwrap();
    record.image = None;
    record.format = csictl::model::record::FormatMark::Begun;
    Store::new(&host, &layout).put_volume(&record, false).unwrap();
    assert_eq!(rig.listed(), Vec::<String>::new());

    assert_eq!(rig.make(request).volume_id, id);

    assert_eq!(rig.listed(), std::slice::from_ref(&id));
    rig.up(&id, &mounted("", &[]));
    rig.down(&id);
}

#[test]
fn a_record_that_comes_back_under_its_old_inode_is_seen() {
    let rig = Rig::new();
    let id = rig.make(create("one", &mounted("", &[]), 16 * MIB)).volume_id;
    let record = rig.place.state().join("volumes").join(format!("{id}.json"));
    let kept = rig.place.join("kept.json");
    fs::rename(&record, &kept).unwrap();
    assert_eq!(rig.listed(), Vec::<String>::new());

    // As `cp -l` and `rsync --link-dest` bring files back.
    fs::hard_link(&kept, &record).unwrap();

    assert_eq!(rig.listed(), [id]);
}
