//! CreateVolume: what is made, what a retry finds, what is refused and leaves nothing.

use std::fs;
use std::os::unix::fs::MetadataExt;

use csictl::csi::proto::volume_capability::access_mode::Mode;
use csictl::csi::proto::{CreateVolumeRequest, Topology, TopologyRequirement, VolumeContentSource};
use tonic::Code;

use super::{MIB, Rig, names};
use crate::csi::calls::{self, block, create, mounted, range, with_mode, words};

const HERE: (&str, &str) = ("topology.csi.csictl.io/node", "node-1");

fn in_topology(request: CreateVolumeRequest, segments: &[(&str, &str)]) -> CreateVolumeRequest {
    let requisite = vec![Topology { segments: words(segments) }];
    let requirement = TopologyRequirement { requisite, preferred: Vec::new() };
    CreateVolumeRequest { accessibility_requirements: Some(requirement), ..request }
}

#[test]
fn the_same_call_finds_the_same_volume_and_keeps_no_token() {
    let rig = Rig::new();
    let mut request = in_topology(create("pvc-1", &mounted("", &["noatime"]), 32 * MIB), &[HERE]);
    request
        .parameters
        .extend(words::<Vec<_>>(&[("csi.storage.k8s.io/pvc/name", "db"), ("storage.kubernetes.io/id", "first")]));
    request.secrets = words(&[("password", "canary-secret")]);

    let made = rig.make(request.clone());
    request.parameters.insert("storage.kubernetes.io/id".into(), "second".into());
    let again = rig.make(request);

    assert_eq!(made, again);
    assert_eq!(made.capacity_bytes, 32 * MIB);
    assert_eq!(made.accessible_topology, [Topology { segments: words(&[HERE]) }]);
    assert!(made.volume_context.is_empty());
    assert_eq!(rig.pool(), [format!("{}.img", made.volume_id)]);
    let record = fs::read_to_string(rig.place.state().join("volumes").join(&rig.records()[0])).unwrap();
    assert!(record.contains("PVC default/db"), "the claim is a word for people");
    for kept in ["canary-secret", "storage.kubernetes.io", "first"] {
        assert!(!record.contains(kept) && !rig.serving.log().contains(kept), "{kept}");
    }
}

#[test]
fn a_retry_that_asks_for_something_else_is_refused_and_changes_nothing() {
    let rig = Rig::new();
    let first = create("pvc-1", &mounted("ext4", &["noatime"]), 32 * MIB);
    let id = rig.make(first.clone()).volume_id;
    let other = rig.volume("pvc-2", &mounted("", &[]), 32);
    let asking = |change: &dyn Fn(&mut CreateVolumeRequest)| {
        let mut request = first.clone();
        change(&mut request);
        request
    };
    let with = |capability| asking(&move |request| request.volume_capabilities = vec![Clone::clone(&capability)]);
    for (what, request) in [
        ("larger", asking(&|request| request.capacity_range = Some(range(33 * MIB, 0)))),
        ("a smaller limit", asking(&|request| request.capacity_range = Some(range(0, 31 * MIB)))),
        ("block", with(block())),
        ("file system", with(mounted("xfs", &["noatime"]))),
        ("mount flags", with(mounted("ext4", &[]))),
        ("access mode", with(with_mode(mounted("ext4", &["noatime"]), Mode::SingleNodeReaderOnly))),
        ("parameters", asking(&|request| request.parameters = words(&[("allocate", "full")]))),
        ("mutable", asking(&|request| request.mutable_parameters = words(&[("mount_options", "noatime")]))),
        ("source", asking(&|request| request.volume_content_source = calls::of_volume(&other))),
        ("topology", in_topology(first.clone(), &[("topology.csi.csictl.io/node", "node-9")])),
    ] {
        let message = rig.refused(Code::AlreadyExists, request);
        assert!(message.contains("exists"), "{what}: {message}");
    }
    assert_eq!(rig.make(first).volume_id, id);
}

#[test]
fn the_first_call_again_is_no_new_one_after_the_volume_was_changed() {
    let rig = Rig::new();
    let request = CreateVolumeRequest {
        mutable_parameters: words(&[("allocate", "sparse")]),
        ..create("pvc-1", &mounted("", &[]), 32 * MIB)
    };
    let id = rig.make(request.clone()).volume_id;
    let mut controller = rig.serving.controller();
    rig.serving.ok(controller.controller_modify_volume(calls::modify(&id, &[("allocate", "full")])));
    rig.serving.ok(controller.controller_expand_volume(calls::expand(&id, range(64 * MIB, 0))));

    let again = rig.make(request);

    assert_eq!((again.volume_id, again.capacity_bytes), (id, 64 * MIB));
}

#[test]
fn what_is_refused_leaves_nothing() {
    let rig = Rig::new();
    let good = || create("pvc-1", &mounted("", &[]), 32 * MIB);
    let with = |change: &dyn Fn(&mut CreateVolumeRequest)| {
        let mut request = good();
        change(&mut request);
        request
    };
    let parameter = |key: &str, value: &str| {
        let (key, value) = (key.to_owned(), value.to_owned());
        with(&move |request| drop(request.parameters.insert(key.clone(), value.clone())))
    };
    let invalid = Code::InvalidArgument;
    for (what, code, request) in [
        ("no name", invalid, with(&|request| request.name.clear())),
        ("long name", invalid, with(&|request| request.name = "x".repeat(129))),
        ("control character", invalid, with(&|request| request.name = "a\nb".into())),
        ("no capability", invalid, with(&|request| request.volume_capabilities.clear())),
        (
            "many nodes",
            invalid,
            with(&|request| request.volume_capabilities = vec![with_mode(block(), Mode::MultiNodeMultiWriter)]),
        ),
        ("both kinds", invalid, with(&|request| request.volume_capabilities.push(block()))),
        ("suid", invalid, with(&|request| request.volume_capabilities = vec![mounted("", &["suid"])])),
        ("unknown parameter", invalid, parameter("colour", "blue")),
        ("unknown class", invalid, parameter("class", "fast")),
        ("unknown pool", invalid, parameter("pool", "main")),
        ("another backing", invalid, parameter("backing", "tmpfs")),
        ("mkfs that reads the host", invalid, parameter("mkfs_options", "-d /etc")),
        ("unknown mutable", invalid, with(&|request| request.mutable_parameters = words(&[("iops", "1")]))),
        (
            "two file systems",
            invalid,
            with(&|request| {
                request.parameters.insert("csi.storage.k8s.io/fstype".into(), "xfs".into());
                request.volume_capabilities = vec![mounted("ext4", &[])];
            }),
        ),
        ("too many parameters", invalid, parameter("label", &"x".repeat(5000))),
        ("limit below", invalid, with(&|request| request.capacity_range = Some(range(2 * MIB, MIB)))),
        ("negative", invalid, with(&|request| request.capacity_range = Some(range(-1, 0)))),
        (
            "source of nothing",
            invalid,
            with(&|request| {
                request.volume_content_source = Some(VolumeContentSource { r#type: None });
            }),
        ),
        ("below the minimum", Code::OutOfRange, with(&|request| request.capacity_range = Some(range(0, 15 * MIB)))),
        ("beyond any image", Code::OutOfRange, with(&|request| request.capacity_range = Some(range(i64::MAX, 0)))),
        ("elsewhere", Code::ResourceExhausted, in_topology(good(), &[("topology.csi.csictl.io/node", "node-9")])),
        ("unknown segment", Code::ResourceExhausted, in_topology(good(), &[HERE, ("rack", "7")])),
        ("no such volume", Code::NotFound, with(&|request| request.volume_content_source = calls::of_volume("vol-9"))),
        ("../x", Code::NotFound, with(&|request| request.volume_content_source = calls::of_volume("../x"))),
        (
            "no such snapshot",
            Code::NotFound,
            with(&|request| request.volume_content_source = calls::of_snapshot("snap-9")),
        ),
        // More than the disk: fallocate says so, and what it began is gone.
        (
            "larger than the disk",
            Code::ResourceExhausted,
            with(&|request| {
                request.parameters.clear();
                request.capacity_range = Some(range(8 << 40, 0));
            }),
        ),
    ] {
        let message = rig.refused(code, request);
        assert_eq!((rig.pool(), rig.records()), (vec![], vec![]), "{what}: {message}");
    }
    rig.make(good());
}

#[test]
fn any_name_will_do_and_never_becomes_a_path() {
    let rig = Rig::new();
    let names = ["../../victim", "Ünïcödé 名前 🎉", "a/b\\c", "con:\"quoted\"", &"ü".repeat(64)];
    let ids: Vec<String> = names.iter().map(|name| rig.volume(name, &block(), 1)).collect();

    for (name, id) in names.iter().zip(&ids) {
        assert!(id.starts_with("vol-"), "{name}: {id}");
    }
    assert_eq!(rig.pool().len(), names.len());
    assert_eq!(rig.volume(names[1], &block(), 1), ids[1]);
}

#[test]
fn full_is_reserved_and_sparse_is_not() {
    let rig = Rig::new();
    let sparse = rig.volume("sparse", &mounted("", &[]), 64);
    let mut request = create("full", &mounted("", &[]), 64 * MIB);
    request.parameters.clear();
    let full = rig.make(request).volume_id;

    let allocated = |id: &str| {
        let metadata = fs::metadata(rig.place.state().join("pool").join(format!("{id}.img"))).unwrap();
        assert_eq!(metadata.len(), 64 << 20);
        metadata.blocks() * 512
    };
    assert!(allocated(&sparse) < 16 << 20);
    assert!(allocated(&full) >= 64 << 20);
}

#[test]
fn a_volume_takes_no_more_than_it_has() {
    let rig = Rig::new();
    let id = rig.volume("small", &mounted("", &[]), 1);
    let target = rig.up(&id, &mounted("", &[]));

    let written = fs::write(target.join("large"), vec![1; 50 << 20]);

    assert!(written.is_err(), "50 MiB do not fit into the 16 MiB a volume has at least");
    rig.down(&id);
    rig.delete(&id);
}

#[test]
fn a_class_of_the_configuration_decides_what_the_call_leaves_open() {
    let rig = Rig::configured(
        r#"
        [pools.main]
        path = "main"
        [pools.other]
        path = "other"
        [classes.fast]
        pool = "main"
        image = { allocate = "sparse" }
        fs = { type = "xfs", label = "fast" }
        mount_options = ["noatime"]
        [defaults]
        pool = "other"
        "#,
    );
    let request = |name: &str, pairs: &[(&str, &str)]| CreateVolumeRequest {
        parameters: words(pairs),
        ..create(name, &mounted("", &[]), 16 * MIB)
    };

    let fast = rig.make(request("fast", &[("class", "fast")]));
    let plain = rig.make(request("plain", &[("allocate", "sparse")]));

    assert_eq!(fast.capacity_bytes, 300 * MIB, "the least xfs can have");
    assert_eq!(plain.capacity_bytes, 16 * MIB);
    assert_eq!(names(&rig.place.join("main")), [format!("{}.img", fast.volume_id)]);
    assert_eq!(names(&rig.place.join("other")), [format!("{}.img", plain.volume_id)]);
    let target = rig.up(&fast.volume_id, &mounted("", &[]));
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = mounts.lines().find(|line| line.contains(target.to_str().unwrap())).unwrap();
    assert!(line.contains(" - xfs ") && line.contains("noatime"), "{line}");
    rig.down(&fast.volume_id);
}

#[test]
fn a_configuration_with_errors_serves_nothing_and_shows_each() {
    let place = crate::support::Place::new();
    place.write(
        "storage.toml",
        "[pools.main]\npath = \"main\"\n[classes.fast]\npool = \"mian\"\n[volumes.db]\ncapacity = \"1GiB\"\n",
    );

    let (code, said) = place.exit(&["serve", "--config", "storage.toml"]);

    assert_eq!(code, 65, "{said}");
    for part in ["storage.toml:4", "there is no pool 'mian'", "unknown key 'volumes'"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn the_command_line_sees_it_and_leaves_it_alone() {
    let rig = Rig::new();
    let id = rig.volume("pvc-1", &mounted("", &[]), 32);
    let image = rig.place.state().join("pool").join(format!("{id}.img"));
    let manifest = "project = \"shop\"\n[volumes.db]\ncapacity = \"16MiB\"\nimage = { allocate = \"sparse\" }\n";
    rig.place.write("m.toml", manifest);

    assert!(rig.place.ok(&["get", "volumes"]).contains(&id));
    rig.place.ok(&["apply", "m.toml", "--yes"]);
    rig.place.ok(&["destroy", "m.toml", "--yes"]);
    let (_, refused) = rig.place.exit(&["delete", "volume", &id, "--yes", "--delete-data", &id]);
    rig.place.exit(&["gc", "--yes"]);

    assert!(image.exists(), "{refused}");
    assert!(rig.listed().contains(&id));
}

#[test]
fn a_torn_record_keeps_no_server_from_starting_and_no_other_volume_from_being_used() {
    let rig = Rig::new();
    let (torn, whole) = (rig.volume("torn", &mounted("", &[]), 16), rig.volume("whole", &mounted("", &[]), 16));
    let record = rig.place.state().join("volumes").join(format!("{torn}.json"));
    let bytes = fs::read(&record).unwrap();
    fs::write(&record, &bytes[..bytes.len() / 4]).unwrap();

    let rig = rig.restarted(&[]);

    let listed = rig.serving.ok(rig.serving.controller().list_volumes(calls::list(0, ""))).entries;
    let condition = |id: &str| {
        let entry = listed.iter().find(|entry| entry.volume.as_ref().unwrap().volume_id == id).unwrap();
        entry.status.clone().unwrap().volume_condition.unwrap()
    };
    assert!(condition(&torn).abnormal && !condition(&torn).message.is_empty());
    assert!(!condition(&whole).abnormal);
    rig.up(&whole, &mounted("", &[]));
    rig.down(&whole);
    // Its image says what it is: the call that made it finds it, and it can be deleted like any other.
    assert_eq!(rig.volume("torn", &mounted("", &[]), 16), torn);
    fs::write(&record, b"").unwrap();
    rig.delete(&torn);
    assert_eq!(rig.pool(), [format!("{whole}.img")]);
}

#[test]
fn a_default_written_out_is_the_same_request_both_ways_round() {
    let rig = Rig::configured(
        "[pools.main]\npath = \"main\"\n\n[classes.fast]\npool = \"main\"\nfs = { type = \"xfs\" }\nmount_options = [\"noatime\"]\n\
         image = { allocate = \"sparse\", direct_io = false, sector_size = 4096 }\n",
    );
    let ext4 = |pairs: &[(&str, &str)]| CreateVolumeRequest {
        parameters: words(pairs),
        ..create("", &mounted("", &[]), 16 * MIB)
    };
    let fast = |pairs: &[(&str, &str)]| {
        let pairs = [&[("class", "fast")], pairs].concat();
        CreateVolumeRequest { parameters: words(&pairs), ..create("", &mounted("", &[]), 320 * MIB) }
    };
    let typed = |request: CreateVolumeRequest, fs: &str| CreateVolumeRequest {
        volume_capabilities: vec![mounted(fs, &[])],
        ..request
    };
    let mutable = |request: CreateVolumeRequest, pairs: &[(&str, &str)]| CreateVolumeRequest {
        mutable_parameters: words(pairs),
        ..request
    };
    let pairs = [
        (ext4(&[]), ext4(&[("allocate", "full")])),
        (ext4(&[]), mutable(ext4(&[]), &[("allocate", "full")])),
        (ext4(&[]), ext4(&[("direct_io", "true")])),
        (ext4(&[]), ext4(&[("sector_size", "512")])),
        (ext4(&[]), ext4(&[("mount_options", "")])),
        (ext4(&[]), ext4(&[("csi.storage.k8s.io/fstype", "ext4")])),
        (ext4(&[]), typed(ext4(&[]), "ext4")),
        (ext4(&[("mount_options", "noatime, lazytime")]), ext4(&[("mount_options", "noatime,lazytime")])),
        (fast(&[]), fast(&[("direct_io", "false"), ("sector_size", "4096"), ("pool", "main")])),
        (fast(&[]), fast(&[("mount_options", "noatime")])),
        (fast(&[]), typed(fast(&[]), "xfs")),
    ];
    for (number, (plain, written)) in pairs.into_iter().enumerate() {
        for (turn, first, second) in [("plain", &plain, &written), ("written", &written, &plain)] {
            let named = |request: &CreateVolumeRequest| CreateVolumeRequest {
                name: format!("{turn}-{number}"),
                ..request.clone()
            };
            let id = rig.make(named(first)).volume_id;
            assert_eq!(rig.make(named(second)).volume_id, id, "{turn} first: {second:?}");
            rig.delete(&id);
        }
    }
    let first = CreateVolumeRequest { name: "typed".into(), ..fast(&[]) };
    rig.make(first.clone());
    rig.refused(Code::AlreadyExists, typed(first, "ext4"));
}

#[test]
fn what_differs_is_said_with_both_values() {
    let rig = Rig::new();
    let first = create("pvc-1", &mounted("ext4", &["noatime"]), 32 * MIB);
    rig.make(first.clone());
    let asking = |change: &dyn Fn(&mut CreateVolumeRequest)| {
        let mut request = first.clone();
        change(&mut request);
        request
    };
    for (request, field, values) in [
        (asking(&|request| request.capacity_range = Some(range(64 * MIB, 0))), "capacity", ["32 MiB", "64 MiB"]),
        (asking(&|request| request.capacity_range = Some(range(MIB, 20 * MIB))), "capacity", ["32 MiB", "20 MiB"]),
        (
            asking(&|request| request.volume_capabilities = vec![mounted("xfs", &["noatime"])]),
            "volume_capabilities",
            ["ext4", "xfs"],
        ),
        (
            asking(&|request| request.volume_capabilities = vec![mounted("ext4", &[])]),
            "volume_capabilities",
            ["noatime", "no mount flags"],
        ),
        (asking(&|request| request.parameters = words(&[("allocate", "full")])), "allocate", ["sparse", "full"]),
        (asking(&|request| request.parameters.clear()), "allocate", ["sparse", "full"]),
        (
            asking(&|request| request.mutable_parameters = words(&[("mount_options", "lazytime")])),
            "mount_options",
            ["not set", "lazytime"],
        ),
        (
            asking(&|request| request.volume_content_source = calls::of_volume("vol-9")),
            "volume_content_source",
            ["none", "vol-9"],
        ),
        (in_topology(first.clone(), &[("topology.csi.csictl.io/node", "node-9")]), "topology", ["node-1", "node-9"]),
    ] {
        let message = rig.refused(Code::AlreadyExists, request);
        assert!(message.contains(field), "{field}: {message}");
        assert!(values.iter().all(|value| message.contains(value)), "{field}: {values:?}: {message}");
    }
}
