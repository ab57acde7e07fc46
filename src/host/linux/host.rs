//! [`LinuxObserve`] reads this machine and [`LinuxHost`] changes it. Each verb is one call into the room that does it.

use std::ffi::OsString;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::commit::Commits;
use super::errors::failed;
use super::parts::Parts;
use super::told::told;
use super::{
    bind, copy, device, discard, erase, extents, facts, files, format, freeze, fs_uuid, fsck, grow, growth, helper,
    identity, image, lock, lookup, loops, mount, ownership, path, probe, small, trial, unmount, users, watch, who,
};
use crate::host::{
    AttachLoop, AttachedLoop, BindMount, CopyMethod, CopyRequest, DirectoryWatch, Extents, FileFacts, FormatRequest,
    Formatted, Freeze, FsMount, FsUsage, GrowRequest, Holder, Host, ImageFile, Lock, LockMode, Made, NewImage, Observe,
    Place, PoolFacts, Result, ToolFacts, TrialRequest, Unmount, UsedMount,
};
use crate::model::observed::{HostFacts, ObservedDevice, ObservedImage, ObservedTarget};
use crate::model::record::ImageIdentity;
use crate::model::{
    BlockId, Capacity, Done, FileId, FsType, FsUuid, LoopDevice, Mount, MountNamespace, MountTable, NamespaceState,
    Ownership, Pool, Probe, PublishKind,
};

/// Reads this machine.
#[derive(Debug, Default)]
pub struct LinuxObserve {
    boot_id: Option<String>,
}

impl LinuxObserve {
    /// This machine as it is.
    pub fn new() -> Self {
        Self::default()
    }

    /// This machine as if it had booted under another id: what RUN holds is void then. For tests of a reboot.
    pub fn with_boot_id(boot_id: impl Into<String>) -> Self {
        Self { boot_id: Some(boot_id.into()) }
    }
}

/// Changes this machine. Shared by all worker threads; its only state is the queue of those who wait for a flush, and the locks on
/// images that are being made.
#[derive(Debug, Default)]
pub struct LinuxHost {
    observe: LinuxObserve,
    commits: Commits,
    parts: Parts,
    step_timeout: Option<Duration>,
}

impl LinuxHost {
    /// This machine.
    pub fn new() -> Self {
        Self::default()
    }

    /// This machine, on which a mkfs that takes longer than that is ended.
    pub fn with_step_timeout(step_timeout: Option<Duration>) -> Self {
        Self { step_timeout, ..Self::default() }
    }

    /// This machine, read by `observe`.
    pub fn over(observe: LinuxObserve) -> Self {
        Self { observe, ..Self::default() }
    }
}

impl Deref for LinuxHost {
    type Target = LinuxObserve;

    fn deref(&self) -> &LinuxObserve {
        &self.observe
    }
}

impl Observe for LinuxObserve {
    fn facts(&self) -> Result<HostFacts> {
        facts::host(self.boot_id.as_deref())
    }

    fn mount_table(&self) -> Result<MountTable> {
        lookup::table().map(MountTable::new)
    }

    fn mounts_at(&self, target: &Path) -> Result<Vec<Mount>> {
        lookup::stack_at(target)
    }

    fn loops(&self) -> Result<Vec<LoopDevice>> {
        loops::all()
    }

    fn loop_on_dead(&self, index: u32, path: &Path, file: FileId) -> Option<LoopDevice> {
        loops::on_dead(index, path, file)
    }

    fn loop_of(&self, file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>> {
        loops::loop_of(file, hint)
    }

    fn loop_of_image(&self, path: &Path, file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>> {
        loops::loop_of_image(path, file, hint)
    }

    fn loops_of_image(&self, path: &Path, file: FileId) -> Result<Vec<LoopDevice>> {
        loops::loops_of_image(path, file)
    }

    fn is_last_copy(&self, index: u32) -> Result<bool> {
        loops::is_last_copy(index)
    }

    fn stat(&self, path: &Path) -> Result<Option<FileFacts>> {
        files::stat(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<OsString>> {
        small::list(directory)
    }

    fn is_empty(&self, directory: &Path) -> Result<bool> {
        files::is_empty(directory)
    }

    fn watch(&self, directory: &Path) -> Box<dyn DirectoryWatch> {
        Box::new(watch::Inotify::of(directory))
    }

    fn read_small(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        small::read(path)
    }

    fn image(&self, path: &Path) -> Result<Option<ObservedImage>> {
        image::observe(path)
    }

    fn data_extents(&self, of: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents> {
        extents::data(of, from, most)
    }

    fn changed_extents(&self, of: &ImageFile, base: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents> {
        extents::changed(of, base, from, most)
    }

    fn device(&self, path: &Path) -> Result<Option<ObservedDevice>> {
        device::observe(path, &facts::boot(self.boot_id.as_deref())?)
    }

    fn probe(&self, path: &Path) -> Probe {
        probe::probe_path(path)
    }

    fn filesystem_size(&self, path: &Path, fs: FsType) -> Result<Capacity> {
        format::size(path, fs)
    }

    fn frozen(&self, mount: &Mount) -> Option<bool> {
        freeze::is_frozen(mount)
    }

    fn usage(&self, path: &Path) -> Result<FsUsage> {
        files::usage(path)
    }

    fn pool(&self, pool: &Pool) -> Result<PoolFacts> {
        facts::pool(pool)
    }

    fn target(&self, trusted_root: &Path, target: &Path) -> Result<ObservedTarget> {
        path::observe_target(trusted_root, target)
    }

    fn is_claimed(&self, path: &Path) -> Result<bool> {
        device::is_claimed(path)
    }

    fn seen_only_here(&self, directory: &Path) -> Option<Mount> {
        lookup::seen_only_here(directory)
    }

    fn namespace_state(&self, mount_namespace: MountNamespace) -> Result<NamespaceState> {
        Ok(who::namespace_state(mount_namespace))
    }

    fn holders(&self, device: BlockId, target: Option<&Path>) -> Result<Vec<Holder>> {
        who::holders(device, target)
    }

    fn users(&self, mounts: &[UsedMount<'_>]) -> Result<Vec<Vec<Holder>>> {
        Ok(users::users(mounts))
    }

    fn tools(&self) -> Vec<ToolFacts> {
        helper::tools()
    }
}

impl Observe for LinuxHost {
    fn facts(&self) -> Result<HostFacts> {
        self.observe.facts()
    }

    fn mount_table(&self) -> Result<MountTable> {
        self.observe.mount_table()
    }

    fn mounts_at(&self, target: &Path) -> Result<Vec<Mount>> {
        self.observe.mounts_at(target)
    }

    fn loops(&self) -> Result<Vec<LoopDevice>> {
        self.observe.loops()
    }

    fn loop_on_dead(&self, index: u32, path: &Path, file: FileId) -> Option<LoopDevice> {
        self.observe.loop_on_dead(index, path, file)
    }

    fn loop_of(&self, file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>> {
        self.observe.loop_of(file, hint)
    }

    fn loop_of_image(&self, path: &Path, file: FileId, hint: Option<u32>) -> Result<Option<LoopDevice>> {
        self.observe.loop_of_image(path, file, hint)
    }

    fn is_last_copy(&self, index: u32) -> Result<bool> {
        self.observe.is_last_copy(index)
    }

    fn stat(&self, path: &Path) -> Result<Option<FileFacts>> {
        self.observe.stat(path)
    }

    fn list(&self, directory: &Path) -> Result<Vec<OsString>> {
        self.observe.list(directory)
    }

    fn is_empty(&self, directory: &Path) -> Result<bool> {
        self.observe.is_empty(directory)
    }

    fn watch(&self, directory: &Path) -> Box<dyn DirectoryWatch> {
        self.observe.watch(directory)
    }

    fn read_small(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        self.observe.read_small(path)
    }

    fn image(&self, path: &Path) -> Result<Option<ObservedImage>> {
        self.observe.image(path)
    }

    fn data_extents(&self, of: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents> {
        self.observe.data_extents(of, from, most)
    }

    fn changed_extents(&self, of: &ImageFile, base: &ImageFile, from: u64, most: NonZeroUsize) -> Result<Extents> {
        self.observe.changed_extents(of, base, from, most)
    }

    fn device(&self, path: &Path) -> Result<Option<ObservedDevice>> {
        self.observe.device(path)
    }

    fn probe(&self, path: &Path) -> Probe {
        self.observe.probe(path)
    }

    fn filesystem_size(&self, path: &Path, fs: FsType) -> Result<Capacity> {
        self.observe.filesystem_size(path, fs)
    }

    fn frozen(&self, mount: &Mount) -> Option<bool> {
        self.observe.frozen(mount)
    }

    fn usage(&self, path: &Path) -> Result<FsUsage> {
        self.observe.usage(path)
    }

    fn pool(&self, pool: &Pool) -> Result<PoolFacts> {
        self.observe.pool(pool)
    }

    fn target(&self, trusted_root: &Path, target: &Path) -> Result<ObservedTarget> {
        self.observe.target(trusted_root, target)
    }

    fn is_claimed(&self, path: &Path) -> Result<bool> {
        self.observe.is_claimed(path)
    }

    fn seen_only_here(&self, directory: &Path) -> Option<Mount> {
        self.observe.seen_only_here(directory)
    }

    fn namespace_state(&self, mount_namespace: MountNamespace) -> Result<NamespaceState> {
        self.observe.namespace_state(mount_namespace)
    }

    fn holders(&self, device: BlockId, target: Option<&Path>) -> Result<Vec<Holder>> {
        self.observe.holders(device, target)
    }

    fn users(&self, mounts: &[UsedMount<'_>]) -> Result<Vec<Vec<Holder>>> {
        self.observe.users(mounts)
    }

    fn tools(&self) -> Vec<ToolFacts> {
        self.observe.tools()
    }
}

impl Host for LinuxHost {
    fn make_dir(&self, path: &Path, mode: u32) -> Result<Done> {
        told("make directory", path, files::make_dir(path, mode))
    }

    fn remove_dir(&self, path: &Path) -> Result<Done> {
        told("remove directory", path, files::remove_dir(path))
    }

    fn write_small(&self, path: &Path, content: &[u8], durable: bool) -> Result<()> {
        told("write record", path, small::write(&self.commits, path, content, durable))
    }

    fn append_small(&self, path: &Path, line: &[u8], most: u64) -> Result<Done> {
        told("append to record", path, small::append(path, line, most))
    }

    fn remove_small(&self, path: &Path, durable: bool) -> Result<Done> {
        told("remove record", path, small::remove(&self.commits, path, durable))
    }

    fn set_aside(&self, path: &Path, directory: &Path) -> Result<PathBuf> {
        small::set_aside(path, directory)
    }

    fn lock(&self, path: &Path, mode: LockMode, timeout: Duration) -> Result<Lock> {
        lock::lock(path, mode, timeout)
    }

    fn create_image(&self, new: &NewImage) -> Result<FileId> {
        image::create(&self.parts, new)
    }

    fn format(&self, request: &FormatRequest, lock: &Lock) -> Result<Formatted> {
        told("format", &request.path, format::format(request, lock, self.step_timeout))
    }

    fn copy_image(&self, request: &CopyRequest, _lock: &Lock) -> Result<CopyMethod> {
        told("copy image", &request.from, copy::copy(&self.parts, request))
    }

    fn resize_image(&self, path: &Path, file: FileId, size: Capacity, full: bool) -> Result<Done> {
        told("resize image", path, image::resize(path, file, size, full))
    }

    fn allocate_image(&self, path: &Path, file: FileId) -> Result<Done> {
        told("allocate image", path, image::allocate_all(path, file))
    }

    fn set_identity(&self, path: &Path, new: &ImageIdentity) -> Result<Done> {
        identity::write(path, new)
    }

    fn place_image(&self, part: &Path, path: &Path, place: Place) -> Result<()> {
        told("place image", path, image::place(&self.commits, &self.parts, part, path, &place))
    }

    fn remove_image(&self, path: &Path, file: Option<FileId>) -> Result<Done> {
        told("remove image", path, image::remove(&self.parts, path, file))
    }

    fn settle_removal(&self, directory: &Path, before: &Path) -> Result<()> {
        told("flush", directory, small::settle_removal(&self.commits, directory, before))
    }

    fn attach_loop(&self, request: &AttachLoop) -> Result<AttachedLoop> {
        told("attach", &request.path, loops::attach(request))
    }

    fn detach_loop(&self, index: u32, file: FileId) -> Result<Done> {
        told("detach", &loops::node(index), loops::detach(index, file))
    }

    fn detach_dead(&self, index: u32, path: &Path, file: FileId) -> Result<Done> {
        told("detach", &loops::node(index), loops::detach_dead(index, path, file))
    }

    fn renew_loop(&self, index: u32) {
        discard::renew(index);
    }

    fn resize_loop(&self, index: u32, file: FileId) -> Result<Done> {
        told("resize loop", &loops::node(index), loops::resize(index, file))
    }

    fn made(&self, device: &Path, fs: FsType, lock: &Lock) -> Result<Made> {
        fsck::made(device, fs, lock)
    }

    fn check_filesystem(&self, device: &Path, fs: FsType, lock: &Lock) -> Result<Done> {
        fsck::check_filesystem(device, fs, lock)
    }

    fn grow_filesystem(&self, request: &GrowRequest, lock: &Lock) -> Result<Done> {
        told("grow file system", &request.device, grow::grow_filesystem(request, lock, &loops::attach_for_a_moment))
    }

    fn try_growth(&self, request: &GrowRequest, to: Capacity, lock: &Lock) -> Result<()> {
        told("try growth", &request.device, grow::try_growth(request, to, lock, &loops::attach_for_a_moment))
    }

    fn finish_growth(&self, device: &Path, log: &Path) -> Result<Done> {
        told("finish growth", device, growth::finish(device, log))
    }

    fn change_uuid(&self, path: &Path, fs: FsType, uuid: FsUuid, lock: &Lock) -> Result<()> {
        told("change UUID", path, fs_uuid::change_uuid(path, fs, uuid, lock, &loops::attach_for_a_moment))
    }

    fn try_filesystem(&self, request: &TrialRequest) -> Result<()> {
        told("try file system", &request.part, trial::filesystem(request))
    }

    fn erase_signatures(&self, device: &Path, expect: BlockId) -> Result<Done> {
        told("erase signatures", device, erase::erase_signatures(device, expect))
    }

    fn mount(&self, request: &FsMount) -> Result<()> {
        told("mount", &request.target, mount::mount(request))
    }

    fn remount(&self, request: &FsMount) -> Result<Done> {
        told("remount", &request.target, mount::remount(request))
    }

    fn bind(&self, request: &BindMount) -> Result<()> {
        told("bind", &request.target, bind::bind(request))
    }

    fn change_flags(&self, request: &BindMount) -> Result<Done> {
        told("change mount flags", &request.target, bind::change_flags(request))
    }

    fn unmount(&self, request: &Unmount) -> Result<Done> {
        told("unmount", &request.target, unmount::unmount(request))
    }

    fn make_target(&self, trusted_root: &Path, target: &Path, kind: PublishKind) -> Result<Vec<PathBuf>> {
        told("make target", target, path::make_target(trusted_root, target, kind, path::PARENTS_MODE))
    }

    fn make_inside(&self, root: &Path, inside: &Path) -> Result<()> {
        told("make directory in a volume", inside, path::make_inside(root, inside))
    }

    fn remove_target(&self, trusted_root: &Path, target: &Path, kind: PublishKind) -> Result<Done> {
        told("remove target", target, path::remove_target(trusted_root, target, kind))
    }

    fn set_ownership(&self, path: &Path, wanted: Ownership) -> Result<Done> {
        told("set owner and mode", path, ownership::set(path, wanted))
    }

    fn change_group(&self, path: &Path, group: u32) -> Result<Done> {
        told("change group", path, ownership::change_group(path, group))
    }

    fn freeze(&self, mount_point: &Path, timeout: Duration) -> Result<Freeze> {
        told("freeze", mount_point, freeze::freeze(mount_point, timeout))
    }

    fn thaw(&self, mount_point: &Path) -> Result<Done> {
        told("thaw", mount_point, freeze::thaw(mount_point))
    }

    fn thaw_unmounted(&self, device: &Path, fs: FsType) -> Result<Done> {
        told("thaw", device, freeze::thaw_unmounted(device, fs))
    }

    fn sync(&self, path: &Path) -> Result<()> {
        let opened = File::open(path).map_err(failed("flush", path))?;
        rustix::fs::syncfs(&opened).map_err(|error| failed("flush", path)(error.into()))
    }

    fn flush_device(&self, device: &Path) -> Result<()> {
        File::open(device).and_then(|opened| opened.sync_all()).map_err(failed("flush", device))
    }
}
