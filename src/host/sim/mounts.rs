//! Mounts in the simulated kernel.

use std::path::{Path, PathBuf};

use crate::host::{BindMount, ErrorKind, FsMount, Result, Unmount};
use crate::model::{BlockId, Done, Mount, Propagation, PublishKind};

use super::machine::{HostFs, Machine, MountEntry, errno, refuse};
use super::tree::{Content, Node, NodeKind, ROOT, Tree};
use super::walk::{Links, Spot, Walk};

/// Options that belong to a mount; all others belong to its file system.
const PER_MOUNT: [&str; 13] = [
    "ro",
    "rw",
    "nosuid",
    "nodev",
    "noexec",
    "suid",
    "dev",
    "exec",
    "noatime",
    "relatime",
    "strictatime",
    "nodiratime",
    "nosymfollow",
];

/// What options come to: those of the mount and those of the file system, as mountinfo shows them.
fn split_options(options: &[String]) -> (Vec<String>, Vec<String>) {
    let has = |name: &str| options.iter().any(|option| option == name);
    let mode = if has("ro") { "ro" } else { "rw" };
    let mut of_mount = vec![mode.to_owned()];
    for name in ["nosuid", "nodev", "noexec", "nosymfollow", "noatime", "nodiratime"] {
        if has(name) {
            of_mount.push(name.to_owned());
        }
    }
    if !has("noatime") && !has("strictatime") {
        of_mount.push("relatime".to_owned());
    }
    let mut of_fs = vec![mode.to_owned()];
    of_fs.extend(
        options.iter().filter(|option| !PER_MOUNT.contains(&option.as_str())).map(|option| shown_option(option)),
    );
    (of_mount, of_fs)
}

/// tmpfs shows its size in KiB, whatever it was given in.
fn shown_option(option: &str) -> String {
    let size = option.strip_prefix("size=").and_then(|text| {
        let digits = text.trim_end_matches(['k', 'm', 'g']);
        let factor = match &text[digits.len()..] {
            "" => 1,
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            _ => return None,
        };
        digits.parse::<u64>().ok().map(|number| number * factor)
    });
    size.map_or_else(|| option.to_owned(), |bytes| format!("size={}k", bytes / 1024))
}

/// The options that a bind shows.
fn bind_options(request: &BindMount) -> Vec<String> {
    let mut options = request.options.clone();
    options.push(if request.read_only { "ro" } else { "rw" }.to_owned());
    if request.kind == PublishKind::Mount {
        options.extend(["nosuid".to_owned(), "nodev".to_owned()]);
    }
    split_options(&options).0
}

impl Machine {
    /// Where something is to be mounted: below a trusted root, by no link, made where that is allowed.
    fn mount_point(&mut self, act: &'static str, root: &Path, target: &Path, make: bool) -> Result<Spot> {
        match self.walk_below(act, root, target)? {
            Walk::Found(spot) => Ok(spot),
            Walk::Missing { parent, rest } if make => {
                let made = self.make_all(act, parent, &rest, 0o700)?;
                Ok(made.into_iter().next_back().expect("something was missing"))
            }
            Walk::Missing { .. } => Err(errno(act, target, libc::ENOENT)),
            Walk::NotDirectory(_) => Err(errno(act, target, libc::ENOTDIR)),
            Walk::Link { at, to } => {
                let cause = format!("{} is a link to {}", at.display(), to.display());
                Err(refuse(ErrorKind::UnsafePath, act, target, cause))
            }
        }
    }

    pub(super) fn add_mount(&mut self, at: &Spot, mut mount: Mount, fs: BlockId, root: u64) {
        mount.id = self.next_mount;
        mount.parent = at.mount;
        mount.target.clone_from(&at.path);
        self.next_mount += 1;
        self.mounts.push(MountEntry { mount, fs, root });
    }

    /// Half of it has made the mount point.
    pub(super) fn mount(&mut self, half: bool, request: &FsMount) -> Result<()> {
        const ACT: &str = "mount";
        self.privileged(ACT, &request.target)?;
        let at = self.mount_point(ACT, &request.trusted_root, &request.target, true)?;
        if self.node_at(&at).and_then(Node::entries).is_none() {
            return Err(errno(ACT, &request.target, libc::ENOTDIR));
        }
        if half {
            return Ok(());
        }
        let (options, super_options) = split_options(&request.options);
        let mount = Mount {
            id: 0,
            parent: 0,
            device: BlockId { major: 0, minor: 0 },
            root: PathBuf::from("/"),
            target: PathBuf::new(),
            fs_type: request.fs_type.clone(),
            source: request.source.clone(),
            options,
            super_options,
            shared: request.shared,
            slave: false,
        };
        if request.bind_directory {
            let Walk::Found(source) = self.walk(&request.source, Links::Follow) else {
                return Err(errno(ACT, &request.source, libc::ENOENT));
            };
            if self.node_at(&source).and_then(Node::entries).is_none() {
                return Err(errno(ACT, &request.source, libc::ENOTDIR));
            }
            return self.bind_spot(ACT, &at, &source, mount, request.expect);
        }
        if request.fs_type == "tmpfs" {
            let fs = BlockId { major: 0, minor: self.next_anonymous };
            self.next_anonymous += 1;
            let size = mount
                .super_options
                .iter()
                .find_map(|option| option.strip_prefix("size=")?.strip_suffix('k')?.parse().ok());
            let memory = HostFs {
                tree: Tree::new(0o1777),
                fs_type: "tmpfs".to_owned(),
                source: request.source.clone(),
                total: size.map_or(1 << 30, |kib: u64| kib * 1024),
                reflink: false,
                memory: true,
                base: None,
            };
            self.filesystems.insert(fs, memory);
            self.add_mount(&at, Mount { device: fs, ..mount }, fs, ROOT);
            return Ok(());
        }
        self.mount_device(request, &at, mount)
    }

    fn mount_device(&mut self, request: &FsMount, at: &Spot, mut mount: Mount) -> Result<()> {
        const ACT: &str = "mount";
        let source = &request.source;
        let Some(block) = self.block_at(source) else { return Err(errno(ACT, source, libc::ENOTBLK)) };
        if request.expect != Some(block) {
            return Err(refuse(
                ErrorKind::Foreign,
                ACT,
                source,
                format!("it is {block}, not the device that is meant"),
            ));
        }
        let Some(size) = self.disk_size(block) else { return Err(errno(ACT, source, libc::ENXIO)) };
        let l = self.loops.get(&block.minor).filter(|l| l.device.block == block).map(|l| l.device.clone());
        let sector =
            l.as_ref().map_or_else(|| self.disks.get(&block).map_or(512, |disk| disk.sector_size), |l| l.sector_size);
        let fs = match self.content(block) {
            Some(Content::Fs(fs)) if fs.fs_type.as_str() == request.fs_type => fs,
            Some(Content::Fs(fs)) => {
                let cause = format!("wrong fs type: it holds {}", fs.fs_type);
                return Err(refuse(ErrorKind::Other, ACT, source, cause));
            }
            Some(Content::Unreadable(_)) | None => return Err(errno(ACT, source, libc::EIO)),
            Some(_) => return Err(refuse(ErrorKind::NotBlank, ACT, source, "it holds no file system: bad superblock")),
        };
        let cause = if fs.half_made {
            Some("Structure needs cleaning: the file system is half-made")
        } else if fs.torn {
            Some("Structure needs cleaning: the file system was copied while it was written")
        } else if fs.errors {
            Some("the file system is marked with errors and needs a check")
        } else if fs.size > size {
            Some("bad geometry: the file system is larger than its device")
        } else if fs.sector_size < sector {
            Some("bad sector size: the file system was made for smaller sectors")
        } else {
            None
        };
        if let Some(cause) = cause {
            return Err(refuse(ErrorKind::Io, ACT, source, cause));
        }
        let (fs_type, uuid) = (fs.fs_type, fs.uuid);
        let twin = self.mounts.iter().map(|entry| entry.fs).find(|other| {
            *other != block && self.fs_image(*other).is_some_and(|image| image.uuid == uuid && image.fs_type == fs_type)
        });
        if twin.is_some() && fs_type != crate::model::FsType::Ext4 {
            let cause = format!("a file system with UUID {uuid} is mounted already");
            return Err(refuse(ErrorKind::Exists, ACT, source, cause));
        }
        if l.is_some_and(|l| l.read_only) && mount.options.iter().any(|option| option == "rw") {
            return Err(errno(ACT, source, libc::EROFS));
        }
        // One superblock: a second mount of the device shares the options of the first.
        if let Some(first) = self.mounts.iter().find(|entry| entry.fs == block) {
            mount.super_options.clone_from(&first.mount.super_options);
        }
        if fs_type == crate::model::FsType::Btrfs && !self.anonymous.contains_key(&block) {
            self.anonymous.insert(block, BlockId { major: 0, minor: self.next_anonymous });
            self.next_anonymous += 1;
        }
        let device = self.shown(block);
        self.add_mount(at, Mount { device, ..mount }, block, ROOT);
        Ok(())
    }

    /// Shows a directory or file of a file system at another place.
    fn bind_spot(
        &mut self,
        act: &'static str,
        at: &Spot,
        source: &Spot,
        mount: Mount,
        expect: Option<BlockId>,
    ) -> Result<()> {
        let shown = self.shown(source.fs);
        if let Some(expect) = expect
            && expect != shown
        {
            let cause = format!("it lies on {shown}, not on {expect}");
            return Err(refuse(ErrorKind::Foreign, act, &source.path, cause));
        }
        let below = self.entry(source.mount).expect("a spot is always on a mount");
        let mount_root = below.mount.root.clone();
        let inner = source.path.strip_prefix(&below.mount.target).unwrap_or(Path::new("")).to_owned();
        let root = if inner.as_os_str().is_empty() { mount_root } else { mount_root.join(inner) };
        // A bind begins with the flags of the mount it shows.
        let mut options = mount.options;
        for kept in ["noexec", "noatime", "nodiratime", "nosymfollow"] {
            if below.mount.has_option(kept) && !options.iter().any(|option| option == kept) {
                options.retain(|option| kept != "noatime" || option != "relatime");
                options.push(kept.to_owned());
            }
        }
        let mount = Mount {
            options,
            device: shown,
            root,
            fs_type: below.mount.fs_type.clone(),
            source: below.mount.source.clone(),
            super_options: below.mount.super_options.clone(),
            ..mount
        };
        self.add_mount(at, mount, source.fs, source.inode);
        Ok(())
    }

    pub(super) fn remount(&mut self, request: &FsMount) -> Result<Done> {
        const ACT: &str = "remount";
        self.privileged(ACT, &request.target)?;
        let (options, super_options) = split_options(&request.options);
        let at = self.mount_point(ACT, &request.trusted_root, &request.target, false)?;
        let Some(entry) = self.mounts.iter_mut().rev().find(|entry| entry.mount.target == at.path) else {
            return Err(errno(ACT, &request.target, libc::EINVAL));
        };
        if request.expect.is_some_and(|expect| expect != entry.fs && expect != entry.mount.device) {
            return Err(refuse(ErrorKind::Foreign, ACT, &request.target, "another file system is mounted there"));
        }
        let (fs, id) = (entry.fs, entry.mount.id);
        let before = (entry.mount.options.clone(), entry.mount.super_options.clone());
        entry.mount.options.clone_from(&options);
        if !request.bind_directory {
            for other in self.mounts.iter_mut().filter(|entry| entry.fs == fs) {
                other.mount.super_options.clone_from(&super_options);
            }
        }
        let after = self.entry(id).map(|entry| (entry.mount.options.clone(), entry.mount.super_options.clone()));
        Ok(if after.as_ref() == Some(&before) { Done::Already } else { Done::Changed })
    }

    pub(super) fn bind(&mut self, request: &BindMount) -> Result<()> {
        const ACT: &str = "bind";
        self.privileged(ACT, &request.target)?;
        let at = self.mount_point(ACT, &request.trusted_root, &request.target, false)?;
        let is_directory = self.node_at(&at).and_then(Node::entries).is_some();
        let mount = Mount {
            id: 0,
            parent: 0,
            device: request.expect,
            root: PathBuf::new(),
            target: PathBuf::new(),
            fs_type: String::new(),
            source: PathBuf::new(),
            options: bind_options(request),
            super_options: Vec::new(),
            shared: request.propagation == Propagation::Bidirectional,
            slave: request.propagation == Propagation::HostToContainer,
        };
        match request.kind {
            PublishKind::Mount => {
                if !is_directory {
                    return Err(errno(ACT, &request.target, libc::ENOTDIR));
                }
                let source = self.need(ACT, &request.source)?;
                if self.top(&source.path).is_none() {
                    let cause = "nothing is mounted there, and a plain directory is never published";
                    return Err(refuse(ErrorKind::Foreign, ACT, &request.source, cause));
                }
                let source = match &request.sub_path {
                    None => source,
                    Some(sub) => match self.beneath(source, sub) {
                        Walk::Found(spot) if self.node_at(&spot).and_then(Node::entries).is_some() => spot,
                        Walk::Found(_) | Walk::NotDirectory(_) => {
                            return Err(errno(ACT, &request.source.join(sub), libc::ENOTDIR));
                        }
                        Walk::Missing { .. } => return Err(errno(ACT, &request.source.join(sub), libc::ENOENT)),
                        Walk::Link { at, .. } => {
                            return Err(refuse(
                                ErrorKind::UnsafePath,
                                ACT,
                                &at,
                                "a link inside the volume is not followed",
                            ));
                        }
                    },
                };
                self.bind_spot(ACT, &at, &source, mount, Some(request.expect))
            }
            PublishKind::Device => {
                if is_directory {
                    return Err(errno(ACT, &request.target, libc::EISDIR));
                }
                let Walk::Found(source) = self.walk(&request.source, Links::Follow) else {
                    return Err(errno(ACT, &request.source, libc::ENOENT));
                };
                match self.node_at(&source).map(|node| &node.kind) {
                    Some(NodeKind::Block(block)) if *block == request.expect => {}
                    Some(NodeKind::Block(block)) => {
                        let cause = format!("it is {block}, not {}", request.expect);
                        return Err(refuse(ErrorKind::Foreign, ACT, &request.source, cause));
                    }
                    _ => return Err(errno(ACT, &request.source, libc::ENOTBLK)),
                }
                self.bind_spot(ACT, &at, &source, mount, None)
            }
        }
    }

    pub(super) fn change_flags(&mut self, request: &BindMount) -> Result<Done> {
        const ACT: &str = "change the flags of";
        self.privileged(ACT, &request.target)?;
        let at = self.mount_point(ACT, &request.trusted_root, &request.target, false)?;
        let Some(entry) = self.mounts.iter_mut().rev().find(|entry| entry.mount.target == at.path) else {
            return Err(refuse(ErrorKind::NotFound, ACT, &request.target, "nothing is mounted there"));
        };
        if entry.mount.device != request.expect {
            return Err(refuse(ErrorKind::Foreign, ACT, &request.target, "another file system is mounted there"));
        }
        let options = bind_options(request);
        if entry.mount.options == options {
            return Ok(Done::Already);
        }
        entry.mount.options = options;
        Ok(Done::Changed)
    }

    pub(super) fn unmount(&mut self, request: &Unmount) -> Result<Done> {
        const ACT: &str = "unmount";
        self.privileged(ACT, &request.target)?;
        let target = match self.walk_below(ACT, &request.trusted_root, &request.target)? {
            Walk::Found(spot) => spot.path,
            Walk::Missing { .. } | Walk::NotDirectory(_) => return Ok(Done::Already),
            Walk::Link { at, .. } => return Err(refuse(ErrorKind::UnsafePath, ACT, &at, "it is a link")),
        };
        let Some(entry) = self.top(&target).cloned() else { return Ok(Done::Already) };
        if entry.mount.device != request.expect || request.root.as_ref().is_some_and(|root| *root != entry.mount.root) {
            let cause = format!("{} {} is mounted there", entry.mount.device, entry.mount.root.display());
            return Err(refuse(ErrorKind::Foreign, ACT, &request.target, cause));
        }
        let busy = self.busy_mounts.contains_key(&target)
            || self.mounts.iter().any(|other| other.mount.parent == entry.mount.id)
            || (self.is_frozen(entry.fs) && self.mounts.iter().filter(|other| other.fs == entry.fs).count() == 1);
        if busy {
            return Err(errno(ACT, &request.target, libc::EBUSY));
        }
        self.mounts.retain(|other| other.mount.id != entry.mount.id);
        self.settle();
        Ok(Done::Changed)
    }
}
