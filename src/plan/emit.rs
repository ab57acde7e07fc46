//! From courses to steps. Within a volume the order is fixed: unpublish, unstage, detach, then what is done to the volume itself,
//! then attach, stage, publish. Between volumes it is paths and copies that bind; see `nesting` and `copies`.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::model::action::{
    AttachRequest, CreateRequest, DeleteRequest, ExpandRequest, StageRequest, UnpublishRequest, UnstageRequest,
};
use crate::model::{Action, Layout, LoopDevice, PublishSpec, VolumeId};

use super::Risk;
use super::course::{Course, End, Leaving, Make};
use super::drift::has_to_grow;
use super::graph::{Graph, Node};

/// The steps of one volume, by the part they play for others.
#[derive(Debug, Default)]
pub(super) struct Emitted {
    /// Targets taken away.
    pub unpublish: Vec<(PathBuf, Node)>,
    /// Unmounting and detaching, in order.
    pub down: Vec<Node>,
    /// The first making of record and backing: nobody can copy it before.
    pub made: Option<Node>,
    /// Steps that change its bytes or hold them open: copies of it as it was come before.
    pub moving: Vec<Node>,
    /// The making that reads a source.
    pub copies: Option<Node>,
    /// Targets made.
    pub publish: Vec<(PathBuf, Node)>,
    /// The first steps that need its backing to be in sight.
    pub needs_backing: Vec<Node>,
}

impl Emitted {
    fn unpublished(&self) -> Vec<Node> {
        self.unpublish.iter().map(|(_, node)| *node).collect()
    }
}

/// The steps of all volumes.
pub(super) type AllEmitted<'a> = HashMap<&'a VolumeId, Emitted>;

/// Writes down the steps of one course.
pub(super) fn emit(graph: &mut Graph, course: &Course<'_>, layout: &Layout) -> Emitted {
    let mut out = Emitted::default();
    take_down(graph, course, &mut out);
    let core = change(graph, course, &mut out);
    bring_up(graph, course, layout, &core, &mut out);
    out
}

/// What taking something away puts at stake: nothing where that is what was asked, a pause where it comes back.
fn cycle_risk(course: &Course<'_>) -> Risk {
    if course.cycle.is_some() && course.up() { Risk::Offline } else { Risk::None }
}

fn why_down(course: &Course<'_>) -> String {
    match (&course.cycle, &course.make, course.end) {
        (Some(reason), ..) if course.up() => reason.clone(),
        (_, Make::Replace | Make::Exchange, _) => "it is replaced".to_owned(),
        (.., End::Release | End::Delete | End::Forget) => "the volume goes".to_owned(),
        _ => "no pod uses it".to_owned(),
    }
}

fn take_down(graph: &mut Graph, course: &Course<'_>, out: &mut Emitted) {
    let risk = cycle_risk(course);
    let why = why_down(course);
    for leaving in course.leaving() {
        let reason = match course.again.get(leaving.target) {
            Some(reason) => reason.clone(),
            None if course.comes_down() => why.clone(),
            None => "no longer wanted there".to_owned(),
        };
        let again = if course.again.contains_key(leaving.target) { Risk::Offline } else { risk };
        let node = graph.push(Action::Unpublish(unpublish(course, &leaving)), again, reason);
        out.unpublish.push((leaving.target.to_owned(), node));
    }
    if !course.comes_down() {
        return;
    }
    let mut before = out.unpublished();
    if let Some(staged) = &course.seen.staged {
        let request =
            UnstageRequest { id: course.id.clone(), staging_path: staged.mount.target.clone(), by_orchestrator: false };
        let node = graph.push(Action::Unstage(request), risk, why.clone());
        graph.edges(&before, node);
        out.down.push(node);
        before = vec![node];
    }
    let was_image = course.old_spec().backing.as_image().is_some();
    // A loop goes with its last mount, unless a crashed run or a raw block volume left one without AUTOCLEAR.
    if was_image && (course.seen.loop_device.is_some() || course.seen.staged.is_some()) {
        let node = graph.push(Action::Detach(course.id.clone()), risk, why);
        graph.edges(&before, node);
        out.down.push(node);
    }
}

fn unpublish(course: &Course<'_>, leaving: &Leaving<'_>) -> UnpublishRequest {
    let pod = leaving.asked.map(|asked| &asked.pod).or(leaving.seen.and_then(|seen| seen.pod.as_ref()));
    UnpublishRequest {
        id: course.id.clone(),
        pod: pod.cloned(),
        target: leaving.target.to_owned(),
        trusted_root: leaving.asked.map_or_else(|| PathBuf::from("/"), |asked| asked.trusted_root.clone()),
        kind: leaving.kind,
        remove_target: false,
        comes_back: course.coming().any(|publish| publish.target == leaving.target && publish.kind == leaving.kind),
    }
}

/// What is done to the volume itself while nothing of the old state holds it; answers what the way up waits for.
fn change(graph: &mut Graph, course: &Course<'_>, out: &mut Emitted) -> Vec<Node> {
    let mut before: Vec<Node> = match out.down.last() {
        Some(last) => vec![*last],
        None if course.comes_down() => out.unpublished(),
        None => Vec::new(),
    };
    let unpublished = if course.comes_down() { Vec::new() } else { out.unpublished() };
    let mut push = |graph: &mut Graph, action: Action, risk: Risk, reason: String| {
        let node = graph.push(action, risk, reason);
        graph.edges(&before, node);
        before = vec![node];
        node
    };
    let delete = |risk| (Action::Delete(DeleteRequest { id: course.id.clone(), approval: None }), risk);
    if course.make == Make::Exchange {
        let (action, risk) = delete(Risk::None);
        let node = push(graph, action, risk, format!("its {} is exchanged", course.old_spec().backing.kind()));
        out.moving.push(node);
    }
    if let Some((risk, reason)) = why_made(course) {
        let replaces = course.make == Make::Replace;
        let request = CreateRequest { spec: course.spec.clone().into_owned(), replaces, approval: None, asked: None };
        let node = push(graph, Action::Create(Box::new(request)), risk, reason);
        match course.make {
            Make::Replace | Make::Exchange => out.moving.push(node),
            _ => out.made = Some(node),
        }
        out.copies = course.spec.source.is_some().then_some(node);
        out.needs_backing.push(node);
    }
    if !course.modify.is_empty() || course.remount {
        let reason =
            if course.modify.is_empty() { "mount options were lost".to_owned() } else { reasons(&course.modify) };
        let action = Action::Modify(Box::new(course.spec.clone().into_owned()));
        let node = push(graph, action, Risk::None, reason);
        // A narrower access mode is true once the publishes it forbids are gone.
        graph.edges(&unpublished, node);
    }
    // After the modify: the new size may need the new limit, and bytes allocated for it the new `allocate`.
    if let Some(growth) = course.grow {
        let request = ExpandRequest { id: course.id.clone(), to: growth.to, owner: None };
        let node =
            push(graph, Action::Expand(request), cycle_risk(course), format!("{} -> {}", growth.from, growth.to));
        out.moving.push(node);
        out.needs_backing.push(node);
    }
    let end = match course.end {
        End::Stay => None,
        End::Release => Some((Action::Release(course.id.clone()), Risk::None, "not in the manifest, data kept")),
        End::Forget => {
            let (action, risk) = delete(Risk::None);
            Some((action, risk, "not wanted any more; there is nothing csictl would delete"))
        }
        End::Delete => {
            let (action, risk) = delete(Risk::DataLoss);
            Some((action, risk, "not wanted any more, its data goes"))
        }
    };
    if let Some((action, risk, reason)) = end {
        out.moving.push(push(graph, action, risk, reason.to_owned()));
    }
    before
}

fn why_made(course: &Course<'_>) -> Option<(Risk, String)> {
    match &course.make {
        Make::Nothing => None,
        Make::New => Some((Risk::None, "not there yet".to_owned())),
        Make::Adopt => Some((Risk::None, "its image is there, its record is not: taken over".to_owned())),
        Make::Again(reason) => Some((Risk::None, (*reason).to_owned())),
        Make::Replace => Some((Risk::DataLoss, reasons(&course.replaced))),
        Make::Exchange => Some((Risk::None, reasons(&course.replaced))),
    }
}

fn reasons(lines: &[(String, String)]) -> String {
    lines.iter().map(|(what, value)| format!("{what} {value}")).collect::<Vec<_>>().join(", ")
}

fn bring_up(graph: &mut Graph, course: &Course<'_>, layout: &Layout, core: &[Node], out: &mut Emitted) {
    let fresh = course.comes_down();
    let seen = course.seen;
    let mut before = core.to_vec();
    if course.up() {
        // A raw volume's device frees itself only when a detach found somebody looking at it: any moment now.
        let stays = |device: &LoopDevice| !(course.spec.is_raw() && device.autoclear);
        let held = !fresh && (seen.staged.is_some() || seen.loop_device.as_ref().is_some_and(stays));
        if course.spec.backing.as_image().is_some() && !held {
            let request =
                AttachRequest { id: course.id.clone(), read_only: course.attach_read_only(), attachment: None };
            let node = graph.push(Action::Attach(request), Risk::None, wanted_by(course));
            graph.edges(&before, node);
            // A stale bind is told by the loop device that was, which is forgotten when another one comes.
            if !fresh {
                graph.edges(&out.unpublished(), node);
            }
            before = vec![node];
            out.moving.push(node);
            out.needs_backing.push(node);
        }
        let unrecorded = course.stage_is_unrecorded();
        if !course.spec.is_raw() && (fresh || seen.staged.is_none() || seen.frozen || has_to_grow(seen) || unrecorded) {
            let why = match !fresh && seen.staged.is_some() {
                true if seen.frozen => "it is frozen: it is thawed".to_owned(),
                true if has_to_grow(seen) => "its file system has still to grow to its device".to_owned(),
                true => UNRECORDED.to_owned(),
                false => wanted_by(course),
            };
            let node = graph.push(Action::Stage(stage(course, layout)), Risk::None, why);
            graph.edges(&before, node);
            before = vec![node];
            out.moving.push(node);
            out.needs_backing.push(node);
        }
    }
    let unpublished = out.unpublished();
    for publish in course.coming() {
        let node = graph.push(Action::Publish(publish.clone()), Risk::None, why_published(course, publish));
        graph.edges(&before, node);
        if !course.spec.access_mode.allows_many() {
            graph.edges(&unpublished, node);
        }
        out.publish.push((publish.target.clone(), node));
    }
}

/// Why something is asked for that is there.
const UNRECORDED: &str = "it is mounted, but its record of this boot is lost: it is written again";

fn why_published(course: &Course<'_>, publish: &PublishSpec) -> String {
    if let Some(reason) = course.again.get(&publish.target) {
        return reason.clone();
    }
    match (&course.cycle, course.asked(&publish.target)) {
        (Some(_), _) => "comes back".to_owned(),
        (None, Some(_)) if course.mounted_at(&publish.target).is_none() => "its mount is gone".to_owned(),
        (None, None) if course.is_unrecorded(&publish.target) => UNRECORDED.to_owned(),
        _ => format!("pod.{} wants it there", publish.pod),
    }
}

fn wanted_by(course: &Course<'_>) -> String {
    if course.cycle.is_some() {
        return "comes back".to_owned();
    }
    let mut pods: Vec<_> = course.publishes.iter().map(|publish| &publish.pod).collect();
    pods.sort();
    pods.dedup();
    match pods.as_slice() {
        [pod] => format!("pod.{pod} wants it"),
        [first, rest @ ..] => format!("pod.{first} and {} more want it", rest.len()),
        [] => String::new(),
    }
}

fn stage(course: &Course<'_>, layout: &Layout) -> StageRequest {
    StageRequest {
        id: course.id.clone(),
        staging_path: layout.staging_path(course.id),
        mount_options: course.spec.mount_options.clone(),
        capability: None,
    }
}
