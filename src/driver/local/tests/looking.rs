//! What observe sees, and what gc finds.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::driver::local::gc::{self, Leftover};
use crate::driver::local::observe::{Scope, observe};
use crate::driver::local::tests::counting::Counting;
use crate::driver::local::tests::world::*;
use crate::driver::{Driver, DriverError, Refusal};
use crate::host::sim::Content;
use crate::host::{Host, Observe};
use crate::model::observed::{ObservedBacking, TargetKind};
use crate::model::record::Recorded;
use crate::model::{Backing, Desired, FsType, PodSpec, PublishKind, VolumeSpec};

fn desired(specs: &[VolumeSpec]) -> Desired {
    let mut desired = Desired::empty("shop".parse().unwrap(), "shop.toml".into());
    for spec in specs {
        desired.volumes.insert(spec.id.clone(), spec.clone());
    }
    let pod = PodSpec {
        name: "web".parse().unwrap(),
        root: Some("/srv/web".into()),
        fs_group: None,
        publishes: specs.iter().map(publish).collect(),
    };
    desired.pods.insert(pod.name.clone(), pod);
    desired
}

#[test]
fn a_volume_that_is_up_is_seen_whole() {
    for spec in every_sort() {
        let world = World::new();
        let wanted = desired(std::slice::from_ref(&spec));
        let before = observe(&world.sim, &layout(), Scope::Project(&wanted)).unwrap();
        assert_eq!(before.volumes[&spec.id].record, Recorded::Absent);
        assert_eq!(before.targets[&publish(&spec).target].kind, TargetKind::Absent);
        world.up(&spec).unwrap();

        for scope in [Scope::Project(&wanted), Scope::Everything] {
            let observed = observe(&world.sim, &layout(), scope).unwrap();
            let seen = &observed.volumes[&spec.id];

            assert_eq!(seen.unknown, Vec::<String>::new());
            assert_eq!(
                seen.staged.as_ref().map(|stage| stage.depth),
                if spec.is_raw() { None } else { Some(1) },
                "{}",
                spec.id
            );
            assert_eq!(seen.published.len(), 1, "{}: {:?}", spec.id, seen.published);
            let shown = &seen.published[0];
            let kind = if spec.is_raw() { PublishKind::Device } else { PublishKind::Mount };
            assert_eq!((shown.kind, shown.depth, &shown.sub_path), (kind, 1, &None), "{}", spec.id);
            assert_eq!(seen.loop_device.is_some(), spec.backing.as_image().is_some());
            let backing_seen = !matches!(seen.backing, ObservedBacking::Missing | ObservedBacking::Wrong(_));
            assert_eq!(backing_seen, !matches!(spec.backing, Backing::Tmpfs(_)));
            if let (ObservedBacking::Device(device), Some(stage)) = (&seen.backing, &seen.staged) {
                assert_eq!(stage.mount.device, device.block);
            }
            let target = &observed.targets[&publish(&spec).target];
            assert_eq!((&target.foreign, &target.taken_by, target.hides), (&None, &None, 0), "{}", spec.id);
        }
    }
}

#[test]
fn looking_changes_nothing() {
    let world = World::new();
    let specs = [image("db", FsType::Ext4), device("disk", FsType::Xfs)];
    world.up(&specs[0]).unwrap();
    let before = (world.sim.count(), world.sim.listing());

    observe(&world.sim, &layout(), Scope::Project(&desired(&specs))).unwrap();
    gc::find(&world.sim, &layout(), &[]).unwrap();

    assert_eq!((world.sim.count(), world.sim.listing()), before);
}

#[test]
fn a_bind_that_somebody_else_made_of_a_volume_is_not_a_publish() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    let mut theirs = publish(&spec);
    theirs.target = "/mnt/theirs".into();
    theirs.trusted_root = "/mnt".into();
    world.sim.plant_directory("/mnt/theirs");
    let stage = world.sim.mounts_at(&layout().staging_path(&spec.id)).unwrap().pop().unwrap();
    let bind = crate::host::BindMount {
        source: stage.target,
        expect: stage.device,
        sub_path: None,
        target: theirs.target,
        trusted_root: theirs.trusted_root,
        kind: PublishKind::Mount,
        read_only: false,
        propagation: Default::default(),
        options: Vec::new(),
    };
    crate::host::Host::bind(&world.sim, &bind).unwrap();

    let observed = observe(&world.sim, &layout(), Scope::Everything).unwrap();

    assert_eq!(observed.volumes[&spec.id].published.len(), 1);
}

#[test]
fn another_projects_volume_at_a_target_and_a_foreign_mount_are_told_apart() {
    let world = World::new();
    let mut theirs = image("db", FsType::Ext4);
    theirs.id = "other.db".parse().unwrap();
    theirs.owner = "project:other".parse().unwrap();
    let mut shown = publish(&theirs);
    let mine = image("mine", FsType::Ext4);
    shown.target = publish(&mine).target;
    world.create(&theirs).unwrap();
    world.stage(&theirs).unwrap();
    world.driver.publish(&shown).unwrap();
    let stranger = image("stranger", FsType::Ext4);
    world.sim.plant_directory(publish(&stranger).target);
    world.sim.mount_foreign(publish(&stranger).target);

    let observed = observe(&world.sim, &layout(), Scope::Project(&desired(&[mine.clone(), stranger.clone()]))).unwrap();

    let taken = observed.targets[&shown.target].taken_by.clone().unwrap();
    assert_eq!(taken.1, theirs.id);
    assert!(observed.targets[&publish(&stranger).target].foreign.is_some());
    assert!(!observed.volumes.contains_key(&theirs.id));
}

#[test]
fn a_device_is_probed_until_it_is_mounted() {
    let world = World::new();
    let spec = device("disk", FsType::Ext4);
    let wanted = desired(std::slice::from_ref(&spec));
    let probe = |world: &World| {
        observe(&world.sim, &layout(), Scope::Project(&wanted)).unwrap().volumes[&spec.id].probe.clone()
    };

    assert!(probe(&world).unwrap().is_blank());
    world.up(&spec).unwrap();
    assert_eq!(probe(&world), None);
}

#[test]
fn an_image_without_a_record_is_seen_with_its_identity() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.create(&spec).unwrap();
    world.sim.remove_all("/var/lib/csictl");

    let observed = observe(&world.sim, &layout(), Scope::Project(&desired(std::slice::from_ref(&spec)))).unwrap();

    let ObservedBacking::Image(image) = &observed.volumes[&spec.id].backing else { panic!("no image") };
    assert_eq!(image.identity.as_ref().unwrap().id, spec.id.as_str());
}

#[test]
fn the_machine_is_looked_at_once_however_many_volumes_there_are() {
    let mut looks = Vec::new();
    for count in [2, 20] {
        let world = World::new();
        let specs: Vec<_> = (0..count).map(|n| image(&format!("v{n}"), FsType::Ext4)).collect();
        for spec in &specs {
            world.up(spec).unwrap();
        }
        let counting = Counting { inner: world.sim.clone(), tables: AtomicU64::new(0), lists: AtomicU64::new(0) };

        let observed = observe(&counting, &layout(), Scope::Project(&desired(&specs))).unwrap();

        assert_eq!(observed.volumes.values().filter(|volume| volume.staged.is_some()).count(), count);
        looks.push((counting.tables.into_inner(), counting.lists.into_inner()));
    }
    assert_eq!(looks[0], looks[1], "the same number of whole tables and directories read");
    assert_eq!(looks[0].0, 2, "one mount table, one list of loops");
}

#[test]
fn gc_finds_and_removes_what_no_record_owns_and_nothing_else() {
    let world = World::new();
    let (kept, lost) = (image("kept", FsType::Ext4), image("lost", FsType::Ext4));
    world.up(&kept).unwrap();
    world.create(&lost).unwrap();
    world.stage(&lost).unwrap();
    let raw = raw("bare");
    world.up(&raw).unwrap();
    world.driver.run(&unpublish(&raw)).unwrap();
    for id in [&lost.id, &raw.id] {
        world.sim.remove_all(layout().volume_record(id));
    }
    world.sim.plant_image("/pool/.shop.half.img.part", 4096, Content::Blank);
    world.sim.plant_image("/pool/stranger.img", 4096, Content::Blank);
    // What a growth has left to do is worth something as long as its image is there.
    for id in ["shop.gone", "shop.lost", "shop.kept"] {
        world.sim.plant_file(format!("/pool/.{id}.img.grow"), b"log");
    }

    let found = gc::find(&world.sim, &layout(), &["/pool".into()]).unwrap();

    let (data, rest): (Vec<&Leftover>, Vec<&Leftover>) = found.iter().partition(|left| left.approval().is_some());
    assert_eq!((rest.len(), data.len()), (4, 2), "{found:?}");
    assert!(
        found
            .iter()
            .any(|left| matches!(left, Leftover::Mount { target, .. } if *target == layout().staging_path(&lost.id)))
    );
    let remove = |leftover: &Leftover, approved: &std::collections::BTreeSet<crate::model::Approval>| {
        gc::remove(&world.sim, &layout(), leftover, approved, Duration::from_millis(20))
    };
    for leftover in rest {
        remove(leftover, &Default::default()).unwrap();
    }
    for leftover in &data {
        let refused = remove(leftover, &Default::default());
        assert!(matches!(refused, Err(DriverError::Refused { refusal: Refusal::Unapproved, .. })), "{refused:?}");
    }
    assert_eq!(gc::find(&world.sim, &layout(), &["/pool".into()]).unwrap().iter().collect::<Vec<_>>(), data);
    assert_eq!(world.sim.loops().unwrap().len(), 1);
    for stays in ["/pool/shop.lost.img", "/pool/shop.bare.img", "/pool/stranger.img"] {
        assert!(world.sim.stat(stays.as_ref()).unwrap().is_some(), "{stays}: images are removed by name only");
    }
    let logs = ["gone", "lost", "kept"].map(|name| world.sim.stat(format!("/pool/.shop.{name}.img.grow").as_ref()));
    assert_eq!(logs.map(|log| log.unwrap().is_some()), [false, true, true]);
    let approved = data.iter().filter_map(|leftover| leftover.approval()).take(1).collect();
    remove(data[0], &approved).unwrap();
    assert!(remove(data[1], &approved).is_err(), "an approval is for one");
    assert_eq!(gc::find(&world.sim, &layout(), &["/pool".into()]).unwrap(), [data[1].clone()]);
    assert_eq!(world.sim.check(), Vec::<String>::new());
}

#[test]
fn a_frozen_stage_is_thawed() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    world.sim.leave_frozen(layout().staging_path(&spec.id));

    Host::make_dir(&world.sim, &layout().frozen(), 0o700).unwrap();
    Host::write_small(&world.sim, &layout().frozen_mark(&spec.id), b"", false).unwrap();

    let frozen = Leftover::Frozen { volume: spec.id.clone() };
    assert_eq!(gc::find(&world.sim, &layout(), &[]).unwrap(), std::slice::from_ref(&frozen));
    gc::remove(&world.sim, &layout(), &frozen, &Default::default(), Duration::from_millis(20)).unwrap();
    assert!(!world.sim.is_frozen(layout().staging_path(&spec.id)));
    assert_eq!(gc::find(&world.sim, &layout(), &[]).unwrap(), Vec::new());
    world.sim.leave_frozen(layout().staging_path(&spec.id));
    Host::write_small(&world.sim, &layout().frozen_mark(&spec.id), b"", false).unwrap();
    assert_eq!(gc::thaw_left(&world.sim, &layout()).unwrap(), [layout().staging_path(&spec.id)]);
    assert_eq!(gc::thaw_left(&world.sim, &layout()).unwrap(), Vec::<std::path::PathBuf>::new());
    world.sim.leave_frozen(layout().staging_path(&spec.id));
    world.stage(&spec).unwrap();

    assert!(!world.sim.is_frozen(layout().staging_path(&spec.id)));
}

#[test]
fn gc_looks_into_pools_that_only_snapshots_remember() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.create(&spec).unwrap();
    let snapshot = crate::model::SnapshotSpec {
        id: "shop.now".parse().unwrap(),
        owner: spec.owner.clone(),
        name: "now".into(),
        volume: spec.id.clone(),
    };
    world.driver.snapshot(&snapshot).unwrap();
    world.driver.run(&delete(&spec)).unwrap();
    world.sim.plant_image("/pool/.shop.half.img.part", 4096, Content::Blank);

    let found = gc::find(&world.sim, &layout(), &[]).unwrap();

    assert_eq!(found, [Leftover::Temporary { path: "/pool/.shop.half.img.part".into() }]);
}
