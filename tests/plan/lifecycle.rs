//! A volume's life without surprises: made, shown, taken down, let go.

use csictl::model::{Reclaim, Verb};
use csictl::plan::{ChangeKind, DataFate, Risk};

use super::world::{World, directory, id, image, raw, shown, tmpfs};

fn db() -> World {
    World::new().with(image("db")).shown("app", "db", "/srv/db")
}

#[test]
fn each_backing_comes_up_in_its_own_way() {
    let cases = [
        (
            image("v"),
            vec!["create volume.v", "attach volume.v <- s1", "stage volume.v <- s2", "publish volume.v /t <- s3"],
        ),
        (raw("v"), vec!["create volume.v", "attach volume.v <- s1", "publish volume.v /t <- s2"]),
        (directory("v", "/d"), vec!["create volume.v", "stage volume.v <- s1", "publish volume.v /t <- s2"]),
        (tmpfs("v"), vec!["create volume.v", "stage volume.v <- s1", "publish volume.v /t <- s2"]),
    ];
    for (spec, expected) in cases {
        let kind = spec.backing.kind();
        let plan = World::new().with(spec).shown("app", "v", "/t").plan();

        assert_eq!(shown(&plan), expected, "{kind}");
        assert_eq!(plan.refused, []);
        assert_eq!(plan.summary().create, 1);
    }
}

#[test]
fn a_volume_no_pod_uses_is_only_created() {
    assert_eq!(shown(&World::new().with(image("db")).plan()), ["create volume.db"]);
}

#[test]
fn a_second_apply_does_nothing() {
    let world =
        db().with(raw("disk")).shown("app", "disk", "/dev/shop").with(tmpfs("tmp")).shown("app", "tmp", "/srv/db/tmp");
    let plan = world.applied().plan();

    assert_eq!(shown(&plan), Vec::<String>::new());
    assert_eq!(plan.drift, []);
    assert_eq!(plan.notes, []);
    assert_eq!(plan.summary().unchanged, 3);
}

/// The kernel marks so the device of a detach that somebody else's look at it put off: it may be gone before the next step.
#[test]
fn a_raw_volumes_loop_device_that_is_about_to_go_is_attached_again() {
    let mut world = World::new().with(raw("disk")).shown("app", "disk", "/dev/shop").applied();
    let device = world.observed.volumes.get_mut(&id("disk")).unwrap().loop_device.as_mut().unwrap();
    device.autoclear = true;

    assert_eq!(shown(&world.plan()), ["attach volume.disk"]);
}

#[test]
fn destroy_takes_down_and_keeps() {
    let world = db().applied();
    let plan = world.destroy(&[]);

    let expected = ["unpublish volume.db /srv/db", "unstage volume.db <- s1", "detach volume.db <- s2"];
    assert_eq!(shown(&plan), expected);
    assert!(plan.losses().is_empty());
    assert_eq!(plan.changes[0].data, DataFate::Kept);
}

#[test]
fn destroy_of_nothing_is_empty() {
    assert!(db().destroy(&[]).is_empty());
    let mut world = db().applied();
    let plan = world.destroy(&[]);
    world.run(&plan);
    assert!(world.destroy(&[]).is_empty());
}

#[test]
fn destroy_deletes_only_what_is_named() {
    let world = db().with(image("other")).applied();
    let plan = world.destroy(&["db"]);

    let last = plan.steps.last().unwrap();
    assert_eq!((last.verb(), last.risk), (Verb::Delete, Risk::DataLoss));
    assert_eq!(plan.steps.iter().filter(|step| step.risk == Risk::DataLoss).count(), 1);
    assert_eq!(plan.summary().delete, 1);
}

#[test]
fn leaving_the_manifest_follows_reclaim() {
    let cases = [
        (image("v"), Reclaim::Retain, Verb::Release, Risk::None, ChangeKind::Release, DataFate::Kept),
        (image("v"), Reclaim::Delete, Verb::Delete, Risk::DataLoss, ChangeKind::Delete, DataFate::Lost),
        (directory("v", "/d"), Reclaim::Retain, Verb::Release, Risk::None, ChangeKind::Release, DataFate::Kept),
        (directory("v", "/d"), Reclaim::Delete, Verb::Delete, Risk::None, ChangeKind::Release, DataFate::Kept),
        (tmpfs("v"), Reclaim::Retain, Verb::Delete, Risk::None, ChangeKind::Release, DataFate::Scratch),
    ];
    for (mut spec, reclaim, verb, risk, kind, data) in cases {
        spec.reclaim = reclaim;
        let name = format!("{} {reclaim:?}", spec.backing.kind());
        let mut world = World::new().with(spec).shown("app", "v", "/t").applied().without("v");
        let plan = world.plan();

        let last = plan.steps.last().unwrap();
        assert_eq!((last.verb(), last.risk), (verb, risk), "{name}");
        assert_eq!((plan.changes[0].kind, plan.changes[0].data), (kind, data), "{name}");
        world.run(&plan);
        assert!(world.plan().is_empty(), "{name}");
    }
}

#[test]
fn a_released_volume_comes_back() {
    let mut world = db().applied();
    let manifest = world.desired.clone();
    world = world.without("db").applied();
    assert!(world.record("db").released);

    world.desired = manifest;
    let plan = world.plan();

    assert_eq!(
        plan.steps.iter().map(csictl::plan::Step::verb).collect::<Vec<_>>(),
        [Verb::Create, Verb::Attach, Verb::Stage, Verb::Publish]
    );
    assert_eq!(plan.changes[0].title, "take up");
    assert!(world.applied().plan().is_empty());
}

#[test]
fn a_protected_volume_is_never_deleted() {
    let world = db().edit("db", |spec| spec.prevent_destroy = true).applied();
    assert_eq!(world.destroy(&["db"]).refused[0].code, "protected");
    let world = world.edit("db", |spec| spec.reclaim = Reclaim::Delete).applied().without("db");
    assert_eq!(world.plan().refused[0].code, "protected");
}

#[test]
fn everything_comes_back_after_a_reboot() {
    let mut world = db().applied().rebooted();
    let plan = world.plan();

    assert_eq!(
        plan.steps.iter().map(csictl::plan::Step::verb).collect::<Vec<_>>(),
        [Verb::Attach, Verb::Stage, Verb::Publish]
    );
    assert_eq!(plan.changes[0].title, "restore");
    assert_eq!(plan.summary().drift, 1);
    world.run(&plan);
    assert!(world.plan().is_empty());
}

#[test]
fn the_last_pod_takes_the_mount_with_it() {
    let world = db().shown("web", "db", "/srv/web").applied().without_pod("web");
    assert_eq!(shown(&world.plan()), ["unpublish volume.db /srv/web"]);

    let world = world.applied().without_pod("app");
    let expected = ["unpublish volume.db /srv/db", "unstage volume.db <- s1", "detach volume.db <- s2"];
    assert_eq!(shown(&world.plan()), expected);
}

#[test]
fn another_projects_volumes_are_left_alone() {
    let mut world = db().applied();
    world.record("db").spec.owner = csictl::model::Owner::Project("other".parse().unwrap());

    assert!(world.clone().without("db").plan().is_empty());
    assert!(world.destroy(&[]).is_empty());
    let plan = world.plan();
    assert_eq!(plan.refused[0].code, "foreign");
    assert!(plan.refused[0].message.contains("project:other"));
}

#[test]
fn what_cannot_be_read_is_unknown_and_never_created() {
    let mut world = db();
    world.seen("db").unknown.push("state directory: permission denied".to_owned());
    let plan = world.plan();

    assert!(plan.is_empty() && plan.refused.is_empty());
    assert_eq!(plan.unknown.len(), 1);
    assert!(world.observed.volumes.contains_key(&id("db")));
}
