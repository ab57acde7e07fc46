//! The simulated machine is as strict as the kernel, and its faults are what they say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::host::*;
use crate::model::*;

const POOL: &str = "/srv/pool";

fn sim() -> SimHost {
    let host = SimHost::new();
    host.plant_directory(POOL);
    host.plant_directory("/locks");
    host
}

fn lock(host: &SimHost) -> Lock {
    host.lock(Path::new("/locks/a"), LockMode::Exclusive, Duration::ZERO).unwrap()
}

fn format_of(path: &Path, fs: FsType) -> FormatRequest {
    FormatRequest {
        path: path.to_owned(),
        fs,
        uuid: FsUuid::random(),
        label: None,
        options: Vec::new(),
        sector_size: SectorSize::B512,
        fresh_image: true,
        discard: true,
        block: None,
        resume: false,
        template: false,
    }
}

/// A finished, formatted image.
fn image(host: &SimHost, name: &str, fs: FsType) -> ObservedAt {
    let part = PathBuf::from(format!("{POOL}/.{name}.part"));
    let path = PathBuf::from(format!("{POOL}/{name}"));
    let new = NewImage { part: part.clone(), size: Capacity::gib(1), full: false };
    let file = host.create_image(&new).unwrap();
    host.format(&format_of(&part, fs), &lock(host)).unwrap();
    host.place_image(&part, &path, Place::New).unwrap();
    ObservedAt { path, file }
}

struct ObservedAt {
    path: PathBuf,
    file: FileId,
}

fn attach_of(image: &ObservedAt) -> AttachLoop {
    AttachLoop {
        path: image.path.clone(),
        file: image.file,
        read_only: false,
        autoclear: true,
        direct_io: true,
        sector_size: SectorSize::B512,
        discard: true,
        hint: None,
        id: "shop.a".parse().unwrap(),
    }
}

fn mount_of(device: &LoopDevice, fs: FsType, target: &str) -> FsMount {
    FsMount {
        source: device.node(),
        fs_type: fs.to_string(),
        bind_directory: false,
        expect: Some(device.block),
        target: target.into(),
        trusted_root: "/".into(),
        options: vec!["nosuid".into(), "nodev".into()],
        shared: false,
    }
}

/// An image that is attached and mounted.
fn staged(host: &SimHost, fs: FsType) -> (ObservedAt, LoopDevice) {
    let image = image(host, "a.img", fs);
    let attached = host.attach_loop(&attach_of(&image)).unwrap();
    host.mount(&mount_of(&attached.device, fs, "/run/stage")).unwrap();
    (image, attached.device)
}

fn bind_of(expect: BlockId, target: &str) -> BindMount {
    BindMount {
        source: "/run/stage".into(),
        expect,
        sub_path: None,
        target: target.into(),
        trusted_root: "/".into(),
        kind: PublishKind::Mount,
        read_only: true,
        propagation: Propagation::None,
        options: Vec::new(),
    }
}

fn unmount_of(target: &str, expect: BlockId) -> Unmount {
    Unmount { target: target.into(), trusted_root: "/".into(), expect, root: None }
}

#[test]
fn a_loop_with_autoclear_lives_as_long_as_somebody_uses_it() {
    let host = sim();
    let image = image(&host, "a.img", FsType::Ext4);
    let attached = host.attach_loop(&attach_of(&image)).unwrap();
    assert!(!attached.adopted);
    assert!(host.attach_loop(&attach_of(&image)).unwrap().adopted);
    let device = attached.device.clone();
    drop(attached);
    assert_eq!(host.loops().unwrap(), [], "nobody holds it");

    let attached = host.attach_loop(&attach_of(&image)).unwrap();
    host.mount(&mount_of(&device, FsType::Ext4, "/run/stage")).unwrap();
    drop(attached);
    assert_eq!(host.loops().unwrap().len(), 1, "the mount holds it");
    assert_eq!(host.detach_loop(device.index, image.file).unwrap_err().kind, ErrorKind::Busy);
    host.unmount(&unmount_of("/run/stage", device.block)).unwrap();
    assert_eq!(host.loops().unwrap(), []);
}

#[test]
fn only_a_whole_file_system_of_the_type_asked_for_mounts() {
    let host = sim();
    let image = image(&host, "a.img", FsType::Ext4);
    let attached = host.attach_loop(&attach_of(&image)).unwrap();
    host.mount(&mount_of(&attached.device, FsType::Xfs, "/run/stage")).unwrap_err();
    host.set_image_content(&image.path, Content::Blank);
    let error = host.mount(&mount_of(&attached.device, FsType::Ext4, "/run/stage")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotBlank);
    assert!(host.mounts_at(Path::new("/run/stage")).unwrap().is_empty());
}

#[test]
fn a_bind_shows_a_mount_and_never_a_plain_directory() {
    let host = sim();
    let (_, device) = staged(&host, FsType::Ext4);
    host.write_canary("/run/stage/data/file", b"kept");
    host.make_target(Path::new("/"), Path::new("/srv/pod/data"), PublishKind::Mount).unwrap();
    let mut bind = bind_of(device.block, "/srv/pod/data");
    bind.sub_path = Some("data".into());
    host.bind(&bind).unwrap();
    assert_eq!(host.read("/srv/pod/data/file").unwrap(), b"kept");
    let mounts = host.mounts_at(Path::new("/srv/pod/data")).unwrap();
    assert_eq!((mounts[0].root.as_path(), mounts[0].read_only()), (Path::new("/data"), true));

    host.unmount(&unmount_of("/run/stage", device.block)).unwrap();
    assert_eq!(host.loops().unwrap().len(), 1, "the bind holds the file system");
    assert_eq!(host.bind(&bind).unwrap_err().kind, ErrorKind::Foreign);
    host.unmount(&unmount_of("/srv/pod/data", device.block)).unwrap();
    assert_eq!(host.check(), Vec::<String>::new());
}

#[test]
fn btrfs_shows_a_device_number_of_its_own() {
    let host = sim();
    let (_, device) = staged(&host, FsType::Btrfs);
    let mount = host.mounts_at(Path::new("/run/stage")).unwrap().remove(0);
    assert_eq!((mount.device.major, mount.source), (0, device.node()));
    assert_eq!(host.stat(Path::new("/run/stage")).unwrap().unwrap().file.device, mount.device);
    host.make_target(Path::new("/"), Path::new("/srv/t"), PublishKind::Mount).unwrap();
    assert_eq!(host.bind(&bind_of(device.block, "/srv/t")).unwrap_err().kind, ErrorKind::Foreign);
    host.bind(&bind_of(mount.device, "/srv/t")).unwrap();
}

#[test]
fn what_is_used_is_busy_and_what_is_full_is_not_empty() {
    let host = sim();
    let (_, device) = staged(&host, FsType::Ext4);
    host.hold_mount("/run/stage", 7);
    assert_eq!(host.unmount(&unmount_of("/run/stage", device.block)).unwrap_err().kind, ErrorKind::Busy);
    assert_eq!(host.holders(device.block, None).unwrap()[0].pid, 7);
    host.release_all();
    let other = BlockId { major: 9, minor: 9 };
    assert_eq!(host.unmount(&unmount_of("/run/stage", other)).unwrap_err().kind, ErrorKind::Foreign);
    assert_eq!(host.remove_dir(Path::new("/srv")).unwrap_err().kind, ErrorKind::NotEmpty);
    assert_eq!(host.remove_dir(Path::new("/run/stage")).unwrap_err().kind, ErrorKind::Busy);
}

#[test]
fn only_what_is_blank_is_formatted() {
    let host = sim();
    let uuid = FsUuid::random();
    let fs = FsImage::new(FsType::Xfs, uuid, 1 << 30);
    let spec = DiskSpec { content: Content::Fs(Box::new(fs.clone())), ..DiskSpec::blank(1 << 30) };
    let link = Path::new("/dev/disk/by-id/x");
    let block = host.add_disk(link, spec);
    let lock = lock(&host);
    let mut request = format_of(link, FsType::Xfs);
    assert_eq!(host.format(&request, &lock).unwrap_err().kind, ErrorKind::NotBlank);
    host.set_disk_content(block, Content::Unreadable("medium error".into()));
    assert_eq!(host.format(&request, &lock).unwrap_err().kind, ErrorKind::NotBlank);
    host.set_disk_content(block, Content::Fs(Box::new(FsImage { half_made: true, ..fs })));
    assert_eq!(host.format(&request, &lock).unwrap_err().kind, ErrorKind::NotBlank, "a stranger's half-made one");
    request.uuid = uuid;
    request.resume = true;
    host.format(&request, &lock).unwrap();
    assert!(matches!(host.probe(link), Probe::Known(found) if found.kind == "xfs"));
}

#[test]
fn a_killed_process_sees_nothing_and_holds_nothing() {
    for (when, magic) in [(When::Before, false), (When::Half, true), (When::After, true)] {
        let host = sim();
        let part = PathBuf::from("/srv/pool/.x.part");
        host.create_image(&NewImage { part: part.clone(), size: Capacity::gib(1), full: false }).unwrap();
        let held = lock(&host);
        host.crash_at(host.count(), when);
        assert!(is_crash(&host.format(&format_of(&part, FsType::Xfs), &held).unwrap_err()));
        assert!(is_crash(&host.facts().unwrap_err()) && host.is_dead());

        let next = host.revive();
        let _held = lock(&next);
        assert_eq!(!next.probe(&part).is_blank(), magic, "{when:?}");
    }
}

#[test]
fn an_injected_error_strikes_once_and_is_logged() {
    let host = sim();
    host.fail_at(1, ErrorKind::NoSpace);
    host.make_dir(Path::new("/srv/a"), 0o700).unwrap();
    assert_eq!(host.make_dir(Path::new("/srv/b"), 0o700).unwrap_err().kind, ErrorKind::NoSpace);
    assert_eq!(host.make_dir(Path::new("/srv/b"), 0o700).unwrap(), Done::Changed);
    let failed: Vec<_> = host.effects().iter().map(|effect| effect.failed).collect();
    assert_eq!(failed, [None, Some(ErrorKind::NoSpace), None]);
}

#[test]
fn a_power_cut_takes_what_was_not_flushed() {
    let host = sim();
    host.write_small(Path::new("/srv/durable"), b"1", true).unwrap();
    host.write_small(Path::new("/srv/durable"), b"2", false).unwrap();
    host.write_small(Path::new("/srv/fleeting"), b"1", false).unwrap();
    let kept = image(&host, "kept.img", FsType::Ext4);
    host.create_image(&NewImage { part: "/srv/pool/.x.part".into(), size: Capacity::gib(1), full: true }).unwrap();

    let rebooted = host.fork().reboot();
    let cut = host.power_cut();

    assert_eq!(rebooted.read("/srv/fleeting").unwrap(), b"1");
    assert_eq!((cut.read("/srv/durable").unwrap(), cut.read("/srv/fleeting")), (b"1".to_vec(), None));
    assert!(cut.probe(&kept.path).known().is_some());
    assert_eq!(cut.stat(Path::new("/srv/pool/.x.part")).unwrap(), None);
    assert_ne!(cut.facts().unwrap().boot_id, SimHost::new().facts().unwrap().boot_id);
}

#[test]
fn a_boot_clears_mounts_loops_and_memory() {
    let host = sim();
    let (image, _) = staged(&host, FsType::Ext4);
    host.plant_file("/run/x", b"");
    let base = SimHost::new().mount_table().unwrap().len();
    let after = host.reboot();
    assert_eq!((after.mount_table().unwrap().len(), after.loops().unwrap().len()), (base, 0));
    assert_eq!(after.stat(Path::new("/run/x")).unwrap(), None);
    assert!(after.probe(&image.path).known().is_some());
}

#[test]
fn a_copy_of_a_file_system_that_is_written_is_torn_and_a_frozen_one_is_not() {
    let host = sim();
    let (image, _) = staged(&host, FsType::Ext4);
    let copy = |to: &str| CopyRequest {
        from: image.path.clone(),
        from_file: image.file,
        to_part: to.into(),
        size: Capacity::gib(1),
        full: false,
        reflink: true,
        until: None,
    };
    let held = lock(&host);
    assert_eq!(host.copy_image(&copy("/srv/pool/.1.part"), &held).unwrap(), CopyMethod::Sparse);
    let freeze = host.freeze(Path::new("/run/stage"), Duration::from_secs(1)).unwrap();
    host.set_reflink(true);
    assert_eq!(host.copy_image(&copy("/srv/pool/.2.part"), &held).unwrap(), CopyMethod::Reflink);
    assert!(freeze.held());
    drop(freeze);
    let torn = |path: &str| matches!(host.content(path), Some(Content::Fs(fs)) if fs.torn);
    assert_eq!((torn("/srv/pool/.1.part"), torn("/srv/pool/.2.part")), (true, false));
    assert!(!host.is_frozen("/run/stage"));
}

#[test]
fn space_is_finite() {
    let host = sim();
    host.set_root_size(3 << 30);
    let new = |name: &str, full| NewImage { part: format!("/srv/pool/{name}").into(), size: Capacity::gib(2), full };
    host.create_image(&new("a", true)).unwrap();
    assert_eq!(host.create_image(&new("b", true)).unwrap_err().kind, ErrorKind::NoSpace);
    host.create_image(&new("c", false)).unwrap();
}

#[test]
fn one_file_has_one_loop_and_growing_ext4_online_needs_its_privilege() {
    let host = sim();
    let (image, device) = staged(&host, FsType::Ext4);
    host.resize_image(&image.path, image.file, Capacity::gib(2), false).unwrap();
    host.resize_loop(device.index, image.file).unwrap();
    let grow =
        GrowRequest { device: device.node(), fs: FsType::Ext4, mount_point: Some("/run/stage".into()), files: None };
    host.set_facts(|facts| facts.can_grow_ext4_online = false);
    assert_eq!(host.grow_filesystem(&grow, &lock(&host)).unwrap_err().kind, ErrorKind::Permission);
    host.set_facts(|facts| facts.can_grow_ext4_online = true);
    assert_eq!(host.grow_filesystem(&grow, &lock(&host)).unwrap(), Done::Changed);
    assert_eq!(host.filesystem_size(&device.node(), FsType::Ext4).unwrap(), Capacity::gib(2));
}

#[test]
fn a_lock_keeps_others_out_until_it_is_dropped() {
    let host = sim();
    let other = host.spawn();
    let path = Path::new("/locks/a");
    let shared = host.lock(path, LockMode::Shared, Duration::ZERO).unwrap();
    drop(other.lock(path, LockMode::Shared, Duration::ZERO).unwrap());
    let error = other.lock(path, LockMode::Exclusive, Duration::from_millis(5)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::LockHeld);
    drop(shared);
    other.lock(path, LockMode::Exclusive, Duration::ZERO).unwrap();
}

#[test]
fn targets_follow_no_link() {
    let host = sim();
    host.plant_link("/srv/jail/out", "/etc");
    let root = Path::new("/srv/jail");
    let target = Path::new("/srv/jail/out/cron.d");
    let error = host.make_target(root, target, PublishKind::Mount).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnsafePath);
    assert_eq!(host.target(root, target).unwrap().symlink, Some(("/srv/jail/out".into(), "/etc".into())));
    assert_eq!(host.stat(Path::new("/etc/cron.d")).unwrap(), None);
    let made = host.make_target(root, Path::new("/srv/jail/a/b"), PublishKind::Device).unwrap();
    assert_eq!(made, [PathBuf::from("/srv/jail/a"), "/srv/jail/a/b".into()]);
}
