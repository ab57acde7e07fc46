//! The writing verbs of the simulated host: each is one numbered effect on the machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::host::{
    AttachLoop, AttachedLoop, BindMount, CopyMethod, CopyRequest, ErrorKind, FormatRequest, Formatted, Freeze,
    FreezeGuard, FsMount, GrowRequest, Host, HostError, Lock, LockMode, LoopHold, Made, NewImage, Place, Result,
    Unmount,
};
use crate::model::record::ImageIdentity;
use crate::model::{BlockId, Capacity, Done, FileId, FsType, FsUuid, Ownership, PublishKind};

use super::machine::Held;
use super::tree::{Node, NodeKind};
use super::{Inner, SimHost};

/// Gives a lock, a loop or a freeze back when it goes.
struct Guard {
    inner: Arc<Inner>,
    token: u64,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut machine = self.inner.lock();
        machine.tokens.retain(|token| token.id != self.token);
        machine.settle();
        drop(machine);
        self.inner.changed.notify_all();
    }
}

impl FreezeGuard for Guard {
    fn held(&self) -> bool {
        let machine = self.inner.lock();
        !machine.freezes_expire && machine.tokens.iter().any(|token| token.id == self.token)
    }

    fn end(self: Box<Self>) -> bool {
        self.held()
    }
}

impl SimHost {
    fn guard(&self, token: u64) -> Guard {
        Guard { inner: Arc::clone(&self.inner), token }
    }
}

impl Host for SimHost {
    fn make_dir(&self, path: &Path, mode: u32) -> Result<Done> {
        self.effect(
            "make directory",
            path,
            |machine, half| {
                if half { Ok(Done::Already) } else { machine.make_dir(path, mode) }
            },
        )
    }

    fn remove_dir(&self, path: &Path) -> Result<Done> {
        self.effect(
            "remove directory",
            path,
            |machine, half| if half { Ok(Done::Already) } else { machine.remove_dir(path) },
        )
    }

    fn write_small(&self, path: &Path, content: &[u8], durable: bool) -> Result<()> {
        self.effect("write file", path, |machine, half| machine.write_small(half, path, content, durable))
    }

    fn append_small(&self, path: &Path, line: &[u8], most: u64) -> Result<Done> {
        self.effect("append to file", path, |machine, half| machine.append_small(half, path, line, most))
    }

    fn remove_small(&self, path: &Path, durable: bool) -> Result<Done> {
        self.effect("remove file", path, |machine, half| machine.remove_small(path, durable && !half))
    }

    fn set_aside(&self, path: &Path, directory: &Path) -> Result<PathBuf> {
        self.effect(
            "set aside",
            path,
            |machine, half| {
                if half { Ok(PathBuf::new()) } else { machine.set_aside(path, directory) }
            },
        )
    }

    fn lock(&self, path: &Path, mode: LockMode, timeout: Duration) -> Result<Lock> {
        const ACT: &str = "lock";
        let deadline = Instant::now() + timeout;
        self.effect(ACT, path, |machine, _half| {
            let (parent, name) = machine.parent(ACT, path)?;
            if machine.find(path).is_none() {
                machine.writable(ACT, &parent)?;
                machine.make(&parent, &name, Node::file(&[], 0o600));
            }
            Ok(())
        })?;
        let mut machine = self.inner.lock();
        loop {
            if machine.processes.get(&self.process).is_none_or(|process| process.dead) {
                return Err(super::fault::dead(ACT, path.to_owned()));
            }
            let taken = machine.tokens.iter().any(|token| match &token.what {
                Held::Lock(held, held_mode) => {
                    held == path && (mode == LockMode::Exclusive || *held_mode == LockMode::Exclusive)
                }
                _ => false,
            });
            if !taken {
                let token = machine.token(self.process, Held::Lock(path.to_owned(), mode));
                drop(machine);
                return Ok(Lock::of(self.guard(token)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let cause = "another process kept it";
                return Err(HostError::new(ErrorKind::LockHeld, ACT, path, cause));
            }
            machine = self.inner.wait(machine, left);
        }
    }

    fn create_image(&self, image: &NewImage) -> Result<FileId> {
        self.effect("create image", &image.part, |machine, half| machine.create_image(half, image))
    }

    fn format(&self, request: &FormatRequest, _lock: &Lock) -> Result<Formatted> {
        self.effect("format", &request.path, |machine, half| machine.format(half, request))
    }

    fn copy_image(&self, request: &CopyRequest, _lock: &Lock) -> Result<CopyMethod> {
        self.effect("copy", &request.to_part, |machine, half| machine.copy_image(half, request))
    }

    fn resize_image(&self, path: &Path, file: FileId, size: Capacity, full: bool) -> Result<Done> {
        self.effect("resize image", path, |machine, half| machine.resize_image(half, path, file, size, full))
    }

    fn allocate_image(&self, path: &Path, file: FileId) -> Result<Done> {
        self.effect("allocate image", path, |machine, half| machine.allocate_image(half, path, file))
    }

    fn set_identity(&self, path: &Path, identity: &ImageIdentity) -> Result<Done> {
        self.effect(
            "set identity",
            path,
            |machine, half| {
                if half { Ok(Done::Already) } else { machine.set_identity(path, identity) }
            },
        )
    }

    fn place_image(&self, part: &Path, path: &Path, place: Place) -> Result<()> {
        self.effect("place image", path, |machine, half| machine.place_image(half, part, path, &place))
    }

    fn remove_image(&self, path: &Path, file: Option<FileId>) -> Result<Done> {
        self.effect(
            "remove image",
            path,
            |machine, half| {
                if half { Ok(Done::Already) } else { machine.remove_image(path, file) }
            },
        )
    }

    fn settle_removal(&self, directory: &Path, before: &Path) -> Result<()> {
        self.effect(
            "settle removal",
            directory,
            |machine, half| {
                if half { Ok(()) } else { machine.settle_removal(directory, before) }
            },
        )
    }

    fn attach_loop(&self, request: &AttachLoop) -> Result<AttachedLoop> {
        let process = self.process;
        let (adopted, device, token) = self.effect("attach", &request.path, |machine, half| {
            if half {
                Err(HostError::new(ErrorKind::Other, "attach", &request.path, "half"))
            } else {
                machine.attach_loop(process, request)
            }
        })?;
        Ok(AttachedLoop { device, adopted, hold: LoopHold::new(self.guard(token)) })
    }

    fn detach_loop(&self, index: u32, file: FileId) -> Result<Done> {
        let node = PathBuf::from(format!("/dev/loop{index}"));
        self.effect(
            "detach",
            &node,
            |machine, half| {
                if half { Ok(Done::Already) } else { machine.detach_loop(index, file) }
            },
        )
    }

    fn resize_loop(&self, index: u32, file: FileId) -> Result<Done> {
        let node = PathBuf::from(format!("/dev/loop{index}"));
        self.effect(
            "resize loop",
            &node,
            |machine, half| {
                if half { Ok(Done::Already) } else { machine.resize_loop(index, file) }
            },
        )
    }

    fn made(&self, device: &Path, fs: FsType, _lock: &Lock) -> Result<Made> {
        self.look("look whether it was made whole", device, |machine| machine.made(device, fs))
    }

    fn check_filesystem(&self, device: &Path, fs: FsType, _lock: &Lock) -> Result<Done> {
        self.effect("check file system", device, |machine, half| {
            if half { Ok(Done::Already) } else { machine.check_filesystem(device, fs) }
        })
    }

    fn grow_filesystem(&self, request: &GrowRequest, _lock: &Lock) -> Result<Done> {
        self.effect("grow file system", &request.device, |machine, half| {
            if half { Ok(Done::Already) } else { machine.grow_filesystem(request) }
        })
    }

    fn change_uuid(&self, path: &Path, fs: FsType, uuid: FsUuid, _lock: &Lock) -> Result<()> {
        self.effect("change UUID", path, |machine, half| machine.change_uuid(half, path, fs, uuid))
    }

    fn erase_signatures(&self, device: &Path, expect: BlockId) -> Result<Done> {
        self.effect("erase signatures", device, |machine, half| {
            if half { Ok(Done::Already) } else { machine.erase_signatures(device, expect) }
        })
    }

    fn mount(&self, request: &FsMount) -> Result<()> {
        self.effect("mount", &request.target, |machine, half| machine.mount(half, request))
    }

    fn remount(&self, request: &FsMount) -> Result<Done> {
        self.effect(
            "remount",
            &request.target,
            |machine, half| {
                if half { Ok(Done::Already) } else { machine.remount(request) }
            },
        )
    }

    fn bind(&self, request: &BindMount) -> Result<()> {
        self.effect("bind", &request.target, |machine, half| if half { Ok(()) } else { machine.bind(request) })
    }

    fn change_flags(&self, request: &BindMount) -> Result<Done> {
        self.effect("change flags", &request.target, |machine, half| {
            if half { Ok(Done::Already) } else { machine.change_flags(request) }
        })
    }

    fn unmount(&self, request: &Unmount) -> Result<Done> {
        self.effect(
            "unmount",
            &request.target,
            |machine, half| {
                if half { Ok(Done::Already) } else { machine.unmount(request) }
            },
        )
    }

    fn make_target(&self, trusted_root: &Path, target: &Path, kind: PublishKind) -> Result<Vec<PathBuf>> {
        self.effect("make target", target, |machine, half| machine.make_target(half, trusted_root, target, kind))
    }

    fn remove_target(&self, trusted_root: &Path, target: &Path, kind: PublishKind) -> Result<Done> {
        self.effect("remove target", target, |machine, half| {
            if half { Ok(Done::Already) } else { machine.remove_target(trusted_root, target, kind) }
        })
    }

    fn set_ownership(&self, path: &Path, ownership: Ownership) -> Result<Done> {
        self.effect("set ownership", path, |machine, half| {
            if half { Ok(Done::Already) } else { machine.set_ownership(path, ownership) }
        })
    }

    fn change_group(&self, path: &Path, group: u32) -> Result<Done> {
        self.effect("change group", path, |machine, half| machine.change_group(half, path, group))
    }

    fn freeze(&self, mount_point: &Path, _timeout: Duration) -> Result<Freeze> {
        let process = self.process;
        let token =
            self.effect(
                "freeze",
                mount_point,
                |machine, half| {
                    if half { Ok(0) } else { machine.freeze(process, mount_point) }
                },
            )?;
        Ok(Freeze::new(self.guard(token)))
    }

    fn thaw(&self, mount_point: &Path) -> Result<Done> {
        self.effect(
            "thaw",
            mount_point,
            |machine, half| {
                if half { Ok(Done::Already) } else { machine.thaw(mount_point) }
            },
        )
    }

    fn sync(&self, path: &Path) -> Result<()> {
        self.effect("sync", path, |machine, half| if half { Ok(()) } else { machine.sync(path) })
    }

    fn flush_device(&self, device: &Path) -> Result<()> {
        self.effect("flush", device, |machine, half| if half { Ok(()) } else { machine.flush_device(device) })
    }
}

impl Node {
    /// Whether it is a block device's node.
    pub(super) const fn is_block(&self) -> bool {
        matches!(self.kind, NodeKind::Block(_))
    }
}
