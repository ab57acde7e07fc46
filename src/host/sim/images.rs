//! Image files and what is made in them, in the simulated kernel.

use std::path::Path;

use crate::host::{CopyMethod, CopyRequest, ErrorKind, FormatRequest, Formatted, NewImage, Place, Result};
use crate::model::record::ImageIdentity;
use crate::model::{BlockId, Capacity, Done, FileId, FsType, FsUuid};

use super::machine::{Machine, Spot, errno, refuse};
use super::tree::{Content, FsImage, Node, Tree};

/// What a fresh file system writes, roughly.
const METADATA: u64 = 640 << 10;

/// A device or an image file: whatever a file system can lie in.
enum Bed {
    Device(BlockId),
    Image(Spot),
}

impl Machine {
    pub(super) fn create_image(&mut self, half: bool, image: &NewImage) -> Result<FileId> {
        const ACT: &str = "create image";
        let (parent, name) = self.parent(ACT, &image.part)?;
        self.writable(ACT, &parent)?;
        self.drop_part(&parent, &name);
        let size = image.size.get();
        if image.full && self.free(parent.fs) < size {
            return Err(errno(ACT, &image.part, libc::ENOSPC));
        }
        let allocated = if image.full && !half { size } else { 0 };
        let spot = self.make(&parent, &name, Node::image(if half { 0 } else { size }, allocated, Content::Blank));
        Ok(self.file_id(&spot))
    }

    fn drop_part(&mut self, parent: &Spot, name: &std::ffi::OsStr) {
        if let Some(old) = self.tree_mut(parent.fs).and_then(|tree| tree.unlink(parent.inode, name)) {
            self.forget(parent.fs, old);
        }
    }

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
        Ok(if request.fresh_image && request.templates.is_some() { Formatted::Template } else { Formatted::Mkfs })
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

    /// Copies an image. Half of it is a file without its end; a file system that is written to meanwhile is torn.
    pub(super) fn copy_image(&mut self, half: bool, request: &CopyRequest) -> Result<CopyMethod> {
        const ACT: &str = "copy";
        let from = self.image_spot(ACT, &request.from, Some(request.from_file))?;
        let source = self.node_at(&from).and_then(Node::as_file).expect("an image is a file").clone();
        let (parent, name) = self.parent(ACT, &request.to_part)?;
        self.writable(ACT, &parent)?;
        self.drop_part(&parent, &name);
        if request.size.get() < source.size {
            return Err(refuse(ErrorKind::Invalid, ACT, &request.to_part, "the copy would be smaller than its source"));
        }
        let reflink =
            request.reflink && parent.fs == from.fs && self.filesystems.get(&from.fs).is_some_and(|fs| fs.reflink);
        let size = request.size.get();
        let allocated = if request.full && !reflink { size } else { source.allocated };
        // Shared extents take no space of their own.
        if !reflink && self.free(parent.fs) < allocated {
            return Err(errno(ACT, &request.to_part, libc::ENOSPC));
        }
        let mut content = source.content;
        if let (Content::Fs(fs), Some(l)) = (&mut content, self.loop_on(request.from_file)) {
            let block = l.device.block;
            if self.is_writable(block) && !self.is_frozen(block) {
                fs.torn = true;
            }
        }
        if half {
            content = Content::Blank;
        }
        let allocated = if half { allocated / 2 } else { allocated };
        self.make(&parent, &name, Node::image(size, allocated, content));
        Ok(if reflink { CopyMethod::Reflink } else { CopyMethod::Sparse })
    }

    /// The image at a path, if it is the file meant.
    fn image_spot(&self, act: &'static str, path: &Path, file: Option<FileId>) -> Result<Spot> {
        let spot = self.need(act, path)?;
        if self.node_at(&spot).and_then(Node::as_file).is_none() {
            return Err(refuse(ErrorKind::Foreign, act, path, "it is no regular file"));
        }
        match file {
            Some(file) if self.file_id(&spot) != file => {
                let cause = format!("it is {}, not {file}", self.file_id(&spot));
                Err(refuse(ErrorKind::Foreign, act, path, cause))
            }
            _ => Ok(spot),
        }
    }

    /// Half of it has allocated and not yet grown.
    pub(super) fn resize_image(
        &mut self,
        half: bool,
        path: &Path,
        file: FileId,
        size: Capacity,
        full: bool,
    ) -> Result<Done> {
        const ACT: &str = "resize image";
        let spot = self.image_spot(ACT, path, Some(file))?;
        self.writable(ACT, &spot)?;
        let free = self.free(spot.fs);
        let data = self.node_at_mut(&spot).and_then(Node::as_file_mut).expect("an image is a file");
        let size = size.get();
        if data.size > size && data.content != Content::Blank {
            let found = format!("{} was cut from {} to {size} bytes", path.display(), data.size);
            self.violations.push(found);
            return Err(refuse(ErrorKind::Invalid, ACT, path, "an image with content never shrinks"));
        }
        let missing = if full { size.saturating_sub(data.allocated) } else { 0 };
        if missing > free {
            return Err(errno(ACT, path, libc::ENOSPC));
        }
        if data.size == size && missing == 0 {
            return Ok(Done::Already);
        }
        data.allocated += missing;
        if !half {
            data.size = size;
        }
        Ok(Done::Changed)
    }

    pub(super) fn allocate_image(&mut self, half: bool, path: &Path, file: FileId) -> Result<Done> {
        const ACT: &str = "allocate image";
        let spot = self.image_spot(ACT, path, Some(file))?;
        self.writable(ACT, &spot)?;
        let free = self.free(spot.fs);
        let data = self.node_at_mut(&spot).and_then(Node::as_file_mut).expect("an image is a file");
        let missing = data.size.saturating_sub(data.allocated);
        if missing > free {
            return Err(errno(ACT, path, libc::ENOSPC));
        }
        data.allocated += if half { missing / 2 } else { missing };
        Ok(if missing > 0 { Done::Changed } else { Done::Already })
    }

    pub(super) fn set_identity(&mut self, path: &Path, identity: &ImageIdentity) -> Result<Done> {
        const ACT: &str = "set identity";
        let spot = self.image_spot(ACT, path, None)?;
        self.writable(ACT, &spot)?;
        let data = self.node_at_mut(&spot).and_then(Node::as_file_mut).expect("an image is a file");
        if data.identity.as_ref() == Some(identity) {
            return Ok(Done::Already);
        }
        data.identity = Some(identity.clone());
        Ok(Done::Changed)
    }

    /// Half of it has renamed and not yet flushed the directory.
    pub(super) fn place_image(&mut self, half: bool, part: &Path, path: &Path, place: &Place) -> Result<()> {
        const ACT: &str = "place image";
        let spot = self.image_spot(ACT, part, None)?;
        let (from, part_name) = self.parent(ACT, part)?;
        let (to, name) = self.parent(ACT, path)?;
        if from.fs != to.fs {
            return Err(errno(ACT, path, libc::EXDEV));
        }
        self.writable(ACT, &to)?;
        match (place, self.find(path)) {
            (Place::New, Some(_)) => return Err(errno(ACT, path, libc::EEXIST)),
            (Place::Replace(file), Some(old)) if self.file_id(&old) != *file => {
                return Err(refuse(ErrorKind::Foreign, ACT, path, format!("what lies there is not {file}")));
            }
            _ => {}
        }
        self.persist_node(spot.fs, spot.inode);
        let tree = self.tree_mut(to.fs).expect("a spot is on a file system that is there");
        if let Some(old) = tree.rename((from.inode, &part_name), (to.inode, &name)) {
            self.forget(to.fs, old);
        }
        if !half {
            self.persist_names(&to, &[&name]);
            self.persist_names(&from, &[&part_name]);
        }
        Ok(())
    }

    pub(super) fn remove_image(&mut self, path: &Path, file: Option<FileId>) -> Result<Done> {
        const ACT: &str = "remove image";
        if self.find(path).is_none() {
            return Ok(Done::Already);
        }
        self.image_spot(ACT, path, file)?;
        let (parent, name) = self.parent(ACT, path)?;
        self.writable(ACT, &parent)?;
        self.drop_part(&parent, &name);
        Ok(Done::Changed)
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
            _ => Err(refuse(ErrorKind::Verify, ACT, path, format!("it holds no whole {fs}"))),
        }
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
