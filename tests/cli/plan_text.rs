//! A plan as text, JSON and graph: the layout is a contract, so the one of the design is built here by hand and rendered.

use std::path::PathBuf;
use std::time::Duration;

use csictl::cli::render::plan::{PlanView, text};
use csictl::cli::render::{graph, json, plan_json};
use csictl::model::action::{
    AttachRequest, CreateRequest, ExpandRequest, StageRequest, UnpublishRequest, UnstageRequest,
};
use csictl::model::{
    Action, Backing, Capacity, Desired, Name, ObjectRef, Owner, PodSpec, Propagation, PublishKind, PublishSpec,
    VolumeId, VolumeSpec,
};
use csictl::plan::{Change, ChangeKind, DataFate, Drift, Plan, Refused, Risk, Step};

fn id(name: &str) -> VolumeId {
    format!("shop.{name}").parse().unwrap()
}

fn volume(name: &str) -> ObjectRef {
    ObjectRef::Volume(id(name))
}

fn spec(name: &str) -> VolumeSpec {
    VolumeSpec {
        id: id(name),
        owner: Owner::Project("shop".parse().unwrap()),
        name: name.to_owned(),
        description: None,
        volume_mode: Default::default(),
        capacity: None,
        access_mode: Default::default(),
        backing: Backing::Tmpfs(csictl::model::TmpfsBacking { size: Capacity::mib(64) }),
        fs: None,
        fs_type_given: false,
        mount_options: vec![],
        source: None,
        reclaim: Default::default(),
        prevent_destroy: false,
        ownership: Default::default(),
        fs_group: None,
        ephemeral: false,
    }
}

fn create(name: &str, replaces: bool) -> Action {
    Action::Create(Box::new(CreateRequest { spec: spec(name), replaces, approval: None, asked: None }))
}

fn stage(name: &str) -> Action {
    let staging_path = PathBuf::from(format!("/run/csictl/staging/shop.{name}"));
    Action::Stage(StageRequest { id: id(name), staging_path, mount_options: vec![], capability: None })
}

fn publish(name: &str, path: &str) -> PublishSpec {
    PublishSpec {
        pod: "web".parse().unwrap(),
        volume: id(name),
        target: path.into(),
        trusted_root: "/".into(),
        kind: PublishKind::Mount,
        sub_path: None,
        read_only: false,
        propagation: Propagation::None,
        capability: None,
        staging_path: None,
    }
}

fn change(name: &str, kind: ChangeKind, title: &str, data: DataFate, details: &[(&str, &str)]) -> Change {
    Change {
        object: volume(name),
        kind,
        title: title.to_owned(),
        comment: None,
        data,
        details: details.iter().map(|(what, value)| ((*what).to_owned(), (*value).to_owned())).collect(),
    }
}

fn steps(actions: Vec<(Action, Vec<usize>, Risk)>) -> Vec<Step> {
    let step = |(index, (action, after, risk)): (usize, (Action, Vec<usize>, Risk))| {
        let (pod, path) = match &action {
            Action::Publish(publish) => (Some(publish.pod.clone()), Some(publish.target.clone())),
            Action::Unpublish(request) => (request.pod.clone(), Some(request.target.clone())),
            _ => (None, None),
        };
        let reason = if risk == Risk::Offline { "writes pause" } else { "" }.to_owned();
        Step { index, action, pod, path, after, risk, reason }
    };
    actions.into_iter().enumerate().map(step).collect()
}

/// The plan of the design, with a step of every sort.
fn shop() -> Plan {
    let mut desired = Desired::empty("shop".parse().unwrap(), "shop.toml".to_owned());
    for name in ["cache", "pgdata", "scratch"] {
        desired.volumes.insert(id(name), spec(name));
    }
    for name in ["db", "web"] {
        let name: Name = name.parse().unwrap();
        desired.pods.insert(name.clone(), PodSpec { name, root: None, fs_group: None, publishes: vec![] });
    }
    let mut released = change("oldlogs", ChangeKind::Release, "release", DataFate::Kept, &[]);
    released.comment = Some("not in the manifest, reclaim = retain".to_owned());
    let unpublish = UnpublishRequest {
        id: id("oldlogs"),
        pod: Some("web".parse().unwrap()),
        target: "/var/log/old".into(),
        trusted_root: "/".into(),
        kind: PublishKind::Mount,
        remove_target: false,
        comes_back: false,
    };
    let unstage = UnstageRequest {
        id: id("oldlogs"),
        staging_path: "/run/csictl/staging/shop.oldlogs".into(),
        by_orchestrator: false,
    };
    Plan {
        desired,
        changes: vec![
            change(
                "cache",
                ChangeKind::Create,
                "create",
                DataFate::None,
                &[
                    ("image", "main/shop.cache.img   new, 2 GiB allocated"),
                    ("filesystem", "ext4, label cache"),
                    ("publish", "pod.web:/var/cache/app   read-write"),
                ],
            ),
            released,
            change("pgdata", ChangeKind::Change, "expand online", DataFate::None, &[("capacity", "10 GiB -> 20 GiB")]),
            change(
                "scratch",
                ChangeKind::Replace,
                "replace",
                DataFate::Lost,
                &[
                    ("fs.type", "ext4 -> xfs   # forces replacement"),
                    ("holds", "ext4 6f1c…9a, 1.2 GiB used, 311 files"),
                ],
            ),
            change("a", ChangeKind::Unchanged, "", DataFate::None, &[]),
            change("b", ChangeKind::Unchanged, "", DataFate::None, &[]),
        ],
        drift: vec![Drift {
            object: volume("pgdata"),
            what: "mount_options".to_owned(),
            expected: "noatime".to_owned(),
            found: "staged mount lost \"noatime\"".to_owned(),
        }],
        notes: vec![(volume("cache"), "/var/cache/app hides 3 files".to_owned())],
        unknown: vec![],
        refused: vec![],
        steps: steps(vec![
            (create("cache", false), vec![], Risk::None),
            (
                Action::Attach(AttachRequest { id: id("cache"), read_only: false, attachment: None }),
                vec![0],
                Risk::None,
            ),
            (stage("cache"), vec![1], Risk::None),
            (Action::Publish(publish("cache", "/var/cache/app")), vec![2], Risk::None),
            (
                Action::Expand(ExpandRequest { id: id("pgdata"), to: Capacity::gib(20), owner: None }),
                vec![],
                Risk::Offline,
            ),
            (create("scratch", true), vec![], Risk::DataLoss),
            (Action::Unpublish(unpublish), vec![], Risk::None),
            (Action::Unstage(unstage), vec![6], Risk::None),
            (Action::Release(id("oldlogs")), vec![7], Risk::None),
        ]),
    }
}

fn view<'a>(plan: &'a Plan, command: &'a str, delete_data: bool) -> PlanView<'a> {
    let observed_in = Duration::from_millis(4);
    PlanView { plan, host: "node1", observed_in, heading: "plan: nothing is changed", command, delete_data }
}

fn shown(plan: &Plan) -> String {
    anstream::adapter::strip_str(&text(&view(plan, "csictl apply shop.toml", false))).to_string()
}

#[test]
fn the_plan_of_the_design() {
    insta::assert_snapshot!("plan-text", shown(&shop()));
}

#[test]
fn no_line_ends_in_blanks() {
    for line in shown(&shop()).lines() {
        assert_eq!(line, line.trim_end());
    }
}

#[test]
fn the_plan_of_the_design_as_a_document() {
    insta::assert_snapshot!("plan-json", json(&plan_json::document(&shop())));
}

#[test]
fn the_plan_of_the_design_as_graphs() {
    insta::assert_snapshot!("plan-dot", graph::dot(&shop()));
    insta::assert_snapshot!("plan-mermaid", graph::mermaid(&shop()));
}

#[test]
fn nothing_to_do_is_one_line() {
    let mut plan = shop();
    plan.steps.clear();
    plan.drift.clear();
    plan.notes.clear();
    plan.changes.retain(|change| change.kind == ChangeKind::Unchanged);
    assert_eq!(shown(&plan), "no changes: 3 volumes and 2 pods match shop.toml");
    plan.desired.volumes.retain(|id, _| id.short() == "cache");
    plan.desired.pods.clear();
    assert_eq!(shown(&plan), "no changes: 1 volume and 0 pods match shop.toml");
}

#[test]
fn refusals_and_what_is_unknown_are_shown() {
    let mut plan = shop();
    plan.steps.clear();
    plan.changes.clear();
    plan.refused = vec![Refused {
        code: "not-blank",
        object: volume("cache"),
        message: "/dev/mapper/x holds ext4 \"old\" (signature at offset 1080)".to_owned(),
        help: "if it may go: wipefs -a /dev/mapper/x".to_owned(),
    }];
    plan.unknown = vec![(volume("pgdata"), "its record: Permission denied".to_owned())];
    insta::assert_snapshot!("plan-text-refused", shown(&plan));
}

#[test]
fn destroy_names_what_goes() {
    let mut plan = shop();
    plan.steps = steps(vec![(
        Action::Delete(csictl::model::action::DeleteRequest { id: id("cache"), approval: None }),
        vec![],
        Risk::DataLoss,
    )]);
    let text = text(&view(&plan, "csictl destroy shop.toml", true));
    assert!(text.ends_with("  csictl destroy shop.toml --delete-data cache"), "{text}");
}
