//! What must hold of a machine at any time, whatever csictl did to it.

use std::collections::BTreeMap;
use std::path::Path;

use super::SimHost;
use super::machine::{Canary, Machine};
use super::tree::{Content, Node, ROOT, Tree};

impl SimHost {
    /// What is wrong with the machine, in words; nothing when all is well: no file that was written is lost or changed, no two loops
    /// stand on one file, nothing was cut short, frozen or formatted that must not be.
    pub fn check(&self) -> Vec<String> {
        let machine = self.machine();
        let mut found = machine.violations.clone();
        found.extend(machine.canaries.iter().filter_map(|canary| machine.lost(canary)));
        let mut backings = BTreeMap::new();
        for l in machine.loops.values() {
            if let Some(other) = backings.insert(l.device.backing, l.device.index) {
                found.push(format!("loop {other} and loop {} stand on {}", l.device.index, l.device.backing));
            }
        }
        found
    }

    /// What is wrong when nothing is running: what [`SimHost::check`] finds, and besides mounts that lie on each other, frozen file
    /// systems, loops without a name, temporary files below these directories.
    pub fn check_settled(&self, pools: &[&Path]) -> Vec<String> {
        let mut found = self.check();
        let machine = self.machine();
        let mut seen = BTreeMap::new();
        for entry in &machine.mounts {
            *seen.entry(&entry.mount.target).or_insert(0_u32) += 1;
            if machine.is_frozen(entry.fs) {
                found.push(format!("{} is frozen", entry.mount.target.display()));
            }
        }
        let stacks = seen.iter().filter(|(_, count)| **count > 1);
        found.extend(stacks.map(|(target, count)| format!("{count} mounts on {}", target.display())));
        for l in machine.loops.values() {
            let fs = machine.of_shown(l.device.backing.device);
            if machine.path_of(fs, l.device.backing.inode).is_none() {
                found.push(format!("loop {} stands on a file that has no name", l.device.index));
            }
        }
        for pool in pools {
            let names =
                machine.find(pool).and_then(|spot| machine.node_at(&spot)?.entries().cloned()).unwrap_or_default();
            let parts = names.keys().filter(|name| name.to_string_lossy().ends_with(".part"));
            found.extend(parts.map(|name| format!("{} is left over", pool.join(name).display())));
        }
        found
    }

    /// Every path on the machine, one a line, with kind, owner, mode, and size: to compare a machine with itself.
    pub fn listing(&self) -> Vec<String> {
        let machine = self.machine();
        let mut lines = Vec::new();
        for fs in machine.filesystems.values() {
            if let Some(base) = &fs.base {
                list_tree(&fs.tree, ROOT, base, &mut lines);
            }
        }
        lines.sort();
        lines
    }
}

fn list_tree(tree: &Tree, at: u64, path: &Path, lines: &mut Vec<String>) {
    let Some(node) = tree.get(at) else { return };
    let kind = match &node.kind {
        super::tree::NodeKind::Directory(_) => "directory".to_owned(),
        super::tree::NodeKind::File(data) => format!("file {}", data.size),
        super::tree::NodeKind::Link(to) => format!("link {}", to.display()),
        super::tree::NodeKind::Block(block) => format!("block {block}"),
    };
    lines.push(format!("{} {kind} {}:{} {:o}", path.display(), node.uid, node.gid, node.mode));
    for (name, child) in node.entries().into_iter().flatten() {
        list_tree(tree, *child, &path.join(name), lines);
    }
}

impl Machine {
    /// How a canary was lost, if it was.
    fn lost(&self, canary: &Canary) -> Option<String> {
        let place = canary.place.display();
        let Some(path) = &canary.path else {
            return match self.content_at("check", &canary.place) {
                Ok(Content::Data(bytes)) if *bytes == canary.bytes => None,
                Ok(other) => Some(format!("raw data on {place} is lost: it holds {other:?}")),
                Err(error) => Some(format!("raw data is lost: {error}")),
            };
        };
        let tree =
            match self.find(&canary.place).and_then(|spot| Some((self.node_at(&spot)?.entries().is_some(), spot.fs))) {
                Some((true, fs)) => self.tree(fs),
                _ => match self.content_at("check", &canary.place) {
                    Ok(Content::Fs(fs)) if !fs.half_made && !fs.torn => Some(&fs.tree),
                    _ => None,
                },
            };
        let Some(tree) = tree else { return Some(format!("data is lost: {place} holds no file system any more")) };
        let inode = path.iter().skip(1).try_fold(ROOT, |at, name| tree.child(at, name));
        let bytes = inode.and_then(|inode| tree.get(inode)).and_then(Node::as_file).map(|data| &data.bytes);
        if bytes == Some(&canary.bytes) { None } else { Some(format!("{} on {place} is lost", path.display())) }
    }
}
