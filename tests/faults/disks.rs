//! Disks and images on their worst day: unreadable, dying, full, read-only, without power, gone, replaced, cut.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::figures::{Figures, Verdict, rounds};
use super::oracle::{converges, judge, write_canaries};
use super::programs::{Disk, Named};
use super::strace::fail_on;
use crate::support::Place;
use crate::support::place::{detach, said};

/// A program that has to succeed.
pub fn run(words: &[&str], path: &Path) {
    let output = Command::new(words[0]).args(&words[1..]).arg(path).output().unwrap();
    assert!(output.status.success(), "{words:?} {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
}

/// Unmounts a disk; a loop device lets its file on it go a moment after its last user.
pub fn let_go(at: &Path) {
    let begun = Instant::now();
    loop {
        let output = Command::new("umount").arg(at).output().unwrap();
        if output.status.success() {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{} stays busy: {}", at.display(), said(&output));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A device at a new directory.
pub fn mount(node: &Path, at: &Path) {
    fs::create_dir_all(at).unwrap();
    run(&["mount", node.to_str().unwrap()], at);
}

/// Volumes in `pool`, one of each sort, shown by a pod in the place's folder.
pub fn manifest(pool: &Path, volumes: &[(&str, &str)]) -> String {
    let mut text =
        format!("version = 1\nproject = \"p\"\n[pools.main]\npath = \"{}\"\n[pods.a]\nroot = \"a\"\n", pool.display());
    for (name, rest) in volumes {
        text += &format!("[volumes.{name}]\n{rest}\n[[pods.a.mounts]]\nvolume = \"{name}\"\npath = \"/{name}\"\n");
    }
    text
}

const EXT4: &str = "capacity = \"16MiB\"";
const SPARSE: &str = "capacity = \"16MiB\"\nimage = { allocate = \"sparse\" }";

#[test]
fn a_read_error_while_probing_a_formatted_disk_never_means_mkfs() {
    let mut figures = Figures::of("read error while probing a formatted disk");
    for (fs, maker) in [("ext4", "mkfs.ext4"), ("xfs", "mkfs.xfs"), ("btrfs", "mkfs.btrfs")] {
        for (numbers, errno) in
            [("1", "EIO"), ("2", "EIO"), ("3", "EACCES"), ("4+3", "EIO"), ("1+", "EIO"), ("1+", "EMFILE")]
        {
            let place = Place::new();
            let disk = Disk::new(&place, "disk.raw", 320);
            run(&[maker, "-q"], &disk.node);
            let named = Named::of(&disk);
            let device = format!(
                "device = {{ path = \"{}\", expect = {{ size = \"320MiB\" }} }}\nfs = {{ type = \"{fs}\" }}",
                named.path().display()
            );
            place.write("m.toml", &manifest(&place.join("pool"), &[("disk", &device)]));
            let before = fs::read(&disk.file).unwrap();
            let mut apply = place.csictl();
            apply.args(["apply", "m.toml", "--yes"]);
            let log = place.join("read.log");
            let failed = fail_on(&apply, "read,pread64", &format!("{errno}:when={numbers}"), &disk.node, &log);
            let mut verdict = Verdict::default();
            let code = failed.status.code();
            verdict.expect(matches!(code, Some(0..=7 | 69 | 77)), || format!("{code:?}: {}", said(&failed)));
            verdict.expect(!said(&failed).contains("panicked"), || said(&failed));
            place.ok(&["destroy", "m.toml", "--yes"]);
            // A mount writes to its superblock and journal; a mkfs writes another UUID.
            let uuid = |bytes: &[u8]| match fs {
                "ext4" => bytes[1024 + 0x68..][..16].to_vec(),
                "xfs" => bytes[32..48].to_vec(),
                _ => bytes[0x10000 + 0x20..][..16].to_vec(),
            };
            verdict
                .expect(uuid(&fs::read(&disk.file).unwrap()) == uuid(&before), || "the disk was formatted".to_owned());
            place.ok(&["apply", "m.toml", "--yes"]);
            place.ok(&["destroy", "m.toml", "--yes"]);
            verdict
                .expect(uuid(&fs::read(&disk.file).unwrap()) == uuid(&before), || "the disk was formatted".to_owned());
            figures.add(&format!("{fs}, {errno} at read {numbers}"), &verdict);
        }
    }
    figures.end();
}

#[test]
fn a_full_state_directory_keeps_its_records_and_lets_everything_come_down() {
    let place = Place::new();
    let disk = Disk::new(&place, "state.raw", 1);
    run(&["mkfs.ext4", "-q", "-O", "^has_journal"], &disk.node);
    mount(&disk.node, &place.state());
    place.write("m.toml", &manifest(&place.join("pool"), &[("one", EXT4), ("two", SPARSE)]));
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/one", "a/two"]);
    let junk = place.state().join("junk");
    let mut size = 4 << 20;
    while size > 0 {
        // Down to the last byte.
        let mut bytes = fs::read(&junk).unwrap_or_default();
        bytes.resize(bytes.len() + size, 7);
        if fs::write(&junk, &bytes).is_err() {
            size /= 2;
        }
    }
    place.write("more.toml", &manifest(&place.join("pool"), &[("one", EXT4), ("two", SPARSE), ("three", EXT4)]));
    let (code, words) = place.exit(&["apply", "more.toml", "--yes"]);
    assert!([0, 1, 5, 6].contains(&code) && !words.contains("panicked"), "{code}: {words}");
    place.ok(&["destroy", "more.toml", "--yes"]);
    let ours = |paths: Vec<std::path::PathBuf>| paths.into_iter().filter(|path| *path != place.state()).count();
    assert_eq!(ours(place.mounts()), 0, "a full state directory keeps nothing mounted");
    fs::remove_file(&junk).unwrap();
    place.ok(&["apply", "m.toml", "--yes"]);
    for (path, text) in &canaries {
        assert_eq!(&fs::read_to_string(place.join(path)).unwrap(), text);
    }
    place.ok(&["apply", "more.toml", "--yes"]);
    place.ok(&["destroy", "more.toml", "--yes"]);
    let_go(&place.state());
}

#[test]
fn a_read_only_state_directory_lets_everything_come_down() {
    let place = Place::new();
    let disk = Disk::new(&place, "state.raw", 4);
    run(&["mkfs.ext4", "-q"], &disk.node);
    mount(&disk.node, &place.state());
    place.write("m.toml", &manifest(&place.join("pool"), &[("one", EXT4), ("two", SPARSE)]));
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/one", "a/two"]);
    run(&["mount", "-o", "remount,ro"], &place.state());
    let (code, words) = place.exit(&["destroy", "m.toml", "--yes"]);
    assert_eq!(code, 0, "{words}");
    assert_eq!(place.mounts(), [place.state()]);
    let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);
    // Going up again needs no record that is not there already.
    assert!(!words.contains("panicked"), "{code}: {words}");
    run(&["mount", "-o", "remount,rw"], &place.state());
    place.ok(&["apply", "m.toml", "--yes"]);
    for (path, text) in &canaries {
        assert_eq!(&fs::read_to_string(place.join(path)).unwrap(), text);
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
    let_go(&place.state());
}

/// State and pool lie on a file system whose device is a file on xfs; a reflink of that file is what a disk holds at that moment, without
/// a thing that was only in memory.
#[test]
fn after_a_power_cut_the_last_acknowledged_state_or_a_newer_one_is_there() {
    let mut figures = Figures::of("power cut");
    for round in 0..rounds(3, 40) {
        let place = Place::new();
        let outer = Disk::new(&place, "outer.raw", 1024);
        run(&["mkfs.xfs", "-q", "-m", "reflink=1"], &outer.node);
        let outside = place.join("outer");
        mount(&outer.node, &outside);
        let inner = Disk::new(&place, "outer/inner.raw", 256);
        run(&["mkfs.ext4", "-q"], &inner.node);
        mount(&inner.node, &place.join("disk"));
        let layout = |place: &Place, words: &[&str]| {
            let mut command = place.csictl();
            command.env("CSICTL_STATE_DIR", place.join("disk/state")).args(words);
            let output = command.output().unwrap();
            (output.status.code().unwrap_or(-1), said(&output))
        };
        let pool = place.join("disk/pool");
        let names: Vec<String> = (0..12).map(|n| format!("v{n}")).collect();
        let some: Vec<_> = names[..4].iter().map(|name| (name.as_str(), SPARSE)).collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), SPARSE)).collect();
        place.write("m.toml", &manifest(&pool, &some));
        let (code, words) = layout(&place, &["apply", "m.toml", "--yes"]);
        assert_eq!(code, 0, "{words}");
        // What a program has synced is on the disk whatever comes.
        let canaries = write_canaries(&place, &["a/v0", "a/v1", "a/v2", "a/v3"]);
        for path in canaries.keys() {
            fs::File::open(place.join(path)).unwrap().sync_all().unwrap();
        }
        place.write("m.toml", &manifest(&pool, &all));
        let cut = place.join("outer/cut.raw");
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(30 + 37 * u64::try_from(round).unwrap() % 400));
                run(&["cp", "--reflink=always", inner.file.to_str().unwrap()], &cut);
                done.store(true, Ordering::Relaxed);
            });
            let (code, words) = layout(&place, &["apply", "m.toml", "--yes"]);
            assert_eq!(code, 0, "{words}");
        });
        assert!(done.load(Ordering::Relaxed));
        // The machine goes down; what comes up again is the copy.
        let mut mounted = place.mounts();
        mounted.retain(|target| *target != outside && *target != place.join("disk"));
        mounted.iter().rev().for_each(|target| run(&["umount"], target));
        let_go(&place.join("disk"));
        drop(inner);
        fs::remove_dir_all(place.run()).unwrap();
        let inner = Disk::over(cut);
        mount(&inner.node, &place.join("disk"));
        let mut verdict = Verdict::default();
        let (code, words) = layout(&place, &["apply", "m.toml", "--yes"]);
        verdict.expect(code == 0, || words);
        super::oracle::intact(&place, &canaries, &mut verdict);
        let (code, words) = layout(&place, &["plan", "m.toml", "--detailed-exitcode"]);
        verdict.expect(code == 0, || words);
        let (code, words) = layout(&place, &["destroy", "m.toml", "--yes"]);
        verdict.expect(code == 0, || words);
        for entry in fs::read_dir(&pool).unwrap() {
            let path = entry.unwrap().path();
            let check = Command::new("e2fsck").arg("-fn").arg(&path).output().unwrap();
            verdict.expect(check.status.success(), || format!("{}: {}", path.display(), said(&check)));
        }
        figures.add(&format!("round {round}"), &verdict);
        let_go(&place.join("disk"));
        drop(inner);
        let_go(&outside);
    }
    figures.end();
}

#[test]
fn a_pool_or_a_volume_whose_device_dies_is_an_error_and_comes_back() {
    let place = Place::new();
    let disk = Disk::new(&place, "pool.raw", 400);
    run(&["mkfs.xfs", "-q"], &disk.node);
    let at = place.join("disk");
    mount(&disk.node, &at);
    let pool = at.join("pool");
    place.write("m.toml", &manifest(&pool, &[("one", SPARSE)]));
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/one"]);
    fs::File::open(place.join("a/one/canary")).unwrap().sync_all().unwrap();
    place.write("more.toml", &manifest(&pool, &[("one", SPARSE), ("two", EXT4)]));
    for dead in [place.join("a/one"), at.clone()] {
        run(&["xfs_io", "-x", "-c", "shutdown"], &dead);
        let begun = Instant::now();
        let (code, words) = place.exit(&["apply", "more.toml", "--yes"]);
        assert!(!words.contains("panicked") && (0..=77).contains(&code), "{code}: {words}");
        assert!(begun.elapsed() < Duration::from_secs(30), "it hung");
        let (code, words) = place.exit(&["destroy", "more.toml", "--yes"]);
        assert!(!words.contains("panicked"), "{code}: {words}");
        assert!(begun.elapsed() < Duration::from_secs(60), "it hung");
        if dead == at {
            // What lies on a dead disk cannot be looked at: the kernel still names the file each loop device was opened as, and the records
            // whose it is.
            assert_eq!(code, 0, "{words}");
            assert!(words.contains("Input/output error"), "{words}");
            assert_eq!(place.mounts(), std::slice::from_ref(&at), "{words}");
            let_go(&at);
            mount(&disk.node, &at);
        }
        place.ok(&["apply", "more.toml", "--yes"]);
        for (path, text) in &canaries {
            assert_eq!(&fs::read_to_string(place.join(path)).unwrap(), text);
        }
    }
    place.ok(&["destroy", "more.toml", "--yes"]);
    let_go(&at);
}

/// Without its records csictl knows of nothing: it says so, leaves what is up as it is, and makes nothing anew.
#[test]
fn a_state_directory_whose_device_dies_is_an_error_and_nothing_is_made_or_lost() {
    let place = Place::new();
    let disk = Disk::new(&place, "state.raw", 320);
    run(&["mkfs.xfs", "-q"], &disk.node);
    mount(&disk.node, &place.state());
    place.write("m.toml", &manifest(&place.join("pool"), &[("one", EXT4), ("two", SPARSE)]));
    place.write("more.toml", &manifest(&place.join("pool"), &[("one", EXT4), ("two", SPARSE), ("three", EXT4)]));
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/one", "a/two"]);
    let up = place.mounts();
    run(&["xfs_io", "-x", "-c", "shutdown"], &place.state());

    for words in [
        &["apply", "more.toml", "--yes"][..],
        &["destroy", "more.toml", "--yes"],
        &["destroy", "more.toml", "--yes", "--delete-data", "one"],
        &["snapshot", "create", "one", "s", "--yes"],
        &["gc", "--yes"],
    ] {
        let begun = Instant::now();
        let (code, said) = place.exit(words);
        assert!([1, 5, 6].contains(&code) && !said.contains("panicked"), "{words:?}: {code}: {said}");
        assert!(said.contains("Input/output error"), "{words:?}: no reason: {said}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{words:?} hung");
        assert_eq!(place.mounts(), up, "{words:?}: {said}");
        for (path, text) in &canaries {
            assert_eq!(&fs::read_to_string(place.join(path)).unwrap(), text, "{words:?}");
        }
    }

    let_go(&place.state());
    mount(&disk.node, &place.state());
    place.ok(&["apply", "more.toml", "--yes"]);
    place.ok(&["plan", "more.toml", "--detailed-exitcode"]);
    for (path, text) in &canaries {
        assert_eq!(&fs::read_to_string(place.join(path)).unwrap(), text);
    }
    place.ok(&["destroy", "more.toml", "--yes"]);
    let_go(&place.state());
}

/// A raw volume's loop device goes with no mount: it has to be detached, though the kernel no longer tells what is behind it.
#[test]
fn a_raw_volume_whose_pool_dies_is_taken_down_and_comes_back() {
    let place = Place::new();
    let disk = Disk::new(&place, "pool.raw", 400);
    run(&["mkfs.xfs", "-q"], &disk.node);
    let at = place.join("disk");
    mount(&disk.node, &at);
    let text = manifest(&at.join("pool"), &[("one", "volume_mode = \"block\"\ncapacity = \"16MiB\"")]);
    place.write("m.toml", &text.replace("[[pods.a.mounts]]", "[[pods.a.devices]]"));
    place.ok(&["apply", "m.toml", "--yes"]);
    let written = "a raw canary";
    fs::write(place.join("a/one"), written).unwrap();
    fs::File::open(place.join("a/one")).unwrap().sync_all().unwrap();
    run(&["xfs_io", "-x", "-c", "shutdown"], &at);

    let (code, words) = place.exit(&["destroy", "m.toml", "--yes"]);

    assert_eq!(code, 0, "{words}");
    assert_eq!(place.mounts(), std::slice::from_ref(&at), "{words}");
    assert_eq!(place.loops().len(), 1, "only the disk's own is left: {words}");
    let_go(&at);
    mount(&disk.node, &at);
    place.ok(&["apply", "m.toml", "--yes"]);
    let mut found = vec![0; written.len()];
    std::io::Read::read_exact(&mut fs::File::open(place.join("a/one")).unwrap(), &mut found).unwrap();
    assert_eq!(found, written.as_bytes());
    place.ok(&["destroy", "m.toml", "--yes"]);
    let_go(&at);
}

#[test]
fn an_image_deleted_replaced_or_cut_under_its_loop_is_an_error_and_no_mkfs() {
    for fault in ["deleted", "replaced", "cut"] {
        let place = Place::new();
        place.write("m.toml", &manifest(&place.join("pool"), &[("one", SPARSE), ("two", SPARSE)]));
        place.ok(&["apply", "m.toml", "--yes"]);
        let canaries = write_canaries(&place, &["a/one", "a/two"]);
        let image = place.join("pool/p.one.img");
        let kept = place.join("kept.img");
        run(&["sync", "-f"], &place.join("a/one"));
        fs::copy(&image, &kept).unwrap();
        match fault {
            "deleted" => fs::remove_file(&image).unwrap(),
            "replaced" => {
                fs::remove_file(&image).unwrap();
                fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
            }
            _ => fs::OpenOptions::new().write(true).open(&image).unwrap().set_len(8 << 20).unwrap(),
        }
        let replaced = fs::read(&image).ok();
        let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);
        assert!(code != 0 && !words.contains("panicked"), "{fault}: {code}: {words}");
        assert!(words.contains("one"), "{fault}: it does not name the volume: {words}");
        if fault != "cut" {
            assert_eq!(fs::read(&image).ok(), replaced, "{fault}: something was written");
        }
        assert_eq!(fs::read_to_string(place.join("a/two/canary")).unwrap(), canaries[Path::new("a/two/canary")]);
        if fault != "cut" {
            let up = place.mounts();
            let (code, words) = place.exit(&["destroy", "m.toml", "--yes"]);
            assert_eq!((code, place.mounts()), (5, up), "{fault}: the last of its bytes would go: {words}");
            assert_eq!(fs::read_to_string(place.join("a/one/canary")).unwrap(), canaries[Path::new("a/one/canary")]);
        }
        let (_, words) = place.exit(&["destroy", "m.toml", "--yes", "--delete-data", "one"]);
        assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new(), "{fault}: {words}");
        assert_eq!(place.loops(), vec![], "{fault}: {words}");
    }
}

#[test]
fn after_a_reboot_one_apply_brings_everything_back() {
    let (place, canaries) = super::scenario::DESTROY.prepared();
    for target in place.mounts().iter().rev() {
        run(&["umount"], target);
    }
    for (node, _) in place.loops() {
        detach(&node, place.path());
    }
    // Another boot has another id, and need not have emptied the run directory.
    let id = place.write("boot_id", "5d6ecf0b-6a2e-4c43-9bb4-1bd7cd3b5f11\n");
    let kernel = Path::new("/proc/sys/kernel/random/boot_id");
    run(&["mount", "--bind", id.to_str().unwrap()], kernel);
    converges(&place, "m.toml", &canaries, "after a reboot");
    run(&["umount"], kernel);
}

#[test]
fn too_little_memory_is_an_error_without_harm() {
    let mut figures = Figures::of("memory limit");
    for mib in [8, 24, 40, 56, 72, 96, 160, 320] {
        let (place, canaries) = super::scenario::EXPAND.prepared();
        let csictl = super::scenario::EXPAND.command(&place, 8);
        let mut limited = Command::new("prlimit");
        limited.arg(format!("--as={}", mib << 20)).arg(csictl.get_program()).args(csictl.get_args());
        limited.current_dir(place.path()).envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = limited.output().unwrap();
        let mut verdict = judge(&place, "m.toml", &canaries);
        // What the kernel itself refuses to start says nothing.
        let began = output.status.code().is_some();
        verdict.expect(output.status.success() || !began || !said(&output).is_empty(), || {
            "it failed without a word".to_owned()
        });
        figures.add(&format!("{mib} MiB"), &verdict);
    }
    figures.end();
}

#[test]
fn a_loop_device_on_somebody_elses_dead_disk_blocks_nobody() {
    let place = Place::new();
    let disk = Disk::new(&place, "dead.raw", 320);
    run(&["mkfs.xfs", "-q"], &disk.node);
    let at = place.join("dead");
    mount(&disk.node, &at);
    let foreign = Disk::new(&place, "dead/foreign.raw", 4);
    run(&["xfs_io", "-x", "-c", "shutdown"], &at);
    place.write("m.toml", &manifest(&place.join("pool"), &[("one", SPARSE)]));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["plan", "m.toml", "--detailed-exitcode"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    assert_eq!(place.mounts(), std::slice::from_ref(&at));
    drop(foreign);
    let_go(&at);
}

/// Any program that looks through the machine's block devices does so: udev, blkid, a mkfs.btrfs of somebody else.
#[test]
fn a_device_that_somebody_looks_at_for_a_moment_is_detached_all_the_same() {
    let place = Place::new();
    place.write(
        "m.toml",
        &manifest(&place.join("pool"), &[("one", SPARSE)])
            .replace("[[pods.a.mounts]]", "[[pods.a.devices]]")
            .replace("[volumes.one]", "[volumes.one]\nvolume_mode = \"block\""),
    );
    place.ok(&["apply", "m.toml", "--yes"]);
    let (node, _) = place.loops().remove(0);
    let held = fs::File::open(&node).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(1500));
            drop(held);
        });
        place.ok(&["destroy", "m.toml", "--yes"]);
    });
    assert_eq!(place.loops(), vec![]);
}

/// A device that frees itself when its last user closes it, and then is anybody's, is nothing to grow a file system through.
#[test]
fn a_volume_is_not_grown_through_a_device_that_is_about_to_go() {
    let place = Place::new();
    place.write("m.toml", &manifest(&place.join("pool"), &[("one", EXT4)]));
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/one"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    let moment = place.join("moment");
    fs::create_dir(&moment).unwrap();
    run(&["mount", "-o", "loop", place.join("pool/p.one.img").to_str().unwrap()], &moment);
    let held = fs::File::open(&place.loops()[0].0).unwrap();
    run(&["umount"], &moment);
    assert_eq!(place.loops().len(), 1, "it stays while it is open");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(1500));
            drop(held);
        });

        place.ok(&["expand", "one", "24MiB", "--yes"]);

        assert_eq!(place.loops(), vec![]);
    });
    place.write("m.toml", &manifest(&place.join("pool"), &[("one", "capacity = \"24MiB\"")]));
    converges(&place, "m.toml", &canaries, "grown beside a device that was about to go");
}

#[test]
fn btrfs_that_the_kernel_would_not_grow_so_far_is_told_and_stays_as_it_was() {
    let place = Place::new();
    let btrfs = |mib: u32| {
        let volume =
            format!("capacity = \"{mib}MiB\"\nimage = {{ allocate = \"sparse\" }}\nfs = {{ type = \"btrfs\" }}");
        place.write("m.toml", &manifest(&place.join("pool"), &[("one", &volume)]));
    };
    btrfs(128);
    place.ok(&["apply", "m.toml", "--yes"]);
    btrfs(148);
    let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);
    assert!(code != 0 && words.contains("256 MiB"), "{code}: {words}");
    assert_eq!(fs::metadata(place.join("pool/p.one.img")).unwrap().len(), 128 << 20);
    btrfs(300);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["plan", "m.toml", "--detailed-exitcode"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}
