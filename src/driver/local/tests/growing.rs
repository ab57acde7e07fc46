//! An expand that is killed, or fails, at any of its effects: what the volume counts for in its pool is never less than its image has, and
//! the next attach settles its size.

use crate::driver::Driver;
use crate::driver::local::tests::world::*;
use crate::host::sim::When;
use crate::host::{ErrorKind, Observe};
use crate::model::record::VolumeRecord;
use crate::model::{FsType, VolumeSpec};
use crate::state::Reader;

fn record(world: &World, spec: &VolumeSpec) -> VolumeRecord {
    Reader::new(&world.sim, &layout()).volume(&spec.id).present().cloned().unwrap()
}

fn file_size(world: &World, spec: &VolumeSpec) -> u64 {
    let image = spec.backing.as_image().unwrap().image_path(&spec.id);
    world.sim.stat(&image).unwrap().unwrap().size
}

#[test]
fn a_volume_counts_for_no_less_than_its_image_has_wherever_its_expand_ended() {
    for spec in [image("db", FsType::Xfs), image("db", FsType::Ext4), raw("db")] {
        let world = World::new();
        up(&spec).iter().take(1).for_each(|create| drop(world.driver.run(create).unwrap()));
        let base = world.sim.fork();
        let done = World::on(base.fork());
        let first = done.sim.count();
        done.driver.run(&expand(&spec, 1024)).unwrap();
        let effects = done.sim.count() - first;
        assert!(effects > 1, "{effects}");
        for n in 0..effects {
            for fault in When::ALL.map(Ok).into_iter().chain([Err(ErrorKind::Io), Err(ErrorKind::NoSpace)]) {
                let world = World::on(base.fork());
                match fault {
                    Ok(when) => world.sim.crash_at(n, when),
                    Err(kind) => world.sim.fail_at_when(n, kind, When::After),
                }
                let result = world.driver.run(&expand(&spec, 1024));
                let context = format!("{}, {fault:?} at effect {n}, {result:?}", spec.backing.kind());
                drop(world.driver);
                let world = World::on(world.sim.revive());
                let is = file_size(&world, &spec);

                assert!(record(&world, &spec).nominal().unwrap().get() >= is, "{context}");
                up(&spec).iter().skip(1).for_each(|step| {
                    world.driver.run(step).unwrap_or_else(|error| panic!("{context}: {error}"));
                });
                let settled = record(&world, &spec);
                assert_eq!((settled.least().unwrap().get(), settled.growing), (is, None), "{context}");
            }
        }
    }
}
