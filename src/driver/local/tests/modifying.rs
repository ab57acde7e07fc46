//! A modify that is killed, or fails, at any of its effects: the record says that it is unfinished, and the next one brings the machine
//! to what is asked by then, be it the same or what was before.

use crate::driver::Driver;
use crate::driver::local::tests::world::*;
use crate::host::sim::When;
use crate::host::{ErrorKind, Observe};
use crate::model::record::VolumeRecord;
use crate::model::{Allocate, Backing, Capacity, Done, FsType, Ownership, TmpfsBacking, VolumeSpec};
use crate::state::Reader;

fn record(world: &World, spec: &VolumeSpec) -> VolumeRecord {
    Reader::new(&world.sim, &layout()).volume(&spec.id).present().cloned().unwrap()
}

/// What a user can see of it: owner and mode, options, bytes reserved.
fn seen(world: &World, spec: &VolumeSpec) -> (u32, u32, u32, Vec<String>, Vec<String>, bool) {
    let root = layout().staging_path(&spec.id);
    let facts = world.sim.stat(&root).unwrap().unwrap();
    let mount = world.sim.mounts_at(&root).unwrap().pop().unwrap();
    let reserved = spec.backing.as_image().is_some_and(|image| {
        let image = world.sim.stat(&image.image_path(&spec.id)).unwrap().unwrap();
        image.allocated >= image.size
    });
    (facts.uid, facts.gid, facts.mode & 0o777, mount.options, mount.super_options, reserved)
}

/// Volumes with something to be changed on them.
fn changes() -> Vec<(&'static str, VolumeSpec, VolumeSpec)> {
    let mut db = image("db", FsType::Ext4);
    db.ownership = Ownership { owner: Some((1, 1)), mode: Some(0o700) };
    let edited = |edit: &dyn Fn(&mut VolumeSpec)| {
        let mut spec = db.clone();
        edit(&mut spec);
        spec
    };
    let mut memory = tmpfs("memory");
    memory.ownership = db.ownership;
    let mut larger = memory.clone();
    larger.backing = Backing::Tmpfs(TmpfsBacking { size: Capacity::mib(128) });
    let mut given = memory.clone();
    given.ownership.owner = Some((2, 2));
    vec![
        ("owner", db.clone(), edited(&|spec| spec.ownership.owner = Some((2, 2)))),
        ("mode", db.clone(), edited(&|spec| spec.ownership.mode = Some(0o711))),
        ("fs_group", db.clone(), edited(&|spec| spec.fs_group = Some(88))),
        ("mount_options", db.clone(), edited(&|spec| spec.mount_options = vec!["noatime".into()])),
        ("size", memory.clone(), larger),
        ("owner of memory", memory, given),
        ("allocate", db.clone(), {
            edited(&|spec| {
                if let Backing::Image(image) = &mut spec.backing {
                    image.allocate = Allocate::Full;
                }
            })
        }),
        ("prevent_destroy", db.clone(), edited(&|spec| spec.prevent_destroy = true)),
    ]
}

#[test]
fn a_change_killed_or_failing_at_any_effect_is_unfinished_and_the_next_one_ends_it() {
    const FAULTS: [ErrorKind; 2] = [ErrorKind::Io, ErrorKind::NoSpace];
    for (what, old, new) in changes() {
        let world = World::new();
        world.up(&old).unwrap();
        let (base, before) = (world.sim.fork(), seen(&world, &old));
        let done = World::on(base.fork());
        let first = done.sim.count();
        done.driver.modify(&new).unwrap();
        let (effects, after) = (done.sim.count() - first, seen(&done, &new));
        assert!(what == "prevent_destroy" || before != after, "{what} changes nothing: {after:?}");
        for n in 0..effects {
            for fault in When::ALL.map(Ok).into_iter().chain(FAULTS.map(Err)) {
                let world = World::on(base.fork());
                match fault {
                    Ok(when) => world.sim.crash_at(n, when),
                    Err(kind) => world.sim.fail_at_when(n, kind, When::After),
                }
                let result = world.driver.modify(&new);
                let context = format!("{what}, {fault:?} at effect {n}");
                drop(world.driver);
                let world = World::on(world.sim.revive());

                let is = record(&world, &old);
                let all_done = is.spec == new && !is.modifying;
                assert!(!all_done || seen(&world, &new) == after, "{context}: the change is forgotten ({result:?})");
                let back = World::on(world.sim.fork());
                world.driver.modify(&new).unwrap_or_else(|error| panic!("{context}: {error}"));
                assert_eq!(seen(&world, &new), after, "{context}");
                assert_eq!(world.driver.modify(&new).unwrap().done, Done::Already, "{context}");
                // Who thinks better of it has what was before; only a group and bytes once given are not taken back.
                let untouched = seen(&back, &old) == before && !record(&back, &old).modifying;
                assert!(record(&back, &old).spec == new || untouched || record(&back, &old).modifying, "{context}");
                back.driver.modify(&old).unwrap_or_else(|error| panic!("{context}: {error}"));
                if !["fs_group", "allocate"].contains(&what) {
                    assert_eq!(seen(&back, &old), before, "{context}, and back");
                }
            }
        }
    }
}

#[test]
fn a_change_killed_while_it_is_up_is_ended_when_it_comes_up_again() {
    let (_, old, new) = changes().swap_remove(0);
    let world = World::new();
    world.up(&old).unwrap();
    let (base, before) = (world.sim.fork(), seen(&world, &old));
    let done = World::on(base.fork());
    let first = done.sim.count();
    done.driver.modify(&new).unwrap();
    for n in 0..done.sim.count() - first {
        let world = World::on(base.fork());
        world.sim.crash_at(n, When::After);
        let _killed = world.driver.modify(&new);
        drop(world.driver);
        let world = World::on(world.sim.revive());
        world.down(&old).unwrap();

        // As apply does it with the manifest of before.
        world.driver.modify(&old).unwrap();
        world.up(&old).unwrap();

        assert_eq!(seen(&world, &old), before, "effect {n}");
    }
}

#[test]
fn changed_flags_are_in_force_at_the_stage_and_wherever_it_is_published() {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for mut spec in [image("db", FsType::Ext4), tmpfs("memory"), directory("files")] {
        spec.access_mode = crate::model::AccessMode::SingleNodeMultiWriter;
        let world = World::new();
        world.up(&spec).unwrap();
        let (one, mut two) = (publish(&spec), publish(&spec));
        two.target = "/srv/web/reader".into();
        two.read_only = true;
        world.driver.publish(&two).unwrap();
        let flags = |target: &std::path::Path| {
            let mount = world.sim.mounts_at(target).unwrap().pop().unwrap();
            crate::model::remount::flags(mount.options.iter().map(String::as_str)).into_iter().collect::<Vec<_>>()
        };
        for (options, expected) in [
            ("noexec noatime", vec!["noatime", "nodev", "noexec", "nosuid"]),
            ("ro", vec!["nodev", "nosuid", "ro"]),
            ("", vec!["nodev", "nosuid"]),
        ] {
            spec.mount_options = words(options);

            assert_eq!(world.driver.modify(&spec).unwrap().done, Done::Changed, "{} {options}", spec.id);
            assert_eq!(world.driver.modify(&spec).unwrap().done, Done::Already, "{} {options}", spec.id);
            for target in [&layout().staging_path(&spec.id), &one.target] {
                assert_eq!(flags(target), expected, "{} {options} at {}", spec.id, target.display());
            }
            let mut reader = expected.clone();
            if !reader.contains(&"ro") {
                reader.push("ro");
            }
            assert_eq!(flags(&two.target), reader, "{} {options}: what is read-only stays so", spec.id);
        }
        world.sim.change_options(&one.target, |options| options.retain(|option| option != "nosuid"));
        assert_eq!(world.driver.modify(&spec).unwrap().done, Done::Changed, "{}", spec.id);
        assert_eq!(flags(&one.target), ["nodev", "nosuid"], "{}", spec.id);
    }
}
