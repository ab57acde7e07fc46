//! The verbs on the real machine: every backing and file system through every verb, each verb twice.

use std::fs;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use csictl::driver::local::LocalDriver;
use csictl::driver::local::gc;
use csictl::driver::local::observe::{Scope, observe};
use csictl::driver::{Driver, DriverError, Refusal};
use csictl::host::Observe;
use csictl::host::linux::LinuxHost;
use csictl::model::action::{
    AttachRequest, CreateRequest, DeleteRequest, DeleteSnapshotRequest, ExpandRequest, StageRequest, UnpublishRequest,
    UnstageRequest,
};
use csictl::model::{
    AccessMode, Action, Allocate, Approval, Backing, Capacity, CapacityRange, DeviceBacking, DirectoryBacking, Done,
    FsSpec, FsType, ImageBacking, Layout, Loss, ObjectRef, Ownership, Propagation, PublishKind, PublishSpec, Reclaim,
    SectorSize, SnapshotSpec, Source, TmpfsBacking, VolumeMode, VolumeSpec,
};

use super::rig::allocated;
use crate::support::Place;

struct Machine {
    driver: LocalDriver,
    layout: Layout,
    place: Place,
}

impl Machine {
    fn new() -> Self {
        let place = Place::new();
        let layout = Layout::new(place.state(), place.run());
        let driver = LocalDriver::new(Arc::new(LinuxHost::new()), layout.clone());
        fs::create_dir(place.join("pods")).unwrap();
        Self { driver, layout, place }
    }

    /// The same machine after this process is gone.
    fn again(&self) -> LocalDriver {
        LocalDriver::new(Arc::new(LinuxHost::new()), self.layout.clone())
    }

    fn image(&self, name: &str, fs: FsType) -> VolumeSpec {
        let mib = match fs {
            FsType::Ext4 => 64,
            FsType::Xfs => 320,
            FsType::Btrfs => 128,
        };
        VolumeSpec {
            id: format!("shop.{name}").parse().unwrap(),
            owner: "project:shop".parse().unwrap(),
            name: name.to_owned(),
            description: None,
            volume_mode: VolumeMode::Filesystem,
            capacity: Some(CapacityRange { required: Capacity::mib(mib), limit: None }),
            access_mode: AccessMode::SingleNodeSingleWriter,
            backing: Backing::Image(ImageBacking {
                pool: "main".parse().unwrap(),
                pool_path: self.place.join("pool"),
                allocate: Allocate::Sparse,
                direct_io: true,
                sector_size: SectorSize::B512,
            }),
            fs: Some(FsSpec::plain(fs)),
            fs_type_given: true,
            mount_options: Vec::new(),
            source: None,
            reclaim: Reclaim::Retain,
            prevent_destroy: false,
            ownership: Ownership::default(),
            fs_group: None,
            ephemeral: false,
        }
    }

    fn full(&self, name: &str) -> VolumeSpec {
        let mut spec = self.image(name, FsType::Ext4);
        if let Backing::Image(image) = &mut spec.backing {
            image.allocate = Allocate::Full;
        }
        spec
    }

    fn raw(&self, name: &str) -> VolumeSpec {
        VolumeSpec { volume_mode: VolumeMode::Block, fs: None, ..self.image(name, FsType::Ext4) }
    }

    /// A volume on a disk: a loop device of the test's own.
    fn device(&self, name: &str, fs: FsType) -> VolumeSpec {
        let image = self.place.join(format!("disk-{name}"));
        let file = fs::File::create(&image).unwrap();
        file.set_len(self.image(name, fs).capacity.unwrap().required.get()).unwrap();
        let output = Command::new("losetup").args(["-f", "--show"]).arg(&image).output().unwrap();
        assert!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let backing = Backing::Device(DeviceBacking { path, expect: Default::default() });
        VolumeSpec { backing, capacity: None, ..self.image(name, fs) }
    }

    fn directory(&self, name: &str) -> VolumeSpec {
        let backing = Backing::Directory(DirectoryBacking { path: self.place.join(name), create: true });
        VolumeSpec { backing, capacity: None, fs: None, ..self.image(name, FsType::Ext4) }
    }

    fn tmpfs(&self, name: &str) -> VolumeSpec {
        let backing = Backing::Tmpfs(TmpfsBacking { size: Capacity::mib(16) });
        VolumeSpec { backing, capacity: None, fs: None, ..self.image(name, FsType::Ext4) }
    }

    fn every_sort(&self) -> Vec<VolumeSpec> {
        let mut specs: Vec<_> = FsType::ALL.into_iter().map(|fs| self.image(&format!("image-{fs}"), fs)).collect();
        specs.push(self.full("full"));
        specs.push(self.raw("raw"));
        specs.extend(FsType::ALL.into_iter().map(|fs| self.device(&format!("device-{fs}"), fs)));
        specs.push(self.directory("directory"));
        specs.push(self.tmpfs("memory"));
        specs
    }

    fn staging_path(&self, spec: &VolumeSpec) -> PathBuf {
        self.layout.staging_path(&spec.id)
    }

    fn publish(&self, spec: &VolumeSpec) -> PublishSpec {
        PublishSpec {
            pod: "web".parse().unwrap(),
            volume: spec.id.clone(),
            target: self.place.join("pods/web/data").join(spec.id.short()),
            trusted_root: self.place.join("pods"),
            kind: if spec.is_raw() { PublishKind::Device } else { PublishKind::Mount },
            sub_path: None,
            read_only: false,
            propagation: Propagation::None,
            capability: None,
            staging_path: None,
        }
    }

    fn up(&self, spec: &VolumeSpec) -> Vec<Action> {
        let mut actions = vec![
            Action::Create(Box::new(CreateRequest {
                spec: spec.clone(),
                replaces: false,
                approval: None,
                asked: None,
            })),
            Action::Attach(AttachRequest { id: spec.id.clone(), read_only: false, attachment: None }),
        ];
        if !spec.is_raw() {
            actions.push(Action::Stage(StageRequest {
                id: spec.id.clone(),
                staging_path: self.staging_path(spec),
                mount_options: spec.mount_options.clone(),
                capability: None,
            }));
        }
        actions.push(Action::Publish(self.publish(spec)));
        actions
    }

    fn down(&self, spec: &VolumeSpec) -> Vec<Action> {
        let publish = self.publish(spec);
        vec![
            Action::Unpublish(UnpublishRequest {
                id: spec.id.clone(),
                pod: Some(publish.pod),
                target: publish.target,
                trusted_root: publish.trusted_root,
                kind: publish.kind,
                remove_target: false,
                comes_back: false,
            }),
            Action::Unstage(UnstageRequest {
                id: spec.id.clone(),
                staging_path: self.staging_path(spec),
                by_orchestrator: false,
            }),
            Action::Detach(spec.id.clone()),
        ]
    }

    fn run(&self, actions: &[Action]) -> Vec<Done> {
        actions.iter().map(|action| self.one(action)).collect()
    }

    fn one(&self, action: &Action) -> Done {
        let outcome = self.driver.run(action);
        outcome.unwrap_or_else(|error| panic!("{} {}: {error}", action.verb(), action.object())).done
    }

    fn delete(&self, spec: &VolumeSpec) -> Action {
        let approval = Some(Approval { object: ObjectRef::Volume(spec.id.clone()), loss: Loss::Delete });
        Action::Delete(DeleteRequest { id: spec.id.clone(), approval })
    }

    /// Loops on images of the pool, after those that are just going have gone.
    fn pool_loops(&self) -> usize {
        let count = || self.place.loops().iter().filter(|(_, file)| file.starts_with(self.place.join("pool"))).count();
        for _ in 0..100 {
            if count() == 0 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        count()
    }
}

fn refusal(result: csictl::driver::Result<csictl::model::action::Outcome>) -> Refusal {
    match result {
        Err(DriverError::Refused { refusal, .. }) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn write_through(machine: &Machine, spec: &VolumeSpec) {
    let target = machine.publish(spec).target;
    if spec.is_raw() {
        assert!(fs::metadata(&target).unwrap().file_type().is_block_device());
        let node = fs::OpenOptions::new().write(true).open(&target).unwrap();
        node.write_all_at(b"precious", 4096).unwrap();
        node.sync_all().unwrap();
    } else {
        fs::write(target.join("canary"), "precious").unwrap();
    }
}

fn read_through(machine: &Machine, spec: &VolumeSpec) -> Vec<u8> {
    let target = machine.publish(spec).target;
    if spec.is_raw() {
        let mut bytes = [0; 8];
        fs::File::open(&target).unwrap().read_exact_at(&mut bytes, 4096).unwrap();
        bytes.to_vec()
    } else {
        fs::read(target.join("canary")).unwrap_or_default()
    }
}

#[test]
fn every_verb_on_every_backing_twice_and_the_data_stays() {
    let machine = Machine::new();
    for spec in machine.every_sort() {
        let keeps = !matches!(spec.backing, Backing::Tmpfs(_));
        for round in 0..2 {
            for action in machine.up(&spec) {
                machine.one(&action);
                assert_eq!(machine.one(&action), Done::Already, "{} {}", action.verb(), spec.id);
            }
            if round == 0 {
                write_through(&machine, &spec);
            } else if keeps {
                assert_eq!(read_through(&machine, &spec), b"precious", "{}", spec.id);
            }
            let observed = observe(&LinuxHost::new(), &machine.layout, Scope::Everything).unwrap();
            let seen = &observed.volumes[&spec.id];
            assert_eq!(seen.unknown, Vec::<String>::new(), "{}", spec.id);
            assert_eq!(seen.published.len(), 1, "{}: {:?}", spec.id, seen.published);
            assert_eq!(seen.published[0].depth, 1);
            assert_eq!(seen.staged.as_ref().map(|stage| stage.depth), if spec.is_raw() { None } else { Some(1) });
            for action in machine.down(&spec) {
                machine.one(&action);
                assert_eq!(machine.one(&action), Done::Already, "{} {}", action.verb(), spec.id);
            }
            assert_eq!(machine.place.mounts(), Vec::<PathBuf>::new(), "{}", spec.id);
            assert_eq!(machine.pool_loops(), 0, "{}", spec.id);
            assert_eq!(fs::read_dir(machine.place.join("pods")).unwrap().count(), 0, "{}", spec.id);
        }
        assert_eq!(machine.one(&Action::Release(spec.id.clone())), Done::Changed);
        assert_eq!(machine.one(&machine.delete(&spec)), Done::Changed);
        assert_eq!(machine.one(&machine.delete(&spec)), Done::Already);
    }
    assert_eq!(fs::read_dir(machine.place.join("pool")).unwrap().count(), 0, "every image is gone");
    assert_eq!(gc::find(&LinuxHost::new(), &machine.layout, &[machine.place.join("pool")]).unwrap(), Vec::new());
}

#[test]
fn every_file_system_grows_online_or_is_refused_whole_and_grows_offline() {
    let machine = Machine::new();
    let online = LinuxHost::new().facts().unwrap().can_grow_ext4_online;
    for fs in FsType::ALL {
        let spec = machine.image("db", fs);
        let required = spec.capacity.unwrap().required;
        let to = Capacity::bytes(required.get() * 2);
        machine.run(&machine.up(&spec));
        write_through(&machine, &spec);
        let expand = Action::Expand(ExpandRequest { id: spec.id.clone(), to, owner: None });
        let image = machine.place.join("pool/shop.db.img");
        if fs == FsType::Ext4 && !online {
            assert_eq!(refusal(machine.driver.run(&expand)), Refusal::Unsupported);
            assert_eq!(fs::metadata(&image).unwrap().len(), required.get(), "nothing was changed");
            machine.run(&machine.down(&spec));
        }
        assert_eq!(machine.one(&expand), Done::Changed, "{fs}");
        assert_eq!(machine.one(&expand), Done::Already, "{fs}");
        machine.run(&machine.up(&spec));

        let total = LinuxHost::new().usage(&machine.staging_path(&spec)).unwrap().total;
        assert!(total > required.get() * 3 / 2, "{fs}: {total}");
        assert_eq!(read_through(&machine, &spec), b"precious");
        machine.run(&machine.down(&spec));
        // Grown while nothing had it mounted: what needs a mount to grow does so at the next stage.
        let further = Capacity::bytes(required.get() * 3);
        machine.one(&Action::Expand(ExpandRequest { id: spec.id.clone(), to: further, owner: None }));
        machine.run(&machine.up(&spec));
        let total = LinuxHost::new().usage(&machine.staging_path(&spec)).unwrap().total;
        assert!(total > required.get() * 5 / 2, "{fs}: {total}");
        machine.run(&machine.down(&spec));
        machine.one(&machine.delete(&spec));
    }
}

#[test]
fn a_raw_volume_grows_while_it_is_published() {
    let machine = Machine::new();
    let spec = machine.raw("disk");
    machine.run(&machine.up(&spec));
    write_through(&machine, &spec);

    machine.one(&Action::Expand(ExpandRequest { id: spec.id.clone(), to: Capacity::mib(128), owner: None }));

    let mut node = fs::File::open(machine.publish(&spec).target).unwrap();
    assert_eq!(std::io::Seek::seek(&mut node, std::io::SeekFrom::End(0)).unwrap(), 128 << 20);
    drop(node);
    assert_eq!(read_through(&machine, &spec), b"precious");
    machine.run(&machine.down(&spec));
}

#[test]
fn snapshots_clones_and_restores_carry_the_data_under_another_uuid() {
    let machine = Machine::new();
    for fs in FsType::ALL {
        let spec = machine.image(&format!("db-{fs}"), fs);
        machine.run(&machine.up(&spec));
        write_through(&machine, &spec);
        let snapshot = SnapshotSpec {
            id: format!("shop.before-{fs}").parse().unwrap(),
            owner: spec.owner.clone(),
            name: format!("before-{fs}"),
            volume: spec.id.clone(),
        };
        let take = Action::Snapshot(snapshot.clone());
        assert_eq!((machine.one(&take), machine.one(&take)), (Done::Changed, Done::Already));
        for (name, source) in
            [("clone", Source::Volume(spec.id.clone())), ("restore", Source::Snapshot(snapshot.id.clone()))]
        {
            let mut copy = machine.image(&format!("{name}-{fs}"), fs);
            copy.source = Some(source);
            let required = copy.capacity.unwrap().required.get() * 2;
            copy.capacity.as_mut().unwrap().required = Capacity::bytes(required);
            machine.run(&machine.up(&copy));

            assert_eq!(read_through(&machine, &copy), b"precious", "{name} {fs}");
            let total = LinuxHost::new().usage(&machine.staging_path(&copy)).unwrap().total;
            assert!(total > required * 3 / 4, "{name} {fs}: {total}");
            assert!(machine.run(&machine.up(&copy)).iter().all(|done| *done == Done::Already));
            machine.run(&machine.down(&copy));
        }
        // Writers go on: nothing is frozen.
        fs::write(machine.publish(&spec).target.join("after"), "more").unwrap();
        machine.run(&machine.down(&spec));
        let approval = Some(Approval { object: ObjectRef::Snapshot(snapshot.id.clone()), loss: Loss::Delete });
        let delete = Action::DeleteSnapshot(DeleteSnapshotRequest { id: snapshot.id.clone(), approval });
        assert_eq!((machine.one(&delete), machine.one(&delete)), (Done::Changed, Done::Already));
    }
    assert_eq!(machine.place.mounts(), Vec::<PathBuf>::new());
}

#[test]
fn another_process_finds_everything_done() {
    let machine = Machine::new();
    for spec in machine.every_sort() {
        machine.run(&machine.up(&spec));
        let other = machine.again();
        for action in machine.up(&spec) {
            let outcome = other.run(&action).unwrap_or_else(|error| panic!("{} {}: {error}", action.verb(), spec.id));
            assert_eq!(outcome.done, Done::Already, "{} {}", action.verb(), spec.id);
        }
        for action in machine.down(&spec) {
            other.run(&action).unwrap();
        }
    }
    assert_eq!(machine.place.mounts(), Vec::<PathBuf>::new());
}

#[test]
fn modify_remounts_what_is_staged_and_fills_what_becomes_full() {
    let machine = Machine::new();
    let mut spec = machine.image("db", FsType::Ext4);
    machine.run(&machine.up(&spec));
    spec.mount_options = vec!["noatime".into()];
    spec.ownership = Ownership { owner: Some((999, 999)), mode: Some(0o750) };
    spec.backing = machine.full("db").backing;

    let modify = Action::Modify(Box::new(spec.clone()));
    assert_eq!((machine.one(&modify), machine.one(&modify)), (Done::Changed, Done::Already));

    let root = fs::metadata(machine.staging_path(&spec)).unwrap();
    assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (999, 999, 0o750));
    let mount = LinuxHost::new().mounts_at(&machine.staging_path(&spec)).unwrap().pop().unwrap();
    assert!(mount.has_option("noatime"), "{mount:?}");
    assert!(allocated(&machine.place.join("pool/shop.db.img")) >= 64 << 20);
    machine.run(&machine.down(&spec));
    machine.run(&machine.up(&spec));
    let _ = Command::new("fstrim").arg(machine.staging_path(&spec)).output().unwrap();
    assert!(allocated(&machine.place.join("pool/shop.db.img")) >= 64 << 20, "the reservation stays under fstrim");
    machine.run(&machine.down(&spec));
}

#[test]
fn a_replacement_is_made_before_the_old_image_goes() {
    let machine = Machine::new();
    let old = machine.image("db", FsType::Ext4);
    machine.run(&machine.up(&old));
    write_through(&machine, &old);
    machine.run(&machine.down(&old));
    let new = machine.image("db", FsType::Xfs);
    let replaces =
        |approval| Action::Create(Box::new(CreateRequest { spec: new.clone(), replaces: true, approval, asked: None }));
    assert_eq!(refusal(machine.driver.run(&replaces(None))), Refusal::Unapproved);
    machine.run(&machine.up(&old));
    assert_eq!(read_through(&machine, &old), b"precious");
    machine.run(&machine.down(&old));

    let approval = Some(Approval { object: ObjectRef::Volume(new.id.clone()), loss: Loss::Wipe });
    machine.one(&replaces(approval.clone()));
    assert_eq!(machine.one(&replaces(approval)), Done::Already);
    machine.run(&machine.up(&new));

    assert_eq!(read_through(&machine, &new), b"");
    machine.run(&machine.down(&new));
}

#[test]
fn a_device_with_something_on_it_keeps_it() {
    let machine = Machine::new();
    let spec = machine.device("disk", FsType::Ext4);
    let Backing::Device(device) = &spec.backing else { unreachable!() };
    let made = Command::new("mkfs.xfs").arg("-q").arg(&device.path).output().unwrap();
    if !made.status.success() {
        // 64 MiB is too small for xfs: swap is as good a stranger.
        assert!(Command::new("mkswap").arg(&device.path).output().unwrap().status.success());
    }
    let before = first_bytes(&device.path);
    let actions = machine.up(&spec);
    machine.one(&actions[0]);

    assert_eq!(refusal(machine.driver.run(&actions[2])), Refusal::NotBlank);
    assert_eq!(first_bytes(&device.path), before);
}

#[test]
fn a_device_with_the_file_system_asked_for_is_used_as_it_is() {
    let machine = Machine::new();
    let spec = machine.device("disk", FsType::Ext4);
    let Backing::Device(device) = &spec.backing else { unreachable!() };
    let made = Command::new("mkfs.ext4").arg("-q").arg(&device.path).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    machine.run(&machine.up(&spec));
    write_through(&machine, &spec);
    machine.run(&machine.down(&spec));
    fs::remove_dir_all(machine.place.state()).unwrap();
    let other = machine.again();

    for action in machine.up(&spec) {
        other.run(&action).unwrap();
    }

    assert_eq!(read_through(&machine, &spec), b"precious");
    for action in machine.down(&spec) {
        other.run(&action).unwrap();
    }
}

fn first_bytes(device: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 1 << 20];
    fs::File::open(device).unwrap().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn a_lost_state_directory_is_made_anew_from_the_images() {
    let machine = Machine::new();
    for fs in FsType::ALL {
        let spec = machine.image(&format!("db-{fs}"), fs);
        machine.run(&machine.up(&spec));
        write_through(&machine, &spec);
        machine.run(&machine.down(&spec));
        fs::remove_dir_all(machine.place.state()).unwrap();
        let other = machine.again();

        for action in machine.up(&spec) {
            other.run(&action).unwrap();
        }

        assert_eq!(read_through(&machine, &spec), b"precious", "{fs}");
        for action in machine.down(&spec) {
            other.run(&action).unwrap();
        }
        fs::create_dir_all(machine.layout.locks()).unwrap();
    }
}

#[test]
fn a_block_volume_comes_down_though_its_record_is_damaged() {
    let machine = Machine::new();
    let device = VolumeSpec { volume_mode: VolumeMode::Block, fs: None, ..machine.device("disk", FsType::Ext4) };
    for spec in [machine.raw("raw"), device] {
        machine.run(&machine.up(&spec));
        fs::write(machine.layout.volume_record(&spec.id), "garbage").unwrap();
        let other = machine.again();

        for action in machine.down(&spec) {
            other.run(&action).unwrap();
        }

        assert_eq!(machine.place.mounts(), Vec::<PathBuf>::new(), "{}", spec.id);
        assert_eq!(machine.pool_loops(), 0, "{}", spec.id);
    }
}

#[test]
fn a_publish_that_was_covered_is_never_said_to_be_gone() {
    let machine = Machine::new();
    let spec = VolumeSpec { access_mode: AccessMode::SingleNodeMultiWriter, ..machine.image("db", FsType::Ext4) };
    machine.run(&machine.up(&spec));
    let over = machine.publish(&spec);
    machine.one(&machine.down(&spec)[0]);
    let deep = PublishSpec { target: over.target.join("deep"), ..over.clone() };
    let unpublish = |publish: &PublishSpec| {
        Action::Unpublish(UnpublishRequest {
            id: spec.id.clone(),
            pod: None,
            target: publish.target.clone(),
            trusted_root: publish.trusted_root.clone(),
            kind: publish.kind,
            remove_target: false,
            comes_back: false,
        })
    };
    for inside in [false, true] {
        machine.one(&Action::Publish(deep.clone()));
        machine.one(&Action::Publish(over.clone()));
        if inside {
            fs::create_dir(over.target.join("deep")).unwrap();
        }

        let error = machine.driver.run(&unpublish(&deep)).unwrap_err();

        let text = format!("{error}");
        assert!(text.contains(&format!("{} was mounted over it", over.target.display())), "{text}");
        machine.one(&unpublish(&over));
        machine.one(&unpublish(&deep));
        assert_eq!(machine.place.mounts(), [machine.staging_path(&spec)]);
    }
    machine.run(&machine.down(&spec));
}

#[test]
fn a_busy_publish_names_its_holder() {
    let machine = Machine::new();
    let spec = machine.image("db", FsType::Ext4);
    machine.run(&machine.up(&spec));
    let mut sleeper = Command::new("sleep").arg("60").current_dir(machine.publish(&spec).target).spawn().unwrap();

    let error = machine.driver.run(&machine.down(&spec)[0]).unwrap_err();

    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(error.to_string().contains(&sleeper.id().to_string()), "{error}");
    machine.run(&machine.down(&spec));
}
