//! What a plan says no to before anything is done: targets, devices, pools.

use std::path::PathBuf;

use csictl::model::device::BlockId;
use csictl::model::observed::{ObservedBacking, ObservedTarget, TargetKind};
use csictl::model::{
    Allocate, Backing, Capacity, DeviceBacking, FormatPolicy, FsSpec, FsType, FsUuid, Owner, Probe, Signature,
    VolumeSpec,
};
use csictl::plan::{Intent, Plan};

use super::world::{World, id, image, raw, shown, sized};

fn codes(plan: &Plan) -> Vec<&'static str> {
    plan.refused.iter().map(|refused| refused.code).collect()
}

#[test]
fn a_target_in_use_is_refused_by_name() {
    let foreign = Some("tmpfs on tmpfs".to_owned());
    let other = Some((Owner::Project("blog".parse().unwrap()), "blog.posts".parse().unwrap()));
    let link = Some((PathBuf::from("/srv"), PathBuf::from("/etc")));
    let cases = [
        (ObservedTarget { foreign, ..ObservedTarget::default() }, "foreign", "tmpfs on tmpfs"),
        (ObservedTarget { taken_by: other, ..ObservedTarget::default() }, "foreign", "project:blog"),
        (ObservedTarget { symlink: link, ..ObservedTarget::default() }, "unsafe-path", "/etc"),
        (ObservedTarget { kind: TargetKind::File, ..ObservedTarget::default() }, "exists", "a file"),
    ];
    for (target, code, says) in cases {
        let mut world = World::new().with(image("db")).shown("app", "db", "/srv/db");
        world.observed.targets.insert("/srv/db".into(), target);
        let plan = world.plan();

        assert_eq!(codes(&plan), [code]);
        assert!(plan.refused[0].message.contains(says), "{}", plan.refused[0].message);
        assert!(plan.refused[0].message.contains("/srv/db"));
    }
}

#[test]
fn a_directory_where_a_device_should_be_is_refused() {
    let mut world = World::new().with(raw("disk")).shown("app", "disk", "/dev/shop");
    let target = ObservedTarget { kind: TargetKind::Directory, ..ObservedTarget::default() };
    world.observed.targets.insert("/dev/shop".into(), target);

    assert_eq!(codes(&world.plan()), ["exists"]);
}

/// What csictl made and takes away makes way for a device, unless something else of csictl's goes on filling it.
#[test]
fn a_directory_that_goes_makes_way_for_a_device_and_one_that_is_filled_does_not() {
    for (filled, expected) in [(false, vec![]), (true, vec!["exists"])] {
        let mut world = World::new().with(image("db")).with(image("logs")).with(raw("disk"));
        world = world.shown("app", "db", "/srv/x").shown("app", "logs", "/srv/logs").applied();
        if filled {
            world.record("logs").made_targets.insert("/srv/x/in".into(), csictl::model::PublishKind::Mount);
        }
        world = world.without_pod("app").shown("app", "logs", "/srv/logs").shown("app", "disk", "/srv/x");
        let target = ObservedTarget { kind: TargetKind::Directory, ..ObservedTarget::default() };
        world.observed.targets.insert("/srv/x".into(), target);

        assert_eq!(codes(&world.plan()), expected, "filled: {filled}");
    }
}

#[test]
fn hidden_files_are_a_note_and_only_once() {
    let mut world = World::new().with(image("db")).shown("app", "db", "/srv/db");
    let target = ObservedTarget { kind: TargetKind::Directory, hides: 3, ..ObservedTarget::default() };
    world.observed.targets.insert("/srv/db".into(), target);
    let plan = world.plan();

    assert_eq!(plan.notes[0].1, "/srv/db hides 3 files");
    assert!(world.applied().plan().notes.is_empty());
}

#[test]
fn what_lies_below_a_mount_to_come_is_not_judged() {
    let mut world =
        World::new().with(image("a")).with(image("b")).shown("app", "a", "/srv").shown("app", "b", "/srv/b");
    let target = ObservedTarget { kind: TargetKind::File, hides: 3, ..ObservedTarget::default() };
    world.observed.targets.insert("/srv/b".into(), target);
    let plan = world.plan();

    assert_eq!(codes(&plan), Vec::<&str>::new());
    assert!(plan.notes.is_empty());
}

#[test]
fn a_target_that_cannot_be_read_is_unknown() {
    let mut world = World::new().with(image("db")).shown("app", "db", "/srv/db");
    let target = ObservedTarget { unknown: Some("permission denied".to_owned()), ..ObservedTarget::default() };
    world.observed.targets.insert("/srv/db".into(), target);

    assert_eq!(world.plan().unknown[0].1, "target /srv/db: permission denied");
}

fn disk() -> VolumeSpec {
    let expect = csictl::model::backing::DeviceExpectation {
        size: Some(Capacity::gib(100)),
        serial: Some("ZA1".to_owned()),
        wwn: None,
    };
    let backing = Backing::Device(DeviceBacking { path: "/dev/disk/by-id/wwn-1".into(), expect });
    VolumeSpec { backing, capacity: None, fs: Some(FsSpec::plain(FsType::Ext4)), ..image("disk") }
}

fn known(kind: &str) -> Probe {
    Probe::Known(Signature { kind: kind.to_owned(), uuid: None, label: None, offset: 0, magic: Vec::new() })
}

#[test]
fn only_a_blank_device_or_one_that_holds_what_is_asked_for_is_used() {
    let cases: [(Probe, FormatPolicy, &[&str]); 9] = [
        (Probe::Blank, FormatPolicy::IfBlank, &[]),
        (Probe::Blank, FormatPolicy::Never, &["not-blank"]),
        (known("ext4"), FormatPolicy::IfBlank, &[]),
        (known("xfs"), FormatPolicy::IfBlank, &["not-blank"]),
        (known("xfs"), FormatPolicy::Never, &["not-blank"]),
        (known("ext4"), FormatPolicy::Never, &[]),
        (known("crypto_LUKS"), FormatPolicy::IfBlank, &["not-blank"]),
        (Probe::Ambiguous(Vec::new()), FormatPolicy::IfBlank, &["not-blank"]),
        (Probe::Unreadable { offset: 0, cause: "EIO".to_owned() }, FormatPolicy::IfBlank, &["not-blank"]),
    ];
    for (probe, format, expected) in cases {
        let world = World::new().with(disk()).shown("app", "disk", "/t").device("disk", 100);
        let mut world = world.edit("disk", |spec| spec.fs.as_mut().unwrap().format = format);
        world.seen("disk").probe = Some(probe.clone());

        assert_eq!(codes(&world.plan()), expected, "{probe} {format:?}");
    }
}

#[test]
fn what_a_device_holds_and_keeps_is_a_note() {
    let world = World::new().with(disk()).shown("app", "disk", "/t").device("disk", 100);
    let mut world = world.edit("disk", |spec| spec.fs.as_mut().unwrap().label = Some("data".to_owned()));
    world.seen("disk").probe = Some(known("ext4"));
    let plan = world.plan();

    assert_eq!(plan.notes[0].1, "it holds ext4 already: that is used as it is, and keeps its label '' (not 'data')");
    world.seen("disk").probe = Some(Probe::Blank);
    assert!(world.plan().notes.is_empty());
}

#[test]
fn a_device_comes_up_without_an_attach_and_stays() {
    let mut world = World::new().with(disk()).shown("app", "disk", "/t").device("disk", 100);
    world.seen("disk").probe = Some(Probe::Blank);
    let plan = world.plan();

    assert_eq!(shown(&plan), ["create volume.disk", "stage volume.disk <- s1", "publish volume.disk /t <- s2"]);
    world.run(&plan);
    world.seen("disk").probe = None;
    assert!(world.plan().is_empty());
}

#[test]
fn another_device_is_refused() {
    type Spoil = fn(&mut csictl::model::observed::ObservedDevice);
    let cases: [(&str, Spoil); 3] = [
        ("wrong-identity", |device| device.size = Capacity::gib(90)),
        ("wrong-identity", |device| device.serial = None),
        ("busy", |device| device.holders = vec!["mounted at /mnt".to_owned()]),
    ];
    for (code, spoil) in cases {
        let mut world = World::new().with(disk()).device("disk", 100);
        let ObservedBacking::Device(device) = &mut world.seen("disk").backing else { panic!() };
        spoil(device);
        assert_eq!(codes(&world.plan()), [code]);
    }
    assert_eq!(codes(&World::new().with(disk()).plan()), ["not-found"]);
}

#[test]
fn a_device_of_another_volume_is_refused_before_anything_is_done() {
    let on_disk = |name: &str, path: &str| {
        let backing = Backing::Device(DeviceBacking { path: path.into(), expect: Default::default() });
        VolumeSpec { backing, ..VolumeSpec { id: id(name), name: name.to_owned(), ..disk() } }
    };
    let path = "/dev/disk/by-id/wwn-1";
    let recorded = World::new().with(disk()).device("disk", 100).applied();
    let moved = recorded.clone().without("disk").with(on_disk("other", path));
    // The old one becomes an image, an image takes its disk.
    let swapped = recorded.clone().with(image("other")).applied().with(image("disk")).with(on_disk("other", path));
    let twice = World::new().with(disk()).device("disk", 100).with(on_disk("other", "/dev/sdc")).device("other", 100);
    for (what, world) in [("moved", moved), ("swapped", swapped), ("by two names", twice)] {
        let plan = world.plan();

        let refused = plan.refused.iter().find(|refused| refused.object.to_string() == "volume.other");
        let refused = refused.unwrap_or_else(|| panic!("{what}: {:?}", plan.refused));
        assert_eq!(refused.code, "incompatible", "{what}");
        assert!(refused.message.contains("volume.disk"), "{what}: {}", refused.message);
    }
    let mut given_away = recorded.without("disk");
    given_away.record("disk").released = true;
    let mut given_away = given_away.with(on_disk("other", path)).device("other", 100);
    given_away.seen("other").probe = Some(known("ext4"));
    assert_eq!(codes(&given_away.plan()), Vec::<&str>::new());
}

#[test]
fn a_device_that_changed_under_its_mount_is_drift_and_refused() {
    let mut world = World::new().with(disk()).shown("app", "disk", "/t").device("disk", 100).applied();
    let ObservedBacking::Device(device) = &mut world.seen("disk").backing else { panic!() };
    device.block = BlockId { major: 8, minor: 48 };
    let plan = world.plan();

    assert_eq!(codes(&plan), ["wrong-identity"]);
    assert_eq!(plan.summary().unchanged, 0, "what is refused is not as it should be");
    assert_eq!(plan.drift[0].what, "device");
}

#[test]
fn a_device_that_holds_another_file_system_than_it_did_is_refused() {
    let ours = FsUuid::random();
    let cases: [(&str, Option<FsUuid>, &[&str]); 4] = [
        ("ext4", Some(ours), &[]),
        ("ext4", Some(FsUuid::random()), &["wrong-identity"]),
        ("ext4", None, &["wrong-identity"]),
        ("xfs", Some(ours), &["wrong-identity"]),
    ];
    for (kind, uuid, expected) in cases {
        let mut world = World::new().with(disk()).shown("app", "disk", "/t").device("disk", 100).applied();
        let down = world.plan_for(&Intent::Destroy { delete_data: Default::default() });
        world.run(&down);
        world.record("disk").fs_uuid = Some(ours);
        let Probe::Known(signature) = known(kind) else { panic!() };
        world.seen("disk").probe =
            Some(Probe::Known(Signature { uuid: uuid.map(|uuid| uuid.to_string()), ..signature }));
        let plan = world.plan();

        assert_eq!(codes(&plan), expected, "{kind} {uuid:?}");
        assert!(plan.refused.iter().all(|refused| refused.message.contains(&ours.to_string())), "{:?}", plan.refused);
    }
}

#[test]
fn a_pool_holds_no_more_than_its_limit() {
    let mut world = World::new().with(image("a")).with(sized(image("b"), 2));
    world.desired.pools.values_mut().for_each(|pool| pool.limit = Some(Capacity::gib(2)));
    let plan = world.plan();

    assert_eq!(codes(&plan), ["no-space"]);
    assert_eq!(plan.refused[0].object.to_string(), "pool.main");
    let summary = plan.summary();
    assert_eq!((summary.create, summary.unchanged), (2, 0));
    world.desired.pools.values_mut().for_each(|pool| pool.limit = Some(Capacity::gib(3)));
    assert_eq!(codes(&world.plan()), Vec::<&str>::new());
}

#[test]
fn only_bytes_to_be_allocated_are_held_against_free_space() {
    let full = |spec: &mut VolumeSpec| {
        if let Backing::Image(image) = &mut spec.backing {
            image.allocate = Allocate::Full;
        }
    };
    let mut world = World::new().with(sized(image("db"), 2));
    world.observed.pools.values_mut().for_each(|pool| pool.free = Capacity::gib(1));
    let plan = world.plan();
    assert_eq!(codes(&plan), Vec::<&str>::new(), "sparse takes nothing yet");
    assert!(plan.notes.iter().any(|(object, note)| object.to_string() == "pool.main" && note.contains("sparse")));
    let mut world = world.edit("db", full);
    assert_eq!(codes(&world.plan()), ["no-space"]);

    world.observed.pools.values_mut().for_each(|pool| pool.free = Capacity::gib(3));
    assert_eq!(codes(&world.plan()), Vec::<&str>::new());
    world.desired.pools.values_mut().for_each(|pool| pool.reserve = Some(Capacity::gib(2)));
    assert_eq!(codes(&world.plan()), ["no-space"]);
}

#[test]
fn full_cannot_be_promised_on_btrfs_and_says_so_once() {
    let mut world = World::new().with(image("db"));
    if let Backing::Image(image) = &mut world.desired.volumes.get_mut(&id("db")).unwrap().backing {
        image.allocate = Allocate::Full;
    }
    world.observed.pools.values_mut().for_each(|pool| pool.fs_type = "btrfs".to_owned());

    assert!(world.plan().notes[0].1.contains("cannot be promised"));
    assert!(world.applied().plan().notes.is_empty());
}

/// The disk of the record is 8:32, as is what is staged.
#[test]
fn another_path_is_compared_with_the_device_that_is_used() {
    let same = BlockId { major: 8, minor: 32 };
    let other = BlockId { major: 8, minor: 48 };
    for up in [true, false] {
        for (asked, expected) in [(Some(same), &[][..]), (Some(other), &["incompatible"]), (None, &["incompatible"])] {
            let mut world = World::new().with(disk()).device("disk", 100);
            world = if up { world.shown("app", "disk", "/t") } else { world };
            let mut world = world.applied().edit("disk", |spec| {
                let Backing::Device(device) = &mut spec.backing else { panic!() };
                device.path = "/dev/disk/by-id/wwn-2".into();
            });
            world.seen("disk").asked_device = asked;
            let plan = world.plan();

            assert_eq!(codes(&plan), expected, "up: {up}, leads to {asked:?}");
            if expected.is_empty() {
                assert_eq!(shown(&plan), ["modify volume.disk"], "up: {up}");
            }
        }
    }
}

#[test]
fn a_mount_with_another_projects_on_it_neither_goes_nor_pauses() {
    let claimed = |target: &str| {
        let mut blog = World::new().with(image("posts")).shown("web", "posts", target).applied();
        let mut claims = csictl::model::Claims::default();
        claims.add_run(blog.seen("posts").run.as_ref().unwrap(), &Owner::Project("blog".parse().unwrap()), |_| true);
        claims
    };
    let up = || World::new().with(image("db")).shown("app", "db", "/srv/db").applied();
    let cases = [
        ("left the manifest", up().without_pod("app"), Intent::Apply),
        ("destroy", up(), Intent::Destroy { delete_data: Default::default() }),
        ("pause", up().edit("db", |spec| spec.mount_options = vec!["data=journal".to_owned()]), Intent::Apply),
    ];
    for (what, mut world, intent) in cases {
        for (target, expected) in
            [("/srv/db/posts", &["busy"][..]), ("/srv/db/a/b", &["busy"]), ("/srv/dba", &[]), ("/srv/other", &[])]
        {
            world.observed.others = claimed(target);
            let plan = world.plan_for(&intent);

            assert_eq!(codes(&plan), expected, "{what}: {target}");
            assert!(plan.refused.iter().all(|refused| refused.message.contains("project:blog")), "{what}: {target}");
        }
    }
    let mut stays = up();
    stays.observed.others = claimed("/srv/db/posts");
    assert!(stays.plan().is_empty());
}
