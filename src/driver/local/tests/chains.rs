//! Steps that follow one another on a thread: what is kept between them, and until when.

use crate::driver::{Driver, DriverError};
use crate::host::{ErrorKind, Observe};
use crate::model::record::Recorded;
use crate::model::{Done, FsType};
use crate::state::Reader;

use super::world::{World, down, every_sort, image, layout, publish, stage, unpublish, unstage};

#[test]
fn a_volume_stays_locked_from_unpublish_to_unstage_and_no_longer() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    let other = World::on(world.sim.clone());

    assert_eq!(world.driver.run_in_chain(&unpublish(&spec)).unwrap().done, Done::Changed);
    assert!(matches!(other.driver.run(&stage(&spec)), Err(DriverError::LockHeld { .. })));
    assert_eq!(world.driver.run_in_chain(&unstage(&spec)).unwrap().done, Done::Changed);

    assert_eq!(other.driver.run(&stage(&spec)).unwrap().done, Done::Changed);
}

#[test]
fn what_is_kept_is_let_go_by_settling_by_another_volume_and_by_another_verb() {
    let (spec, next) = (image("db", FsType::Ext4), image("next", FsType::Ext4));
    for let_go in 0..4 {
        let world = World::new();
        world.up(&spec).unwrap();
        world.up(&next).unwrap();
        let other = World::on(world.sim.clone());
        world.driver.run_in_chain(&unpublish(&spec)).unwrap();

        match let_go {
            0 => world.driver.settle(),
            1 => drop(world.driver.run_in_chain(&unpublish(&next)).unwrap()),
            2 => drop(world.driver.run_in_chain(&stage(&next)).unwrap()),
            _ => drop(world.driver.run_in_chain(&stage(&spec)).unwrap()),
        }

        assert_eq!(other.driver.run(&stage(&spec)).unwrap().done, Done::Already, "{let_go}");
    }
}

#[test]
fn a_verb_called_singly_keeps_nothing() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();
    let other = World::on(world.sim.clone());

    world.driver.run(&unpublish(&spec)).unwrap();

    assert_eq!(other.driver.run(&stage(&spec)).unwrap().done, Done::Already);
}

#[test]
fn a_chain_takes_everything_down() {
    for spec in every_sort() {
        let world = World::new();
        world.up(&spec).unwrap();

        for action in down(&spec) {
            world.driver.run_in_chain(&action).unwrap();
        }
        world.driver.settle();

        assert_eq!(world.sim.mounts_at(&publish(&spec).target).unwrap(), [], "{}", spec.id);
        assert_eq!(world.sim.mounts_at(&layout().staging_path(&spec.id)).unwrap(), [], "{}", spec.id);
        assert_eq!(world.sim.check_settled(&["/pool".as_ref()]), Vec::<String>::new(), "{}", spec.id);
    }
}

#[test]
fn what_was_unpublished_is_off_the_record_whatever_follows_or_fails() {
    let spec = image("db", FsType::Ext4);
    for follows in ["the end", "another volume", "an unstage that fails"] {
        let world = World::new();
        world.up(&spec).unwrap();
        world.driver.run_in_chain(&unpublish(&spec)).unwrap();

        match follows {
            "the end" => world.driver.settle(),
            "another volume" => drop(world.driver.run_in_chain(&unpublish(&image("next", FsType::Ext4))).unwrap()),
            _ => {
                world.sim.fail_at(world.sim.count() + 1, ErrorKind::Busy);
                world.driver.run_in_chain(&unstage(&spec)).unwrap_err();
            }
        }

        let boot = world.sim.facts().unwrap().boot_id;
        let run = Reader::new(&world.sim, &layout()).run(&spec.id, &boot).present().cloned().unwrap();
        assert_eq!((run.publishes.len(), run.staging_path.is_some()), (0, true), "{follows}");
    }
}

#[test]
fn a_boot_scoped_record_that_cannot_be_read_is_not_written_over() {
    let world = World::new();
    let spec = image("db", FsType::Ext4);
    world.up(&spec).unwrap();

    let mut session = world.driver.open(&spec.id).unwrap();
    session.run = Recorded::Unknown { cause: "an I/O error".to_owned() };

    let error = session.run_or_new().unwrap_err();
    assert!(error.to_string().contains("read record"), "{error}");
}
