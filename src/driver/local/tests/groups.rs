//! Groups of snapshots: one moment, all or none, whatever happens on the way.

use crate::driver::Driver;
use crate::driver::Refusal;
use crate::driver::local::tests::world::*;
use crate::driver::local::{gc, group};
use crate::host::sim::{SimHost, When};
use crate::host::{LockMode, Observe};
use crate::model::action::{DeleteGroupRequest, DeleteSnapshotRequest};
use crate::model::record::GroupState;
use crate::model::{Approval, Done, FsType, GroupMember, GroupSpec, Loss, ObjectRef, Owner, VolumeSpec};
use crate::state::Reader;

fn spec(volumes: &[&VolumeSpec]) -> GroupSpec {
    let mut members: Vec<GroupMember> = volumes
        .iter()
        .map(|volume| GroupMember {
            volume: volume.id.clone(),
            snapshot: format!("snap-{}", volume.id.short()).parse().unwrap(),
        })
        .collect();
    members.sort();
    GroupSpec { id: "group-1".parse().unwrap(), owner: Owner::Csi, name: "nightly".into(), members }
}

fn deletion() -> DeleteGroupRequest {
    let id: crate::model::GroupId = "group-1".parse().unwrap();
    DeleteGroupRequest { approval: Some(Approval { object: ObjectRef::Group(id.clone()), loss: Loss::Delete }), id }
}

fn two() -> (VolumeSpec, VolumeSpec) {
    (image("data", FsType::Ext4), image("log", FsType::Xfs))
}

fn up_and_written() -> (World, VolumeSpec, VolumeSpec) {
    let world = World::new();
    let (data, log) = two();
    for volume in [&data, &log] {
        world.up(volume).unwrap();
        world.sim.write_canary(publish(volume).target.join("canary"), b"precious");
    }
    (world, data, log)
}

/// How many of the group's records and files there are: of records, snapshots' and the group's.
fn seen(sim: &SimHost) -> (usize, usize) {
    let layout = layout();
    let reader = Reader::new(sim, &layout);
    let files = sim.list("/pool".as_ref()).unwrap();
    let files = files.iter().filter(|name| name.to_string_lossy().contains(".snap")).count();
    (reader.snapshot_ids().unwrap().len() + reader.group_ids().unwrap().len(), files)
}

#[test]
fn a_group_is_taken_once_and_deleted_as_a_whole() {
    let (world, data, log) = up_and_written();
    assert_eq!(world.driver.snapshot_group(&spec(&[&log, &data])).unwrap().done, Done::Changed);
    assert_eq!(world.driver.snapshot_group(&spec(&[&data, &log])).unwrap().done, Done::Already);
    assert_eq!(seen(&world.sim), (3, 2));
    let (layout, id) = (layout(), "group-1".parse().unwrap());
    let record = Reader::new(&world.sim, &layout).group(&id).present().cloned().unwrap();
    assert_eq!(record.state, GroupState::Ready);
    assert!(record.members.iter().all(|member| member.created_at == record.created_at), "one moment");

    assert_eq!(refusal(world.driver.snapshot_group(&spec(&[&data]))).0, Refusal::Exists);
    let alone = DeleteSnapshotRequest { id: "snap-log".parse().unwrap(), approval: None };
    assert_eq!(refusal(world.driver.delete_snapshot(&alone)).0, Refusal::GroupMember);
    let unapproved = DeleteGroupRequest { approval: None, ..deletion() };
    assert_eq!(refusal(world.driver.delete_group(&unapproved)).0, Refusal::Unapproved);

    assert_eq!(world.driver.delete_group(&deletion()).unwrap().done, Done::Changed);
    assert_eq!(world.driver.delete_group(&deletion()).unwrap().done, Done::Already);
    assert_eq!(seen(&world.sim), (0, 0));
    assert_eq!(world.sim.check(), Vec::<String>::new());
}

#[test]
fn one_locked_volume_leaves_all_of_them_as_they_were() {
    let (world, data, log) = up_and_written();
    let held = crate::host::Host::lock(
        &world.sim,
        &layout().volume_lock(&log.id),
        LockMode::Exclusive,
        std::time::Duration::ZERO,
    );
    assert!(world.driver.snapshot_group(&spec(&[&data, &log])).is_err());
    assert_eq!(seen(&world.sim), (0, 0));
    drop(held);
    world.driver.snapshot_group(&spec(&[&data, &log])).unwrap();
}

#[test]
fn a_raw_device_in_use_cannot_be_held_still() {
    let world = World::new();
    let (data, raw) = (image("data", FsType::Ext4), raw("raw"));
    for volume in [&data, &raw] {
        world.up(volume).unwrap();
    }
    let (why, message) = refusal(world.driver.snapshot_group(&spec(&[&data, &raw])));
    assert_eq!(why, Refusal::Unsupported, "{message}");
    assert_eq!(seen(&world.sim), (0, 0));
    world.down(&raw).unwrap();
    world.driver.snapshot_group(&spec(&[&data, &raw])).unwrap();
}

#[test]
fn killed_at_every_effect_there_is_a_whole_group_or_none_and_nobody_stays_frozen() {
    let (world, data, log) = up_and_written();
    let base = world.sim.fork();
    let wanted = spec(&[&data, &log]);
    let dry = World::on(base.fork());
    let before = dry.sim.count();
    dry.driver.snapshot_group(&wanted).unwrap();
    let effects = dry.sim.count() - before;
    let taken = dry.sim.fork();
    let before = dry.sim.count();
    dry.driver.delete_group(&deletion()).unwrap();
    let deleting = dry.sim.count() - before;
    assert!(effects > 10 && deleting > 5, "{effects} {deleting}");
    let kills = (0..effects).map(|n| (n, true)).chain((0..deleting).map(|n| (n, false)));
    for (n, taking) in kills {
        for when in When::ALL {
            let what = format!("{} killed {when:?} effect {n}", if taking { "taking" } else { "deleting" });
            let world = World::on(if taking { base.fork() } else { taken.fork() });
            world.sim.crash_at(n, when);
            let _killed = if taking {
                world.driver.snapshot_group(&wanted).map(drop)
            } else {
                world.driver.delete_group(&deletion()).map(drop)
            };
            assert!(world.sim.is_dead(), "{what}");
            drop(world.driver);
            let sim = world.sim.revive();

            // The next server ends it, one way or the other; a machine that runs none is looked after by gc.
            for by_gc in [false, true] {
                let sim = sim.fork();
                if by_gc {
                    for leftover in gc::find(&sim, &layout(), &["/pool".into()]).unwrap() {
                        gc::remove(&sim, &layout(), &leftover, &Default::default(), std::time::Duration::ZERO).unwrap();
                    }
                } else {
                    gc::thaw_left(&sim, &layout()).unwrap();
                    group::finish_left(&sim, &layout()).unwrap();
                }
                let (records, _) = seen(&sim);
                assert!([0, 3].contains(&records), "{what}: half of it is seen");
                let world = World::on(sim);
                world.driver.snapshot_group(&wanted).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(world.driver.snapshot_group(&wanted).unwrap().done, Done::Already, "{what}");
                assert_eq!(seen(&world.sim), (3, 2), "{what}");
                assert_eq!(gc::find(&world.sim, &layout(), &["/pool".into()]).unwrap(), Vec::new(), "{what}");
                world.driver.delete_group(&deletion()).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(seen(&world.sim), (0, 0), "{what}");
                assert_eq!(world.sim.check(), Vec::<String>::new(), "{what}");
            }
        }
    }
}

#[test]
fn without_power_at_every_effect_the_acknowledged_group_is_there_with_its_bytes() {
    let (world, data, log) = up_and_written();
    let base = world.sim.fork();
    let wanted = spec(&[&data, &log]);
    let dry = World::on(base.fork());
    let before = dry.sim.count();
    dry.driver.snapshot_group(&wanted).unwrap();
    let effects = dry.sim.count() - before;
    for n in 0..=effects {
        let world = World::on(base.fork());
        world.sim.crash_at(n, When::Before);
        let done = world.driver.snapshot_group(&wanted).is_ok();
        drop(world.driver);
        let sim = world.sim.power_cut();
        group::finish_left(&sim, &layout()).unwrap();
        let (records, _) = seen(&sim);
        assert!(if done { records == 3 } else { [0, 3].contains(&records) }, "{n}: {records}");
        World::on(sim).driver.snapshot_group(&wanted).unwrap_or_else(|error| panic!("{n}: {error}"));
    }
}

#[test]
fn a_damaged_group_record_is_made_anew_from_its_snapshots() {
    let (world, data, log) = up_and_written();
    world.driver.snapshot_group(&spec(&[&data, &log])).unwrap();
    world.sim.plant_file(layout().group_record(&"group-1".parse().unwrap()), b"torn");
    assert_eq!(world.driver.snapshot_group(&spec(&[&data, &log])).unwrap().done, Done::Already);
    world.sim.plant_file(layout().group_record(&"group-1".parse().unwrap()), b"");
    world.driver.delete_group(&deletion()).unwrap();
    assert_eq!(seen(&world.sim), (0, 0));
}
