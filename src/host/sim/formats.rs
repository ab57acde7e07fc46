//! File systems in devices and images: made, checked, grown, given another UUID, erased.

use std::path::Path;

use crate::host::{ErrorKind, FormatRequest, Formatted, Made, Result};
use crate::model::{BlockId, Done, FsType, FsUuid};

use super::machine::{Machine, errno, refuse};
use super::tree::{Content, FsImage, Node, Tree};
use super::walk::Spot;

/// What a fresh file system writes, roughly.
const METADATA: u64 = 640 << 10;

/// A device or an image file: whatever a file system can lie in.
enum Bed {
    Device(BlockId),
    Image(Spot),
}

impl Machine {
    fn bed(&self, act: &'static str, path: &Path) -> Result<Bed> {
        if let Some(block) = self.block_at(path) {
            return Ok(Bed::Device(block));
        }
        let spot = self.need(act, path)?;
        match self.node_at(&spot).and_then(Node::as_file) {
            Some(_) => Ok(Bed::Image(spot)),
            None => Err(refuse(ErrorKind::Invalid, act, path, "it is neither a block device nor a regular file")),
        }
    }

    fn bed_content(&mut self, act: &'static str, path: &Path, bed: &Bed) -> Result<&mut Content> {
        let content = match bed {
            Bed::Device(block) => self.content_mut(*block),
            Bed::Image(spot) => self.node_at_mut(spot).and_then(Node::as_file_mut).map(|data| &mut data.content),
        };
        content.ok_or_else(|| errno(act, path, libc::ENXIO))
    }

    fn bed_size(&self, bed: &Bed) -> u64 {
        match bed {
            Bed::Device(block) => self.disk_size(*block).unwrap_or(0),
            Bed::Image(spot) => self.node_at(spot).and_then(Node::as_file).map_or(0, |data| data.size),
        }
    }

    /// Refuses what is in use: a mounted or open device, an image with a loop on it.
    fn idle(&self, act: &'static str, path: &Path, bed: &Bed) -> Result<()> {
        let busy = match bed {
            Bed::Device(block) => self.is_mounted(*block) || self.busy_devices.contains_key(block),
            Bed::Image(spot) => self.loop_on(self.file_id(spot)).is_some(),
        };
        if busy { Err(errno(act, path, libc::EBUSY)) } else { Ok(()) }
    }

    fn flush_bed(&mut self, bed: &Bed) {
        match bed {
            Bed::Device(block) => self.persist_device(*block),
            Bed::Image(_) => {}
        }
    }

    pub(super) fn format(&mut self, half: bool, request: &FormatRequest) -> Result<Formatted> {
        const ACT: &str = "format";
        let path = &request.path;
        if self.missing_tools.contains(&format!("mkfs.{}", request.fs)) {
            return Err(refuse(ErrorKind::MissingTool, ACT, path, format!("mkfs.{} is not installed", request.fs)));
        }
        let bed = self.bed(ACT, path)?;
        self.idle(ACT, path, &bed)?;
        let size = self.bed_size(&bed);
        match self.bed_content(ACT, path, &bed)? {
            Content::Blank | Content::Data(_) => {}
            Content::Fs(fs) if fs.half_made && fs.fs_type == FsType::Ext4 => {}
            Content::Fs(fs) if request.resume && fs.uuid == request.uuid => {
                if fs.tree.children(super::tree::ROOT) > 0 {
                    let found = format!("format of {} over a file system that holds files", path.display());
                    self.violations.push(found);
                }
            }
            Content::Fs(fs) => {
                let cause = format!("it holds {} {}", fs.fs_type, fs.uuid);
                return Err(refuse(ErrorKind::NotBlank, ACT, path, cause));
            }
            Content::Other(_) | Content::Ambiguous(_) => {
                return Err(refuse(ErrorKind::NotBlank, ACT, path, "it is not blank"));
            }
            Content::Unreadable(cause) => {
                let cause = format!("it could not be proven blank: {cause}");
                return Err(refuse(ErrorKind::NotBlank, ACT, path, cause));
            }
        }
        if let Bed::Device(block) = bed
            && self.loops.get(&block.minor).is_some_and(|l| l.device.block == block && l.device.read_only)
        {
            return Err(errno(ACT, path, libc::EROFS));
        }
        if size < request.fs.min_capacity().get() {
            return Err(refuse(
                ErrorKind::ToolFailed,
                ACT,
                path,
                format!("{size} bytes are too few for {}", request.fs),
            ));
        }
        if request.label.as_ref().is_some_and(|label| label.len() > request.fs.label_max()) {
            return Err(refuse(ErrorKind::ToolFailed, ACT, path, "the label is too long"));
        }
        self.allocate_in(ACT, path, &bed, METADATA.min(size))?;
        let fs = FsImage {
            fs_type: request.fs,
            uuid: request.uuid,
            label: request.label.clone(),
            size,
            sector_size: request.sector_size.bytes(),
            half_made: half,
            errors: false,
            torn: false,
            tree: Tree::new(0o755),
        };
        *self.bed_content(ACT, path, &bed)? = Content::Fs(Box::new(fs));
        self.flush_bed(&bed);
        Ok(if request.fresh_image && request.template { Formatted::Template } else { Formatted::Mkfs })
    }

    /// Gives an image at least this many bytes of its own.
    fn allocate_in(&mut self, act: &'static str, path: &Path, bed: &Bed, bytes: u64) -> Result<()> {
        let (fs, inode) = match bed {
            Bed::Image(spot) => (spot.fs, spot.inode),
            Bed::Device(block) => match self.loops.get(&block.minor).filter(|l| l.device.block == *block) {
                Some(l) => (self.of_shown(l.device.backing.device), l.device.backing.inode),
                None => return Ok(()),
            },
        };
        let free = self.free(fs);
        let Some(data) = self.tree_mut(fs).and_then(|tree| tree.get_mut(inode)).and_then(Node::as_file_mut) else {
            return Err(errno(act, path, libc::EIO));
        };
        let more = bytes.saturating_sub(data.allocated);
        if more > free {
            return Err(errno(act, path, libc::ENOSPC));
        }
        data.allocated += more;
        Ok(())
    }

    /// Half of it has left a file system that can't be mounted.
    pub(super) fn change_uuid(&mut self, half: bool, path: &Path, fs: FsType, uuid: FsUuid) -> Result<()> {
        const ACT: &str = "change UUID";
        let bed = self.bed(ACT, path)?;
        self.idle(ACT, path, &bed)?;
        match self.bed_content(ACT, path, &bed)? {
            Content::Fs(found) if found.fs_type == fs && !found.half_made => {
                found.uuid = uuid;
                found.half_made = half;
                Ok(())
            }
            _ => Err(refuse(ErrorKind::Invalid, ACT, path, format!("it holds no whole {fs}"))),
        }
    }

    pub(super) fn made(&self, device: &Path, fs: FsType) -> Result<Made> {
        Ok(match self.content_at("look whether it was made whole", device)? {
            Content::Fs(found) if found.fs_type == fs && !found.half_made => Made::Whole,
            Content::Fs(found) if found.tree.children(super::tree::ROOT) == 0 => Made::Unfinished,
            _ => Made::Unclear,
        })
    }

    pub(super) fn check_filesystem(&mut self, device: &Path, fs: FsType) -> Result<Done> {
        const ACT: &str = "check file system";
        let bed = self.bed(ACT, device)?;
        self.idle(ACT, device, &bed)?;
        match self.bed_content(ACT, device, &bed)? {
            Content::Fs(found) if found.fs_type == fs && !found.half_made => {
                let repaired = std::mem::take(&mut found.errors);
                Ok(if repaired { Done::Changed } else { Done::Already })
            }
            _ => Err(refuse(ErrorKind::ToolFailed, ACT, device, format!("bad magic number: it holds no whole {fs}"))),
        }
    }

    pub(super) fn grow_filesystem(&mut self, request: &crate::host::GrowRequest) -> Result<Done> {
        const ACT: &str = "grow file system";
        let path = &request.device;
        let bed = self.bed(ACT, path)?;
        let size = self.bed_size(&bed);
        match &request.mount_point {
            Some(at) => {
                let Bed::Device(block) = bed else {
                    return Err(refuse(ErrorKind::Invalid, ACT, path, "an image file is not what is mounted"));
                };
                if self.top(at).is_none_or(|entry| entry.fs != block) {
                    return Err(refuse(ErrorKind::Foreign, ACT, at, "this device is not mounted there"));
                }
                if self.top(at).is_some_and(|entry| entry.mount.super_read_only()) {
                    return Err(errno(ACT, at, libc::EROFS));
                }
                if self.is_frozen(block) {
                    return Err(refuse(ErrorKind::Busy, ACT, at, "the file system is frozen"));
                }
            }
            None => self.idle(ACT, path, &bed)?,
        }
        let online = request.mount_point.is_some();
        let privileged = self.facts.can_grow_ext4_online;
        let Content::Fs(fs) = self.bed_content(ACT, path, &bed)? else {
            return Err(refuse(ErrorKind::ToolFailed, ACT, path, "it holds no file system"));
        };
        if fs.fs_type != request.fs || fs.half_made {
            return Err(refuse(ErrorKind::ToolFailed, ACT, path, format!("it holds no whole {}", request.fs)));
        }
        if fs.size >= size {
            return Ok(Done::Already);
        }
        match (fs.fs_type, online) {
            (FsType::Ext4, true) if !privileged => return Err(errno(ACT, path, libc::EPERM)),
            (FsType::Ext4, false) | (_, true) => fs.size = size,
            (_, false) => {
                let cause = format!("{} grows only while it is mounted", fs.fs_type);
                return Err(refuse(ErrorKind::Unsupported, ACT, path, cause));
            }
        }
        Ok(Done::Changed)
    }

    pub(super) fn erase_signatures(&mut self, device: &Path, expect: BlockId) -> Result<Done> {
        const ACT: &str = "erase signatures";
        let Bed::Device(block) = self.bed(ACT, device)? else {
            return Err(refuse(ErrorKind::Invalid, ACT, device, "it is no block device"));
        };
        if block != expect {
            return Err(refuse(ErrorKind::Foreign, ACT, device, format!("it is {block}, not {expect}")));
        }
        self.idle(ACT, device, &Bed::Device(block))?;
        match self.bed_content(ACT, device, &Bed::Device(block))? {
            Content::Blank => Ok(Done::Already),
            Content::Unreadable(cause) => Err(refuse(ErrorKind::Io, ACT, device, cause.clone())),
            content => {
                *content = Content::Blank;
                Ok(Done::Changed)
            }
        }
    }
}
