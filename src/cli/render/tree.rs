//! `tree`: pod → path → stage → device → image, so that one sees at a glance what lies on what.

use serde::Serialize;

use super::style::{BOLD, DIM, Painted};
use crate::cli::survey::{Survey, Volume};

/// A node of the tree.
#[derive(Debug, Serialize)]
pub struct Node {
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<String>,
    #[serde(skip)]
    note: String,
    children: Vec<Node>,
}

impl Node {
    fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), project: None, note: String::new(), children: Vec::new() }
    }

    fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    fn with(mut self, child: Option<Self>) -> Self {
        self.children.extend(child);
        self
    }
}

/// The roots: pods first, then volumes that no pod sees.
pub fn nodes(survey: &Survey) -> Vec<Node> {
    let find = |id: &str| survey.volumes.iter().find(|volume| volume.id == id);
    let mut roots = Vec::new();
    for pod in &survey.pods {
        let alone = survey.pods.iter().all(|other| other.project == pod.project);
        let note = pod.project.as_ref().filter(|_| !alone).map_or_else(String::new, |project| format!("of {project}"));
        let mut root = Node::new("pod", &pod.name).note(note);
        root.project.clone_from(&pod.project);
        for mount in &pod.published {
            let note = if mount.read_only { format!("{}, read-only", mount.volume) } else { mount.volume.clone() };
            let below = find(&mount.volume).map(stage);
            root.children.push(Node::new("path", &mount.path).note(note).with(below));
        }
        roots.push(root);
    }
    let alone = survey.volumes.iter().filter(|volume| volume.published.iter().all(|publish| publish.pod.is_none()));
    roots.extend(
        alone.map(|volume| Node::new("volume", &volume.id).note(volume.phase.to_string()).with(Some(stage(volume)))),
    );
    roots
}

/// What a volume lies on, from its staging mount down.
fn stage(volume: &Volume) -> Node {
    let storage = volume.storage.as_ref().map(|path| {
        let kind = volume.backing.unwrap_or("storage");
        Node::new(kind, path).note(volume.capacity_bytes.map_or_else(String::new, |b| super::status::size(Some(b))))
    });
    let device = volume.device.as_ref().filter(|_| volume.backing == Some("image"));
    let below = match device {
        Some(device) => Some(Node::new("device", device).with(storage)),
        None => storage,
    };
    match &volume.stage {
        Some(mount) => Node::new("stage", mount.target.display().to_string()).note(&mount.fs_type).with(below),
        None => below.unwrap_or_else(|| Node::new("storage", "unknown")),
    }
}

/// The tree as text, without a newline at its end.
pub fn text(roots: &[Node]) -> String {
    let mut lines = Vec::new();
    for root in roots {
        let note = if root.note.is_empty() { String::new() } else { format!("  {}", Painted(DIM, &root.note)) };
        lines.push(format!("{}{note}", Painted(BOLD, format_args!("{} {}", root.kind, root.name))));
        branch(&root.children, "", &mut lines);
    }
    lines.join("\n")
}

fn branch(nodes: &[Node], indent: &str, lines: &mut Vec<String>) {
    for (index, node) in nodes.iter().enumerate() {
        let last = index + 1 == nodes.len();
        let (arm, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let note = if node.note.is_empty() { String::new() } else { format!("  {}", Painted(DIM, &node.note)) };
        let kind = if node.kind == "path" { String::new() } else { format!("{} ", node.kind) };
        lines.push(format!("{indent}{arm}{kind}{}{note}", node.name));
        branch(&node.children, &format!("{indent}{below}"), lines);
    }
}
