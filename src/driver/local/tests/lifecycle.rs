//! Every backing and file system through every verb, each verb twice.

use crate::driver::Driver;
use crate::driver::local::tests::world::*;
use crate::host::Observe;
use crate::model::{Action, Backing, Capacity, Done, FsType, Ownership, SnapshotSpec, Source, VolumeSpec};

#[test]
fn every_verb_on_every_backing_changes_once_and_then_finds_its_work_done() {
    for spec in every_sort() {
        let world = World::new();
        let no_device = matches!(spec.backing, Backing::Device(_) | Backing::Directory(_) | Backing::Tmpfs(_));

        for action in up(&spec) {
            let (first, second) = (world.driver.run(&action).unwrap(), world.driver.run(&action).unwrap());

            let changes = !(no_device && matches!(action, Action::Attach(_)));
            assert_eq!(first.done == Done::Changed, changes, "{} {} first", action.verb(), spec.id);
            assert_eq!(second.done, Done::Already, "{} {} again", action.verb(), spec.id);
        }
        assert_eq!(world.sim.check_settled(&["/pool".as_ref()]), Vec::<String>::new(), "{}", spec.id);
        let mut releases = down(&spec);
        releases.push(Action::Release(spec.id.clone()));
        releases.push(delete(&spec));
        for action in releases {
            world.driver.run(&action).unwrap();
            let second = world.driver.run(&action).unwrap();
            assert_eq!(second.done, Done::Already, "{} {} again", action.verb(), spec.id);
        }
        assert!(world.sim.loops().unwrap().is_empty(), "{}", spec.id);
        assert!(world.sim.stat(&publish(&spec).target).unwrap().is_none(), "{}: the target is gone", spec.id);
        assert!(world.sim.stat(TARGET.as_ref()).unwrap().is_none(), "{}: its parent is gone", spec.id);
        assert!(world.sim.stat("/srv/web".as_ref()).unwrap().is_some(), "what csictl found stays");
    }
}

#[test]
fn going_up_and_down_leaves_the_machine_as_it_was_and_the_data_in_place() {
    for spec in every_sort() {
        let world = World::new();
        world.up(&spec).unwrap();
        let file = publish(&spec).target.join("canary");
        if !spec.is_raw() && !matches!(spec.backing, Backing::Tmpfs(_)) {
            world.sim.write_canary(&file, b"data");
        }
        world.down(&spec).unwrap();
        let between = world.sim.listing();

        world.up(&spec).unwrap();
        assert_eq!(world.sim.check_settled(&["/pool".as_ref()]), Vec::<String>::new(), "{}", spec.id);
        world.down(&spec).unwrap();

        // A record gets longer by each line that is appended to it.
        let record = format!("{} file ", layout().volume_record(&spec.id).display());
        let others = |listing: Vec<String>| listing.into_iter().filter(|line| !line.starts_with(&record)).collect();
        let (after, before): (Vec<_>, Vec<_>) = (others(world.sim.listing()), others(between));
        assert_eq!(after, before, "{}", spec.id);
        assert!(world.sim.loops().unwrap().is_empty(), "{}", spec.id);
    }
}

#[test]
fn an_image_volume_costs_one_durable_write_to_create_and_none_to_stage() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.create(&spec).unwrap();
    world.sim.clear_effects();

    world.stage(&spec).unwrap();

    let records: Vec<_> =
        world.sim.effects().into_iter().filter(|e| e.object == layout().volume_record(&spec.id)).collect();
    assert_eq!(records, Vec::new());
}

#[test]
fn expansion_online_offline_and_twice() {
    for fs in FsType::ALL {
        for staged in [false, true] {
            let world = World::new();
            let spec = image("db", fs);
            world.create(&spec).unwrap();
            if staged {
                world.up(&spec).unwrap();
            }

            let first = world.driver.run(&expand(&spec, 1024)).unwrap();
            let second = world.driver.run(&expand(&spec, 1024)).unwrap();

            assert_eq!((first.done, second.done), (Done::Changed, Done::Already), "{fs} staged {staged}");
            world.up(&spec).unwrap();
            let size = world.sim.usage(&layout().staging_path(&spec.id)).unwrap().total;
            assert!(size > Capacity::mib(900).get(), "{fs} staged {staged}: {size}");
        }
    }
}

#[test]
fn a_raw_volume_grows_under_its_publish() {
    let world = World::new();
    let spec = raw("disk");
    world.up(&spec).unwrap();

    world.driver.run(&expand(&spec, 1024)).unwrap();

    assert_eq!(world.sim.loops().unwrap()[0].size, Capacity::mib(1024).get());
}

#[test]
fn a_clone_and_a_restore_have_the_bytes_another_uuid_and_the_larger_size() {
    for fs in FsType::ALL {
        for reflink in [false, true] {
            let world = World::new();
            world.sim.set_reflink(reflink);
            let original = image("db", fs);
            world.up(&original).unwrap();
            world.sim.write_canary(publish(&original).target.join("canary"), b"precious");
            let snapshot = SnapshotSpec {
                id: "shop.before".parse().unwrap(),
                owner: original.owner.clone(),
                name: "before".into(),
                volume: original.id.clone(),
            };

            assert_eq!(world.driver.snapshot(&snapshot).unwrap().done, Done::Changed);
            assert_eq!(world.driver.snapshot(&snapshot).unwrap().done, Done::Already);
            for (name, source) in
                [("clone", Source::Volume(original.id.clone())), ("restore", Source::Snapshot(snapshot.id.clone()))]
            {
                let mut copy = image(name, fs);
                copy.source = Some(source);
                copy.capacity.as_mut().unwrap().required = Capacity::mib(768);
                world.up(&copy).unwrap();

                let read = world.sim.read(publish(&copy).target.join("canary"));
                assert_eq!(read.as_deref(), Some(&b"precious"[..]), "{name} {fs}");
                let total = world.sim.usage(&layout().staging_path(&copy.id)).unwrap().total;
                assert!(total > Capacity::mib(700).get(), "{name} {fs}: {total}");
                assert_eq!(world.create(&copy).unwrap().done, Done::Already);
            }
            assert!(!world.sim.is_frozen(layout().staging_path(&original.id)));
            assert_eq!(world.sim.check_settled(&["/pool".as_ref()]), Vec::<String>::new(), "{fs}");
        }
    }
}

#[test]
fn owner_and_mode_are_given_once_and_a_later_chown_is_left_alone() {
    let world = World::new();
    let mut spec = image("db", FsType::Ext4);
    spec.ownership = Ownership { owner: Some((999, 999)), mode: Some(0o750) };
    let root = layout().staging_path(&spec.id);
    world.up(&spec).unwrap();
    let facts = world.sim.stat(&root).unwrap().unwrap();
    assert_eq!((facts.uid, facts.gid, facts.mode & 0o7777), (999, 999, 0o750));
    let by_application = Ownership { owner: Some((5, 5)), mode: None };
    crate::host::Host::set_ownership(&world.sim, &root, by_application).unwrap();

    world.down(&spec).unwrap();
    world.up(&spec).unwrap();
    assert_eq!(world.sim.stat(&root).unwrap().unwrap().uid, 5);
    spec.ownership.owner = Some((1000, 1000));
    world.driver.modify(&spec).unwrap();

    assert_eq!(world.sim.stat(&root).unwrap().unwrap().uid, 1000);
}

#[test]
fn modify_remounts_and_the_next_stage_is_the_same() {
    for mut spec in [image("db", FsType::Ext4), directory("files"), tmpfs("memory")] {
        let world = World::new();
        world.up(&spec).unwrap();
        spec.mount_options = vec!["noatime".into()];

        assert_eq!(world.driver.modify(&spec).unwrap().done, Done::Changed, "{}", spec.id);
        assert_eq!(world.driver.modify(&spec).unwrap().done, Done::Already, "{}", spec.id);
        assert_eq!(world.stage(&spec).unwrap().done, Done::Already, "{}", spec.id);
        let mount = world.sim.mounts_at(&layout().staging_path(&spec.id)).unwrap().pop().unwrap();
        assert!(mount.has_option("noatime"), "{}: {mount:?}", spec.id);
    }
}

#[test]
fn a_lost_option_is_given_back_by_stage() {
    let world = World::new();
    let mut spec = image("db", FsType::Ext4);
    spec.mount_options = vec!["noatime".into()];
    world.up(&spec).unwrap();
    world.sim.change_options(layout().staging_path(&spec.id), |options| options.retain(|option| option != "noatime"));

    assert_eq!(world.stage(&spec).unwrap().done, Done::Changed);
    assert_eq!(world.stage(&spec).unwrap().done, Done::Already);
}

#[test]
fn a_replacement_is_blank_and_of_the_new_sort() {
    let kinds: [(VolumeSpec, VolumeSpec); 4] = [
        (image("db", FsType::Ext4), image("db", FsType::Xfs)),
        (image("db", FsType::Ext4), raw("db")),
        (device("db", FsType::Ext4), device("db", FsType::Btrfs)),
        (image("db", FsType::Ext4), tmpfs("db")),
    ];
    for (old, new) in kinds {
        let world = World::new();
        world.up(&old).unwrap();
        world.down(&old).unwrap();

        world.driver.run(&replace(&new)).unwrap();
        world.up(&new).unwrap();

        let image = world.sim.stat("/pool/shop.db.img".as_ref()).unwrap();
        assert_eq!(image.is_some(), matches!(new.backing, Backing::Image(_)));
        if let (Some(fs), false) = (new.fs_type(), new.is_raw()) {
            let mount = world.sim.mounts_at(&layout().staging_path(&new.id)).unwrap().pop().unwrap();
            assert_eq!(mount.fs_type, fs.as_str());
        }
        assert_eq!(world.sim.check_settled(&["/pool".as_ref()]), Vec::<String>::new());
    }
}

#[test]
fn a_released_volume_comes_back_with_its_data() {
    let world = World::new();
    let spec = image("db", FsType::Xfs);
    world.up(&spec).unwrap();
    world.sim.write_canary(publish(&spec).target.join("canary"), b"data");
    world.down(&spec).unwrap();
    world.driver.release(&spec.id).unwrap();
    assert_eq!(refusal(world.stage(&spec)).0.code(), "not-ready");

    world.up(&spec).unwrap();

    assert_eq!(world.sim.check(), Vec::<String>::new());
    assert_eq!(world.sim.read(publish(&spec).target.join("canary")).as_deref(), Some(&b"data"[..]));
}

#[test]
fn parents_that_one_volume_made_for_another_go_with_the_last() {
    let world = World::new();
    let (first, second) = (image("one", FsType::Ext4), image("two", FsType::Ext4));
    world.up(&first).unwrap();
    world.up(&second).unwrap();

    world.down(&first).unwrap();
    assert!(world.sim.stat(TARGET.as_ref()).unwrap().is_some());
    world.down(&second).unwrap();

    assert!(world.sim.stat(TARGET.as_ref()).unwrap().is_none());
}

#[test]
fn a_pods_root_that_csictl_made_goes_with_the_last_publish_too() {
    let world = World::new();
    world.sim.remove_all("/srv/web");
    let (first, second) = (image("one", FsType::Ext4), image("two", FsType::Ext4));
    world.up(&first).unwrap();
    world.up(&second).unwrap();

    world.down(&first).unwrap();
    world.down(&second).unwrap();

    assert!(world.sim.stat("/srv/web".as_ref()).unwrap().is_none());
    assert!(world.sim.stat("/srv".as_ref()).unwrap().is_some(), "what csictl did not make stays");
}

#[test]
fn a_full_image_is_full_and_discards_stop_at_its_loop() {
    let world = World::new();
    let mut spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    let as_full = full("db");
    spec.backing = as_full.backing;

    world.driver.modify(&spec).unwrap();
    world.down(&spec).unwrap();
    world.up(&spec).unwrap();

    let index = world.sim.loops().unwrap()[0].index;
    assert_eq!(world.sim.loop_discards(index), Some(false));
    let facts = world.sim.stat("/pool/shop.db.img".as_ref()).unwrap().unwrap();
    assert!(facts.allocated >= facts.size);
}

#[test]
fn errors_name_volumes_as_plans_do() {
    let world = World::new();
    let error = world.stage(&image("db", FsType::Ext4)).unwrap_err();
    assert!(error.to_string().starts_with("volume.db: "), "{error}");
}
