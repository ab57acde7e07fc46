//! Loop devices: attach, adopt, detach, discards, sizes.

use std::collections::HashSet;
use std::fs;
use std::thread;

use csictl::host::{AttachLoop, ErrorKind, Host, Observe};
use csictl::model::{Capacity, Done, SectorSize};

use super::rig::{Rig, allocated, attach, run};

#[test]
fn attach_detach_and_both_again() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(8), false);
    let request = AttachLoop { autoclear: false, ..attach(&path, file) };

    let first = rig.host.attach_loop(&request).unwrap();
    let second = rig.host.attach_loop(&request).unwrap();
    assert!(!first.adopted && second.adopted);
    assert_eq!(first.device, second.device);
    assert_eq!((first.device.size, first.device.backing, first.device.offset), (8 << 20, file, 0));
    let index = first.device.index;
    drop((first, second));

    assert_eq!(rig.host.loop_of(file, None).unwrap().unwrap().index, index);
    assert_eq!(rig.host.loop_of(file, Some(index + 1)).unwrap().unwrap().index, index);
    assert_eq!(rig.host.detach_loop(index, file).unwrap(), Done::Changed);
    assert_eq!(rig.host.detach_loop(index, file).unwrap(), Done::Already);
    assert_eq!(rig.host.loop_of(file, Some(index)).unwrap(), None);
}

#[test]
fn a_loop_with_autoclear_goes_with_its_hold() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(8), false);
    let attached = rig.attach(&path, file);
    assert!(attached.device.autoclear && attached.hold.holds());
    assert_eq!(rig.place.loops().len(), 1);
    drop(attached);
    assert_eq!(rig.loops_left(), 0);
}

#[test]
fn flags_are_those_asked_for() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(8), false);
    let request =
        AttachLoop { read_only: true, direct_io: true, sector_size: SectorSize::B4096, ..attach(&path, file) };
    let device = rig.host.attach_loop(&request).unwrap().device;
    assert!(device.read_only && device.direct_io && device.autoclear);
    assert_eq!(device.sector_size, 4096);
}

#[test]
fn adopting_changes_autoclear_and_refuses_what_it_cannot_change() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(8), false);
    let held = rig.attach(&path, file);
    let block = rig.host.attach_loop(&AttachLoop { autoclear: false, ..attach(&path, file) }).unwrap();
    assert!(block.adopted && !block.device.autoclear);
    let index = block.device.index;
    drop((held, block));
    assert!(!rig.host.loop_of(file, Some(index)).unwrap().unwrap().autoclear, "it stays when its last user goes");

    for request in [
        AttachLoop { read_only: true, ..attach(&path, file) },
        AttachLoop { sector_size: SectorSize::B4096, ..attach(&path, file) },
    ] {
        let error = rig.host.attach_loop(&request).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    }
    assert_eq!(rig.place.loops().len(), 1);
    rig.host.detach_loop(index, file).unwrap();
}

#[test]
fn another_file_under_the_name_is_refused() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(8), false);
    fs::rename(&path, rig.path("old.img")).unwrap();
    rig.image("a.img", Capacity::mib(8), false);
    let error = rig.host.attach_loop(&attach(&path, file)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign);
    assert!(rig.place.loops().is_empty());
}

#[test]
fn a_loop_of_somebody_else_at_an_offset_is_an_error() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(8), false);
    let output = run("losetup", &["--find", "--show", "--offset", "4096", path.to_str().unwrap()]);
    let node = String::from_utf8(output.stdout).unwrap();
    let error = rig.host.attach_loop(&attach(&path, file)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign, "{error}");
    assert!(error.cause.contains("4096"), "{error}");
    run("losetup", &["-d", node.trim()]);
}

#[test]
fn sixteen_threads_attach_their_images_and_none_takes_anothers() {
    let rig = Rig::new();
    let images: Vec<_> = (0..48).map(|n| rig.image(&format!("{n}.img"), Capacity::mib(1), false)).collect();
    for _ in 0..3 {
        let attached: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = images
                .chunks(3)
                .map(|mine| {
                    let host = &rig.host;
                    scope.spawn(move || {
                        mine.iter()
                            .map(|(path, file)| (*file, host.attach_loop(&attach(path, *file)).unwrap()))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        });
        let indices: HashSet<u32> = attached.iter().map(|(_, attached)| attached.device.index).collect();
        assert_eq!(indices.len(), 48);
        for (file, attached) in &attached {
            assert_eq!(attached.device.backing, *file);
            assert!(!attached.adopted);
        }
        drop(attached);
        assert_eq!(rig.loops_left(), 0);
    }
}

#[test]
fn sixteen_threads_on_one_image_under_its_lock_share_one_loop() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(1), false);
    let lock = rig.path("lock");
    let held: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..16)
            .map(|_| {
                scope.spawn(|| {
                    let timeout = std::time::Duration::from_secs(20);
                    let _lock = rig.host.lock(&lock, csictl::host::LockMode::Exclusive, timeout).unwrap();
                    rig.host.attach_loop(&attach(&path, file)).unwrap()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(held.iter().filter(|attached| !attached.adopted).count(), 1);
    assert_eq!(rig.place.loops().len(), 1);
}

#[test]
fn a_detached_loop_that_is_busy_is_an_error_and_goes_later() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(8), false);
    let attached = rig.host.attach_loop(&AttachLoop { autoclear: false, ..attach(&path, file) }).unwrap();
    let user = fs::File::open(attached.device.node()).unwrap();
    let index = attached.device.index;
    drop(attached);
    let error = rig.host.detach_loop(index, file).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    drop(user);
    assert_eq!(rig.loops_left(), 0);
}

#[test]
fn a_grown_image_grows_its_loop() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(8), false);
    let attached = rig.attach(&path, file);
    let index = attached.device.index;
    assert_eq!(rig.host.resize_loop(index, file).unwrap(), Done::Already);
    rig.host.resize_image(&path, file, Capacity::mib(12), false).unwrap();
    assert_eq!(rig.host.resize_loop(index, file).unwrap(), Done::Changed);
    assert_eq!(rig.host.loop_of(file, Some(index)).unwrap().unwrap().size, 12 << 20);
}

#[test]
fn trim_and_zeroing_give_up_nothing_of_a_full_image_and_all_of_a_sparse_one() {
    let rig = Rig::new();
    for (name, full) in [("full", true), ("sparse", false), ("full-again", true)] {
        let (path, file) = rig.formatted(&format!("{name}.img"), "ext4", Capacity::mib(64), full);
        let request = AttachLoop { discard: !full, ..attach(&path, file) };
        let attached = rig.host.attach_loop(&request).unwrap();
        let node = attached.device.node();
        let target = rig.path(name);
        rig.host.mount(&rig.mount_request(&node, "ext4", attached.device.block, name)).unwrap();
        fs::write(target.join("big"), vec![7u8; 16 << 20]).unwrap();
        fs::File::open(target.join("big")).unwrap().sync_all().unwrap();
        fs::remove_file(target.join("big")).unwrap();
        rig.host.sync(&target).unwrap();
        let before = allocated(&path);
        run("fstrim", &[target.to_str().unwrap()]);
        rig.host.sync(&target).unwrap();
        let after = allocated(&path);
        if full {
            assert!(before >= 64 << 20);
            assert_eq!(after, before, "{name}: trim gave {} bytes back", before - after);
        } else {
            assert!(after + (8 << 20) < before, "a sparse image gives back: {before} → {after}");
        }
        rig.host.unmount(&rig.unmount_request(&target, attached.device.block)).unwrap();
        // A hole punched into the device asks for zeroes that may unmap.
        let output = run("fallocate", &["-p", "-l", "33554432", node.to_str().unwrap()]);
        drop(attached);
        if full {
            assert_eq!(allocated(&path), before, "{name}: zeroing gave bytes back");
        } else {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert_eq!(rig.loops_left(), 0);
    }
}

/// What a container with a /dev of its own meets.
#[test]
fn a_dev_without_nodes_for_loop_devices_is_named_as_the_cause() {
    let rig = Rig::new();
    let (path, file) = rig.image("a.img", Capacity::mib(8), false);
    let dev = rig.place.join("dev");
    fs::create_dir(&dev).unwrap();
    run("cp", &["-a", "/dev/loop-control", dev.to_str().unwrap()]);
    nix::mount::mount(Some(&dev), "/dev", None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>).unwrap();

    let error = rig.host.attach_loop(&attach(&path, file));

    nix::mount::umount("/dev").unwrap();
    let Err(error) = error else { panic!("no node, no device") };
    assert!(error.kind == ErrorKind::Other && error.to_string().contains("/dev has no node for it"), "{error}");
}
