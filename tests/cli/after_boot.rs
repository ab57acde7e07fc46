//! A machine that was booted: nothing is mounted, the boot's own records are gone, and what the durable records say is what a monitor, a
//! destroy and an apply have to go by. A boot is a run directory and mounts that are gone; loop devices go with their mounts.

use std::fs;

use crate::support::Place;

const MANIFEST: &str = r#"
version = 1
project = "d"
[pools.main]
path = "pool"
[volumes.fs]
capacity = "16MiB"
image = { allocate = "sparse" }
[volumes.raw]
capacity = "4MiB"
volume_mode = "block"
image = { allocate = "sparse" }
[volumes.memory]
tmpfs = { size = "1MiB" }
[pods.p]
root = "root"
[[pods.p.mounts]]
volume = "fs"
path = "/made"
[[pods.p.mounts]]
volume = "fs"
path = "/there"
read_only = true
[[pods.p.mounts]]
volume = "memory"
path = "/memory"
[[pods.p.devices]]
volume = "raw"
path = "/raw"
"#;

/// Applied, with one target that was there before csictl, and booted.
fn booted() -> Place {
    let place = Place::new();
    fs::create_dir_all(place.join("root/there")).unwrap();
    let manifest = MANIFEST.replace("[volumes.fs]\n", "[volumes.fs]\naccess_mode = \"single-node-multi-writer\"\n");
    place.write("m.toml", &manifest);
    place.ok(&["apply", "m.toml", "--yes"]);
    assert_eq!(place.exit(&["status", "--check"]).0, 0);
    for mount in place.mounts().iter().rev() {
        nix::mount::umount(mount).unwrap();
    }
    let pool = place.join("pool");
    for (node, _) in place.loops().into_iter().filter(|(_, file)| file.starts_with(&pool)) {
        crate::support::place::detach(&node, &pool);
    }
    fs::remove_dir_all(place.run()).unwrap();
    place
}

#[test]
fn status_without_a_manifest_tells_what_is_down_until_an_apply_or_a_destroy() {
    for mended_by in ["apply", "destroy"] {
        let place = booted();

        let (code, said) = place.exit(&["status", "--check"]);

        assert_eq!(code, 4, "{said}");
        for target in ["root/made", "root/there", "root/memory", "root/raw"] {
            let told = format!("expected {}, found not mounted", place.join(target).display());
            assert_eq!(said.matches(&told).count(), 1, "{target}: {said}");
        }
        place.ok(&[mended_by, "m.toml", "--yes"]);
        let (code, said) = place.exit(&["status", "--check"]);
        assert_eq!(code, 0, "after {mended_by}: {said}");
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}

#[test]
fn a_destroy_removes_what_was_made_before_the_boot_and_nothing_else() {
    let place = booted();

    let said = place.ok(&["destroy", "m.toml", "--yes"]);

    let left: Vec<_> = fs::read_dir(place.join("root")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["there"], "{said}");
    assert_eq!(place.exit(&["plan", "m.toml", "--destroy", "--detailed-exitcode"]).0, 0);
}

#[test]
fn a_mount_that_left_the_manifest_over_a_boot_leaves_no_directory() {
    let place = booted();
    let without = fs::read_to_string(place.join("m.toml")).unwrap();
    let without = without.replace("[[pods.p.mounts]]\nvolume = \"fs\"\npath = \"/made\"\n", "");
    place.write("m.toml", &without);

    place.ok(&["apply", "m.toml", "--yes"]);

    assert!(!place.join("root/made").exists());
    assert_eq!(place.exit(&["plan", "m.toml", "--detailed-exitcode"]).0, 0);
    assert_eq!(place.exit(&["status", "--check"]).0, 0);
    place.ok(&["destroy", "m.toml", "--yes"]);
}
