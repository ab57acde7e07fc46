//! What changes on a volume that is there: in place, offline, by replacement, or not at all.

use csictl::model::observed::ObservedBacking;
use csictl::model::record::{FormatMark, Recorded};
use csictl::model::{
    AccessMode, Allocate, Backing, Capacity, CapacityRange, FsType, MountNamespace, Probe, SectorSize, Source, Verb,
    VolumeSpec,
};
use csictl::plan::{ChangeKind, DataFate, Plan, Risk, Step};

use super::world::{World, directory, id, image, raw, shown, sized, snap, tmpfs, with_fs};

fn db() -> World {
    World::new().with(image("db")).shown("app", "db", "/srv/db").applied()
}

fn verbs(plan: &Plan) -> Vec<Verb> {
    plan.steps.iter().map(Step::verb).collect()
}

fn image_of(spec: &mut VolumeSpec) -> &mut csictl::model::ImageBacking {
    match &mut spec.backing {
        Backing::Image(image) => image,
        other => panic!("{} is no image", other.kind()),
    }
}

#[test]
fn what_changes_in_place_is_one_modify() {
    type Edit = fn(&mut VolumeSpec);
    let cases: [(&str, Edit); 10] = [
        ("description", |spec| spec.description = Some("shop data".to_owned())),
        ("mount_options", |spec| spec.mount_options = vec!["commit=30".to_owned()]),
        ("owner", |spec| spec.ownership.owner = Some((5, 5))),
        ("mode", |spec| spec.ownership.mode = Some(0o750)),
        ("access_mode", |spec| spec.access_mode = AccessMode::SingleNodeSingleWriter),
        ("reclaim", |spec| spec.reclaim = csictl::model::Reclaim::Delete),
        ("prevent_destroy", |spec| spec.prevent_destroy = true),
        ("fs_group", |spec| spec.fs_group = Some(7)),
        ("allocate", |spec| image_of(spec).allocate = Allocate::Full),
        ("capacity.limit", |spec| spec.capacity.as_mut().unwrap().limit = Some(Capacity::gib(9))),
    ];
    for (what, edit) in cases {
        let mut world = db().edit("db", edit);
        let plan = world.plan();

        assert_eq!(shown(&plan), ["modify volume.db"], "{what}");
        assert_eq!(plan.changes[0].details[0].0, what);
        assert_eq!(plan.steps[0].risk, Risk::None);
        world.run(&plan);
        assert!(world.plan().is_empty(), "{what}");
    }
}

const CYCLE: [&str; 7] = [
    "unpublish volume.db /srv/db",
    "unstage volume.db <- s1",
    "detach volume.db <- s2",
    "modify volume.db <- s3",
    "attach volume.db <- s4",
    "stage volume.db <- s5",
    "publish volume.db /srv/db <- s1,s6",
];

#[test]
fn options_change_in_place_where_the_running_mounts_take_them_and_else_offline() {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let cases: [(FsType, &str, &str, bool); 10] = [
        (FsType::Ext4, "", "noexec noatime commit=30", false),
        (FsType::Ext4, "noexec noatime", "relatime", false),
        (FsType::Ext4, "ro", "", false),
        (FsType::Ext4, "", "ro", false),
        (FsType::Ext4, "commit=30", "stripe=16", true),
        (FsType::Ext4, "stripe=16", "", true),
        (FsType::Ext4, "", "data=journal", true),
        (FsType::Xfs, "logbsize=64k", "allocsize=1m", true),
        (FsType::Btrfs, "", "compress=lzo", false),
        (FsType::Btrfs, "nodatacow", "", true),
    ];
    for (fs, was, now, offline) in cases {
        let mut spec = with_fs(image("db"), fs);
        spec.mount_options = words(was);
        let mut world = World::new().with(spec).shown("app", "db", "/srv/db").applied();
        assert!(world.plan().is_empty() && world.plan().drift.is_empty(), "{was}: {:?}", world.plan().drift);
        world = world.edit("db", |spec| spec.mount_options = words(now));
        let plan = world.plan();

        let expected = if offline { CYCLE.to_vec() } else { vec!["modify volume.db"] };
        assert_eq!(shown(&plan), expected, "{fs} {was} -> {now}");
        assert_eq!(plan.steps[0].risk == Risk::Offline, offline, "{fs} {was} -> {now}");
        assert!(!offline || plan.steps[0].reason.contains("mount"), "{}", plan.steps[0].reason);
        world.run(&plan);
        assert!(world.plan().is_empty() && world.plan().drift.is_empty(), "{was} -> {now}: {:?}", world.plan().drift);
    }
}

#[test]
fn options_that_memory_takes_only_at_mount_are_refused_for_its_files_would_go() {
    let world = World::new().with(tmpfs("v")).shown("app", "v", "/t").applied();
    let plan = world.edit("v", |spec| spec.mount_options = vec!["noswap".to_owned()]).plan();

    assert_eq!(plan.refused.iter().map(|refused| refused.code).collect::<Vec<_>>(), ["incompatible"]);
    assert!(plan.refused[0].message.contains("noswap"), "{}", plan.refused[0].message);
}

#[test]
fn flags_changed_by_hand_are_drift_and_put_back_wherever_they_were_changed() {
    type Edit = fn(&mut Vec<String>);
    let cases: [(&str, Edit); 3] = [
        ("nosuid", |options| options.retain(|option| option != "nosuid")),
        ("nodev", |options| options.retain(|option| option != "nodev")),
        ("no noexec", |options| options.push("noexec".to_owned())),
    ];
    for (expected, edit) in cases {
        for at_target in [false, true] {
            let mut world = db();
            let seen = world.seen("db");
            let mount = match at_target {
                true => &mut seen.published[0].mount,
                false => &mut seen.staged.as_mut().unwrap().mount,
            };
            edit(&mut mount.options);
            let plan = world.plan();

            assert_eq!(plan.drift.iter().map(|drift| drift.expected.as_str()).collect::<Vec<_>>(), [expected]);
            assert_eq!(plan.drift[0].found.contains("/srv/db"), at_target, "{}", plan.drift[0].found);
            assert_eq!(shown(&plan), ["modify volume.db"], "{expected}");
            assert_eq!(plan.changes[0].title, "restore");
            world.run(&plan);
            assert!(world.plan().is_empty() && world.plan().drift.is_empty());
        }
    }
}

#[test]
fn a_file_system_that_became_read_only_is_checked_and_mounted_anew() {
    for word in ["ro", "emergency_ro"] {
        let mut world = db();
        world.seen("db").staged.as_mut().unwrap().mount.super_options = vec![word.to_owned()];
        let plan = world.plan();

        assert_eq!(plan.drift.len(), 1);
        let steps: Vec<_> = verbs(&plan);
        let expected = [Verb::Unpublish, Verb::Unstage, Verb::Detach, Verb::Attach, Verb::Stage, Verb::Publish];
        assert_eq!(steps, expected, "{word}");
        assert!(plan.steps[0].reason.contains("read-only"), "{}", plan.steps[0].reason);
        world.run(&plan);
        assert!(world.plan().is_empty() && world.plan().drift.is_empty());
    }
    let mut world = World::new().with(tmpfs("v")).shown("app", "v", "/t").applied();
    world.seen("v").staged.as_mut().unwrap().mount.super_options = vec!["ro".to_owned()];
    assert_eq!(shown(&world.plan()), ["modify volume.v"], "memory keeps its files");
    let mut world = World::new().with(directory("v", "/files")).shown("app", "v", "/t").applied();
    world.seen("v").staged.as_mut().unwrap().mount.super_options = vec!["ro".to_owned()];
    assert_eq!(world.plan().refused[0].code, "not-ready", "the host's file system is the host's to repair");
}

#[test]
fn a_btrfs_that_its_kernel_would_not_grow_is_refused_before_anything_is_done() {
    let mib = |mib| move |spec: &mut VolumeSpec| spec.capacity.as_mut().unwrap().required = Capacity::mib(mib);
    let small = || {
        let mut spec = with_fs(image("db"), FsType::Btrfs);
        mib(200)(&mut spec);
        World::new().with(spec)
    };
    let world = small().shown("app", "db", "/srv/db").applied();
    let plan = world.clone().edit("db", mib(250)).plan();
    assert_eq!(plan.refused.iter().map(|refused| refused.code).collect::<Vec<_>>(), ["out-of-range"]);
    assert!(plan.steps.iter().all(|step| step.verb() != Verb::Expand));
    assert!(world.edit("db", mib(256)).plan().refused.is_empty());
    let mut copy = super::world::clone_of("copy", "db");
    mib(220)(&mut copy);
    let plan = small().applied().with(copy).plan();
    assert_eq!(plan.refused.iter().map(|refused| refused.code).collect::<Vec<_>>(), ["out-of-range"], "a clone");
}

#[test]
fn a_change_that_was_cut_off_is_made_again_whatever_the_manifest_says_now() {
    let mut world = db();
    world.record("db").modifying = true;
    let plan = world.plan();

    assert_eq!(shown(&plan), ["modify volume.db"]);
    assert_eq!(plan.changes[0].details[0].0, "an earlier change");
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn growth_is_online_where_the_machine_can() {
    for spec in [image("v"), with_fs(image("v"), FsType::Xfs), raw("v")] {
        let mut world = World::new().with(spec.clone()).shown("app", "v", "/t").applied().with(sized(spec, 2));
        let plan = world.plan();

        assert_eq!(shown(&plan), ["expand volume.v"]);
        assert_eq!((plan.steps[0].risk, plan.changes[0].title.as_str()), (Risk::None, "expand online"));
        assert!(plan.changes[0].details.contains(&("capacity".to_owned(), "1 GiB -> 2 GiB".to_owned())));
        world.run(&plan);
        assert!(world.plan().is_empty());
    }
}

#[test]
fn ext4_grows_offline_where_the_machine_cannot() {
    let mut world = db().edit("db", |spec| spec.capacity.as_mut().unwrap().required = Capacity::gib(2));
    world.observed.host.can_grow_ext4_online = false;
    let plan = world.plan();

    let expected = [
        "unpublish volume.db /srv/db",
        "unstage volume.db <- s1",
        "detach volume.db <- s2",
        "expand volume.db <- s3",
        "attach volume.db <- s4",
        "stage volume.db <- s5",
        "publish volume.db /srv/db <- s1,s6",
    ];
    assert_eq!(shown(&plan), expected);
    assert!(plan.steps[..4].iter().all(|step| step.risk == Risk::Offline));
    assert_eq!(plan.changes[0].title, "expand offline");
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn ext4_that_is_not_mounted_grows_at_once() {
    let mut world = World::new().with(image("db")).applied().with(sized(image("db"), 2));
    world.observed.host.can_grow_ext4_online = false;

    assert_eq!(shown(&world.plan()), ["expand volume.db"]);
}

#[test]
fn a_growth_that_was_cut_off_is_finished() {
    let mut world = db().edit("db", |spec| spec.capacity.as_mut().unwrap().required = Capacity::gib(2));
    if let ObservedBacking::Image(image) = &mut world.seen("db").backing {
        image.size = Capacity::gib(2);
    }
    assert_eq!(shown(&world.plan()), ["expand volume.db"]);
}

#[test]
fn a_volume_grown_elsewhere_is_a_note() {
    let mut world = db();
    if let ObservedBacking::Image(image) = &mut world.seen("db").backing {
        image.size = Capacity::gib(4);
    }
    world.seen("db").loop_device.as_mut().unwrap().size = 4 << 30;
    let plan = world.plan();

    assert!(plan.is_empty() && plan.drift.is_empty());
    assert!(plan.notes[0].1.contains("grown elsewhere"));
}

#[test]
fn a_replacement_needs_its_own_approval() {
    let mut world = db().with(with_fs(image("db"), FsType::Xfs));
    let plan = world.plan();

    let expected =
        [Verb::Unpublish, Verb::Unstage, Verb::Detach, Verb::Create, Verb::Attach, Verb::Stage, Verb::Publish];
    assert_eq!(verbs(&plan), expected);
    let change = &plan.changes[0];
    assert_eq!((change.kind, change.data), (ChangeKind::Replace, DataFate::Lost));
    assert_eq!(change.details[0], ("fs.type".to_owned(), "ext4 -> xfs   # forces replacement".to_owned()));
    assert_eq!(plan.losses().into_iter().map(|loss| loss.loss.to_string()).collect::<Vec<_>>(), ["wipe"]);
    assert!(plan.clone().approve(&std::collections::BTreeSet::new()).is_err());
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn what_has_no_data_of_its_own_is_exchanged_without_loss() {
    for old in [tmpfs("v"), directory("v", "/d")] {
        let mut world = World::new().with(old).shown("app", "v", "/t").applied().with(image("v"));
        let plan = world.plan();

        let expected =
            [Verb::Unpublish, Verb::Unstage, Verb::Delete, Verb::Create, Verb::Attach, Verb::Stage, Verb::Publish];
        assert_eq!(verbs(&plan), expected);
        assert!(plan.losses().is_empty());
        world.run(&plan);
        assert!(world.plan().is_empty());
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    type Edit = fn(&mut VolumeSpec);
    let cases: [(&str, Edit); 5] = [
        ("out-of-range", |spec| spec.capacity = Some(CapacityRange { required: Capacity::mib(512), limit: None })),
        ("incompatible", |spec| image_of(spec).sector_size = SectorSize::B4096),
        ("incompatible", |spec| image_of(spec).pool_path = "/elsewhere".into()),
        ("incompatible", |spec| spec.source = Some(Source::Snapshot(snap("s")))),
        ("protected", |spec| {
            *spec = with_fs(spec.clone(), FsType::Xfs);
            spec.prevent_destroy = true;
        }),
    ];
    for (code, edit) in cases {
        let mut world = db();
        if code == "incompatible" {
            world = world.with(image("other")).snapshot("s", "other").applied();
        }
        let plan = world.edit("db", edit).plan();
        assert_eq!(plan.refused.iter().map(|refused| refused.code).collect::<Vec<_>>(), [code]);
        assert!(!plan.refused[0].help.is_empty());
    }
}

#[test]
fn label_and_mkfs_options_act_at_creation_only() {
    let plan = db().edit("db", |spec| spec.fs.as_mut().unwrap().label = Some("new".to_owned())).plan();

    assert!(plan.is_empty() && plan.refused.is_empty());
    assert!(plan.notes[0].1.contains("when the file system is made"));
}

#[test]
fn a_tmpfs_changes_its_size_by_remount() {
    let world = World::new().with(tmpfs("v")).shown("app", "v", "/t").applied();
    let grow =
        |spec: &mut VolumeSpec| spec.backing = Backing::Tmpfs(csictl::model::TmpfsBacking { size: Capacity::mib(128) });

    assert_eq!(shown(&world.edit("v", grow).plan()), ["modify volume.v"]);
}

#[test]
fn lost_things_are_drift_and_put_back() {
    type Lose = fn(&mut World);
    let cases: [(&str, Lose, &[&str]); 6] = [
        ("mount", |world| world.seen("db").published.clear(), &["publish volume.db /srv/db"]),
        (
            "mount",
            |world| world.seen("db").published[0].depth = 2,
            &["unpublish volume.db /srv/db", "publish volume.db /srv/db <- s1"],
        ),
        (
            "mount",
            |world| world.seen("db").published[0].mount.options[0] = "ro".to_owned(),
            &["unpublish volume.db /srv/db", "publish volume.db /srv/db <- s1"],
        ),
        (
            "mount_options",
            |world| world.seen("db").staged.as_mut().unwrap().mount.options.retain(|option| option != "noatime"),
            &["modify volume.db"],
        ),
        ("staging mount", |world| world.seen("db").staged = None, &["stage volume.db"]),
        ("loop size", |world| world.seen("db").loop_device.as_mut().unwrap().size = 4096, &["expand volume.db"]),
    ];
    for (what, lose, steps) in cases {
        let world = World::new().with(image("db")).shown("app", "db", "/srv/db");
        let mut world = world.edit("db", |spec| spec.mount_options = vec!["noatime".to_owned()]).applied();
        lose(&mut world);
        let plan = world.plan();

        assert_eq!(plan.drift.iter().map(|drift| drift.what.as_str()).collect::<Vec<_>>(), [what]);
        assert_eq!(shown(&plan), steps, "{what}");
        assert_eq!(plan.refused, []);
    }
}

#[test]
fn a_changed_publish_is_made_anew() {
    let world = db().without_pod("app").shown_as("app", "db", "/srv/db", |publish| publish.read_only = true);
    let plan = world.plan();

    assert_eq!(shown(&plan), ["unpublish volume.db /srv/db", "publish volume.db /srv/db <- s1"]);
    assert!(plan.drift.is_empty(), "a change of the manifest is no drift");
    let mut world = world;
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn a_raw_volume_is_attached_again_to_become_read_only() {
    let world = World::new().with(raw("v")).shown("app", "v", "/t").applied();
    let mut world = world.without_pod("app").shown_as("app", "v", "/t", |publish| publish.read_only = true);
    let plan = world.plan();

    assert_eq!(verbs(&plan), [Verb::Unpublish, Verb::Detach, Verb::Attach, Verb::Publish]);
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn a_corrupt_record_is_made_anew_and_disturbs_nothing() {
    let mut world = db();
    world.seen("db").record = Recorded::Corrupt { cause: "checksum".to_owned() };
    let plan = world.plan();

    assert_eq!(shown(&plan), ["create volume.db"]);
    assert_eq!(plan.drift[0].what, "record");
    assert!(plan.losses().is_empty());
    let down = world.destroy(&[]);
    assert_eq!(verbs(&down), [Verb::Unpublish, Verb::Unstage, Verb::Detach]);
    assert_eq!(world.destroy(&["db"]).refused[0].code, "protected");
}

#[test]
fn a_newer_record_is_only_taken_down() {
    let mut world = db();
    world.seen("db").record = Recorded::Newer { version: 9 };

    assert_eq!(world.plan().refused[0].code, "newer-record");
    assert_eq!(verbs(&world.destroy(&[])), [Verb::Unpublish, Verb::Unstage, Verb::Detach]);
}

#[test]
fn storage_that_is_not_what_it_was_is_refused() {
    type Break = fn(&mut World);
    let cases: [(&str, Break); 6] = [
        ("lost-filesystem", |world| world.seen("db").backing = ObservedBacking::Missing),
        ("lost-filesystem", |world| world.seen("db").probe = Some(Probe::Blank)),
        ("wrong-identity", |world| {
            world.seen("db").probe = Some(Probe::Unreadable { offset: 0, cause: "EIO".to_owned() });
        }),
        ("wrong-identity", |world| world.seen("db").backing = ObservedBacking::Wrong("a fifo".into())),
        ("wrong-identity", |world| {
            if let ObservedBacking::Image(image) = &mut world.seen("db").backing {
                image.size = Capacity::mib(1);
            }
        }),
        ("other-namespace", |world| world.seen("db").foreign_namespace = Some(MountNamespace { inode: 42, id: None })),
    ];
    for (code, spoil) in cases {
        let mut world = db().rebooted();
        spoil(&mut world);
        let plan = world.plan();
        assert_eq!(plan.refused.iter().map(|refused| refused.code).collect::<Vec<_>>(), [code]);
        assert!(plan.steps.iter().all(|step| step.risk != Risk::DataLoss));
    }
}

#[test]
fn an_image_put_in_place_of_ours_is_refused_and_named() {
    let mut world = db();
    let mut stranger = world.seen("db").backing.clone();
    if let ObservedBacking::Image(image) = &mut stranger {
        image.file.inode += 1;
        image.identity = None;
    }
    world.seen("db").backing = stranger;
    let plan = world.plan();

    let codes: Vec<_> = plan.refused.iter().map(|refused| refused.code).collect();
    assert_eq!(codes, ["foreign", "wrong-identity"]);
    assert!(plan.drift.iter().any(|drift| drift.what == "image"));
}

#[test]
fn an_image_of_ours_without_a_record_is_adopted() {
    let mut world = db().rebooted();
    world.seen("db").record = Recorded::Absent;
    let plan = world.plan();

    assert_eq!(plan.changes[0].title, "adopt");
    assert_eq!(plan.changes[0].data, DataFate::Kept);
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn a_making_that_was_cut_off_goes_on() {
    let mut world = World::new().with(image("db")).applied();
    let record = world.record("db");
    record.image = None;
    record.format = FormatMark::None;
    world.seen("db").backing = ObservedBacking::Missing;

    assert_eq!(shown(&world.plan()), ["create volume.db"]);
    assert!(world.observed.volumes.contains_key(&id("db")));
}
