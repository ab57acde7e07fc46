//! What has to wait for what: nested targets, volumes that lie on volumes, copies and their sources.

use csictl::model::observed::ObservedImage;
use csictl::model::record::{ImageIdentity, Recorded};
use csictl::model::{Action, Backing, BlockId, FileId, FsType, ObjectRef, SnapshotSpec, Verb, VolumeSpec};
use csictl::plan::{DataFate, Intent, Plan, Risk};

use super::world::{World, clone_of, directory, id, image, shown, sized, snap, with_fs};

/// Whether one step comes, through any chain, after another. Steps as `verb object path`.
fn waits(plan: &Plan, later: &str, earlier: &str) -> bool {
    let named = |index: usize| {
        let step = &plan.steps[index];
        let path = step.path.as_ref().map_or_else(String::new, |path| format!(" {}", path.display()));
        format!("{} {}{path}", step.verb(), step.object())
    };
    let place = |name: &str| {
        (0..plan.steps.len()).find(|&index| named(index) == name).unwrap_or_else(|| panic!("no step {name}"))
    };
    let (target, mut queue) = (place(earlier), vec![place(later)]);
    while let Some(index) = queue.pop() {
        if index == target {
            return true;
        }
        queue.extend(&plan.steps[index].after);
    }
    false
}

fn nested() -> World {
    World::new()
        .with(image("child"))
        .with(image("parent"))
        .shown("a", "child", "/srv/www/data")
        .shown("b", "parent", "/srv/www")
}

#[test]
fn parents_are_mounted_before_children_and_go_after_them() {
    let world = nested();
    assert!(waits(&world.plan(), "publish volume.child /srv/www/data", "publish volume.parent /srv/www"));
    let world = world.applied();
    assert!(waits(&world.destroy(&[]), "unpublish volume.parent /srv/www", "unpublish volume.child /srv/www/data"));
}

#[test]
fn a_child_moves_when_its_parent_does() {
    let mut world =
        nested().applied().without_pod("b").shown_as("b", "parent", "/srv/www", |publish| publish.read_only = true);
    let plan = world.plan();

    assert!(waits(&plan, "unpublish volume.parent /srv/www", "unpublish volume.child /srv/www/data"));
    assert!(waits(&plan, "publish volume.child /srv/www/data", "publish volume.parent /srv/www"));
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn a_child_is_not_buried_under_a_parent_that_comes_back() {
    let mut world = nested().applied();
    world.seen("parent").published.clear();
    let plan = world.plan();

    assert!(waits(&plan, "publish volume.parent /srv/www", "unpublish volume.child /srv/www/data"));
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn a_path_changes_hands_in_one_plan() {
    let world = World::new().with(image("old")).shown("a", "old", "/srv/data").applied();
    let mut world = world.without_pod("a").with(image("new")).shown("a", "new", "/srv/data");
    let plan = world.plan();

    assert!(waits(&plan, "publish volume.new /srv/data", "unpublish volume.old /srv/data"));
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn an_old_mount_below_a_new_one_goes_first() {
    let world = World::new().with(image("old")).shown("a", "old", "/srv/data/cache").applied();
    let world = world.without_pod("a").with(image("new")).shown("a", "new", "/srv/data");

    assert!(waits(&world.plan(), "publish volume.new /srv/data", "unpublish volume.old /srv/data/cache"));
}

#[test]
fn a_volume_that_lies_on_another_waits_for_it() {
    let world = World::new().with(image("ground")).shown("a", "ground", "/srv/ground");
    let world = world.with(directory("house", "/srv/ground/house")).shown("a", "house", "/srv/house");
    assert!(waits(&world.plan(), "create volume.house", "publish volume.ground /srv/ground"));

    let world = world.applied();
    assert!(waits(&world.destroy(&[]), "unpublish volume.ground /srv/ground", "unstage volume.house"));

    let mut world = world.rebooted();
    world.seen("house").backing = csictl::model::observed::ObservedBacking::Missing;
    let plan = world.plan();
    assert_eq!(plan.refused, [], "what lies on a mount that is still to come cannot be judged");
    assert!(waits(&plan, "stage volume.house", "publish volume.ground /srv/ground"));
}

#[test]
fn an_image_on_another_volume_comes_back_after_a_reboot() {
    let on_ground = |spec: &mut csictl::model::VolumeSpec| {
        if let Backing::Image(image) = &mut spec.backing {
            image.pool_path = "/srv/ground".into();
        }
    };
    let world = World::new().with(image("ground")).shown("a", "ground", "/srv/ground");
    let world = world.with(image("house")).edit("house", on_ground).shown("a", "house", "/srv/house");
    let mut world = world.applied().rebooted();
    world.seen("house").backing = csictl::model::observed::ObservedBacking::Missing;
    let plan = world.plan();

    assert_eq!(plan.refused, []);
    assert!(waits(&plan, "attach volume.house", "publish volume.ground /srv/ground"));
}

#[test]
fn a_volume_on_a_mount_that_moves_is_cycled() {
    let world = World::new().with(image("ground")).shown("a", "ground", "/srv/ground");
    let world = world.with(directory("house", "/srv/ground/house")).shown("a", "house", "/srv/house").applied();
    let mut world = world.without_pod("a").shown_as("a", "ground", "/srv/ground", |publish| publish.read_only = true);
    world = world.shown("a", "house", "/srv/house");
    let plan = world.plan();

    assert!(waits(&plan, "unpublish volume.ground /srv/ground", "unstage volume.house"));
    assert!(waits(&plan, "stage volume.house", "publish volume.ground /srv/ground"));
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn a_volume_on_itself_is_refused() {
    let plan = World::new().with(directory("snake", "/srv/snake/tail")).shown("a", "snake", "/srv/snake").plan();

    assert_eq!(plan.refused[0].code, "incompatible");
    assert!(plan.refused[0].message.contains("volume.snake"));
}

#[test]
fn copies_read_their_source_before_it_is_opened() {
    let world =
        World::new().with(image("db")).shown("app", "db", "/srv/db").with(clone_of("copy", "db")).snapshot("s", "db");
    let plan = world.plan();

    for copy in ["create volume.copy", "snapshot snapshot.s"] {
        assert!(waits(&plan, copy, "create volume.db"));
        assert!(waits(&plan, "attach volume.db", copy));
    }
    assert!(world.applied().plan().is_empty());
}

#[test]
fn a_snapshot_comes_before_growth_and_replacement() {
    let world = World::new().with(image("db")).shown("app", "db", "/srv/db").applied().snapshot("s", "db");
    let grown = world.clone().with(sized(image("db"), 2)).plan();
    assert!(waits(&grown, "expand volume.db", "snapshot snapshot.s"));

    let replaced = world.with(super::world::with_fs(image("db"), csictl::model::FsType::Xfs)).plan();
    assert!(waits(&replaced, "create volume.db", "snapshot snapshot.s"));
    assert!(waits(&replaced, "snapshot snapshot.s", "unstage volume.db"));
}

#[test]
fn a_snapshot_of_a_mounted_volume_pauses_writes_without_reflink() {
    let mut world = World::new().with(image("db")).shown("app", "db", "/srv/db").applied().snapshot("s", "db");
    assert_eq!(world.plan().steps[0].risk, Risk::Offline);
    world.observed.pools.values_mut().for_each(|pool| pool.reflink = true);
    assert_eq!(world.plan().steps[0].risk, Risk::None);
}

#[test]
fn a_restored_volume_waits_for_its_snapshot() {
    let mut restored = image("old");
    restored.source = Some(csictl::model::Source::Snapshot(snap("s")));
    let plan = World::new().with(image("db")).with(restored).snapshot("s", "db").plan();

    assert!(waits(&plan, "create volume.old", "snapshot snapshot.s"));
}

#[test]
fn a_snapshot_is_taken_once_and_stays() {
    let world = World::new().with(image("db")).snapshot("s", "db").applied();
    assert!(world.plan().is_empty());
    let mut gone = world.clone();
    gone.desired.snapshots.clear();
    assert!(gone.plan().is_empty());

    let other = world.with(image("other")).snapshot("s", "other").plan();
    assert_eq!(other.refused[0].code, "exists");
}

#[test]
fn a_snapshot_whose_record_was_lost_is_adopted_and_not_taken() {
    let mut world = World::new().with(image("db")).snapshot("s", "db").applied();
    let seen = world.observed.snapshots.get_mut(&snap("s")).unwrap();
    let Recorded::Present(record) = std::mem::take(&mut seen.record) else { panic!() };
    seen.file = Some(ObservedImage {
        path: record.path,
        file: FileId { device: BlockId { major: 8, minor: 1 }, inode: 77 },
        size: record.size,
        allocated: record.size,
        identity: Some(ImageIdentity {
            id: record.id.to_string(),
            owner: record.owner,
            snapshot: true,
            fs_type: record.fs_type,
            fs_uuid: record.fs_uuid,
            sector_size: record.sector_size,
            protected: false,
            ephemeral: false,
            group: None,
            deleting: false,
        }),
    });
    let plan = world.plan();

    let change = plan.changes.iter().find(|change| change.object == ObjectRef::Snapshot(snap("s"))).unwrap();
    assert_eq!((change.title.as_str(), change.data), ("adopt", DataFate::Kept));
}

#[test]
fn a_mount_that_was_covered_goes_after_what_covers_it() {
    let mut world = World::new().with(image("a")).with(image("b"));
    world = world.shown("app", "a", "/srv").shown("app", "b", "/srv/b").applied();
    let upright = shown(&world.destroy(&[]));
    assert!(upright.contains(&"unpublish volume.a /srv <- s1".to_owned()), "{upright:?}");
    let on = world.seen("a").published[0].mount.parent;
    world.seen("b").published[0].mount.parent = on;

    let covered = shown(&world.destroy(&[]));

    assert!(covered.contains(&"unpublish volume.b /srv/b <- s1".to_owned()), "{covered:?}");
}

#[test]
fn a_restored_volume_is_said_to_be_in_no_manifest() {
    let world = World::new().with(image("db")).snapshot("s", "db").applied();
    let intent = Intent::Restore { snapshot: snap("s"), volume: id("old") };

    let plan = world.plan_for(&intent);

    let (object, note) = &plan.notes[0];
    assert_eq!(object.to_string(), "volume.old");
    assert!(note.contains("add volumes.old") && note.contains("releases it"), "{note}");
}

#[test]
fn clones_of_clones_have_the_file_system_that_is_copied_though_the_root_is_replaced() {
    let xfs = |spec| VolumeSpec { fs_type_given: false, ..with_fs(spec, FsType::Xfs) };
    let world = World::new().with(image("root")).applied();
    // The manifest takes the type of every clone from the root as it will be.
    let world = world.with(xfs(image("root"))).with(xfs(clone_of("one", "root"))).with(xfs(clone_of("two", "one")));

    let plan = world.plan();

    assert!(plan.refused.is_empty(), "{:?}", plan.refused);
    let made = plan.steps.iter().filter_map(|step| match &step.action {
        Action::Create(create) if create.spec.source.is_some() => Some((create.spec.id.clone(), create.spec.fs_type())),
        _ => None,
    });
    let made: Vec<_> = made.collect();
    assert_eq!(made, [(id("one"), Some(FsType::Ext4)), (id("two"), Some(FsType::Ext4))]);
}

#[test]
fn a_clone_has_the_file_system_of_its_source() {
    let world = World::new().with(super::world::with_fs(image("db"), csictl::model::FsType::Xfs)).applied();
    let mut world = world.with(clone_of("copy", "db"));
    let plan = world.plan();
    world.run(&plan);
    assert_eq!(world.record("copy").spec.fs_type(), Some(csictl::model::FsType::Xfs));
    assert!(world.plan().is_empty());
    assert!(world.without("db").plan().refused.is_empty(), "a source may go once its clone is made");

    let mut asked = clone_of("copy", "db");
    asked.fs_type_given = true;
    let world = World::new().with(super::world::with_fs(image("db"), csictl::model::FsType::Xfs)).applied().with(asked);
    assert_eq!(world.plan().refused[0].code, "incompatible");
}

#[test]
fn a_copy_that_cannot_be_made_is_refused() {
    let missing = World::new().with(clone_of("copy", "db")).plan();
    assert_eq!(missing.refused[0].code, "not-found");

    let small = World::new().with(sized(image("db"), 2)).applied().with(clone_of("copy", "db")).plan();
    assert_eq!(small.refused[0].code, "out-of-range");

    let directory = World::new().with(directory("db", "/d")).with(clone_of("copy", "db")).plan();
    assert_eq!(directory.refused[0].code, "unsupported");
}

#[test]
fn imperative_forms_touch_one_object() {
    let mut world =
        World::new().with(image("db")).shown("app", "db", "/srv/db").with(image("other")).snapshot("s", "db").applied();
    let owner = world.record("db").spec.owner.clone();
    let take = SnapshotSpec { id: snap("t"), owner, name: "t".to_owned(), volume: id("db") };
    let cases = [
        (Intent::Expand { volume: id("db"), to: csictl::model::Capacity::gib(2) }, "expand volume.db"),
        (Intent::TakeSnapshot { snapshot: take }, "snapshot snapshot.t"),
        (Intent::Restore { snapshot: snap("s"), volume: id("new") }, "create volume.new"),
        (Intent::DeleteSnapshot { snapshot: snap("s") }, "delete-snapshot snapshot.s"),
    ];
    for (intent, step) in cases {
        let plan = world.plan_for(&intent);
        assert_eq!(shown(&plan), [step]);
        assert_eq!(plan.refused, []);
        world.run(&plan);
    }
    assert_eq!(world.record("new").spec.required(), Some(csictl::model::Capacity::gib(1)));
}

#[test]
fn an_expand_by_hand_mends_and_unmounts_nothing() {
    let mut world =
        World::new().with(image("db")).shown("app", "db", "/srv/db").shown("web", "db", "/srv/web").applied();
    world.seen("db").published.pop();
    world.seen("db").run.as_mut().unwrap().publishes.clear();
    let expand = Intent::Expand { volume: id("db"), to: csictl::model::Capacity::gib(2) };

    assert_eq!(shown(&world.plan_for(&expand)), ["expand volume.db"]);
    world.observed.host.can_grow_ext4_online = false;
    assert_eq!(world.plan_for(&expand).refused[0].code, "unsupported", "nobody knows how to bring that mount back");
}

#[test]
fn an_expand_by_hand_is_refused_where_it_shrinks_or_passes_the_limit() {
    let mut world = World::new().with(sized(image("db"), 2)).applied();
    let to = |gib| Intent::Expand { volume: id("db"), to: csictl::model::Capacity::gib(gib) };
    world.record("db").spec.capacity.as_mut().unwrap().limit = Some(csictl::model::Capacity::gib(3));

    assert_eq!(world.plan_for(&to(1)).refused[0].code, "out-of-range");
    assert_eq!(world.plan_for(&to(4)).refused[0].code, "out-of-range");
    assert!(world.plan_for(&to(2)).is_empty());
}

#[test]
fn delete_takes_only_what_nobody_wants() {
    let mut world = World::new().with(image("db")).shown("app", "db", "/srv/db").applied();
    let delete = Intent::Delete { volume: id("db") };
    assert_eq!(world.plan_for(&delete).refused[0].code, "busy");

    world = world.without("db").applied();
    let plan = world.plan_for(&delete);
    assert_eq!(shown(&plan), ["delete volume.db"]);
    assert_eq!(plan.steps[0].risk, Risk::DataLoss);
    world.run(&plan);
    assert_eq!(world.plan_for(&delete).refused[0].code, "not-found");
}

#[test]
fn a_volume_made_over_grpc_is_deleted_when_it_is_free() {
    let mut world = World::new().with(image("db")).applied();
    world.record("db").spec.owner = csictl::model::Owner::Csi;
    let plan = world.plan_for(&Intent::Delete { volume: id("db") });

    assert_eq!(plan.steps[0].verb(), Verb::Delete);
    assert_eq!(plan.changes[0].object, ObjectRef::Volume(id("db")));
}
