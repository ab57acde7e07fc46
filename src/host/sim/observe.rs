//! What the simulated machine answers when it is looked at.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;

use crate::host::{
    ErrorKind, Extent, Extents, FileFacts, FileKind, FsUsage, Holder, HostError, ImageFile, Observe, PoolFacts, Result,
    ToolFacts,
};
use crate::model::observed::{HostFacts, ObservedDevice, ObservedImage, ObservedTarget, TargetKind};
use crate::model::{
    BlockId, Capacity, DiskId, FileId, FsType, LoopDevice, Mount, MountNamespace, MountTable, NamespaceState, Pool,
    Probe, Signature,
};

use super::SimHost;
use super::machine::{Machine, errno, refuse};
use super::tree::{Content, FsImage, Node, NodeKind};
use super::walk::{Links, Walk};

/// Contents have no inner structure here: a file holds data everywhere or nowhere.
fn one_extent(from: u64, size: u64, all: bool) -> Extents {
    let length = size.saturating_sub(from);
    let found = if all && length > 0 { vec![Extent { offset: from, length }] } else { Vec::new() };
    Extents { found, next: None }
}

/// What a probe says of a whole file system of this type.
fn signature(fs: &FsImage) -> Signature {
    let (offset, magic): (u64, &[u8]) = match fs.fs_type {
        FsType::Ext4 => (1080, &[0x53, 0xef]),
        FsType::Xfs => (0, b"XFSB"),
        FsType::Btrfs => (65600, b"_BHRfS_M"),
    };
    Signature {
        kind: fs.fs_type.to_string(),
        uuid: Some(fs.uuid.to_string()),
        label: fs.label.clone(),
        offset,
        magic: magic.to_vec(),
    }
}

fn probe_content(content: &Content) -> Probe {
    match content {
        Content::Blank | Content::Data(_) => Probe::Blank,
        // mke2fs writes its superblock last, mkfs.xfs its magic first.
        Content::Fs(fs) if fs.half_made && fs.fs_type == FsType::Ext4 => Probe::Blank,
        Content::Fs(fs) => Probe::Known(signature(fs)),
        Content::Other(signature) => Probe::Known(signature.clone()),
        Content::Ambiguous(signatures) => Probe::Ambiguous(signatures.clone()),
        Content::Unreadable(cause) => Probe::Unreadable { offset: 0, cause: cause.clone() },
    }
}

impl Machine {
    /// What a device or image holds.
    pub(super) fn content_at(&self, act: &'static str, path: &Path) -> Result<&Content> {
        let Walk::Found(spot) = self.walk(path, Links::Follow) else { return Err(errno(act, path, libc::ENOENT)) };
        match self.node_at(&spot).map(|node| &node.kind) {
            Some(NodeKind::Block(block)) => self.content(*block).ok_or_else(|| errno(act, path, libc::ENXIO)),
            Some(NodeKind::File(data)) => Ok(&data.content),
            _ => Err(refuse(ErrorKind::Invalid, act, path, "it is neither a block device nor a regular file")),
        }
    }

    fn stat(&self, path: &Path) -> Result<Option<FileFacts>> {
        let spot = match self.walk(path, Links::FollowParents) {
            Walk::Found(spot) => spot,
            Walk::Missing { .. } | Walk::NotDirectory(_) => return Ok(None),
            Walk::Link { .. } => return Err(errno("stat", path, libc::ELOOP)),
        };
        let node = self.node_at(&spot).expect("a spot that was just found");
        let (kind, device, size, allocated) = match &node.kind {
            NodeKind::Directory(_) => (FileKind::Directory, None, 4096, 4096),
            NodeKind::File(data) => (FileKind::File, None, data.size, data.allocated),
            NodeKind::Link(_) => (FileKind::Link, None, 0, 0),
            NodeKind::Block(block) => (FileKind::Block, Some(*block), 0, 0),
        };
        let file = self.file_id(&spot);
        // There is no clock here: everything was written when it began.
        static BEGUN: std::sync::LazyLock<u64> =
            std::sync::LazyLock::new(|| std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs());
        let now = *BEGUN;
        let (uid, gid, mode, modified) = (node.uid, node.gid, node.mode, now.cast_signed());
        Ok(Some(FileFacts { kind, file, device, size, allocated, uid, gid, mode, modified, modified_nanos: 0 }))
    }

    fn image(&self, path: &Path) -> Result<Option<ObservedImage>> {
        let Some(spot) = self.find(path) else { return Ok(None) };
        let Some(data) = self.node_at(&spot).and_then(Node::as_file) else {
            return Err(refuse(ErrorKind::Foreign, "look at image", path, "it is no regular file"));
        };
        Ok(Some(ObservedImage {
            path: path.to_owned(),
            file: self.file_id(&spot),
            size: Capacity::bytes(data.size),
            allocated: Capacity::bytes(data.allocated),
            identity: data.identity.clone(),
        }))
    }

    /// The size and content of an image, if it is the file meant.
    fn image_content(&self, of: &ImageFile) -> Result<(u64, &Content)> {
        const ACT: &str = "look at image";
        let spot = self.find(&of.path).ok_or_else(|| errno(ACT, &of.path, libc::ENOENT))?;
        if self.file_id(&spot) != of.file {
            return Err(refuse(ErrorKind::Foreign, ACT, &of.path, "it is another file now"));
        }
        let data = self.node_at(&spot).and_then(Node::as_file);
        let data = data.ok_or_else(|| refuse(ErrorKind::Foreign, ACT, &of.path, "it is no regular file"))?;
        Ok((data.size, &data.content))
    }

    fn device(&self, path: &Path) -> Result<Option<ObservedDevice>> {
        const ACT: &str = "look at device";
        let spot = match self.walk(path, Links::Follow) {
            Walk::Found(spot) => spot,
            Walk::Missing { .. } | Walk::NotDirectory(_) => return Ok(None),
            Walk::Link { .. } => return Err(errno(ACT, path, libc::ELOOP)),
        };
        let Some(NodeKind::Block(block)) = self.node_at(&spot).map(|node| node.kind.clone()) else {
            return Err(refuse(ErrorKind::Invalid, ACT, path, "it is no block device"));
        };
        if let Some(disk) = self.disks.get(&block) {
            return Ok(Some(ObservedDevice {
                block,
                disk: DiskId {
                    size: disk.size,
                    start: 0,
                    wwn: disk.wwn.clone(),
                    serial: disk.serial.clone(),
                    sequence: Some((self.facts.boot_id.clone(), u64::from(block.minor))),
                },
                size: Capacity::bytes(disk.size),
                serial: disk.serial.clone(),
                wwn: disk.wwn.clone(),
                sector_size: disk.sector_size,
                holders: disk.holders.clone(),
                stands_on: Vec::new(),
                shows_image_of: None,
                unseen_file: None,
            }));
        }
        let l = self.loops.get(&block.minor).filter(|l| l.device.block == block);
        Ok(l.map(|l| ObservedDevice {
            block,
            disk: DiskId {
                size: l.device.size,
                sequence: Some((self.facts.boot_id.clone(), u64::from(block.minor))),
                ..DiskId::default()
            },
            size: Capacity::bytes(l.device.size),
            serial: None,
            wwn: None,
            sector_size: l.device.sector_size,
            holders: Vec::new(),
            stands_on: Vec::new(),
            shows_image_of: None,
            unseen_file: None,
        }))
    }

    fn usage(&self, path: &Path) -> Result<FsUsage> {
        let Walk::Found(spot) = self.walk(path, Links::Follow) else { return Err(errno("statfs", path, libc::ENOENT)) };
        let free = self.free(spot.fs);
        let total = match self.filesystems.get(&spot.fs) {
            Some(host) => host.total,
            None => self.fs_image(spot.fs).map_or(0, |fs| fs.size),
        };
        let inodes_used = self.tree(spot.fs).map_or(0, |tree| tree.iter().count()) as u64;
        Ok(FsUsage { total, used: total - free, free, available: free, inodes: 1 << 20, inodes_used })
    }

    fn pool(&self, pool: &Pool) -> Result<PoolFacts> {
        let (spot, exists) = match self.walk(&pool.path, Links::Follow) {
            Walk::Found(spot) => (spot, true),
            Walk::Missing { parent, .. } => (parent, false),
            _ => return Err(errno("look at pool", &pool.path, libc::ENOTDIR)),
        };
        let usage = self.usage(&spot.path)?;
        let host = self.filesystems.get(&spot.fs);
        let fs_type = match (host, self.fs_image(spot.fs)) {
            (Some(host), _) => host.fs_type.clone(),
            (None, Some(fs)) => fs.fs_type.to_string(),
            (None, None) => "unknown".to_owned(),
        };
        Ok(PoolFacts {
            exists,
            fs_type,
            free: Capacity::bytes(usage.free),
            total: Capacity::bytes(usage.total),
            reflink: host.is_some_and(|host| host.reflink),
            largest_file: None,
        })
    }

    fn target(&self, root: &Path, target: &Path) -> Result<ObservedTarget> {
        let mut seen = ObservedTarget::default();
        let spot = match self.walk_below("look at target", root, target)? {
            Walk::Found(spot) => spot,
            Walk::Missing { .. } => return Ok(seen),
            Walk::NotDirectory(at) => {
                seen.unknown = Some(format!("{} is no directory", at.display()));
                return Ok(seen);
            }
            Walk::Link { at, to } => {
                seen.kind = TargetKind::Other;
                seen.symlink = Some((at, to));
                return Ok(seen);
            }
        };
        match self.node_at(&spot).map(|node| &node.kind) {
            Some(NodeKind::Directory(entries)) => {
                seen.kind = TargetKind::Directory;
                if self.top(&spot.path).is_none() {
                    seen.hides = entries.len() as u64;
                }
            }
            Some(NodeKind::File(_)) => seen.kind = TargetKind::File,
            Some(NodeKind::Block(_) | NodeKind::Link(_)) | None => seen.kind = TargetKind::Other,
        }
        Ok(seen)
    }

    fn holders(&self, device: BlockId, target: Option<&Path>) -> Vec<Holder> {
        let of_device = self.busy_devices.get(&self.of_shown(device)).into_iter().flatten();
        let of_target = self.busy_mounts.iter().filter(|(at, _)| {
            target.is_some_and(|target| target == at.as_path())
                || self.top(at).is_some_and(|entry| entry.mount.device == device)
        });
        of_device.chain(of_target.flat_map(|(_, holders)| holders)).cloned().collect()
    }
}

impl Observe for SimHost {
    fn facts(&self) -> Result<HostFacts> {
        self.look("facts", Path::new("/"), |machine| Ok(machine.facts.clone()))
    }

    fn mount_table(&self) -> Result<MountTable> {
        self.look("read mounts", Path::new("/"), |machine| {
            Ok(MountTable::new(machine.mounts.iter().map(|entry| entry.mount.clone()).collect()))
        })
    }

    fn mounts_at(&self, target: &Path) -> Result<Vec<Mount>> {
        self.look("read mounts", target, |machine| {
            let at = machine.mounts.iter().filter(|entry| entry.mount.target == target);
            Ok(at.map(|entry| entry.mount.clone()).collect())
        })
    }

    fn loops(&self) -> Result<Vec<LoopDevice>> {
        self.look("read loops", Path::new("/dev"), |machine| {
            Ok(machine.loops.values().map(|l| l.device.clone()).collect())
        })
    }

    fn loop_of(&self, file: FileId, _hint: Option<u32>) -> Result<Option<LoopDevice>> {
        self.look("read loops", Path::new("/dev"), |machine| Ok(machine.loop_on(file).map(|l| l.device.clone())))
    }

    fn is_last_copy(&self, index: u32) -> Result<bool> {
        self.look("read loops", Path::new("/dev"), |machine| {
            let Some(file) = machine.loops.get(&index).map(|l| l.device.backing) else { return Ok(false) };
            let Some(tree) = machine.tree(machine.of_shown(file.device)) else { return Ok(false) };
            let mut directories = tree.iter().filter_map(|(_, node)| node.entries());
            Ok(!directories.any(|entries| entries.values().any(|inode| *inode == file.inode)))
        })
    }

    fn frozen(&self, mount: &Mount) -> Option<bool> {
        let look = self.look("look whether it is frozen", &mount.target, |machine| {
            let fs = machine.mounts.iter().find(|entry| entry.mount.id == mount.id).map(|entry| entry.fs);
            Ok(fs.map(|fs| machine.is_frozen(fs)))
        });
        look.ok().flatten()
    }

    fn stat(&self, path: &Path) -> Result<Option<FileFacts>> {
        self.look("stat", path, |machine| machine.stat(path))
    }

    fn list(&self, directory: &Path) -> Result<Vec<OsString>> {
        self.look("list", directory, |machine| match machine.walk(directory, Links::Follow) {
            Walk::Found(spot) => match machine.node_at(&spot).and_then(Node::entries) {
                Some(entries) => Ok(entries.keys().cloned().collect()),
                None => Err(errno("list", directory, libc::ENOTDIR)),
            },
            _ => Ok(Vec::new()),
        })
    }

    fn read_small(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        self.look("read file", path, |machine| match machine.walk(path, Links::Follow) {
            Walk::Found(spot) => match machine.node_at(&spot).map(|node| &node.kind) {
                Some(NodeKind::File(data)) => Ok(Some(data.bytes.clone())),
                _ => Err(errno("read file", path, libc::EISDIR)),
            },
            _ => Ok(None),
        })
    }

    fn image(&self, path: &Path) -> Result<Option<ObservedImage>> {
        self.look("look at image", path, |machine| machine.image(path))
    }

    fn data_extents(&self, of: &ImageFile, from: u64, _most: NonZeroUsize) -> Result<Extents> {
        self.look("list the data of", &of.path, |machine| {
            let (size, content) = machine.image_content(of)?;
            Ok(one_extent(from, size, *content != Content::Blank))
        })
    }

    fn changed_extents(&self, of: &ImageFile, base: &ImageFile, from: u64, _most: NonZeroUsize) -> Result<Extents> {
        self.look("compare", &of.path, |machine| {
            let ((size, content), (_, before)) = (machine.image_content(of)?, machine.image_content(base)?);
            Ok(one_extent(from, size, content != before))
        })
    }

    fn device(&self, path: &Path) -> Result<Option<ObservedDevice>> {
        self.look("look at device", path, |machine| machine.device(path))
    }

    fn probe(&self, path: &Path) -> Probe {
        let unreadable = |error: HostError| Probe::Unreadable { offset: 0, cause: error.cause };
        let probed = self.look("probe", path, |machine| machine.content_at("probe", path).map(probe_content));
        probed.unwrap_or_else(unreadable)
    }

    fn filesystem_size(&self, path: &Path, fs: FsType) -> Result<Capacity> {
        const ACT: &str = "read file system size";
        self.look(ACT, path, |machine| match machine.content_at(ACT, path)? {
            Content::Fs(found) if found.fs_type == fs => Ok(Capacity::bytes(found.size)),
            Content::Unreadable(_) => Err(errno(ACT, path, libc::EIO)),
            _ => Err(refuse(ErrorKind::Invalid, ACT, path, format!("it holds no {fs}"))),
        })
    }

    fn usage(&self, path: &Path) -> Result<FsUsage> {
        self.look("statfs", path, |machine| machine.usage(path))
    }

    fn pool(&self, pool: &Pool) -> Result<PoolFacts> {
        self.look("look at pool", &pool.path, |machine| machine.pool(pool))
    }

    fn target(&self, trusted_root: &Path, target: &Path) -> Result<ObservedTarget> {
        self.look("look at target", target, |machine| machine.target(trusted_root, target))
    }

    fn namespace_state(&self, mount_namespace: MountNamespace) -> Result<NamespaceState> {
        self.look("look at namespace", Path::new("/proc"), |machine| {
            let lives = machine.namespaces.iter().any(|lives| lives.is(mount_namespace));
            Ok(if lives { NamespaceState::Lives } else { NamespaceState::Gone })
        })
    }

    fn holders(&self, device: BlockId, target: Option<&Path>) -> Result<Vec<Holder>> {
        self.look("find holders", target.unwrap_or(Path::new("/dev")), |machine| Ok(machine.holders(device, target)))
    }

    fn tools(&self) -> Vec<ToolFacts> {
        const TOOLS: [(&str, &str, &str); 3] = [
            ("mkfs.ext4", "formatting ext4", "e2fsprogs"),
            ("mkfs.xfs", "formatting xfs", "xfsprogs"),
            ("mkfs.btrfs", "formatting btrfs", "btrfs-progs"),
        ];
        let machine = self.machine();
        let found = |name: &str| !machine.missing_tools.contains(name);
        TOOLS
            .into_iter()
            .map(|(name, needed_for, package)| ToolFacts {
                name,
                path: found(name).then(|| Path::new("/usr/sbin").join(name)),
                version: None,
                needed_for,
                package,
            })
            .collect()
    }
}
