//! One volume as seen: its records, what lies behind it, and which mounts are its own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::driver::local::freezing;
use crate::driver::local::guard::is_image_of;
use crate::driver::local::own::describe;
use crate::driver::local::reach;
use crate::host::FileKind;
use crate::model::observed::{
    Hidden, ObservedBacking, ObservedDevice, ObservedPublish, ObservedStage, ObservedTarget, ObservedVolume,
};
use crate::model::record::{FormatMark, Recorded, RunRecord, VolumeRecord};
use crate::model::{
    Backing, BlockId, Capacity, FileId, ImageBacking, LoopDevice, Mount, NamespaceState, PublishKind, PublishSpec,
    VolumeId, VolumeSpec, WasMounted,
};

use super::Look;

/// How this volume's mounts are told from others'.
struct Mine<'a> {
    block: Option<BlockId>,
    directory: Option<FileId>,
    tmpfs: bool,
    run: Option<&'a RunRecord>,
    /// What was mounted, whatever is behind it now.
    was: WasMounted,
}

/// Whether a device is the one that was used, by its disk or as what this boot has mounted.
fn is_the_same(device: &ObservedDevice, record: Option<&VolumeRecord>, run: Option<&RunRecord>) -> bool {
    run.is_some_and(|run| run.device == Some(device.block))
        || record.and_then(|record| record.disk.as_ref()).is_some_and(|disk| disk.is(&device.disk))
}

impl Look<'_> {
    pub(super) fn volume(&self, id: &VolumeId) -> ObservedVolume {
        let mut record = self.records.get(id).cloned().unwrap_or_default();
        let run = self.runs.get(id);
        let mut seen = ObservedVolume { run: run.cloned(), ..ObservedVolume::default() };
        if let Recorded::Unknown { cause } = &record {
            seen.unknown.push(format!("its record: {cause}"));
        }
        let wanted = self.desired.and_then(|desired| desired.volumes.get(id));
        let spec = record.present().map(|record| &record.spec).or(wanted);
        if let Some(spec) = spec {
            let asked = wanted.and_then(|wanted| self.asked_device(spec, wanted));
            seen.asked_device = asked.as_ref().map(|(_, device)| device.block);
            self.backing(spec, record.present(), &mut seen);
            if let (ObservedBacking::Missing, Some((path, device))) = (&seen.backing, asked)
                && is_the_same(&device, record.present(), run)
            {
                // Its old name is gone, which is why another is given.
                self.device(spec, record.present(), path, device, &mut seen);
            }
        } else {
            self.stray_image(id, &mut seen);
        }
        if let Some(run) = run
            && self.is_out_of_reach(record.present(), run)
        {
            seen.foreign_namespace = Some(run.namespace());
        }
        self.mounts_of(id, spec, record.present(), &mut seen);
        seen.frozen = spec.is_some_and(freezing::is_own)
            && seen.staged.as_ref().is_some_and(|staged| freezing::is_left(self.host, self.layout, id, &staged.mount));
        self.inside(id, &mut seen);
        seen.used = self.used(&seen, spec);
        // Either of the two protects it: an image says so until its manifest's word to the contrary was applied.
        if let (Recorded::Present(record), ObservedBacking::Image(image)) = (&mut record, &seen.backing)
            && is_image_of(image.identity.as_ref(), &record.spec)
        {
            record.spec.prevent_destroy |= image.identity.as_ref().is_some_and(|identity| identity.protected);
        }
        seen.record = record;
        seen
    }

    fn backing(&self, spec: &VolumeSpec, record: Option<&VolumeRecord>, seen: &mut ObservedVolume) {
        match &spec.backing {
            Backing::Image(image) => self.image(spec, image, record, seen),
            Backing::Device(device) => match self.host.device(&device.path) {
                Ok(Some(found)) => self.device(spec, record, &device.path, found, seen),
                Ok(None) => {}
                Err(error) => seen.unknown.push(error.to_string()),
            },
            Backing::Directory(directory) => match self.host.stat(&directory.path) {
                Ok(None) => {}
                Ok(Some(facts)) if facts.kind == FileKind::Directory => {
                    let entries = self.host.target(Path::new("/"), &directory.path).map_or(0, |target| target.hides);
                    seen.backing = ObservedBacking::Directory { file: facts.file, entries };
                }
                Ok(Some(_)) => {
                    let what = format!("{} is no directory", directory.path.display());
                    seen.backing = ObservedBacking::Wrong(what);
                }
                Err(error) => seen.unknown.push(error.to_string()),
            },
            Backing::Tmpfs(_) => {}
        }
    }

    fn device(
        &self,
        spec: &VolumeSpec,
        record: Option<&VolumeRecord>,
        path: &Path,
        found: ObservedDevice,
        seen: &mut ObservedVolume,
    ) {
        let mounted = self.is_mounted(found.block);
        seen.backing = ObservedBacking::Device(found);
        // What is mounted has a file system; everything else is looked at before anything is planned for it.
        let shown = seen.run.as_ref().is_some_and(|run| !run.publishes.is_empty());
        if !mounted && (spec.fs.is_some() || record.is_none() || !shown) {
            seen.probe = Some(self.host.probe(path));
        }
    }

    /// What another path than the recorded one leads to.
    fn asked_device<'a>(&self, is: &VolumeSpec, wanted: &'a VolumeSpec) -> Option<(&'a Path, ObservedDevice)> {
        let (Backing::Device(is), Backing::Device(wanted)) = (&is.backing, &wanted.backing) else { return None };
        let found = (is.path != wanted.path).then(|| self.host.device(&wanted.path))?;
        found.ok().flatten().map(|device| (wanted.path.as_path(), device))
    }

    fn image(
        &self,
        spec: &VolumeSpec,
        backing: &ImageBacking,
        record: Option<&VolumeRecord>,
        seen: &mut ObservedVolume,
    ) {
        let path = backing.image_path(&spec.id);
        let mut file: Option<FileId> = None;
        let mut dead = None;
        match self.host.image(&path) {
            Ok(Some(image)) => {
                let named = image.identity.as_ref().is_some_and(|says| says.id == spec.id.as_str() && !says.snapshot);
                file = Some(image.file).filter(|file| named || record.is_some_and(|r| r.image == Some(*file)));
                let says_nothing = image.identity.is_none() && record.is_none();
                if says_nothing || (record.is_some_and(|r| r.format == FormatMark::Begun && r.image.is_some())) {
                    seen.probe = Some(self.host.probe(&path));
                }
                seen.backing = ObservedBacking::Image(image);
            }
            Ok(None) => {}
            Err(error) => match self.host.stat(&path) {
                Ok(Some(facts)) if facts.kind != FileKind::File => {
                    seen.backing = ObservedBacking::Wrong(format!("{} is no regular file", path.display()));
                }
                stat => {
                    seen.unknown.push(error.to_string());
                    let index = seen.run.as_ref().and_then(|run| run.loop_index);
                    if let (Err(_), Some(index), Some(was)) = (stat, index, record.and_then(|record| record.image)) {
                        dead = self.host.loop_on_dead(index, &path, was);
                    }
                }
            },
        }
        seen.loop_device = file.and_then(|file| self.loops_by_file.get(&file)).cloned().or(dead);
        // A freed inode number goes to another file, so the file it was counts only with the loop this boot's record names.
        if seen.loop_device.is_none()
            && let Some(was) = record.and_then(|record| record.image)
            && let Some(device) = self.loops_by_file.get(&was)
            && seen.run.as_ref().is_some_and(|run| run.loop_index == Some(device.index))
        {
            seen.loop_device = Some(device.clone());
        }
        // In doubt it is taken for the last that is left of it.
        let in_place = |device: &LoopDevice| matches!(&seen.backing, ObservedBacking::Image(image) if image.file == device.backing);
        seen.moved_elsewhere = seen
            .loop_device
            .as_ref()
            .is_some_and(|device| !in_place(device) && self.host.is_last_copy(device.index).is_ok_and(|last| !last));
        // What is attached was looked at when it was; what is down may have been written to by anybody since.
        let formatted = record.is_some_and(|record| record.format == FormatMark::Done);
        if formatted && file.is_some() && seen.loop_device.is_none() && self.loops_unknown.is_none() {
            seen.probe = Some(self.host.probe(&path));
        }
        if let Some(cause) = &self.loops_unknown
            && seen.loop_device.is_none()
            && seen.backing != ObservedBacking::Missing
        {
            seen.unknown.push(format!("its loop device: {cause}"));
        }
    }

    /// The image of a volume of which only a boot-scoped or an unreadable record is left, in the default pool.
    fn stray_image(&self, id: &VolumeId, seen: &mut ObservedVolume) {
        let path = self.layout.default_pool().join(format!("{id}.img"));
        if let Ok(Some(image)) = self.host.image(&path) {
            seen.loop_device = self.loops_by_file.get(&image.file).cloned();
            seen.backing = ObservedBacking::Image(image);
        }
    }

    fn is_mounted(&self, block: BlockId) -> bool {
        self.mounts.of_device(block).next().is_some() || self.behind.values().any(|behind| *behind == block)
    }

    fn mounts_of(
        &self,
        id: &VolumeId,
        spec: Option<&VolumeSpec>,
        record: Option<&VolumeRecord>,
        seen: &mut ObservedVolume,
    ) {
        let run = self.runs.get(id);
        let block = match (&seen.loop_device, &seen.backing) {
            (Some(device), _) => Some(device.block),
            (None, ObservedBacking::Device(device)) => Some(device.block),
            _ => None,
        };
        let directory = match &seen.backing {
            ObservedBacking::Directory { file, .. } => Some(*file),
            _ => None,
        };
        let tmpfs = spec.is_some_and(|spec| matches!(spec.backing, Backing::Tmpfs(_)));
        let was = WasMounted::of(run, spec);
        let mine = Mine { block, directory, tmpfs, run, was };
        let staging_path = run.and_then(|run| run.staging_path.clone()).unwrap_or_else(|| self.layout.staging_path(id));
        seen.staged = self.stage_at(&mine, &staging_path).or_else(|| self.former_stage(&mine, &staging_path, spec));
        // Only what is known for what it is can be told from another's.
        let known = mine.block.is_some() || mine.directory.is_some() || mine.tmpfs;
        if known && seen.staged.is_none() && seen.foreign_namespace.is_none() {
            seen.foreign_stage = self.mounts.top(&staging_path).map(|top| (staging_path.clone(), describe(top)));
        }
        let targets = self.targets_of(id, record, run);
        let staged = seen.staged.as_ref().map(|stage| stage.mount.clone());
        for target in targets.into_iter().filter(|target| *target != staging_path) {
            match self.publish_at(&mine, &target, staged.as_ref(), spec, seen.loop_device.as_ref()) {
                Ok(publish) => {
                    seen.hidden.extend(publish.as_ref().and_then(|publish| self.hidden(publish)));
                    seen.published.extend(publish);
                }
                Err(over) => seen.covered.push((target, over)),
            }
        }
    }

    /// What was mounted over a publish, on a directory above it.
    fn hidden(&self, publish: &ObservedPublish) -> Option<Hidden> {
        let over = self.mounts.covering(&publish.mount)?;
        let known = self.runs.values().any(|run| run.publishes.contains_key(&over.target));
        let (target, over_at) = (publish.target.clone(), over.target.clone());
        Some(Hidden { target, over: over_at, what: describe(over), foreign: !known })
    }

    /// Unable to tell, it counts as out of reach: nothing is changed then.
    fn is_out_of_reach(&self, record: Option<&VolumeRecord>, run: &RunRecord) -> bool {
        let state = |namespace| Ok(self.namespaces.get(&namespace).copied().unwrap_or(NamespaceState::Lives));
        reach::is_out_of_reach(self.host, self.facts.mount_namespace, record, run, state).unwrap_or(true)
    }

    /// What a publish of a path inside it would show.
    fn inside(&self, id: &VolumeId, seen: &mut ObservedVolume) {
        let Some(stage) = &seen.staged else { return };
        let root = &stage.mount.target;
        for sub_path in self.wanted.get(id).into_iter().flatten().filter_map(|publish| publish.sub_path.as_ref()) {
            let there = self.host.target(root, &root.join(sub_path)).unwrap_or_else(|error| ObservedTarget {
                unknown: Some(error.to_string()),
                ..ObservedTarget::default()
            });
            seen.inside.insert(sub_path.clone(), there);
        }
    }

    /// Paths at which a mount of this volume is csictl's: those wanted, those recorded, those made. A bind that somebody else made of
    /// it elsewhere is theirs.
    fn targets_of(&self, id: &VolumeId, record: Option<&VolumeRecord>, run: Option<&RunRecord>) -> BTreeSet<PathBuf> {
        let wanted = self.wanted.get(id).into_iter().flatten().map(|publish| publish.target.clone());
        let recorded = run.into_iter().flat_map(|run| run.publishes.keys().cloned());
        let made = record.into_iter().flat_map(|record| record.made_targets.keys().cloned());
        wanted.chain(recorded).chain(made).collect()
    }

    fn block_of(&self, mount: &Mount) -> BlockId {
        self.behind.get(&mount.device).copied().unwrap_or(mount.device)
    }

    fn stage_at(&self, mine: &Mine<'_>, path: &Path) -> Option<ObservedStage> {
        let ours = |mount: &&Mount| {
            if mine.tmpfs {
                return mount.fs_type == "tmpfs";
            }
            let now = match (mine.block, mine.directory) {
                (Some(block), _) => self.block_of(mount) == block,
                (None, Some(file)) => mount.device == file.device,
                (None, None) => false,
            };
            now || self.was_mounted(mine, mount, None)
        };
        let top = self.mounts.top(path).filter(ours)?;
        Some(ObservedStage { mount: self.shown(top, mine), depth: self.mounts.at(path).filter(ours).count() })
    }

    /// What csictl staged before its device or directory became another: its own by the place, where nobody else mounts, and the sort.
    fn former_stage(&self, mine: &Mine<'_>, path: &Path, spec: Option<&VolumeSpec>) -> Option<ObservedStage> {
        let staged = mine.run.is_some_and(|run| run.staging_path.as_deref() == Some(path));
        let spec = spec.filter(|_| staged && path.starts_with(self.layout.staging()))?;
        let ours = |mount: &&Mount| match spec.backing {
            Backing::Device(_) => spec.fs_type().is_some_and(|fs| fs.as_str() == mount.fs_type),
            // A directory that is there still has its own device; of one that is gone the kernel says so.
            Backing::Directory(_) => mine.directory.is_none(),
            Backing::Image(_) | Backing::Tmpfs(_) => false,
        };
        let top = self.mounts.top(path).filter(ours)?;
        Some(ObservedStage { mount: top.clone(), depth: self.mounts.at(path).filter(ours).count() })
    }

    /// Whether a mount at a recorded place is what this boot's record says was mounted there.
    fn was_mounted(&self, mine: &Mine<'_>, mount: &Mount, staged: Option<&Mount>) -> bool {
        let shown = || self.host.stat(&mount.target).ok().flatten().map(|facts| facts.file);
        let is_of = |block| mount.device == block;
        mine.run.is_some_and(|run| run.names(&mount.target)) && mine.was.is(mount, is_of, shown, staged)
    }

    /// A mount as it is reported: with the block device behind it where the kernel shows another number (btrfs).
    fn shown(&self, mount: &Mount, mine: &Mine<'_>) -> Mount {
        let mut mount = mount.clone();
        let recorded = mine.run.filter(|run| mount.fs_type == "btrfs" && run.names(&mount.target));
        if let Some(device) = recorded.and_then(|run| run.device) {
            mount.device = device;
        } else if let Some(block) = mine.block.filter(|block| self.behind.get(&mount.device) == Some(block)) {
            mount.device = block;
        }
        mount
    }

    fn publish_at(
        &self,
        mine: &Mine<'_>,
        target: &Path,
        staged: Option<&Mount>,
        spec: Option<&VolumeSpec>,
        loop_device: Option<&LoopDevice>,
    ) -> Result<Option<ObservedPublish>, String> {
        let Some(top) = self.mounts.top(target) else { return Ok(None) };
        let recorded = mine.run.and_then(|run| run.publishes.get(target));
        let raw = spec.is_some_and(VolumeSpec::is_raw);
        let node = raw.then(|| self.host.stat(target).ok().flatten()).flatten();
        let node = node.filter(|facts| facts.kind == FileKind::Block);
        let current = node.as_ref().is_some_and(|facts| facts.device == mine.block && mine.block.is_some());
        // A bound node does not hold its loop: the node of one that is gone is told by its name alone.
        let bound = recorded.is_some_and(|publish| publish.kind == PublishKind::Device);
        let former = mine.run.and_then(|run| run.loop_index).map(loop_node);
        let lost = mine.block.is_none() && Some(&top.root) == former.as_ref();
        let device = mine.run.and_then(|run| run.device);
        let turned = device.is_some() && node.as_ref().is_some_and(|facts| facts.device == device);
        let stale = node.is_some() && !current && bound && (lost || turned);
        let kind = if current || stale { PublishKind::Device } else { PublishKind::Mount };
        let node_name = loop_device.map(|device| loop_node(device.index));
        let ours = |mount: &&Mount| match kind {
            PublishKind::Device => mount.root == top.root || Some(&mount.root) == node_name.as_ref(),
            PublishKind::Mount => {
                self.shows_files(mine, mount, staged, recorded) || self.was_mounted(mine, mount, staged)
            }
        };
        let depth = self.mounts.at(target).filter(ours).count();
        if !ours(&top) {
            let node = |mount: &&Mount| raw && node_name.as_ref().is_some_and(|name| *name == mount.root);
            let beneath = depth > 0 || self.mounts.at(target).any(|mount| node(&mount));
            return if beneath && recorded.is_some() { Err(describe(top)) } else { Ok(None) };
        }
        let sub_path = match kind {
            PublishKind::Device => None,
            PublishKind::Mount => sub_path(top, staged),
        };
        let pod = recorded.map(|publish| publish.pod.clone());
        let mount = self.shown(top, mine);
        Ok(Some(ObservedPublish { target: target.to_owned(), pod, kind, mount, depth, sub_path, stale }))
    }

    fn shows_files(
        &self,
        mine: &Mine<'_>,
        mount: &Mount,
        staged: Option<&Mount>,
        recorded: Option<&PublishSpec>,
    ) -> bool {
        if let Some(file) = mine.directory {
            // Of two binds of one host file system only the root tells, and without a stage only the record.
            let below = staged.is_some_and(|staged| mount.root_as_it_was().starts_with(staged.root_as_it_was()));
            return mount.device == file.device && (below || (staged.is_none() && recorded.is_some()));
        }
        if mine.tmpfs {
            let same = staged.is_some_and(|staged| staged.device == mount.device);
            return mount.fs_type == "tmpfs" && (same || (staged.is_none() && recorded.is_some()));
        }
        let former = || recorded.is_some() && staged.is_some_and(|staged| staged.device == mount.device);
        mine.block.is_some_and(|block| self.block_of(mount) == block) || former()
    }

    fn used(&self, seen: &ObservedVolume, spec: Option<&VolumeSpec>) -> Option<Capacity> {
        // What is used of the disk below is not what the directory holds, which only a walk through all of it could tell.
        if matches!(spec.map(|spec| &spec.backing), Some(Backing::Directory(_))) {
            return None;
        }
        if let Some(stage) = &seen.staged {
            return self.host.usage(&stage.mount.target).ok().map(|usage| Capacity::bytes(usage.used));
        }
        match &seen.backing {
            ObservedBacking::Image(image) => Some(image.allocated),
            _ => None,
        }
    }
}

/// The root of a mount that shows the node of a loop device.
fn loop_node(index: u32) -> PathBuf {
    PathBuf::from(format!("/loop{index}"))
}

/// Which path inside the volume a mount shows: its root, less the root of the stage.
fn sub_path(mount: &Mount, staged: Option<&Mount>) -> Option<PathBuf> {
    let from = staged.map_or(Path::new("/"), Mount::root_as_it_was);
    let rest = mount.root_as_it_was().strip_prefix(from).ok()?;
    (!rest.as_os_str().is_empty()).then(|| rest.to_owned())
}
