//! What plan files rest on: a fingerprint that changes exactly when the plan would.

use csictl::plan::fingerprint;

use super::world::{World, image};

fn print(world: &World) -> String {
    fingerprint(&world.plan(), &world.observed)
}

#[test]
fn looking_again_gives_the_same_fingerprint() {
    let mut world = World::new().with(image("db")).shown("app", "db", "/srv/db").applied().rebooted();
    let before = print(&world);
    world.seen("db").used = Some(csictl::model::Capacity::mib(7));
    world.observed.pools.values_mut().for_each(|pool| pool.free = csictl::model::Capacity::gib(7));

    assert_eq!(print(&world), before, "use and free space mean nothing to it");
    assert_eq!(before.len(), 32);
}

#[test]
fn whatever_the_plan_acts_on_changes_the_fingerprint() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 5] = [
        ("record", |world| world.record("db").spec.reclaim = csictl::model::Reclaim::Delete),
        ("file", |world| world.record("db").image.as_mut().unwrap().inode += 1),
        ("boot", |world| world.observed.host.boot_id = "other".to_owned()),
        ("manifest", |world| world.desired.pods.clear()),
        ("done elsewhere", |world| *world = world.clone().applied()),
    ];
    for (what, change) in cases {
        let mut world = World::new().with(image("db")).shown("app", "db", "/srv/db").applied().rebooted();
        let before = print(&world);
        change(&mut world);
        assert_ne!(print(&world), before, "{what}");
    }
}
