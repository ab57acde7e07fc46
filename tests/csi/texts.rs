//! What people read when something is refused: object, place, cause and next step, in words that fit who calls, and never too many.

use std::path::Path;

use csictl::csi::proto::volume_capability::AccessType;
use csictl::csi::proto::{CreateSnapshotRequest, ValidateVolumeCapabilitiesRequest};
use tonic::Code;

use super::calls::{self, block, mounted, range};
use crate::support::Place;
use crate::support::place::said;
use crate::support::serving::Serving;

const MIB: i64 = 1 << 20;

fn make(serving: &Serving, name: &str) -> String {
    let request = calls::create(name, &mounted("", &[]), 16 * MIB);
    serving.ok(serving.controller().create_volume(request)).volume.unwrap().volume_id
}

/// Words that mean something to who types `csictl`, and nothing to an orchestrator.
const CLI_ONLY: [&str; 8] = [
    "pod csi",
    "access_mode =",
    "(apply does",
    "csictl apply",
    "allocate = ",
    "run csictl",
    "=wipe",
    "manifest's apply",
];

fn fit_an_orchestrator(message: &str) {
    for words in CLI_ONLY {
        assert!(!message.contains(words), "'{words}' in: {message}");
    }
}

#[test]
fn errors_advise_nothing_that_an_orchestrator_can_not_do() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let (staging, target) = (place.join("stage"), place.join("pods"));
    std::fs::create_dir_all(&target).unwrap();
    let id = make(&serving, "db");
    let (mut node, mut controller) = (serving.node(), serving.controller());
    let capability = mounted("", &[]);
    let unstaged = calls::publish(&id, &staging, &target.join("a"), &capability, false);
    fit_an_orchestrator(&serving.refused(Code::FailedPrecondition, node.node_publish_volume(unstaged.clone())));
    serving.ok(node.node_stage_volume(calls::stage(&id, &staging, &capability)));
    serving.ok(node.node_publish_volume(unstaged));

    let second = calls::publish(&id, &staging, &target.join("b"), &capability, false);
    let message = serving.refused(Code::FailedPrecondition, node.node_publish_volume(second));
    fit_an_orchestrator(&message);
    assert!(message.contains(target.join("a").to_str().unwrap()), "{message}");
    assert!(message.contains("SINGLE_NODE_MULTI_WRITER"), "{message}");

    let other = calls::publish(&id, &staging, &target.join("a"), &capability, true);
    let message = serving.refused(Code::AlreadyExists, node.node_publish_volume(other));
    assert!(message.contains("readonly"), "{message}");

    let grown = serving.call(controller.controller_expand_volume(calls::expand(&id, range(64 * MIB, 0))));
    if let Err(status) = grown {
        fit_an_orchestrator(status.message());
    }
    serving.ok(node.node_unpublish_volume(calls::unpublish(&id, &target.join("a"))));
    serving.ok(node.node_unstage_volume(calls::unstage(&id, &staging)));
    let mut full = calls::create("huge", &block(), 8 << 40);
    full.parameters.clear();
    fit_an_orchestrator(&serving.refused(Code::ResourceExhausted, controller.create_volume(full)));
    std::fs::remove_file(place.state().join("pool").join(format!("{id}.img"))).unwrap();
    let stage = calls::stage(&id, &staging, &capability);
    fit_an_orchestrator(&serving.refused(Code::FailedPrecondition, node.node_stage_volume(stage)));
    for snapshot in ["snap-9", "vol-9"] {
        let request = CreateSnapshotRequest {
            name: "x".into(),
            source_volume_id: snapshot.into(),
            ..CreateSnapshotRequest::default()
        };
        fit_an_orchestrator(&serving.refused(Code::NotFound, controller.create_snapshot(request)));
    }
}

#[test]
fn long_input_is_not_said_back() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let id = make(&serving, "db");
    let long = "x".repeat(3000);
    let (mut node, mut controller) = (serving.node(), serving.controller());
    let flags = mounted("", &[&long]);
    let mut fs_type = mounted(&long, &[]);
    let mut group = calls::with_group(&mounted("", &[]), &long);
    for capability in [&flags, &fs_type, &group] {
        let create = calls::create("new", capability, 16 * MIB);
        let message = serving.refused(Code::InvalidArgument, controller.create_volume(create));
        assert!(message.len() < 600, "{} bytes: {message}", message.len());
        let stage = calls::stage(&id, &place.join("stage"), capability);
        let message = serving.refused(Code::InvalidArgument, node.node_stage_volume(stage));
        assert!(message.len() < 600, "{} bytes: {message}", message.len());
    }
    for capability in [&mut fs_type, &mut group] {
        let Some(AccessType::Mount(mount)) = &mut capability.access_type else { panic!("mounted") };
        (mount.fs_type, mount.volume_mount_group) = (String::new(), String::new());
        mount.mount_flags = vec!["noatime".into(); 2000];
        let create = calls::create("new", capability, 16 * MIB);
        let message = serving.refused(Code::InvalidArgument, controller.create_volume(create));
        assert!(message.contains("mount_flags") && message.contains("4096"), "{message}");
    }
}

#[test]
fn a_missing_field_is_called_by_its_name_and_an_impossible_path_by_the_callers_mistake() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let id = make(&serving, "db");
    let (mut node, mut controller) = (serving.node(), serving.controller());
    let mut none = calls::create("new", &block(), MIB);
    none.volume_capabilities.clear();
    let validate = ValidateVolumeCapabilitiesRequest { volume_id: id.clone(), ..Default::default() };
    for message in [
        serving.refused(Code::InvalidArgument, controller.create_volume(none)),
        serving.refused(Code::InvalidArgument, controller.validate_volume_capabilities(validate)),
    ] {
        assert!(message.starts_with("volume_capabilities is empty"), "{message}");
    }
    let too_large = |size| calls::expand(&id, range(size, 0));
    serving.refused(Code::OutOfRange, controller.controller_expand_volume(too_large(i64::MAX)));
    serving.refused(Code::OutOfRange, controller.create_volume(calls::create("new", &block(), i64::MAX)));
    let file = place.write("file", "");
    let staging = place.join("stage");
    serving.ok(node.node_stage_volume(calls::stage(&id, &staging, &mounted("", &[]))));
    let below = file.join("in/it");
    let publish = calls::publish(&id, &staging, &below, &mounted("", &[]), false);
    let stage = calls::stage(&id, &below, &mounted("", &[]));
    let mut inline = calls::publish("inline", Path::new(""), &below, &mounted("", &[]), false);
    inline.volume_context = calls::words(&[("csi.storage.k8s.io/ephemeral", "true"), ("size", "16Mi")]);
    for message in [
        serving.refused(Code::InvalidArgument, node.node_publish_volume(publish)),
        serving.refused(Code::InvalidArgument, node.node_publish_volume(inline)),
        serving.refused(Code::InvalidArgument, node.node_stage_volume(stage)),
    ] {
        assert!(message.contains(file.to_str().unwrap()), "{message}");
    }
}

/// What csictl's client says of a call that fails.
fn client(place: &Place, serving: &Serving, words: &[&str]) -> String {
    let output = place.csictl().args(["csi", "--endpoint"]).arg(serving.socket()).args(words).output().unwrap();
    assert!(output.status.code() > Some(100), "{words:?}: {}", said(&output));
    said(&output)
}

#[test]
fn the_clients_help_is_of_use_in_each_case() {
    let place = Place::new();
    let serving = Serving::start(&place, &["--max-volumes-per-node", "1"]);
    let ids = [make(&serving, "a"), make(&serving, "b")];
    let cap = "SINGLE_NODE_WRITER,mount,ext4";
    let publish = |id: &str| {
        let words = ["controller-publish-volume", "--volume-id", id, "--node-id", "node-1", "--cap", cap];
        words.map(str::to_owned).to_vec()
    };
    let first = publish(&ids[0]);
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    place.ok(&[&["csi", "--endpoint", serving.socket().to_str().unwrap()][..], &first].concat());
    let second = publish(&ids[1]);
    let second: Vec<&str> = second.iter().map(String::as_str).collect();
    let elsewhere = ["create-volume", "--name", "c", "--cap", cap, "--requisite", "rack=7"];
    let huge = ["create-volume", "--name", "c", "--cap", cap, "--required-bytes", "8TiB"];
    let in_use = ["delete-volume", "--volume-id", &ids[0]];
    for (words, help, not) in [
        (&second[..], "node-get-info", "free some space"),
        (&elsewhere[..], "node-get-info", "free some space"),
        (&huge[..], "get-capacity", "server is busy"),
        (&in_use[..], "ControllerUnpublishVolume", "do what the message says"),
    ] {
        let said = client(&place, &serving, words);
        assert!(said.contains(help) && !said.contains(not), "{words:?}: {said}");
    }
}

#[test]
fn debug_shows_csictls_own_lines_and_not_the_transports() {
    let place = Place::new();
    for (flags, frames) in [(&["-v"][..], false), (&["-vv"], true)] {
        let serving = Serving::start_at(&place, &format!("csi-{frames}.sock"), flags);
        let log = serving.log();
        assert!(log.contains("GetPluginInfo") || log.contains("Probe"), "{log}");
        assert_eq!(log.contains("h2::") || log.contains("hyper"), frames, "{flags:?}: {log}");
        assert_eq!(serving.end(), Some(0));
        std::fs::remove_file(place.join("serve.log")).unwrap();
    }
}

#[test]
fn a_table_of_volumes_shows_the_names_they_were_asked_for_by() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let id = make(&serving, "pvc-0b1946ac");
    let table = place.ok(&["get", "volumes", "-o", "wide"]);
    let line = table.lines().find(|line| line.starts_with(&id)).unwrap();
    assert!(line.contains("pvc-0b1946ac") && table.lines().next().unwrap().contains("NAME"), "{table}");
}
