//! A volume of a manifest that an orchestrator uses over gRPC. Its attachment, its stage and its targets are the orchestrator's: an apply
//! leaves them alone, and a step that needs them gone is refused before the first effect, for a workload is running on them.

use std::path::Path;

use crate::model::ObjectRef;
use crate::model::observed::ObservedVolume;

use super::course::Course;
use super::draft::Draft;
use super::guards::refuse;

/// What an orchestrator has of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Orchestrated<'a> {
    /// The node it is published to (ControllerPublishVolume).
    node: Option<&'a str>,
    /// Where it is staged (NodeStageVolume).
    staged: Option<&'a Path>,
    /// Where it is published (NodePublishVolume), in order.
    targets: Vec<&'a Path>,
}

impl<'a> Orchestrated<'a> {
    /// As the records have it; `None` where no orchestrator uses the volume.
    pub fn of(seen: &'a ObservedVolume) -> Option<Self> {
        let attachment = seen.record.present().and_then(|record| record.attachment.as_ref());
        let run = seen.run.as_ref();
        let publishes = run.into_iter().flat_map(|run| &run.publishes);
        let used = Self {
            node: attachment.map(|attachment| attachment.node.as_str()),
            staged: run.filter(|run| run.stage_capability.is_some()).and_then(|run| run.staging_path.as_deref()),
            targets: publishes
                .filter(|(_, publish)| publish.capability.is_some())
                .map(|(target, _)| target.as_path())
                .collect(),
        };
        (used.node.is_some() || used.staged.is_some() || !used.targets.is_empty()).then_some(used)
    }

    /// Where, in words.
    fn place(&self) -> String {
        let targets: Vec<_> = self.targets.iter().map(|target| target.display().to_string()).collect();
        let mut places = Vec::new();
        if !targets.is_empty() {
            places.push(format!("published at {}", targets.join(", ")));
        }
        if let Some(path) = self.staged.filter(|_| targets.is_empty()) {
            places.push(format!("staged at {}", path.display()));
        }
        places.extend(self.node.map(|node| format!("published to node {node}")));
        places.join(" and ")
    }

    /// The calls that take it away, in order.
    fn way_out(&self) -> String {
        let calls = [
            ("NodeUnpublishVolume", !self.targets.is_empty()),
            ("NodeUnstageVolume", self.staged.is_some()),
            ("ControllerUnpublishVolume", self.node.is_some()),
        ];
        let calls: Vec<_> = calls.into_iter().filter(|(_, asked)| *asked).map(|(call, _)| call).collect();
        format!("let the orchestrator take it away first ({})", calls.join(", "))
    }
}

/// Says which volumes are left alone, and refuses what would take an orchestrator's volume down.
pub(super) fn judge(draft: &mut Draft<'_>, courses: &[Course<'_>]) {
    for course in courses {
        let Some(used) = &course.orchestrated else { continue };
        let object = ObjectRef::Volume(course.id.clone());
        let again = course.again.keys().any(|target| course.is_orchestrators(target));
        if !course.comes_down() && !again {
            if course.left_alone {
                draft.notes.push((object, format!("an orchestrator uses it: {}; left alone", used.place())));
            }
        } else if !draft.refused.iter().any(|refused| refused.object == object) {
            let why = match &course.cycle {
                Some(reason) if course.left_alone => format!(", and it would have to be taken down: {reason}"),
                _ => String::new(),
            };
            let message = format!("an orchestrator uses it: {}{why}", used.place());
            draft.refused.push(refuse("busy", &object, message, used.way_out()));
        }
    }
}
