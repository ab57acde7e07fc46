//! Mounts, binds and their undoing, and the paths below a trusted root.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use csictl::host::{AttachLoop, BindMount, ErrorKind, FsMount, Host, Observe, Unmount};
use csictl::model::observed::TargetKind;
use csictl::model::{Capacity, Done, Propagation, PublishKind};
use nix::mount::{MsFlags, mount};

use super::rig::{Rig, attach};

const NONE: Option<&str> = None;

fn foreign_tmpfs(target: &Path) {
    mount(Some("theirs"), target, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
}

#[test]
fn stage_publish_and_back_leave_nothing() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    assert!(staged.mount.has_option("nosuid") && staged.mount.has_option("nodev"));
    assert_eq!(staged.mount.propagation(), Propagation::None);

    let bind = rig.bind_request(&staged, "pod/data");
    rig.bind(&bind).unwrap();
    fs::write(bind.target.join("hello"), "world").unwrap();
    assert_eq!(fs::read_to_string(staged.path.join("hello")).unwrap(), "world");

    let publish = rig.unmount_request(&bind.target, staged.mount.device);
    assert_eq!(rig.host.unmount(&publish).unwrap(), Done::Changed);
    assert_eq!(rig.host.unmount(&publish).unwrap(), Done::Already);
    let root = rig.place.path();
    assert_eq!(rig.host.remove_target(root, &bind.target, PublishKind::Mount).unwrap(), Done::Changed);
    assert_eq!(rig.host.remove_target(root, &bind.target, PublishKind::Mount).unwrap(), Done::Already);

    let stage = rig.unmount_request(&staged.path, staged.mount.device);
    assert_eq!(rig.host.unmount(&stage).unwrap(), Done::Changed);
    assert_eq!(rig.loops_left(), 0, "AUTOCLEAR took the loop");
}

#[test]
fn every_file_system_is_mounted_and_seen_as_what_it_is() {
    for (fs, size) in [("ext4", 64), ("xfs", 320), ("btrfs", 128)] {
        let rig = Rig::new();
        let staged = rig.staged_with("stage", fs, Capacity::mib(size), |_| {});
        assert_eq!(staged.mount.fs_type, fs);
        assert_eq!(staged.mount.target, staged.path);
        let bind = rig.bind_request(&staged, "pod");
        rig.bind(&bind).unwrap();
        for target in [&bind.target, &staged.path] {
            rig.host.unmount(&rig.unmount_request(target, staged.mount.device)).unwrap();
        }
        assert_eq!(rig.loops_left(), 0, "{fs}");
    }
}

#[test]
fn the_quick_look_agrees_with_the_table() {
    let rig = Rig::new();
    let staged = rig.staged_with("stage", "ext4", Capacity::mib(64), |request| {
        request.options.extend(["noatime", "nodiratime", "lazytime", "errors=remount-ro"].map(str::to_owned));
        request.shared = true;
    });
    let bind = BindMount {
        propagation: Propagation::HostToContainer,
        read_only: true,
        options: vec!["noexec".into()],
        ..rig.bind_request(&staged, "pod")
    };
    rig.bind(&bind).unwrap();
    for name in ["plain", "with space", "new\nline", "tab\tand\\040back", "snow\u{2603}"] {
        fs::create_dir(rig.path(name)).unwrap();
        mount(Some("so ur,ce"), &rig.path(name), Some("tmpfs"), MsFlags::MS_NOSUID, Some("size=1M")).unwrap();
    }
    let odd = rig.path(OsStr::from_bytes(b"not-utf8-\xff\xfe"));
    fs::create_dir(&odd).unwrap();
    mount(Some("none"), &odd, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();

    let table = rig.host.mount_table().unwrap();
    let ours: Vec<_> = table.iter().filter(|mount| mount.target.starts_with(rig.place.path())).collect();
    assert_eq!(ours.len(), 8);
    for mount in ours {
        assert_eq!(rig.host.mounts_at(&mount.target).unwrap(), std::slice::from_ref(mount));
    }
    // What the kernel has of its own is told alike too.
    for target in ["/", "/proc", "/sys", "/dev"] {
        let stack: Vec<_> = table.at(Path::new(target)).cloned().collect();
        assert_eq!(rig.host.mounts_at(Path::new(target)).unwrap(), stack, "{target}");
    }
    assert!(rig.host.mounts_at(&rig.path("missing")).unwrap().is_empty());
    assert!(rig.host.mounts_at(rig.place.path()).unwrap().is_empty());
    nix::mount::umount(&odd).unwrap();
}

#[test]
fn a_read_only_bind_refuses_writes_from_its_first_moment() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let bind = BindMount { read_only: true, ..rig.bind_request(&staged, "pod") };
    rig.host.make_target(&bind.trusted_root, &bind.target, bind.kind).unwrap();

    let stop = std::sync::atomic::AtomicBool::new(false);
    let file = bind.target.join("x");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::write(&file, "x");
            }
        });
        for _ in 0..200 {
            rig.host.bind(&bind).unwrap();
            rig.host.unmount(&rig.unmount_request(&bind.target, staged.mount.device)).unwrap_or_else(|error| {
                // The writer may be in the middle of an open.
                assert_eq!(error.kind, ErrorKind::Busy, "{error}");
                Done::Already
            });
            while rig.top(&bind.target).is_some() {
                let _ = rig.host.unmount(&rig.unmount_request(&bind.target, staged.mount.device));
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(!staged.path.join("x").exists(), "a write went through a read-only bind");
    rig.host.bind(&cleared(&bind)).unwrap();
    assert_eq!(fs::write(&file, "x").unwrap_err().raw_os_error(), Some(libc::EROFS));
    let options = rig.top(&bind.target).unwrap().options;
    for option in ["ro", "nosuid", "nodev"] {
        assert!(options.iter().any(|o| o == option), "{option} in {options:?}");
    }
}

/// The plain target may have got the writer's file while nothing was mounted on it.
fn cleared(bind: &BindMount) -> BindMount {
    let _ = fs::remove_file(bind.target.join("x"));
    bind.clone()
}

#[test]
fn a_staging_path_that_is_no_mount_of_the_volume_is_never_bound() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let plain = rig.path("plain");
    fs::create_dir(&plain).unwrap();
    let error = rig.bind(&BindMount { source: plain.clone(), ..rig.bind_request(&staged, "pod") }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign, "{error}");
    foreign_tmpfs(&plain);
    let error = rig.bind(&BindMount { source: plain, ..rig.bind_request(&staged, "pod") }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign, "{error}");
    let inside = staged.path.join("directory");
    fs::create_dir(&inside).unwrap();
    let error = rig.bind(&BindMount { source: inside, ..rig.bind_request(&staged, "pod") }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign, "{error}");
    assert!(rig.top(&rig.path("pod")).is_none());
}

#[test]
fn links_below_the_trusted_root_are_refused_by_every_verb() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let victim = rig.path("victim");
    fs::create_dir(&victim).unwrap();
    let root = rig.path("pods");
    fs::create_dir_all(root.join("real")).unwrap();
    symlink(&victim, root.join("link")).unwrap();
    symlink("../victim", root.join("real/up")).unwrap();

    for target in [root.join("link"), root.join("link/below"), root.join("real/up"), root.join("real/up/x")] {
        let bind = BindMount { target: target.clone(), trusted_root: root.clone(), ..rig.bind_request(&staged, "x") };
        let unmount = Unmount { trusted_root: root.clone(), ..rig.unmount_request(&target, staged.mount.device) };
        let mount = FsMount { target: target.clone(), trusted_root: root.clone(), ..staged.request.clone() };
        for error in [
            rig.host.make_target(&root, &target, PublishKind::Mount).unwrap_err(),
            rig.host.bind(&bind).unwrap_err(),
            rig.host.mount(&mount).unwrap_err(),
        ] {
            assert_eq!(error.kind, ErrorKind::UnsafePath, "{}: {error}", target.display());
        }
        let seen = rig.host.target(&root, &target).unwrap();
        assert!(seen.symlink.is_some(), "{}", target.display());
        if target.parent().unwrap() != root && target != root.join("real/up") {
            assert_eq!(rig.host.unmount(&unmount).unwrap_err().kind, ErrorKind::UnsafePath);
            let error = rig.host.remove_target(&root, &target, PublishKind::Mount).unwrap_err();
            assert_eq!(error.kind, ErrorKind::UnsafePath);
        }
    }
    let error = rig.host.make_target(&root, &root.join("../victim/x"), PublishKind::Mount).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnsafePath);
    let error = rig.host.make_target(&root, &victim, PublishKind::Mount).unwrap_err();
    assert_eq!(error.kind, ErrorKind::UnsafePath);
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    assert_eq!(rig.place.mounts(), [staged.path]);
}

#[test]
fn a_sub_path_stays_in_its_volume() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    fs::create_dir_all(staged.path.join("v1/deep")).unwrap();
    fs::write(staged.path.join("v1/deep/file"), "inside").unwrap();
    symlink("/etc", staged.path.join("etc")).unwrap();
    symlink("v1", staged.path.join("here")).unwrap();
    symlink("../..", staged.path.join("up")).unwrap();
    fs::create_dir(staged.path.join("other")).unwrap();
    foreign_tmpfs(&staged.path.join("other"));

    let with = |sub: &str| BindMount { sub_path: Some(PathBuf::from(sub)), ..rig.bind_request(&staged, "pod") };
    for bad in ["etc", "here", "up", "..", "../stage", "/etc", "v1/../../..", "other", "etc/ssl", "v1/deep/file"] {
        let error = rig.bind(&with(bad)).unwrap_err();
        assert_eq!(error.kind, ErrorKind::UnsafePath, "{bad}: {error}");
    }
    assert_eq!(rig.bind(&with("missing")).unwrap_err().kind, ErrorKind::NotFound);
    assert!(rig.top(&rig.path("pod")).is_none());

    rig.bind(&with("v1/deep")).unwrap();
    assert_eq!(fs::read_to_string(rig.path("pod/file")).unwrap(), "inside");
    assert_eq!(rig.top(&rig.path("pod")).unwrap().root, Path::new("/v1/deep"));
}

#[test]
fn what_is_mounted_by_others_stays() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let target = rig.path("theirs");
    fs::create_dir(&target).unwrap();
    foreign_tmpfs(&target);
    fs::write(target.join("precious"), "1").unwrap();

    let error = rig.host.unmount(&rig.unmount_request(&target, staged.mount.device)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign, "{error}");
    let error = rig.bind(&rig.bind_request(&staged, "theirs")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists, "{error}");
    let error = rig.host.mount(&FsMount { target: target.clone(), ..staged.request.clone() }).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Exists, "{error}");
    let error = rig.host.remove_target(rig.place.path(), &target, PublishKind::Mount).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    assert_eq!(fs::read_to_string(target.join("precious")).unwrap(), "1");

    // Theirs over ours: ours can't be reached, theirs is not touched.
    let bind = rig.bind_request(&staged, "both");
    rig.bind(&bind).unwrap();
    foreign_tmpfs(&bind.target);
    let error = rig.host.unmount(&rig.unmount_request(&bind.target, staged.mount.device)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign);
    assert_eq!(rig.host.mounts_at(&bind.target).unwrap().len(), 2);
}

#[test]
fn a_stack_of_ours_is_seen_whole_and_taken_down_one_by_one() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let target = rig.path("pod");
    fs::create_dir(&target).unwrap();
    for _ in 0..3 {
        mount(Some(&staged.path), &target, NONE, MsFlags::MS_BIND, NONE).unwrap();
    }
    let table = rig.host.mount_table().unwrap();
    let stack = rig.host.mounts_at(&target).unwrap();
    assert_eq!(stack.len(), 3);
    assert_eq!(stack, table.at(&target).cloned().collect::<Vec<_>>());
    let request = rig.unmount_request(&target, staged.mount.device);
    for left in [2, 1, 0] {
        assert_eq!(rig.host.unmount(&request).unwrap(), Done::Changed);
        assert_eq!(rig.host.mounts_at(&target).unwrap().len(), left);
    }
    assert_eq!(rig.host.unmount(&request).unwrap(), Done::Already);
}

#[test]
fn a_busy_mount_names_who_holds_it() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let mut holder = std::process::Command::new("sleep").arg("60").current_dir(&staged.path).spawn().unwrap();
    let error = rig.host.unmount(&rig.unmount_request(&staged.path, staged.mount.device)).unwrap_err();
    let holders = rig.host.holders(staged.mount.device, Some(&staged.path)).unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert_eq!(error.kind, ErrorKind::Busy);
    let word = format!("sleep (pid {}: cwd)", holder.id());
    assert!(error.cause.contains(&word), "{error}");
    assert!(holders.iter().any(|one| one.pid == holder.id() && one.what == ["cwd"]), "{holders:?}");

    fs::create_dir(staged.path.join("sub")).unwrap();
    foreign_tmpfs(&staged.path.join("sub"));
    let error = rig.host.unmount(&rig.unmount_request(&staged.path, staged.mount.device)).unwrap_err();
    assert!(error.cause.contains(&format!("mount {}", staged.path.join("sub").display())), "{error}");
}

#[test]
fn a_device_node_is_bound_over_a_file() {
    let rig = Rig::new();
    let (path, file) = rig.image("raw.img", Capacity::mib(8), false);
    let attached = rig.host.attach_loop(&AttachLoop { autoclear: false, ..attach(&path, file) }).unwrap();
    let bind = BindMount {
        source: attached.device.node(),
        expect: attached.device.block,
        sub_path: None,
        target: rig.path("pod/xvda"),
        trusted_root: rig.place.path().to_owned(),
        kind: PublishKind::Device,
        read_only: false,
        propagation: Propagation::None,
        options: vec![],
    };
    let made = rig.host.make_target(rig.place.path(), &bind.target, PublishKind::Device).unwrap();
    assert_eq!(made, [rig.path("pod"), rig.path("pod/xvda")]);
    rig.host.bind(&bind).unwrap();
    let mut device = fs::OpenOptions::new().write(true).open(&bind.target).unwrap();
    device.write_all(b"bytes").unwrap();
    device.sync_all().unwrap();
    drop(device);
    assert_eq!(&fs::read(&path).unwrap()[..5], b"bytes");

    let mount = rig.top(&bind.target).unwrap();
    assert_eq!(mount.root, Path::new(&format!("/loop{}", attached.device.index)));
    let request = Unmount { root: Some(mount.root.clone()), ..rig.unmount_request(&bind.target, mount.device) };
    let other = Unmount { root: Some("/loop99999".into()), ..request.clone() };
    assert_eq!(rig.host.unmount(&other).unwrap_err().kind, ErrorKind::Foreign);
    assert_eq!(rig.host.unmount(&request).unwrap(), Done::Changed);

    let error = rig.host.bind(&BindMount { read_only: true, ..bind.clone() }).unwrap_err();
    assert!(error.cause.contains("attach it read-only"), "{error}");
    let index = attached.device.index;
    drop(attached);
    rig.host.detach_loop(index, file).unwrap();
    let attached =
        rig.host.attach_loop(&AttachLoop { autoclear: false, read_only: true, ..attach(&path, file) }).unwrap();
    let bind = BindMount { source: attached.device.node(), expect: attached.device.block, read_only: true, ..bind };
    rig.host.bind(&bind).unwrap();
    assert!(fs::OpenOptions::new().write(true).open(&bind.target).and_then(|mut d| d.write_all(b"x")).is_err());
    let mount = rig.top(&bind.target).unwrap();
    rig.host.unmount(&rig.unmount_request(&bind.target, mount.device)).unwrap();
    assert_eq!(rig.host.remove_target(rig.place.path(), &bind.target, PublishKind::Device).unwrap(), Done::Changed);
    let index = attached.device.index;
    drop(attached);
    rig.host.detach_loop(index, file).unwrap();
}

#[test]
fn propagation_is_what_was_asked_for_whatever_the_parent_is() {
    for parent in [MsFlags::MS_PRIVATE, MsFlags::MS_SHARED] {
        let rig = Rig::new();
        let root = rig.place.path();
        mount(Some(root), root, NONE, MsFlags::MS_BIND, NONE).unwrap();
        mount(NONE, root, NONE, parent, NONE).unwrap();
        let staged = rig.staged_with("stage", "ext4", Capacity::mib(64), |request| request.shared = true);
        assert_eq!(staged.mount.propagation(), Propagation::Bidirectional);
        for (name, wanted) in [
            ("none", Propagation::None),
            ("slave", Propagation::HostToContainer),
            ("shared", Propagation::Bidirectional),
        ] {
            let bind = BindMount { propagation: wanted, ..rig.bind_request(&staged, name) };
            rig.bind(&bind).unwrap();
            let got = rig.host.mounts_at(&bind.target).unwrap();
            assert_eq!(got.len(), 1, "{name}: {got:?}");
            assert_eq!(got[0].propagation(), wanted, "{name} below {parent:?}");
        }
        let private = rig.staged("private");
        assert_eq!(private.mount.propagation(), Propagation::None);
    }
}

#[test]
fn a_directory_and_memory_are_mounted_and_changed_in_place() {
    let rig = Rig::new();
    let source = rig.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "there").unwrap();
    let device = rig.host.stat(&source).unwrap().unwrap().file.device;
    let directory = FsMount { bind_directory: true, ..rig.mount_request(&source, "none", device, "directory") };
    let tmpfs = FsMount {
        expect: None,
        options: ["nosuid", "nodev", "size=1048576", "mode=0750"].map(str::to_owned).to_vec(),
        ..rig.mount_request(Path::new("tmpfs"), "tmpfs", device, "memory")
    };
    rig.host.mount(&directory).unwrap();
    rig.host.mount(&tmpfs).unwrap();
    assert_eq!(fs::read_to_string(rig.path("directory/file")).unwrap(), "there");
    assert_eq!(rig.host.usage(&rig.path("memory")).unwrap().total, 1 << 20);

    for request in [&directory, &tmpfs] {
        let target = &request.target;
        assert_eq!(rig.host.remount(request).unwrap(), Done::Already, "{}", target.display());
        let mut changed = request.clone();
        changed.options.extend(["ro".to_owned(), "noexec".to_owned()]);
        assert_eq!(rig.host.remount(&changed).unwrap(), Done::Changed);
        let mount = rig.top(target).unwrap();
        for option in ["ro", "noexec", "nosuid", "nodev"] {
            assert!(mount.has_option(option), "{option} in {:?}", mount.options);
        }
        assert_eq!(rig.host.remount(request).unwrap(), Done::Changed);
        let mount = rig.top(target).unwrap();
        assert!(mount.has_option("rw") && !mount.has_option("noexec"), "{:?}", mount.options);
        rig.host.unmount(&rig.unmount_request(target, mount.device)).unwrap();
    }
    let error = rig.host.remount(&tmpfs).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[test]
fn a_refused_mount_says_what_the_kernel_says() {
    let rig = Rig::new();
    let (path, file) = rig.formatted("a.img", "ext4", Capacity::mib(64), false);
    let attached = rig.attach(&path, file);
    let (node, block) = (attached.device.node(), attached.device.block);
    let mut request = rig.mount_request(&node, "ext4", block, "stage");
    request.options.push("nosuchopt".to_owned());
    let error = rig.host.mount(&request).unwrap_err();
    assert!(error.cause.contains("nosuchopt"), "{error}");
    let error = rig.host.mount(&rig.mount_request(&node, "xfs", block, "stage")).unwrap_err();
    assert_eq!(error.errno, Some(libc::EINVAL), "{error}");
    let error = rig.host.mount(&rig.mount_request(&node, "nosuchfs", block, "stage")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    let other = csictl::model::BlockId { major: 7, minor: 99_999 };
    let error = rig.host.mount(&rig.mount_request(&node, "ext4", other, "stage")).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Foreign, "{error}");
    assert!(rig.place.mounts().is_empty());
}

#[test]
fn targets_are_made_seen_and_only_ever_removed_empty() {
    let rig = Rig::new();
    let root = rig.place.path().to_owned();
    let target = rig.path("a/b/c");
    let made = rig.host.make_target(&root, &target, PublishKind::Mount).unwrap();
    assert_eq!(made, [rig.path("a"), rig.path("a/b"), target.clone()]);
    assert!(rig.host.make_target(&root, &target, PublishKind::Mount).unwrap().is_empty());
    for path in &made {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o755);
    }
    assert_eq!(rig.host.target(&root, &target).unwrap().kind, TargetKind::Directory);
    assert_eq!(rig.host.target(&root, &rig.path("missing/x")).unwrap().kind, TargetKind::Absent);

    fs::write(target.join("one"), "").unwrap();
    fs::write(target.join("two"), "").unwrap();
    assert_eq!(rig.host.target(&root, &target).unwrap().hides, 2);
    let error = rig.host.remove_target(&root, &target, PublishKind::Mount).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotEmpty, "{error}");
    fs::write(rig.path("full"), "content").unwrap();
    let error = rig.host.remove_target(&root, &rig.path("full"), PublishKind::Device).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotEmpty, "{error}");
    assert_eq!(fs::read_to_string(rig.path("full")).unwrap(), "content");
    assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
}

/// Somebody exchanges a parent of the target with a link to elsewhere, over and over, while we mount and unmount.
#[test]
fn an_exchanged_parent_never_gets_a_mount_elsewhere() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let root = rig.path("pods");
    let victim = rig.path("victim");
    fs::create_dir_all(root.join("pod/data")).unwrap();
    fs::create_dir_all(victim.join("data")).unwrap();
    symlink(&victim, root.join("swap")).unwrap();
    let target = root.join("pod/data");
    let bind = BindMount { target: target.clone(), trusted_root: root.clone(), ..rig.bind_request(&staged, "x") };
    let unmount = Unmount { trusted_root: root.clone(), ..rig.unmount_request(&target, staged.mount.device) };

    let stop = std::sync::atomic::AtomicBool::new(false);
    let (mut bound, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = renameat_with(CWD, root.join("pod"), CWD, root.join("swap"), RenameFlags::EXCHANGE);
            }
        });
        for _ in 0..2000 {
            match rig.host.bind(&bind) {
                Ok(()) => bound += 1,
                Err(_) => refused += 1,
            }
            let table = rig.host.mount_table().unwrap();
            assert!(!table.iter().any(|mount| mount.target.starts_with(&victim)), "a mount outside the trusted root");
            // Wherever the swapping left it, all of it can be taken away by its true name.
            while table.of_device(staged.mount.device).count() > 1
                && rig.host.mount_table().unwrap().of_device(staged.mount.device).count() > 1
            {
                let _ = rig.host.unmount(&unmount);
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(bound > 0 && refused > 0, "{bound} bound, {refused} refused");
    assert_eq!(rig.host.mount_table().unwrap().of_device(staged.mount.device).count(), 1);
}

#[test]
fn a_device_tells_who_it_is_and_who_holds_it() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let link = rig.path("by-link");
    symlink(format!("/dev/loop{}", staged.index), &link).unwrap();
    let device = rig.host.device(&link).unwrap().unwrap();
    assert_eq!((device.block, device.size, device.sector_size), (staged.mount.device, Capacity::mib(64), 512));
    assert_eq!(device.holders, [format!("mounted at {}", staged.path.display())]);
    assert_eq!(rig.host.device(&rig.path("missing")).unwrap(), None);
    assert_eq!(rig.host.device(&staged.image).unwrap_err().kind, ErrorKind::Foreign);
}
