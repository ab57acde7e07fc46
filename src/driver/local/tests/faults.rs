//! Killed, or failing, at every effect: the next run finishes the work and nothing is lost.

use crate::driver::local::gc;
use crate::driver::local::tests::world::*;
use crate::driver::{Driver, Result};
use crate::host::sim::{SimHost, When};
use crate::host::{ErrorKind, Observe};
use crate::model::action::Outcome;
use crate::model::{Action, Backing, Done, FsType, SnapshotSpec, Source, VolumeSpec};
use crate::state::Reader;

/// A thing to be done, on a machine prepared for it.
struct Story {
    name: String,
    prepare: Vec<Action>,
    run: Vec<Action>,
    /// The volumes that are up at the end, and must be so after the second run too.
    spec: VolumeSpec,
}

fn stories() -> Vec<Story> {
    let mut stories = Vec::new();
    for spec in every_sort() {
        let name = spec.id.short().to_owned();
        stories.push(Story { name: format!("up {name}"), prepare: Vec::new(), run: up(&spec), spec: spec.clone() });
        let cycle = down(&spec).into_iter().chain(up(&spec)).collect();
        stories.push(Story { name: format!("cycle {name}"), prepare: up(&spec), run: cycle, spec });
    }
    for fs in FsType::ALL {
        let spec = image("db", fs);
        let grow = vec![expand(&spec, 1024)];
        stories.push(Story { name: format!("expand online {fs}"), prepare: up(&spec), run: grow, spec: spec.clone() });
        let grow = std::iter::once(expand(&spec, 1024)).chain(up(&spec)).collect();
        let prepare = vec![create(&spec)];
        stories.push(Story { name: format!("expand offline {fs}"), prepare, run: grow, spec: spec.clone() });
        let mut copy = image("copy", fs);
        copy.source = Some(Source::Volume(spec.id.clone()));
        copy.capacity.as_mut().unwrap().required = crate::model::Capacity::mib(768);
        let snapshot = SnapshotSpec {
            id: "shop.before".parse().unwrap(),
            owner: spec.owner.clone(),
            name: "before".into(),
            volume: spec.id.clone(),
        };
        let run = std::iter::once(Action::Snapshot(snapshot)).chain(up(&copy)).collect();
        stories.push(Story { name: format!("snapshot and clone {fs}"), prepare: up(&spec), run, spec: copy });
    }
    for (old, new) in [
        (image("db", FsType::Ext4), image("db", FsType::Xfs)),
        (device("db", FsType::Ext4), device("db", FsType::Btrfs)),
        (raw("db"), image("db", FsType::Ext4)),
    ] {
        let prepare = up(&old).into_iter().chain(down(&old)).collect();
        let run = std::iter::once(replace(&new)).chain(up(&new)).collect();
        stories.push(Story { name: format!("replace by {}", new.backing.kind()), prepare, run, spec: new });
    }
    stories
}

fn run(world: &World, actions: &[Action]) -> Result<Vec<Outcome>> {
    actions.iter().map(|action| world.driver.run(action)).collect()
}

fn prepared(story: &Story) -> SimHost {
    let world = World::new();
    run(&world, &story.prepare).unwrap();
    let mounted = matches!(story.prepare.last(), Some(Action::Publish(_)));
    if let (true, Some(Action::Create(first))) = (mounted, story.prepare.first())
        && !first.spec.is_raw()
        && !matches!(first.spec.backing, Backing::Tmpfs(_))
    {
        world.sim.write_canary(publish(&first.spec).target.join("canary"), b"precious");
    }
    world.sim.fork()
}

/// Whatever happened, the same is asked again and then all is as it should be; then it is taken down and nothing is left.
fn converges(story: &Story, sim: SimHost, what: &str) {
    let world = World::on(sim);
    // As every apply begins: what is left of a freeze is a mark, where its removal failed.
    gc::thaw_left(&world.sim, &layout()).unwrap();
    let again = run(&world, &story.run);
    assert!(again.is_ok(), "{what}: {}", again.unwrap_err());
    assert_eq!(world.sim.check_settled(&["/pool".as_ref()]), Vec::<String>::new(), "{what}");
    let third = run(&world, &up(&story.spec)).unwrap();
    assert!(third.iter().all(|outcome| outcome.done == Done::Already), "{what}: the third run changed something");
    run(&world, &down(&story.spec)).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(world.sim.stat(&publish(&story.spec).target).unwrap().is_none(), "{what}: target left");
    assert_eq!(world.sim.check(), Vec::<String>::new(), "{what}");
    let left = gc::find(&world.sim, &layout(), &["/pool".into()]).unwrap();
    assert_eq!(left, Vec::new(), "{what}");
}

#[test]
fn killed_at_every_effect_the_next_run_finishes_the_work() {
    for story in stories() {
        let base = prepared(&story);
        let dry = World::on(base.fork());
        let before = dry.sim.count();
        run(&dry, &story.run).unwrap_or_else(|error| panic!("{}: {error}", story.name));
        let effects = dry.sim.count() - before;
        assert!(effects > 0, "{}", story.name);
        for n in 0..effects {
            for when in When::ALL {
                let world = World::on(base.fork());
                world.sim.crash_at(n, when);
                let _killed = run(&world, &story.run);
                assert!(world.sim.is_dead(), "{} {n}", story.name);
                drop(world.driver);

                converges(&story, world.sim.revive(), &format!("{}, killed {when:?} effect {n}", story.name));
            }
        }
    }
}

#[test]
fn without_power_at_every_effect_the_next_run_finishes_the_work() {
    for story in stories().into_iter().filter(|story| story.name.starts_with("up ")) {
        let base = prepared(&story);
        let dry = World::on(base.fork());
        let before = dry.sim.count();
        run(&dry, &story.run).unwrap();
        for n in 0..dry.sim.count() - before {
            for when in When::ALL {
                let world = World::on(base.fork());
                world.sim.crash_at(n, when);
                let _killed = run(&world, &story.run);

                converges(&story, world.sim.power_cut(), &format!("{}, dark {when:?} effect {n}", story.name));
            }
        }
    }
}

#[test]
fn failing_at_every_effect_the_next_run_finishes_the_work() {
    const FAULTS: [(ErrorKind, When); 3] =
        [(ErrorKind::Io, When::Before), (ErrorKind::NoSpace, When::Half), (ErrorKind::Busy, When::After)];
    for (offset, story) in stories().iter().enumerate() {
        let base = prepared(story);
        let dry = World::on(base.fork());
        let before = dry.sim.count();
        run(&dry, &story.run).unwrap();
        for n in 0..dry.sim.count() - before {
            // One fault an effect, another one in the next story: the three times of a kill cover the rest.
            let (kind, when) = FAULTS[(usize::try_from(n).unwrap() + offset) % FAULTS.len()];
            let world = World::on(base.fork());
            world.sim.fail_at_when(n, kind, when);
            let _failed = run(&world, &story.run);

            drop(world.driver);
            converges(story, world.sim, &format!("{}, {kind:?} {when:?} effect {n}", story.name));
        }
    }
}

#[test]
fn a_deletion_that_fails_anywhere_vouches_for_no_image_that_is_gone() {
    let spec = image("db", FsType::Ext4);
    let world = World::new();
    run(&world, &[create(&spec)]).unwrap();
    let base = world.sim.fork();
    let dry = World::on(base.fork());
    let before = dry.sim.count();
    run(&dry, &[delete(&spec)]).unwrap();
    for n in 0..dry.sim.count() - before {
        for when in When::ALL {
            let world = World::on(base.fork());
            world.sim.fail_at_when(n, ErrorKind::Io, when);
            let _failed = run(&world, &[delete(&spec)]);
            drop(world.driver);

            let world = World::on(world.sim);
            let record = Reader::new(&world.sim, &layout()).volume(&spec.id).present().cloned();
            let path = spec.backing.as_image().unwrap().image_path(&spec.id);
            let vouches = record.is_some_and(|record| record.image.is_some());
            assert!(!vouches || world.sim.stat(&path).unwrap().is_some(), "{when:?} {n}");
            run(&world, &up(&spec)).unwrap_or_else(|error| panic!("{when:?} {n}: {error}"));
        }
    }
}

#[test]
fn deletion_killed_at_every_effect_is_finished_by_the_next() {
    for spec in every_sort() {
        let world = World::new();
        run(&world, &up(&spec)).unwrap();
        let base = world.sim.fork();
        let actions: Vec<Action> = down(&spec).into_iter().chain([delete(&spec)]).collect();
        let dry = World::on(base.fork());
        let before = dry.sim.count();
        run(&dry, &actions).unwrap();
        for n in 0..dry.sim.count() - before {
            for when in When::ALL {
                let world = World::on(base.fork());
                world.sim.crash_at(n, when);
                let _killed = run(&world, &actions);
                drop(world.driver);

                let world = World::on(world.sim.revive());
                run(&world, &actions).unwrap_or_else(|error| panic!("{} {when:?} {n}: {error}", spec.id));

                assert!(world.sim.loops().unwrap().is_empty(), "{} {n}", spec.id);
                assert!(
                    world.sim.stat("/pool".as_ref()).unwrap().is_none_or(|_| world
                        .sim
                        .list("/pool".as_ref())
                        .unwrap()
                        .is_empty())
                );
                assert!(world.sim.stat(&publish(&spec).target).unwrap().is_none(), "{} {when:?} {n}", spec.id);
            }
        }
    }
}
