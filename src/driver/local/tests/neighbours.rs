//! Two projects, one machine, and verbs that trust no plan.

use crate::driver::local::tests::world::*;
use crate::driver::{Driver, Refusal};
use crate::host::Observe;
use crate::model::record::Recorded;
use crate::model::{Capacity, FsType, Pool, PublishSpec, VolumeSpec};

fn of_blog(spec: &VolumeSpec) -> VolumeSpec {
    VolumeSpec {
        id: format!("blog.{}", spec.id.short()).parse().unwrap(),
        owner: "project:blog".parse().unwrap(),
        ..spec.clone()
    }
}

#[test]
fn what_another_project_needs_is_neither_covered_nor_taken() {
    let world = World::new();
    world.create(&image("data", FsType::Ext4)).unwrap();
    world.create(&device("disk", FsType::Ext4)).unwrap();
    world.up(&directory("uploads")).unwrap();
    // Another process, so that nothing is known from before.
    let blog = World::on(world.sim.clone());
    let memory = of_blog(&tmpfs("memory"));
    blog.create(&memory).unwrap();
    blog.stage(&memory).unwrap();
    for (target, whose) in [
        ("/pool", "shop.data"),
        ("/pool/sub", "shop.data"),
        ("/srv/uploads", "shop.uploads"),
        ("/srv/web/data", "shop.uploads"),
        ("/srv/web/data/uploads", "shop.uploads"),
    ] {
        let over = PublishSpec { target: target.into(), trusted_root: "/".into(), ..publish(&memory) };
        let (refused, message) = refusal(blog.driver.publish(&over));

        assert_eq!(refused, Refusal::Foreign, "{target}: {message}");
        assert!(message.contains(whose) && message.contains("project:shop"), "{message}");
    }
    let disk = of_blog(&device("disk", FsType::Ext4));
    let (refused, message) = refusal(blog.create(&disk));

    assert_eq!(refused, Refusal::Incompatible, "{message}");
    assert!(message.contains("shop.disk"), "{message}");
    assert_eq!(blog.driver.record(&disk.id), Recorded::Absent);
}

#[test]
fn what_has_come_since_it_was_last_asked_counts_too() {
    let world = World::new();
    let memory = of_blog(&tmpfs("memory"));
    let blog = World::on(world.sim.clone());
    blog.create(&memory).unwrap();
    blog.stage(&memory).unwrap();
    let over = PublishSpec { target: "/srv/uploads".into(), trusted_root: "/".into(), ..publish(&memory) };
    blog.driver.publish(&over).unwrap();

    let (refused, message) = refusal(world.create(&directory("uploads")));

    assert_eq!(refused, Refusal::Foreign, "{message}");
    assert_eq!(world.driver.record(&id("uploads")), Recorded::Absent);
    blog.driver.run(&unpublish_at(&over)).unwrap();
    world.create(&directory("uploads")).unwrap();
    assert_eq!(refusal(blog.driver.publish(&over)).0, Refusal::Foreign);
}

fn unpublish_at(publish: &PublishSpec) -> crate::model::Action {
    crate::model::Action::Unpublish(crate::model::action::UnpublishRequest {
        id: publish.volume.clone(),
        pod: None,
        target: publish.target.clone(),
        trusted_root: publish.trusted_root.clone(),
        kind: publish.kind,
        remove_target: false,
        comes_back: false,
    })
}

#[test]
fn a_pools_limit_counts_what_every_project_makes_at_this_moment() {
    let world = World::new();
    let limit = Some(Capacity::mib(1100));
    let pool = Pool { name: "main".parse().unwrap(), path: "/pool".into(), limit, reserve: None };
    let limited = |sim| {
        let world = World::on(sim);
        World { driver: world.driver.with_pools([&pool]), ..world }
    };
    let made: usize = std::thread::scope(|scope| {
        let running: Vec<_> = (0..6)
            .map(|n| {
                let world = limited(world.sim.clone());
                let spec = of_blog(&image(&format!("v{n}"), FsType::Ext4));
                scope.spawn(move || usize::from(world.create(&spec).is_ok()))
            })
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(made, 2, "each has 512 MiB");

    let world = limited(world.sim.clone());
    let names = || world.sim.list("/pool".as_ref()).unwrap().into_iter();
    let there = names().find_map(|name| name.to_str()?.strip_suffix(".img").map(ToOwned::to_owned)).unwrap();
    let spec = VolumeSpec { id: there.parse().unwrap(), ..of_blog(&image("v", FsType::Ext4)) };
    let (refused, message) = refusal(world.driver.run(&expand(&spec, 600)));
    assert_eq!(refused, Refusal::NoSpace, "{message}");
    assert!(message.contains("its limit is"), "{message}");
    world.driver.run(&expand(&spec, 540)).unwrap();
    assert!(world.sim.list("/run/csictl/room".as_ref()).unwrap().is_empty(), "notes are taken away");
}
