//! How a volume is and how full: read only, without its lock, so that asking never keeps anybody waiting and costs the same however many
//! mounts and loop devices there are.

use std::path::Path;

use crate::driver::{DriverError, Refusal, Result};
use crate::host::{FileKind, FsUsage, HostError};
use crate::model::record::{Recorded, RunRecord, VolumeRecord};
use crate::model::{Allocate, Backing, BlockId, Capacity, ImageBacking, LoopDevice, Mount, ObjectRef, Pool, VolumeId};

use super::freezing::{is_left, is_own};
use super::guard::is_image_of;
use super::own::shows_block;
use super::{LocalDriver, reach};

/// A pool with less than this many bytes left is full: the next allocation group of any of its volumes does not fit.
const POOL_FULL: Capacity = Capacity::mib(16);

/// What a path shows of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measured {
    /// A mounted file system, with its use where it answers.
    Filesystem(Option<FsUsage>),
    /// A block device of this size.
    Block(Capacity),
}

impl LocalDriver {
    /// The durable record of a volume, read without its lock.
    pub fn record(&self, id: &VolumeId) -> Recorded<VolumeRecord> {
        self.reader().volume(id)
    }

    /// What is recorded of it for this boot, read without its lock.
    ///
    /// # Errors
    /// [`DriverError::Host`] when this boot's id cannot be read.
    pub fn run_record(&self, id: &VolumeId) -> Result<Option<RunRecord>> {
        let boot = &self.facts(&ObjectRef::Volume(id.clone()))?.boot_id;
        Ok(self.reader().run(id, boot).present().cloned())
    }

    /// How full it is as seen at `path`; `None` when it is neither staged nor published there.
    ///
    /// # Errors
    /// [`DriverError::Refused`] when its mounts are in another mount namespace, [`DriverError::Host`] when looking fails.
    pub fn measure(&self, record: &VolumeRecord, run: Option<&RunRecord>, path: &Path) -> Result<Option<Measured>> {
        let id = &record.spec.id;
        let fail = |error: HostError| DriverError::host(ObjectRef::Volume(id.clone()), error);
        let Some(run) = run else { return Ok(None) };
        let staged = run.staging_path.as_deref() == Some(path);
        if !staged && !run.publishes.contains_key(path) {
            return Ok(None);
        }
        if self.is_out_of_reach(record, run)? {
            return Err(DriverError::refused(
                Refusal::OtherNamespace,
                ObjectRef::Volume(id.clone()),
                format!("mount namespace {} holds its mounts: they cannot be seen from here", run.namespace()),
                "ask the server that staged it",
            ));
        }
        let block = self.block_of(record, Some(run)).map_err(fail)?;
        if record.spec.is_raw() {
            let Some((block, size)) = block else { return Ok(None) };
            let facts = self.host().stat(path).map_err(fail)?;
            let shown = facts.is_some_and(|facts| facts.kind == FileKind::Block && facts.device == Some(block));
            return Ok((staged || shown).then_some(Measured::Block(size)));
        }
        let mounts = self.host().mounts_at(path).map_err(fail)?;
        let ours = mounts.last().is_some_and(|top| self.is_shown(record, top, block.map(|(block, _)| block)));
        Ok(ours.then(|| Measured::Filesystem(self.host().usage(path).ok())))
    }

    fn is_out_of_reach(&self, record: &VolumeRecord, run: &RunRecord) -> Result<bool> {
        let object = ObjectRef::Volume(run.id.clone());
        let here = self.facts(&object)?.mount_namespace;
        let state = |namespace| self.host().namespace_state(namespace);
        reach::is_out_of_reach(self.host(), here, Some(record), run, state)
            .map_err(|error| DriverError::host(object, error))
    }

    /// What is wrong with it, in words; nothing when all is as it should be.
    pub fn problems(&self, record: &VolumeRecord, run: Option<&RunRecord>) -> Vec<String> {
        let mut wrong = Vec::new();
        match &record.spec.backing {
            Backing::Image(backing) => self.image_problems(record, backing, &mut wrong),
            Backing::Device(device) => match self.host().device(&device.path) {
                Ok(Some(_)) => {}
                Ok(None) => wrong.push(format!("its device {} is gone", device.path.display())),
                Err(error) => wrong.push(error.to_string()),
            },
            Backing::Directory(directory) => match self.host().stat(&directory.path) {
                Ok(Some(_)) => {}
                Ok(None) => wrong.push(format!("its directory {} is gone", directory.path.display())),
                Err(error) => wrong.push(error.to_string()),
            },
            Backing::Tmpfs(_) => {}
        }
        if let Some(run) = run.filter(|run| self.is_out_of_reach(record, run).is_ok_and(|away| !away))
            && let Err(error) = self.mount_problems(record, run, &mut wrong)
        {
            wrong.push(error.to_string());
        }
        wrong
    }

    fn image_problems(&self, record: &VolumeRecord, backing: &ImageBacking, wrong: &mut Vec<String>) {
        let path = backing.image_path(&record.spec.id);
        let place = path.display();
        match self.host().image(&path) {
            Err(error) => wrong.push(error.to_string()),
            Ok(None) => wrong.push(format!("its image {place} is gone")),
            Ok(Some(image)) if !is_image_of(image.identity.as_ref(), &record.spec) => {
                wrong.push(format!("{place} is not its image: another file was put there"));
            }
            Ok(Some(image)) => {
                if record.image.is_some_and(|file| file != image.file) {
                    wrong.push(format!("its image {place} was replaced by another file"));
                }
                if let Some(required) = record.least().filter(|required| image.size < *required) {
                    wrong.push(format!("its image {place} was cut to {}, it should have {required}", image.size));
                }
                if backing.allocate == Allocate::Sparse && image.allocated < image.size {
                    self.pool_problems(backing, wrong);
                }
            }
        }
    }

    fn pool_problems(&self, backing: &ImageBacking, wrong: &mut Vec<String>) {
        let pool = Pool { name: backing.pool.clone(), path: backing.pool_path.clone(), limit: None, reserve: None };
        match self.host().pool(&pool) {
            Ok(facts) if facts.free < POOL_FULL => wrong.push(format!(
                "pool '{}' ({}) is full: {} left, and this volume's image still has to grow",
                pool.name,
                pool.path.display(),
                facts.free
            )),
            Ok(_) => {}
            Err(error) => wrong.push(error.to_string()),
        }
    }

    fn mount_problems(
        &self,
        record: &VolumeRecord,
        run: &RunRecord,
        wrong: &mut Vec<String>,
    ) -> std::result::Result<(), HostError> {
        if run.staging_path.is_none() && run.publishes.is_empty() {
            return Ok(());
        }
        let block = self.block_of(record, Some(run))?;
        if block.is_none() && record.spec.backing.as_image().is_some() {
            wrong.push("its loop device is gone, or shows another file".to_owned());
            return Ok(());
        }
        let raw = record.spec.is_raw();
        let staged = run.staging_path.iter().filter(|_| !raw);
        for path in staged.chain(run.publishes.keys()) {
            let mounts = self.host().mounts_at(path)?;
            let place = path.display();
            match mounts.last() {
                None => wrong.push(format!("it is no longer mounted at {place}")),
                Some(_) if raw => {}
                Some(top) if !self.is_shown(record, top, block.map(|(block, _)| block)) => {
                    wrong.push(format!("something else is mounted at {place}"));
                }
                Some(_) => {}
            }
            if Some(path) == run.staging_path.as_ref()
                && let Some(top) = mounts.last()
            {
                let may_write = !run.stage_options.iter().any(|option| option == "ro")
                    && !super::usage::read_only(record, run.stage_capability.as_ref());
                if top.super_read_only() && may_write {
                    wrong.push(format!("the file system at {place} has become read-only after an error"));
                } else if is_own(&record.spec) && is_left(self.host(), self.layout(), &record.spec.id, top) {
                    wrong.push(format!(
                        "the file system at {place} is frozen, and every write to it waits: fsfreeze --unfreeze {place}"
                    ));
                } else if let Err(error) = self.host().stat(path) {
                    wrong.push(format!("the file system at {place} does not answer: {error}"));
                }
            }
        }
        Ok(())
    }

    /// The block device behind it and that device's size.
    fn block_of(
        &self,
        record: &VolumeRecord,
        run: Option<&RunRecord>,
    ) -> std::result::Result<Option<(BlockId, Capacity)>, HostError> {
        match &record.spec.backing {
            Backing::Image(backing) => {
                let Some(file) = record.image else { return Ok(None) };
                let hint = run.and_then(|run| run.loop_index);
                let path = backing.image_path(&record.spec.id);
                let device: Option<LoopDevice> = self.host().loop_of_image(&path, file, hint)?;
                Ok(device.map(|device| (device.block, Capacity::bytes(device.size))))
            }
            Backing::Device(device) => Ok(self.host().device(&device.path)?.map(|seen| (seen.block, seen.size))),
            Backing::Directory(_) | Backing::Tmpfs(_) => Ok(None),
        }
    }

    fn is_shown(&self, record: &VolumeRecord, top: &Mount, block: Option<BlockId>) -> bool {
        match (&record.spec.backing, block) {
            (Backing::Image(_) | Backing::Device(_), Some(block)) => shows_block(self.host(), top, block),
            (Backing::Image(_) | Backing::Device(_), None) => false,
            (Backing::Tmpfs(_), _) => top.fs_type == "tmpfs",
            (Backing::Directory(_), _) => true,
        }
    }
}
