//! Directories, small files, targets and ownership in the simulated kernel.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::host::{ErrorKind, Result};
use crate::model::{Done, Ownership, PublishKind};

use super::machine::{Machine, errno, refuse};
use super::tree::{Content, Node, NodeKind};
use super::walk::{Links, Spot, Walk};

impl Machine {
    pub(super) fn make_dir(&mut self, path: &Path, mode: u32) -> Result<Done> {
        const ACT: &str = "make directory";
        match self.walk(path, Links::Follow) {
            Walk::Found(spot) if self.node_at(&spot).and_then(Node::entries).is_some() => Ok(Done::Already),
            Walk::Found(_) => Err(errno(ACT, path, libc::EEXIST)),
            Walk::NotDirectory(_) => Err(errno(ACT, path, libc::ENOTDIR)),
            Walk::Link { .. } => Err(errno(ACT, path, libc::ELOOP)),
            Walk::Missing { parent, rest } => self.make_all(ACT, parent, &rest, mode).map(|_| Done::Changed),
        }
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> Result<Done> {
        const ACT: &str = "remove directory";
        let Some(spot) = self.find(path) else { return Ok(Done::Already) };
        self.remove_spot(ACT, &spot, PublishKind::Mount)
    }

    /// rmdir of an empty directory, or unlink of an empty file.
    fn remove_spot(&mut self, act: &'static str, spot: &Spot, kind: PublishKind) -> Result<Done> {
        if self.top(&spot.path).is_some() {
            return Err(errno(act, &spot.path, libc::EBUSY));
        }
        let node = self.node_at(spot).expect("a spot that was just found");
        match (&node.kind, kind) {
            (NodeKind::Directory(entries), PublishKind::Mount) if entries.is_empty() => {}
            (NodeKind::Directory(_), PublishKind::Mount) => return Err(errno(act, &spot.path, libc::ENOTEMPTY)),
            (NodeKind::File(data), PublishKind::Device)
                if data.bytes.is_empty() && data.size == 0 && data.content == Content::Blank => {}
            (NodeKind::File(_), PublishKind::Device) => {
                return Err(refuse(ErrorKind::NotEmpty, act, &spot.path, "the file is not empty"));
            }
            (_, PublishKind::Mount) => return Err(errno(act, &spot.path, libc::ENOTDIR)),
            (_, PublishKind::Device) => {
                return Err(refuse(ErrorKind::Foreign, act, &spot.path, "it is no regular file"));
            }
        }
        let (parent, name) = self.parent(act, &spot.path)?;
        self.writable(act, &parent)?;
        let tree = self.tree_mut(parent.fs).expect("a spot is on a file system that is there");
        if let Some(inode) = tree.unlink(parent.inode, &name) {
            tree.forget(inode);
        }
        Ok(Done::Changed)
    }

    /// Replaces a small file. Half of it leaves the temporary file.
    pub(super) fn write_small(&mut self, half: bool, path: &Path, content: &[u8], durable: bool) -> Result<()> {
        const ACT: &str = "write file";
        let (parent, name) = self.parent(ACT, path)?;
        self.writable(ACT, &parent)?;
        if self.free(parent.fs) < (content.len() as u64).next_multiple_of(4096) {
            return Err(errno(ACT, path, libc::ENOSPC));
        }
        if let Some(node) = self.find(path).and_then(|spot| self.node_at(&spot).cloned())
            && node.as_file().is_none()
        {
            return Err(errno(ACT, path, libc::EISDIR));
        }
        let mut part = OsString::from(".");
        part.push(&name);
        part.push(".tmp");
        if let Some(old) = self.tree_mut(parent.fs).and_then(|tree| tree.unlink(parent.inode, &part)) {
            self.forget(parent.fs, old);
        }
        let spot = self.make(&parent, &part, Node::file(content, 0o600));
        if half {
            return Ok(());
        }
        if durable {
            self.persist_node(spot.fs, spot.inode);
        }
        let tree = self.tree_mut(parent.fs).expect("a spot is on a file system that is there");
        if let Some(old) = tree.rename((parent.inode, &part), (parent.inode, &name)) {
            self.forget(parent.fs, old);
        }
        if durable {
            self.persist_names(&parent, &[&part, &name]);
        }
        Ok(())
    }

    /// Appends a line to a small file. Half of it leaves half the line.
    pub(super) fn append_small(&mut self, half: bool, path: &Path, line: &[u8], most: u64) -> Result<Done> {
        const ACT: &str = "append to file";
        let Some(spot) = self.find(path) else { return Ok(Done::Already) };
        let (parent, _) = self.parent(ACT, path)?;
        self.writable(ACT, &parent)?;
        let Some(data) = self.node_at_mut(&spot).and_then(Node::as_file_mut) else { return Ok(Done::Already) };
        if data.bytes.last() != Some(&b'\n') || (data.bytes.len() + line.len()) as u64 > most {
            return Ok(Done::Already);
        }
        data.bytes.extend_from_slice(if half { &line[..line.len() / 2] } else { line });
        data.size = data.bytes.len() as u64;
        Ok(Done::Changed)
    }

    pub(super) fn remove_small(&mut self, path: &Path, durable: bool) -> Result<Done> {
        const ACT: &str = "remove file";
        let Some(spot) = self.find(path) else { return Ok(Done::Already) };
        if self.node_at(&spot).and_then(Node::entries).is_some() {
            return Err(errno(ACT, path, libc::EISDIR));
        }
        let (parent, name) = self.parent(ACT, path)?;
        self.writable(ACT, &parent)?;
        if let Some(inode) = self.tree_mut(parent.fs).and_then(|tree| tree.unlink(parent.inode, &name)) {
            self.forget(parent.fs, inode);
        }
        if durable {
            self.persist_names(&parent, &[&name]);
        }
        Ok(Done::Changed)
    }

    pub(super) fn set_aside(&mut self, path: &Path, directory: &Path) -> Result<PathBuf> {
        const ACT: &str = "set aside";
        self.need(ACT, path)?;
        let (parent, name) = self.parent(ACT, path)?;
        let (to, _) = self.parent(ACT, &directory.join("x"))?;
        if parent.fs != to.fs {
            return Err(errno(ACT, path, libc::EXDEV));
        }
        self.writable(ACT, &to)?;
        let tree = self.tree_mut(to.fs).expect("a spot is on a file system that is there");
        let mut free = name.clone();
        for number in 1_u32.. {
            if tree.child(to.inode, &free).is_none() {
                break;
            }
            free = name.clone();
            free.push(format!(".{number}"));
        }
        tree.rename((parent.inode, &name), (to.inode, &free));
        self.persist_names(&to, &[&free]);
        self.persist_names(&parent, &[&name]);
        Ok(directory.join(free))
    }

    /// Makes a target. Half of it makes the parents only.
    pub(super) fn make_target(
        &mut self,
        half: bool,
        root: &Path,
        target: &Path,
        kind: PublishKind,
    ) -> Result<Vec<PathBuf>> {
        const ACT: &str = "make target";
        match self.walk_below(ACT, root, target)? {
            Walk::Found(spot) => {
                let node = self.node_at(&spot).expect("a spot that was just found");
                match (&node.kind, kind) {
                    (NodeKind::Directory(_), PublishKind::Mount)
                    | (NodeKind::File(_) | NodeKind::Block(_), PublishKind::Device) => Ok(Vec::new()),
                    _ => Err(refuse(ErrorKind::Exists, ACT, target, "something of another kind is there")),
                }
            }
            Walk::Link { at, to } => {
                let cause = format!("{} is a link to {}", at.display(), to.display());
                Err(refuse(ErrorKind::UnsafePath, ACT, target, cause))
            }
            Walk::NotDirectory(at) => {
                Err(refuse(ErrorKind::NotFound, ACT, target, format!("{} is no directory", at.display())))
            }
            Walk::Missing { parent, mut rest } => {
                self.writable(ACT, &parent)?;
                let name = rest.pop().expect("something is missing");
                let mut made = self.make_all(ACT, parent.clone(), &rest, 0o755)?;
                if !half {
                    let node = match kind {
                        PublishKind::Mount => Node::directory(0o755),
                        PublishKind::Device => Node::file(&[], 0o644),
                    };
                    let last = made.last().cloned().unwrap_or(parent);
                    made.push(self.make(&last, &name, node));
                }
                Ok(made.into_iter().map(|spot| spot.path).collect())
            }
        }
    }

    pub(super) fn remove_target(&mut self, root: &Path, target: &Path, kind: PublishKind) -> Result<Done> {
        const ACT: &str = "remove target";
        match self.walk_below(ACT, root, target)? {
            Walk::Found(spot) => self.remove_spot(ACT, &spot, kind),
            Walk::Missing { .. } | Walk::NotDirectory(_) => Ok(Done::Already),
            Walk::Link { at, to } => {
                let cause = format!("{} is a link to {}", at.display(), to.display());
                Err(refuse(ErrorKind::UnsafePath, ACT, target, cause))
            }
        }
    }

    pub(super) fn set_ownership(&mut self, path: &Path, ownership: Ownership) -> Result<Done> {
        const ACT: &str = "set ownership";
        let spot = self.need(ACT, path)?;
        self.writable(ACT, &spot)?;
        let node = self.node_at_mut(&spot).expect("a spot that was just found");
        let (uid, gid) = ownership.owner.unwrap_or((node.uid, node.gid));
        let mode = ownership.mode.unwrap_or(node.mode);
        if (node.uid, node.gid, node.mode) == (uid, gid, mode) {
            return Ok(Done::Already);
        }
        (node.uid, node.gid, node.mode) = (uid, gid, mode);
        Ok(Done::Changed)
    }

    /// Half of it has reached the children and not yet the root, which is done last.
    pub(super) fn change_group(&mut self, half: bool, path: &Path, group: u32) -> Result<Done> {
        const ACT: &str = "change group";
        let spot = self.need(ACT, path)?;
        if self.node_at(&spot).is_some_and(|node| node.gid == group) {
            return Ok(Done::Already);
        }
        self.writable(ACT, &spot)?;
        let mut below = vec![spot.inode];
        let tree = self.tree_mut(spot.fs).expect("a spot is on a file system that is there");
        while let Some(inode) = below.pop() {
            let Some(node) = tree.get_mut(inode) else { continue };
            if !(half && inode == spot.inode) {
                node.gid = group;
                node.mode |= 0o060;
            }
            below.extend(node.entries().into_iter().flat_map(|entries| entries.values()));
        }
        Ok(Done::Changed)
    }
}
