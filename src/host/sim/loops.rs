//! Loop devices, freezes and flushes in the simulated kernel.

use std::path::{Path, PathBuf};

use crate::host::{AttachLoop, ErrorKind, Result};
use crate::model::device::LOOP_MAJOR;
use crate::model::{BlockId, Done, FileId, LoopDevice};

use super::machine::{Held, Loop, Machine, errno, refuse};
use super::tree::{Node, NodeKind};
use super::walk::{Links, Spot, Walk};

impl Machine {
    /// Whether it was attached already, the device, and the token that holds it.
    pub(super) fn attach_loop(&mut self, process: u64, request: &AttachLoop) -> Result<(bool, LoopDevice, u64)> {
        const ACT: &str = "attach";
        self.privileged(ACT, &request.path)?;
        let spot = self.need(ACT, &request.path)?;
        if self.file_id(&spot) != request.file {
            let cause = format!("it is {}, not {}", self.file_id(&spot), request.file);
            return Err(refuse(ErrorKind::Foreign, ACT, &request.path, cause));
        }
        if let Some(found) = self.loop_on(request.file).map(|l| l.device.clone()) {
            let token = self.token(process, Held::Loop(found.index));
            return Ok((true, found, token));
        }
        let data = self.node_at(&spot).and_then(Node::as_file);
        let size = data.ok_or_else(|| errno(ACT, &request.path, libc::EINVAL))?.size;
        let free = |index: &u32| !self.loops.contains_key(index) && !self.taken_loops.contains(index);
        let index = request.hint.filter(free).unwrap_or_else(|| (0..).find(free).unwrap_or(u32::MAX));
        let memory = self.filesystems.get(&spot.fs).is_some_and(|fs| fs.fs_type == "tmpfs");
        let sector = u64::from(request.sector_size.bytes());
        let device = LoopDevice {
            index,
            block: BlockId { major: LOOP_MAJOR, minor: index },
            backing: request.file,
            offset: 0,
            size_limit: 0,
            size: size / sector * sector,
            read_only: request.read_only,
            autoclear: request.autoclear,
            direct_io: request.direct_io && !memory,
            sector_size: request.sector_size.bytes(),
        };
        self.add_node(&device.node(), device.block);
        self.loops.insert(index, Loop { device: device.clone(), discard: request.discard });
        let token = self.token(process, Held::Loop(index));
        Ok((false, device, token))
    }

    /// A device node below `/dev`, if it is not there.
    pub(super) fn add_node(&mut self, path: &Path, block: BlockId) {
        if self.find(path).is_none() {
            self.plant(path, Node::new(NodeKind::Block(block), 0o660));
        }
    }

    /// Puts something at a path whatever is there, with every parent; what the world outside csictl does.
    pub(super) fn plant(&mut self, path: &Path, node: Node) -> Option<Spot> {
        const ACT: &str = "plant";
        let name = path.file_name()?.to_owned();
        if let Walk::Missing { parent, rest } = self.walk(path.parent()?, Links::Follow) {
            self.make_all(ACT, parent, &rest, 0o755).ok()?;
        }
        let (parent, _) = self.parent(ACT, path).ok()?;
        if let Some(old) = self.tree_mut(parent.fs)?.unlink(parent.inode, &name) {
            self.forget(parent.fs, old);
        }
        Some(self.make(&parent, &name, node))
    }

    pub(super) fn privileged(&self, act: &'static str, object: &Path) -> Result<()> {
        if self.facts.privileged { Ok(()) } else { Err(errno(act, object, libc::EPERM)) }
    }

    pub(super) fn detach_loop(&mut self, index: u32, file: FileId) -> Result<Done> {
        const ACT: &str = "detach";
        let node = PathBuf::from(format!("/dev/loop{index}"));
        self.privileged(ACT, &node)?;
        let Some(l) = self.loops.get_mut(&index) else { return Ok(Done::Already) };
        if l.device.backing != file {
            let cause = format!("it stands on {}, not on {file}", l.device.backing);
            return Err(refuse(ErrorKind::Foreign, ACT, &node, cause));
        }
        // LOOP_CLR_FD of a busy loop answers success and lets the last user's close detach it.
        l.device.autoclear = true;
        self.settle();
        if self.loops.contains_key(&index) {
            return Err(errno(ACT, &node, libc::EBUSY));
        }
        Ok(Done::Changed)
    }

    pub(super) fn resize_loop(&mut self, index: u32, file: FileId) -> Result<Done> {
        const ACT: &str = "resize loop";
        let node = PathBuf::from(format!("/dev/loop{index}"));
        let size = self.node(file).and_then(Node::as_file).map(|data| data.size);
        let Some(l) = self.loops.get_mut(&index) else { return Err(errno(ACT, &node, libc::ENXIO)) };
        if l.device.backing != file {
            return Err(refuse(ErrorKind::Foreign, ACT, &node, format!("it does not stand on {file}")));
        }
        let sector = u64::from(l.device.sector_size);
        let size = size.ok_or_else(|| errno(ACT, &node, libc::EIO))? / sector * sector;
        let done = if l.device.size == size { Done::Already } else { Done::Changed };
        l.device.size = size;
        Ok(done)
    }

    pub(super) fn freeze(&mut self, process: u64, mount_point: &Path) -> Result<u64> {
        const ACT: &str = "freeze";
        let Some(fs) = self.top(mount_point).map(|entry| entry.fs) else {
            return Err(errno(ACT, mount_point, libc::EINVAL));
        };
        if self.filesystems.contains_key(&fs) {
            self.violations.push(format!("freeze of {}, which is no volume's", mount_point.display()));
            return Err(errno(ACT, mount_point, libc::EOPNOTSUPP));
        }
        if self.is_frozen(fs) {
            return Err(errno(ACT, mount_point, libc::EBUSY));
        }
        Ok(self.token(process, Held::Freeze(fs)))
    }

    pub(super) fn thaw(&mut self, mount_point: &Path) -> Result<Done> {
        const ACT: &str = "thaw";
        let Some(fs) = self.top(mount_point).map(|entry| entry.fs) else {
            return Err(errno(ACT, mount_point, libc::EINVAL));
        };
        if !self.is_frozen(fs) {
            return Ok(Done::Already);
        }
        self.left_frozen.remove(&fs);
        self.tokens.retain(|token| token.what != Held::Freeze(fs));
        Ok(Done::Changed)
    }

    pub(super) fn sync(&mut self, path: &Path) -> Result<()> {
        let Walk::Found(spot) = self.walk(path, Links::Follow) else { return Err(errno("sync", path, libc::ENOENT)) };
        match self.filesystems.get_mut(&spot.fs) {
            Some(fs) => fs.tree.persist_all(),
            None => self.persist_device(spot.fs),
        }
        Ok(())
    }

    pub(super) fn flush_device(&mut self, device: &Path) -> Result<()> {
        let Some(block) = self.block_at(device) else { return Err(errno("flush", device, libc::ENOTBLK)) };
        self.persist_device(block);
        Ok(())
    }
}
