//! The simulated machine against the real one: the same verbs on both, the same answers. What the simulation gets wrong here,
//! every property test gets wrong.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csictl::host::linux::LinuxHost;
use csictl::host::sim::SimHost;
use csictl::host::{
    AttachLoop, BindMount, CopyRequest, FormatRequest, FsMount, GrowRequest, Host, Lock, LockMode, NewImage, Place,
    Unmount,
};
use csictl::model::{
    BlockId, Capacity, FileId, FsType, FsUuid, LoopDevice, Ownership, Propagation, PublishKind, SectorSize,
};

use crate::support;

/// Both machines' answers in order, without what is anybody's (numbers of devices and inodes).
struct Script<'a> {
    host: &'a dyn Host,
    base: PathBuf,
    said: Vec<String>,
}

impl Script<'_> {
    fn say(&mut self, what: &str, answer: impl Debug) {
        self.said.push(format!("{what}: {answer:?}"));
    }

    /// Notes whether it went well, or the kind of the error.
    fn tell<T: Debug>(&mut self, what: &str, result: Result<T, csictl::host::HostError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.said.push(format!("{what}: ok"));
                Some(value)
            }
            Err(error) => {
                self.said.push(format!("{what}: {:?}", error.kind));
                None
            }
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }

    fn kind_at(&mut self, path: &Path) {
        let facts = self
            .host
            .stat(path)
            .unwrap()
            .map(|facts| (facts.kind, facts.size, facts.uid, facts.gid, facts.mode & 0o7777));
        let facts = facts.map(|(kind, size, uid, gid, mode)| {
            // A directory's size is its file system's business.
            (kind, if kind == csictl::host::FileKind::Directory { 0 } else { size }, uid, gid, mode)
        });
        self.say("stat", facts);
    }

    fn mounts(&mut self, path: &Path) {
        let mounts = self.host.mounts_at(path).unwrap();
        let said: Vec<_> = mounts
            .iter()
            .map(|mount| {
                let per_mount = ["ro", "nosuid", "nodev", "noexec", "noatime"].map(|option| mount.has_option(option));
                (mount.root.clone(), mount.fs_type.clone(), per_mount, mount.propagation(), mount.super_read_only())
            })
            .collect();
        self.say("mounts", said);
    }
}

fn format_of(path: &Path, fs: FsType) -> FormatRequest {
    FormatRequest {
        path: path.to_owned(),
        fs,
        uuid: FsUuid::random(),
        label: Some("data".into()),
        options: Vec::new(),
        sector_size: SectorSize::B512,
        fresh_image: true,
        discard: true,
        block: None,
        resume: false,
        template: false,
    }
}

fn attach_of(path: &Path, file: FileId) -> AttachLoop {
    AttachLoop {
        path: path.to_owned(),
        file,
        read_only: false,
        autoclear: true,
        direct_io: false,
        sector_size: SectorSize::B512,
        discard: true,
        hint: None,
        id: "shop.data".parse().unwrap(),
    }
}

fn mount_of(script: &Script<'_>, device: &LoopDevice, fs: &str) -> FsMount {
    FsMount {
        source: device.node(),
        fs_type: fs.to_owned(),
        bind_directory: false,
        expect: Some(device.block),
        target: script.at("stage"),
        trusted_root: script.base.clone(),
        options: vec!["nosuid".into(), "nodev".into(), "noatime".into()],
        shared: false,
    }
}

fn bind_of(script: &Script<'_>, expect: BlockId, target: &str) -> BindMount {
    BindMount {
        source: script.at("stage"),
        expect,
        sub_path: None,
        target: script.at(target),
        trusted_root: script.base.clone(),
        kind: PublishKind::Mount,
        read_only: true,
        propagation: Propagation::None,
        options: Vec::new(),
    }
}

fn unmount_of(script: &Script<'_>, target: &str, expect: BlockId) -> Unmount {
    Unmount { target: script.at(target), trusted_root: script.base.clone(), expect, root: None }
}

fn files(script: &mut Script<'_>) {
    let (host, base) = (script.host, script.base.clone());
    let path = |name: &str| base.join(name);
    script.tell("remove what is not there", host.remove_dir(&path("none")));
    let done = host.make_dir(&path("a/b"), 0o700).unwrap();
    script.say("make a/b", done);
    let done = host.make_dir(&path("a/b"), 0o755).unwrap();
    script.say("make a/b again", done);
    script.kind_at(&path("a/b"));
    script.tell("remove a", host.remove_dir(&path("a")));
    script.tell("write", host.write_small(&path("a/record"), b"one", true));
    script.tell("write again", host.write_small(&path("a/record"), b"two", false));
    script.tell("append to half a line", host.append_small(&path("a/record"), b"three\n", 4096));
    script.tell("append to nothing", host.append_small(&path("a/none"), b"three\n", 4096));
    script.tell("write nowhere", host.write_small(&path("none/record"), b"x", true));
    let read = host.read_small(&path("a/record")).unwrap();
    script.say("read", read);
    let read = host.read_small(&path("a/none")).unwrap();
    script.say("read nothing", read);
    let list = host.list(&path("a")).unwrap();
    script.say("list", list);
    let list = host.list(&path("none")).unwrap();
    script.say("list nothing", list);
    host.make_dir(&path("aside"), 0o700).unwrap();
    script.tell("set aside", host.set_aside(&path("a/record"), &path("aside")));
    script.tell("set aside nothing", host.set_aside(&path("a/record"), &path("aside")));
    script.tell("remove file", host.remove_small(&path("a/record"), true));
    let made = host.make_target(&base, &path("t/deep/er"), PublishKind::Mount).unwrap();
    let made: Vec<_> = made.iter().map(|path| path.strip_prefix(&base).unwrap().to_owned()).collect();
    script.say("make target", made);
    let made = host.make_target(&base, &path("t/deep/er"), PublishKind::Mount).unwrap();
    script.say("make target again", made);
    script.kind_at(&path("t/deep/er"));
    script.tell("make file over directory", host.make_target(&base, &path("t/deep"), PublishKind::Device));
    script.tell("make device", host.make_target(&base, &path("t/device"), PublishKind::Device));
    script.kind_at(&path("t/device"));
    script.tell("make below a file", host.make_target(&base, &path("t/device/x"), PublishKind::Mount));
    script.tell("leave the root", host.make_target(&path("t"), &path("a/x"), PublishKind::Mount));
    script.tell("remove full", host.remove_target(&base, &path("t"), PublishKind::Mount));
    let seen = host.target(&base, &path("t")).unwrap();
    script.say("target", seen);
    let seen = host.target(&base, &path("none/x")).unwrap();
    script.say("target nowhere", seen);
    for (name, kind) in [("t/device", PublishKind::Device), ("t/deep/er", PublishKind::Mount)] {
        let done = host.remove_target(&base, &path(name), kind).unwrap();
        script.say("remove target", done);
        let done = host.remove_target(&base, &path(name), kind).unwrap();
        script.say("remove target again", done);
    }
}

fn image_of(script: &mut Script<'_>, name: &str, fs: FsType, lock: &Lock) -> Option<(PathBuf, FileId)> {
    let (part, path) = (script.at(&format!("pool/.{name}.part")), script.at(&format!("pool/{name}")));
    let size = fs.min_capacity();
    let new = NewImage { part: part.clone(), size, full: false };
    let file = script.tell("create", script.host.create_image(&new))?;
    let blank = script.host.probe(&part).is_blank();
    script.say("blank", blank);
    script.tell("format", script.host.format(&format_of(&part, fs), lock));
    let known = script.host.probe(&part).known().map(|found| (found.kind.clone(), found.label.clone()));
    script.say("holds", known);
    script.tell("place", script.host.place_image(&part, &path, Place::New));
    script.tell("place again", script.host.place_image(&part, &path, Place::New));
    Some((path, file))
}

fn volume(script: &mut Script<'_>, fs: FsType) {
    let host = script.host;
    host.make_dir(&script.at("pool"), 0o700).unwrap();
    host.make_dir(&script.at("locks"), 0o700).unwrap();
    let lock = host.lock(&script.at("locks/a"), LockMode::Exclusive, Duration::from_secs(1)).unwrap();
    script.tell("lock twice", host.lock(&script.at("locks/a"), LockMode::Shared, Duration::ZERO));
    let Some((path, file)) = image_of(script, "a.img", fs, &lock) else { return };
    script.tell(
        "place over it",
        host.create_image(&NewImage { part: script.at("pool/.b.part"), size: fs.min_capacity(), full: false }),
    );
    script.tell("taken", host.place_image(&script.at("pool/.b.part"), &path, Place::New));
    let wrong = FileId { inode: file.inode + 1, ..file };
    script.tell("replace another", host.place_image(&script.at("pool/.b.part"), &path, Place::Replace(wrong)));
    script.tell("remove another", host.remove_image(&path, Some(wrong)));
    script.tell("attach another", host.attach_loop(&attach_of(&path, wrong)).map(drop));
    let Some(attached) = script.tell("attach", host.attach_loop(&attach_of(&path, file))) else { return };
    let again = host.attach_loop(&attach_of(&path, file)).unwrap();
    script.say("adopted", (attached.adopted, again.adopted, again.device.index == attached.device.index));
    drop(again);
    let device = attached.device.clone();
    script.say("loop", (device.size, device.autoclear, device.read_only, device.offset));
    script.tell("detach held", host.detach_loop(device.index, file));
    let other = if fs == FsType::Ext4 { "xfs" } else { "ext4" };
    script.tell("mount as another type", host.mount(&mount_of(script, &device, other)));
    let stranger =
        FsMount { expect: Some(BlockId { major: 7, minor: 4095 }), ..mount_of(script, &device, fs.as_str()) };
    script.tell("mount another device", host.mount(&stranger));
    script.tell("mount", host.mount(&mount_of(script, &device, fs.as_str())));
    drop(attached);
    let alive = host.loop_of(file, None).unwrap().is_some();
    script.say("the mount holds it", alive);
    script.mounts(&script.at("stage"));
    let shown = host.mounts_at(&script.at("stage")).unwrap().last().map(|mount| mount.device);
    script.say("shows the loop's number", shown == Some(device.block));
    let Some(shown) = shown else { return };
    in_use(script, &path, file, &device, shown, fs, &lock);
    script.tell("unmount another", host.unmount(&unmount_of(script, "stage", BlockId { major: 0, minor: 1 })));
    let done = host.unmount(&unmount_of(script, "stage", shown));
    script.say("unmount", done.map_err(|error| error.kind));
    let done = host.unmount(&unmount_of(script, "stage", shown));
    script.say("unmount again", done.map_err(|error| error.kind));
    let gone = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        host.loop_of(file, None).unwrap().is_none()
    });
    script.say("the loop is gone", gone);
    let done = host.detach_loop(device.index, file);
    script.say("detach what is gone", done.map_err(|error| error.kind).ok());
    let size = host.filesystem_size(&path, fs).map(|size| size.get() > fs.min_capacity().get());
    script.say("has grown", size.map_err(|error| error.kind));
    script.tell("check", host.check_filesystem(&path, fs, &lock));
    script.tell(
        "new uuid of another type",
        host.change_uuid(&path, if fs == FsType::Ext4 { FsType::Xfs } else { FsType::Ext4 }, FsUuid::random(), &lock),
    );
    script.tell("remove", host.remove_image(&path, Some(file)));
    let done = host.remove_image(&path, Some(file)).map_err(|error| error.kind);
    script.say("remove again", done);
}

/// What goes on while it is mounted.
fn in_use(
    script: &mut Script<'_>,
    path: &Path,
    file: FileId,
    device: &LoopDevice,
    shown: BlockId,
    fs: FsType,
    lock: &Lock,
) {
    let host = script.host;
    let target = script.at("pods/data");
    script.tell("bind to nothing", host.bind(&bind_of(script, shown, "pods/data")));
    host.make_target(&script.base, &target, PublishKind::Mount).unwrap();
    script.tell("bind another file system", host.bind(&bind_of(script, BlockId { major: 0, minor: 1 }, "pods/data")));
    script.tell("bind", host.bind(&bind_of(script, shown, "pods/data")));
    script.mounts(&target);
    let plain = BindMount { source: script.at("pool"), ..bind_of(script, shown, "pods/data") };
    script.tell("bind a plain directory", host.bind(&plain));
    let missing = BindMount { sub_path: Some("none".into()), ..bind_of(script, shown, "pods/data") };
    script.tell("bind what is not in it", host.bind(&missing));
    script.tell("make below read-only", host.make_target(&script.base, &target.join("sub"), PublishKind::Mount));
    script.tell("remove what is mounted", host.remove_target(&script.base, &target, PublishKind::Mount));
    let done = host.set_ownership(&script.at("stage"), Ownership { owner: Some((33, 34)), mode: Some(0o750) });
    script.say("own", done.map_err(|error| error.kind));
    let done = host.set_ownership(&script.at("stage"), Ownership { owner: Some((33, 34)), mode: Some(0o750) });
    script.say("own again", done.map_err(|error| error.kind));
    script.kind_at(&script.at("stage"));
    let done = host.change_group(&script.at("stage"), 999).map_err(|error| error.kind);
    script.say("group", done);
    let done = host.change_group(&script.at("stage"), 999).map_err(|error| error.kind);
    script.say("group again", done);
    let done = host.remount(&mount_of(script, device, fs.as_str())).map_err(|error| error.kind);
    script.say("remount as it is", done);
    let fewer = FsMount { options: vec!["nosuid".into(), "nodev".into()], ..mount_of(script, device, fs.as_str()) };
    let done = host.remount(&fewer).map_err(|error| error.kind);
    script.say("remount", done);
    script.mounts(&script.at("stage"));
    let done = host.thaw(&script.at("stage")).map_err(|error| error.kind);
    script.say("thaw what is not frozen", done);
    if let Some(freeze) = script.tell("freeze", host.freeze(&script.at("stage"), Duration::from_secs(10))) {
        script.say("held", freeze.held());
        script.tell("freeze twice", host.freeze(&script.at("stage"), Duration::from_secs(10)).map(drop));
        let copy = CopyRequest {
            from: path.to_owned(),
            from_file: file,
            to_part: script.at("pool/.copy.part"),
            size: fs.min_capacity(),
            full: false,
            reflink: true,
            until: None,
        };
        script.tell("copy", host.copy_image(&copy, lock));
    }
    let copied = host.probe(&script.at("pool/.copy.part")).known().map(|found| found.kind.clone());
    script.say("the copy holds", copied);
    script.tell("new uuid of the copy", host.change_uuid(&script.at("pool/.copy.part"), fs, FsUuid::random(), lock));
    script.tell("remove the copy", host.remove_image(&script.at("pool/.copy.part"), None));
    script.tell(
        "format what is mounted",
        host.format(&FormatRequest { fresh_image: false, ..format_of(&device.node(), fs) }, lock),
    );
    let size = Capacity::bytes(fs.min_capacity().get() + (256 << 20));
    let done = host.resize_image(path, file, size, false).map_err(|error| error.kind);
    script.say("resize", done);
    let done = host.resize_image(path, file, size, false).map_err(|error| error.kind);
    script.say("resize again", done);
    let done = host.resize_loop(device.index, file).map_err(|error| error.kind);
    script.say("resize loop", done);
    let done = host.resize_loop(device.index, file).map_err(|error| error.kind);
    script.say("resize loop again", done);
    let grow = GrowRequest { device: device.node(), fs, mount_point: Some(script.at("stage")), files: None };
    let done = host.grow_filesystem(&grow, lock).map_err(|error| error.kind);
    script.say("grow", done);
    script.tell("detach what is mounted", host.detach_loop(device.index, file));
    let done = host.unmount(&unmount_of(script, "pods/data", shown)).map_err(|error| error.kind);
    script.say("unmount the bind", done);
    script.mounts(&target);
}

/// What a script says on either machine.
fn compare(run: impl Fn(&mut Script<'_>)) {
    let place = support::Place::new();
    let real = LinuxHost::new();
    let mut on_linux = Script { host: &real, base: place.path().to_owned(), said: Vec::new() };
    run(&mut on_linux);

    let sim = SimHost::new();
    let facts = csictl::host::Observe::facts(&real).unwrap();
    sim.set_facts(|known| known.can_grow_ext4_online = facts.can_grow_ext4_online);
    sim.plant_directory(place.path());
    let mut on_sim = Script { host: &sim, base: place.path().to_owned(), said: Vec::new() };
    run(&mut on_sim);

    let (real, sim) = (&on_linux.said, &on_sim.said);
    let differ: Vec<_> = real.iter().zip(sim).filter(|(real, sim)| real != sim).collect();
    assert!(differ.is_empty() && real.len() == sim.len(), "(real, simulated): {differ:#?}\nall: {real:#?}");
}

#[test]
fn files_and_targets() {
    compare(files);
}

#[test]
fn a_volume_with_ext4() {
    compare(|script| volume(script, FsType::Ext4));
}

#[test]
fn a_volume_with_xfs() {
    compare(|script| volume(script, FsType::Xfs));
}

#[test]
fn a_volume_with_btrfs() {
    compare(|script| volume(script, FsType::Btrfs));
}
