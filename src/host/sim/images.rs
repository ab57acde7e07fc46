//! Image files and what is made in them, in the simulated kernel.

use std::path::Path;

use crate::host::{CopyMethod, CopyRequest, ErrorKind, NewImage, Place, Result};
use crate::model::record::ImageIdentity;
use crate::model::{Capacity, Done, FileId};

use super::machine::{Machine, errno, refuse};
use super::tree::{Content, Node};
use super::walk::Spot;

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
            self.persist_node(spot.fs, spot.inode);
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
        self.persist_node(spot.fs, spot.inode);
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

    /// Every name of the directory as it is now. Two directories of one file system, which has no journal here, are not told apart from two
    /// of different ones.
    pub(super) fn settle_removal(&mut self, directory: &Path, before: &Path) -> Result<()> {
        const ACT: &str = "settle removal";
        self.need(ACT, before)?;
        let spot = self.need(ACT, directory)?;
        let names = self.tree_mut(spot.fs).map(|tree| tree.names_ever(spot.inode)).unwrap_or_default();
        let names: Vec<&std::ffi::OsStr> = names.iter().map(AsRef::as_ref).collect();
        self.persist_names(&spot, &names);
        Ok(())
    }
}
