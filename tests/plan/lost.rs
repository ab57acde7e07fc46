//! Records that are lost, of what is there: what a plan writes down again, what it takes over from the image's own word, and what it refuses.

use csictl::model::observed::ObservedBacking;
use csictl::model::record::Recorded;
use csictl::model::{Backing, Capacity, CapacityRange, FsType, Propagation, SectorSize, VolumeSpec};
use csictl::plan::Plan;

use super::world::{World, clone_of, directory, id, image, raw, shown, sized, tmpfs, with_fs};

fn codes(plan: &Plan) -> Vec<&'static str> {
    plan.refused.iter().map(|refused| refused.code).collect()
}

/// A volume that is up and has this boot's record no longer.
fn unrecorded(spec: VolumeSpec) -> World {
    let name = spec.name.clone();
    let mut world = World::new().with(spec).shown("app", &name, "/srv/db").applied();
    world.seen(&name).run = None;
    world
}

#[test]
fn what_is_mounted_without_a_record_is_written_down_and_stays_mounted() {
    let staged = ["stage volume.db", "publish volume.db /srv/db <- s1"];
    let cases = [
        (image("db"), &staged[..]),
        (with_fs(image("db"), FsType::Xfs), &staged),
        (tmpfs("db"), &staged),
        (directory("db", "/srv/files"), &staged),
        (raw("db"), &staged[1..]),
    ];
    for (spec, steps) in cases {
        let what = format!("{} {:?}", spec.backing.kind(), spec.volume_mode);
        let plan = unrecorded(spec).plan();

        let shown: Vec<_> = shown(&plan).iter().map(|line| line.replace(" <- s1", "")).collect();
        let steps: Vec<_> = steps.iter().map(|line| line.replace(" <- s1", "")).collect();
        assert_eq!((shown, codes(&plan)), (steps, vec![]), "{what}");
        assert!(plan.steps.iter().all(|step| step.reason.contains("its record of this boot is lost")), "{what}");
        assert!(plan.changes.len() == 1 && plan.drift.is_empty(), "{what}: {:?}", plan.drift);
    }
}

#[test]
fn what_is_mounted_without_a_record_and_is_to_be_made_anew_is_made_anew_once() {
    let mut world = unrecorded(image("db"));
    let publish = &mut world.desired.pods.values_mut().next().unwrap().publishes[0];
    publish.read_only = true;
    publish.propagation = Propagation::HostToContainer;

    let steps = shown(&world.plan());

    assert_eq!(
        steps,
        ["unpublish volume.db /srv/db", "stage volume.db", "publish volume.db /srv/db <- s1,s2"],
        "{steps:?}"
    );
}

#[test]
fn what_lies_on_a_mount_that_is_written_down_again_stays() {
    let mut world =
        World::new().with(image("a")).with(image("b")).shown("app", "a", "/srv/a").shown("app", "b", "/srv/a/b");
    world = world.applied();
    world.seen("a").run = None;

    let steps = shown(&world.plan());

    assert_eq!(steps.iter().filter(|step| step.contains("unpublish")).count(), 0, "{steps:?}");
    assert!(steps.iter().all(|step| step.contains("volume.a")), "{steps:?}");
}

/// A volume that is down, whose image is all that is known of it.
fn forgotten(spec: VolumeSpec) -> World {
    let name = spec.name.clone();
    let mut world = World::new().with(spec).applied().rebooted();
    world.seen(&name).record = Recorded::Absent;
    world
}

fn limited(spec: &mut VolumeSpec, required: Capacity, limit: Capacity) {
    spec.capacity = Some(CapacityRange { required, limit: Some(limit) });
}

#[test]
fn what_an_image_says_of_itself_is_held_against_the_manifest_before_it_is_taken_over() {
    type Edit = fn(&mut VolumeSpec);
    let cases: [(&str, Edit, &[&str], &str); 7] = [
        ("nothing", |_| {}, &[], ""),
        ("smaller, no limit", |spec| limited(spec, Capacity::mib(512), Capacity::gib(1)), &[], ""),
        ("limit", |spec| limited(spec, Capacity::mib(512), Capacity::mib(900)), &["out-of-range"], "the limit 900 MiB"),
        ("fs.type", |spec| *spec = with_fs(spec.clone(), FsType::Xfs), &["incompatible"], "holds ext4, asked is xfs"),
        ("mode", |spec| *spec = raw("db"), &["incompatible"], "holds ext4, asked is no file system"),
        (
            "sector_size",
            |spec| {
                let Backing::Image(image) = &mut spec.backing else { panic!() };
                image.sector_size = SectorSize::B4096;
            },
            &["incompatible"],
            "4096",
        ),
        ("larger", |spec| *spec = sized(spec.clone(), 3), &[], ""),
    ];
    for (what, edit, expected, says) in cases {
        let plan = forgotten(image("db")).edit("db", edit).plan();

        assert_eq!(codes(&plan), expected, "{what}: {:?}", plan.refused);
        assert!(plan.refused.iter().all(|refused| refused.message.contains(says)), "{what}: {:?}", plan.refused);
    }
}

#[test]
fn an_image_that_is_taken_over_grows_in_the_same_plan() {
    let mut world = forgotten(image("db")).edit("db", |spec| *spec = sized(spec.clone(), 3));
    let plan = world.plan();

    assert_eq!(shown(&plan), ["create volume.db", "expand volume.db <- s1"]);
    world.run(&plan);
    let ObservedBacking::Image(image) = &world.seen("db").backing else { panic!() };
    assert_eq!(image.size, Capacity::gib(3));
    assert!(world.plan().is_empty());
}

/// A clone without a record: (what its image holds, what the manifest gives, what a new source holds).
#[test]
fn a_clone_without_a_record_has_the_type_of_its_image_whatever_became_of_its_source() {
    let cases = [
        (FsType::Xfs, None, None, true),
        (FsType::Btrfs, None, None, true),
        (FsType::Xfs, None, Some(FsType::Ext4), true),
        (FsType::Xfs, Some(FsType::Xfs), None, true),
        (FsType::Xfs, Some(FsType::Ext4), None, false),
        (FsType::Ext4, Some(FsType::Xfs), Some(FsType::Xfs), false),
    ];
    for (holds, given, source, taken) in cases {
        let what = format!("holds {holds}, given {given:?}, source {source:?}");
        let clone = clone_of("copy", "db");
        let mut world = World::new().with(with_fs(image("db"), holds)).with(clone.clone()).applied().rebooted();
        world.observed.volumes.remove(&id("db"));
        world.seen("copy").record = Recorded::Absent;
        let world = world.without("db");
        let world = match source {
            Some(fs) => world.with(with_fs(image("db"), fs)),
            None => world,
        };
        let mut world = match given {
            Some(fs) => world.edit("copy", |spec| *spec = with_fs(clone, fs)),
            None => world,
        };
        let plan = world.plan();

        if !taken {
            assert_eq!(codes(&plan).first(), Some(&"incompatible"), "{what}");
            assert!(plan.refused[0].message.contains(&format!("and its image holds {holds}")), "{:?}", plan.refused);
            continue;
        }
        assert_eq!(codes(&plan), Vec::<&str>::new(), "{what}: {:?}", plan.refused);
        let change = plan.changes.iter().find(|change| change.object.to_string() == "volume.copy").unwrap();
        assert_eq!(change.title, "adopt", "{what}");
        world.run(&plan);
        assert_eq!(world.record("copy").spec.fs_type(), Some(holds), "{what}");
        assert!(world.plan().is_empty(), "{what}");
    }
}
