//! What applications write, and where it really lies: files that have to live whatever csictl does.

use std::path::{Path, PathBuf};

use crate::model::BlockId;

use super::SimHost;
use super::boot::DEV_FS;
use super::machine::{Canary, Machine};
use super::tree::{Content, Node, NodeKind, ROOT};
use super::walk::{Links, Walk};

impl SimHost {
    /// An application writes a file through a mount and flushes it; [`SimHost::check`] says if it is ever lost.
    ///
    /// # Panics
    /// When nothing can be written there: the test is wrong.
    pub fn write_canary(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let mut machine = self.machine();
        let path = path.as_ref();
        machine.plant(path, Node::file(bytes, 0o644)).expect("a canary is written where a file can be made");
        let place = machine.place_of(path).expect("a canary is written where something is mounted");
        machine.flush_at(path);
        machine.canaries.push(Canary { place: place.0, path: Some(place.1), bytes: bytes.to_vec() });
    }

    /// An application writes to raw storage and flushes it.
    ///
    /// # Panics
    /// When there is no such device: the test is wrong.
    pub fn write_raw_canary(&self, device: impl AsRef<Path>, bytes: &[u8]) {
        let mut machine = self.machine();
        let block = machine.block_at(device.as_ref()).expect("a raw canary is written to a device");
        let place = machine.place_of_device(block).expect("a raw canary is written to a device that is there");
        *machine.content_mut(block).expect("the device is there") = Content::Data(bytes.to_vec());
        machine.persist_device(block);
        machine.canaries.push(Canary { place, path: None, bytes: bytes.to_vec() });
    }

    /// A file as an application reads it.
    pub fn read(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        let machine = self.machine();
        match machine.walk(path.as_ref(), Links::Follow) {
            Walk::Found(spot) => machine.node_at(&spot)?.as_file().map(|data| data.bytes.clone()),
            _ => None,
        }
    }

    /// The loss of everything at this place (an image's or disk's path) was allowed by name.
    pub fn forgive(&self, place: impl AsRef<Path>) {
        self.machine().canaries.retain(|canary| canary.place != place.as_ref());
    }
}

impl Machine {
    /// Where the bytes of a path really lie: the image, disk or directory, and the path inside.
    fn place_of(&self, path: &Path) -> Option<(PathBuf, PathBuf)> {
        let Walk::Found(parent) = self.walk(path.parent()?, Links::Follow) else { return None };
        let name = path.file_name()?;
        let entry = self.entry(parent.mount)?;
        let inner = parent.path.strip_prefix(&entry.mount.target).ok()?;
        let inner = entry.mount.root.join(inner).join(name);
        if self.filesystems.contains_key(&parent.fs) {
            let base = self.filesystems.get(&parent.fs)?.base.clone()?;
            return Some((base, inner));
        }
        Some((self.place_of_device(parent.fs)?, inner))
    }

    /// The path of a disk's node, or of the image behind a loop.
    fn place_of_device(&self, block: BlockId) -> Option<PathBuf> {
        if self.disks.contains_key(&block) {
            let dev = self.tree(DEV_FS)?;
            let name = dev.get(ROOT)?.entries()?.iter().find(|(_, inode)| {
                dev.get(**inode).is_some_and(|node| node.is_block() && node.kind == NodeKind::Block(block))
            })?;
            return Some(Path::new("/dev").join(name.0));
        }
        let backing = self.loops.get(&block.minor)?.device.backing;
        self.path_of(self.of_shown(backing.device), backing.inode)
    }

    /// A path that leads to an inode of a file system of the machine.
    pub(super) fn path_of(&self, fs: BlockId, inode: u64) -> Option<PathBuf> {
        let base = self.filesystems.get(&fs)?.base.clone()?;
        let tree = self.tree(fs)?;
        let mut todo = vec![(ROOT, base)];
        while let Some((at, path)) = todo.pop() {
            for (name, child) in tree.get(at).and_then(Node::entries).into_iter().flatten() {
                if *child == inode {
                    return Some(path.join(name));
                }
                todo.push((*child, path.join(name)));
            }
        }
        None
    }

    fn flush_at(&mut self, path: &Path) {
        let Some(spot) = self.find(path) else { return };
        if self.filesystems.contains_key(&spot.fs) {
            if let Some(fs) = self.filesystems.get_mut(&spot.fs) {
                fs.tree.persist_all();
            }
        } else {
            self.persist_device(spot.fs);
        }
    }
}
