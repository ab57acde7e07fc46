//! Every example, from plan to destroy, on real loop devices: the main job, as a reader of the README would try it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MsFlags, mount};

use crate::support::Place;

/// An example with what it mounts and what it leaves.
struct Example {
    file: &'static str,
    /// Targets below the example's folder that pods see.
    targets: &'static [&'static str],
    /// Files that are still there after destroy.
    kept: &'static [&'static str],
    /// Makes what the example expects to find.
    prepare: fn(&Place),
}

const EXAMPLES: [Example; 6] = [
    Example {
        file: "quickstart.toml",
        targets: &["root/data"],
        kept: &["images/quickstart.data.img"],
        prepare: |_| {},
    },
    Example {
        file: "shared-volume.toml",
        targets: &["root/editor/srv/content", "root/web/usr/share/www", "root/preview/usr/share/www"],
        kept: &["images/shared.content.img"],
        prepare: |_| {},
    },
    Example {
        file: "database.toml",
        targets: &["root/var/lib/db", "root/dev/dblog"],
        kept: &["images/database.files.img", "images/database.log.img"],
        prepare: |_| {},
    },
    Example {
        file: "clone-and-snapshot.toml",
        targets: &["root/live", "root/trial", "root/restored"],
        kept: &["images/clones.live.img", "images/clones.before-upgrade.snap"],
        prepare: |_| {},
    },
    Example {
        file: "tmpfs-scratch.toml",
        targets: &["root/tmp", "root/srv/uploads"],
        kept: &["uploads"],
        prepare: |_| {},
    },
    Example { file: "existing-device.toml", targets: &["root/archive"], kept: &["disk.img"], prepare: a_device },
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// The device of the example: a loop device under the name the example has, in a /dev/mapper of this test's own.
fn a_device(place: &Place) {
    let image = place.write("disk.img", "");
    let run = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().unwrap();
        assert!(output.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let path = image.to_str().unwrap();
    run("truncate", &["-s", "256M", path]);
    run("mkfs.ext4", &["-q", path]);
    let device = run("losetup", &["-f", "--show", path]);
    std::fs::create_dir_all("/dev/mapper").unwrap();
    mount(Some("tmpfs"), "/dev/mapper", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    std::os::unix::fs::symlink(device, "/dev/mapper/csictl-example").unwrap();
}

#[test]
fn every_example_is_used() {
    let used: BTreeSet<String> = EXAMPLES.iter().map(|example| example.file.to_owned()).collect();
    let there: BTreeSet<String> = std::fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    assert_eq!(used, there);
}

fn main_job(example: &Example) {
    let place = Place::new();
    let file = example.file;
    std::fs::copy(examples().join(file), place.join(file)).unwrap();
    (example.prepare)(&place);
    let loops_before = place.loops();

    let plan = place.ok(&["plan", file]);
    assert!(plan.contains("plan: ") && plan.contains("to create"), "{plan}");
    assert!(place.mounts().is_empty() && !place.state().exists(), "a plan changes nothing");

    let applied = place.ok(&["apply", file, "--yes"]);
    assert!(applied.contains("applied: "), "{applied}");
    for target in example.targets {
        assert!(place.mounts().contains(&place.join(target)), "{target} in {:?}", place.mounts());
    }
    let (code, status) = place.exit(&["status", file, "--check"]);
    assert_eq!(code, 0, "{status}");
    assert!(status.contains("published"), "{status}");

    let again = place.ok(&["apply", file, "--yes"]);
    assert!(again.starts_with("no changes: "), "{again}");
    let (code, said) = place.exit(&["plan", file, "--detailed-exitcode"]);
    assert_eq!(code, 0, "{said}");

    place.ok(&["destroy", file, "--yes"]);
    assert_eq!(place.mounts(), Vec::<PathBuf>::new());
    assert_eq!(place.loops(), loops_before);
    for kept in example.kept {
        assert!(place.join(kept).exists(), "{kept} is kept");
    }
    let again = place.ok(&["destroy", file, "--yes"]);
    assert!(again.starts_with("no changes: "), "{again}");

    place.ok(&["apply", file, "--yes"]);
    for target in example.targets {
        assert!(place.mounts().contains(&place.join(target)), "{target} is back");
    }
    place.ok(&["destroy", file, "--yes"]);
    assert_eq!(place.mounts(), Vec::<PathBuf>::new());
    for (node, backing) in &loops_before {
        let _ = backing;
        assert!(Command::new("losetup").arg("-d").arg(node).status().unwrap().success());
    }
}

#[test]
fn quickstart() {
    main_job(&EXAMPLES[0]);
}

#[test]
fn shared_volume() {
    main_job(&EXAMPLES[1]);
}

#[test]
fn database() {
    main_job(&EXAMPLES[2]);
}

#[test]
fn clone_and_snapshot() {
    main_job(&EXAMPLES[3]);
}

#[test]
fn tmpfs_scratch() {
    main_job(&EXAMPLES[4]);
}

#[test]
fn existing_device() {
    main_job(&EXAMPLES[5]);
}
