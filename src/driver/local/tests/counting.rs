//! A host that counts the calls that read whole tables or directories, and passes everything on.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::host::sim::SimHost;
use crate::host::{Extents, FileFacts, FsUsage, Holder, ImageFile, Observe, PoolFacts, Result, ToolFacts, UsedMount};
use crate::model::observed::{HostFacts, ObservedDevice, ObservedImage, ObservedTarget};
use crate::model::{
    BlockId, Capacity, FileId, FsType, LoopDevice, Mount, MountNamespace, MountTable, NamespaceState, Pool, Probe,
};

pub struct Counting {
    pub inner: SimHost,
    /// Reads of the mount table and of all loops.
    pub tables: AtomicU64,
    /// Listings of directories.
    pub lists: AtomicU64,
}

impl Observe for Counting {
    fn mount_table(&self) -> Result<MountTable> {
        self.tables.fetch_add(1, Ordering::Relaxed);
        self.inner.mount_table()
    }

    fn loops(&self) -> Result<Vec<LoopDevice>> {
        self.tables.fetch_add(1, Ordering::Relaxed);
        self.inner.loops()
    }

    fn list(&self, directory: &Path) -> Result<Vec<OsString>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(directory)
    }

    fn facts(&self) -> Result<HostFacts> {
        self.inner.facts()
    }

    fn mounts_at(&self, target: &Path) -> Result<Vec<Mount>> {
        self.inner.mounts_at(target)
    }

    fn loop_of(&self, file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>> {
        self.inner.loop_of(file, hint)
    }

    fn is_last_copy(&self, index: u32) -> Result<bool> {
        self.inner.is_last_copy(index)
    }

    fn stat(&self, path: &Path) -> Result<Option<FileFacts>> {
        self.inner.stat(path)
    }

    fn read_small(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        self.inner.read_small(path)
    }

    fn image(&self, path: &Path) -> Result<Option<ObservedImage>> {
        self.inner.image(path)
    }

    fn data_extents(&self, of: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents> {
        self.inner.data_extents(of, from, most)
    }

    fn changed_extents(&self, of: &ImageFile, base: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents> {
        self.inner.changed_extents(of, base, from, most)
    }

    fn device(&self, path: &Path) -> Result<Option<ObservedDevice>> {
        self.inner.device(path)
    }

    fn probe(&self, path: &Path) -> Probe {
        self.inner.probe(path)
    }

    fn filesystem_size(&self, path: &Path, fs: FsType) -> Result<Capacity> {
        self.inner.filesystem_size(path, fs)
    }

    fn usage(&self, path: &Path) -> Result<FsUsage> {
        self.inner.usage(path)
    }

    fn pool(&self, pool: &Pool) -> Result<PoolFacts> {
        self.inner.pool(pool)
    }

    fn target(&self, trusted_root: &Path, target: &Path) -> Result<ObservedTarget> {
        self.inner.target(trusted_root, target)
    }

    fn namespace_state(&self, mount_namespace: MountNamespace) -> Result<NamespaceState> {
        self.inner.namespace_state(mount_namespace)
    }

    fn holders(&self, device: BlockId, target: Option<&Path>) -> Result<Vec<Holder>> {
        self.inner.holders(device, target)
    }

    fn users(&self, mounts: &[UsedMount<'_>]) -> Result<Vec<Vec<Holder>>> {
        self.inner.users(mounts)
    }

    fn tools(&self) -> Vec<ToolFacts> {
        self.inner.tools()
    }
}
