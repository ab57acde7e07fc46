//! A manifest's volume that an orchestrator uses: what it has of it stays, and what would take it away is refused.

use csictl::model::Action;
use csictl::model::action::{AttachRequest, StageRequest};
use csictl::model::{AccessMode, Attachment, Capability, Capacity, FsType, Propagation, VolumeMode};
use csictl::plan::{Intent, Plan};

use super::world::{World, id, image, sized};

const TARGET: &str = "/pods/1/mount";

fn capability() -> Capability {
    Capability {
        volume_mode: VolumeMode::Filesystem,
        fs_type: None,
        mount_flags: Vec::new(),
        group: None,
        access_mode: AccessMode::SingleNodeMultiWriter,
    }
}

/// `db` as an apply made it, and then published by an orchestrator.
fn published() -> World {
    let mut world = World::new().with(image("db")).with(image("other")).shown("app", "other", "/srv/other").applied();
    let id = id("db");
    world.step(&Action::Attach(AttachRequest { id: id.clone(), read_only: false, attachment: None }));
    let request = StageRequest {
        id,
        staging_path: "/plugins/db/globalmount".into(),
        mount_options: Vec::new(),
        capability: Some(capability()),
    };
    world.step(&Action::Stage(request));
    let of = |mut world: World| {
        world.record("db").attachment =
            Some(Attachment { node: "n1".to_owned(), read_only: false, capability: capability() });
        let run = world.seen("db").run.as_mut().unwrap();
        run.stage_capability = Some(capability());
        world
    };
    let mut world = of(world).shown_as("csi", "db", TARGET, |publish| {
        publish.capability = Some(capability());
        publish.propagation = Propagation::Bidirectional;
    });
    let publish = world
        .desired
        .publishes()
        .find(|publish| publish.target.as_path() == std::path::Path::new(TARGET))
        .unwrap()
        .clone();
    world.step(&Action::Publish(publish));
    world.without_pod("csi")
}

fn refused(plan: &Plan) -> String {
    let [refused] = &plan.refused[..] else { panic!("{:#?}", plan.refused) };
    assert_eq!(refused.code, "busy");
    for part in ["db", "an orchestrator", TARGET, "node n1"] {
        let text = format!("{} {}", refused.object, refused.message);
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(
        refused.help,
        "let the orchestrator take it away first (NodeUnpublishVolume, NodeUnstageVolume, ControllerUnpublishVolume)"
    );
    refused.message.clone()
}

#[test]
fn an_apply_leaves_it_published_and_says_so() {
    let plan = published().plan();

    assert!(plan.is_empty() && plan.refused.is_empty() && plan.drift.is_empty(), "{plan:#?}");
    let [(_, note)] = &plan.notes[..] else { panic!("{:#?}", plan.notes) };
    assert_eq!(note, "an orchestrator uses it: published at /pods/1/mount and published to node n1; left alone");
}

#[test]
fn what_is_only_recorded_of_it_is_left_alone_too() {
    let mut lost = published();
    lost.seen("db").published.clear();
    for world in [lost, published().rebooted()] {
        let plan = world.plan();
        let of_db = plan.steps.iter().filter(|step| step.object().to_string().contains("db"));
        assert_eq!((of_db.count(), plan.refused.len()), (0, 0), "{plan:#?}");
        refused_somehow(&world.destroy(&[]));
    }
}

fn refused_somehow(plan: &Plan) {
    assert_eq!(plan.refused.iter().map(|refused| refused.code).collect::<Vec<_>>(), ["busy"]);
}

#[test]
fn it_serves_pods_of_the_manifest_besides_and_loses_only_theirs() {
    let both = published().shown("app", "db", "/srv/db").applied();
    assert!(both.plan().is_empty(), "{:#?}", both.plan().steps);

    let plan = both.without_pod("app").plan();

    let targets: Vec<_> = plan.steps.iter().filter_map(|step| step.path.clone()).collect();
    assert_eq!(plan.refused, []);
    assert!(!targets.contains(&TARGET.into()), "{targets:?}");
    assert!(targets.contains(&"/srv/db".into()), "{targets:?}");
}

#[test]
fn a_change_in_place_goes_on() {
    let plan = published().edit("db", |spec| spec.description = Some("new".to_owned())).plan();
    assert_eq!(plan.refused, []);
    assert_eq!(plan.steps.len(), 1);
}

#[test]
fn what_needs_it_down_is_refused_with_the_place_and_the_way_out() {
    let mut offline = published();
    offline.observed.host.can_grow_ext4_online = false;
    offline = offline.edit("db", |spec| *spec = sized(spec.clone(), 40));
    assert!(refused(&offline.plan()).contains("CAP_SYS_RESOURCE"));
    refused(&published().edit("db", |spec| spec.fs.as_mut().unwrap().fs_type = FsType::Xfs).plan());
    refused(&published().without("db").plan());
    refused(&published().destroy(&[]));
    refused(&published().destroy(&["db"]));
    let mut expand = published();
    expand.observed.host.can_grow_ext4_online = false;
    refused(&expand.plan_for(&Intent::Expand { volume: id("db"), to: Capacity::gib(40) }));
}
