//! A change that this machine cannot make: it is refused before the pod loses its mount, or the pod gets its mount back as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use csictl::model::Layout;

use crate::support::Place;
use crate::support::place::unwrapped;

/// One sparse volume in one pod.
fn manifest(size: &str, more: &str) -> String {
    format!(
        "version = 1\nproject = \"u\"\n[pools.main]\npath = \"pool\"\n[volumes.e]\ncapacity = \"{size}\"\n\
         image = {{ allocate = \"sparse\" }}\n{more}\n[pods.p]\nroot = \"root\"\n[[pods.p.mounts]]\nvolume = \"e\"\npath = \"/e\"\n"
    )
}

fn up(size: &str, more: &str) -> Place {
    let place = Place::new();
    place.write("u.toml", &manifest(size, more));
    place.ok(&["apply", "u.toml", "--yes"]);
    fs::write(place.join("root/e/precious"), "kept").unwrap();
    place
}

fn size_of_image(place: &Place) -> u64 {
    fs::metadata(place.join("pool/u.e.img")).unwrap().len()
}

#[test]
fn a_size_that_comes_out_unclean_is_refused_and_the_pod_gets_its_mount_back() {
    let bigalloc = "fs = { type = \"ext4\", mkfs_options = [\"-O\", \"bigalloc\", \"-C\", \"64k\"] }";
    let place = up("64MiB", bigalloc);
    place.write("u.toml", &manifest("72MiB", bigalloc));

    let (code, said) = place.exit(&["apply", "u.toml", "--yes"]);

    assert!(code == 5 && said.contains("cannot become 72 MiB") && said.contains("put back"), "{code} {said}");
    assert!(!said.contains("storage may be failing"), "{said}");
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    assert_eq!(size_of_image(&place), 64 << 20);
    place.write("u.toml", &manifest("64MiB", bigalloc));
    assert_eq!(place.exit(&["plan", "u.toml", "--detailed-exitcode"]).0, 0);
    place.write("u.toml", &manifest("2GiB", bigalloc));
    place.ok(&["apply", "u.toml", "--yes"]);
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    place.ok(&["destroy", "u.toml", "--yes"]);
}

#[test]
fn an_image_whose_file_system_cannot_fill_it_is_used_with_the_size_it_has() {
    let bigalloc = "fs = { type = \"ext4\", mkfs_options = [\"-O\", \"bigalloc\", \"-C\", \"64k\"] }";
    let place = up("64MiB", bigalloc);
    place.ok(&["destroy", "u.toml", "--yes"]);
    fs::File::options().write(true).open(place.join("pool/u.e.img")).unwrap().set_len(72 << 20).unwrap();

    let said = place.ok(&["apply", "u.toml", "--yes"]);

    assert!(said.contains("used with the size it has"), "{said}");
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    let (code, plan) = place.exit(&["plan", "u.toml", "--detailed-exitcode"]);
    assert_eq!(code, 0, "{plan}");
    place.ok(&["destroy", "u.toml", "--yes"]);
}

#[test]
fn more_than_one_file_can_have_in_the_pool_is_refused_by_the_plan_and_nothing_comes_down() {
    let place = up("64MiB", "");
    let new = manifest("64MiB", "")
        .replace("[pods.p]", "[volumes.n]\ncapacity = \"30TiB\"\nimage = { allocate = \"sparse\" }\n[pods.p]");
    let cases = [manifest("20TiB", ""), new];
    for text in cases {
        place.write("u.toml", &text);

        let (planned, said) = place.exit(&["plan", "u.toml"]);
        let (applied, _) = place.exit(&["apply", "u.toml", "--yes"]);

        let said = unwrapped(&said);
        assert!(planned == 5 && applied == 5 && said.contains("has at most 16 TiB"), "{planned} {applied} {said}");
        assert!(!said.contains("let it be sparse"), "{said}");
    }
    let (code, said) = place.exit(&["expand", "u.e", "500TiB", "--yes"]);
    assert!(code == 5 && unwrapped(&said).contains("has at most"), "{code} {said}");
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    assert_eq!(size_of_image(&place), 64 << 20);
    place.write("u.toml", &manifest("64MiB", ""));
    place.ok(&["destroy", "u.toml", "--yes"]);
}

#[test]
fn options_that_this_kernel_does_not_take_are_refused_by_name_before_the_pod_loses_its_mount() {
    // A stripe that is no multiple of the file system's own is refused by every kernel.
    let xfs = |options: &str| format!("fs = {{ type = \"xfs\" }}\nmount_options = [{options}]");
    let place = up("300MiB", &xfs(""));
    place.write("u.toml", &manifest("300MiB", &xfs("\"noatime\", \"swidth=24\", \"sunit=8\"")));
    let before = place.mounts();
    let user = place.loops();

    let (code, said) = place.exit(&["apply", "u.toml", "--yes"]);

    assert!(code != 0 && said.contains("swidth=24, sunit=8"), "{code} {said}");
    assert!(said.contains("nothing was changed") && !said.contains("unpublish"), "{said}");
    assert_eq!((place.mounts(), place.loops()), (before, user));
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    assert!(!place.join("pool/.u.e.img.part").exists());
    place.write("u.toml", &manifest("300MiB", &xfs("\"noatime\", \"logbsize=64k\"")));
    place.ok(&["apply", "u.toml", "--yes"]);
    assert_eq!(place.exit(&["plan", "u.toml", "--detailed-exitcode"]).0, 0);
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    place.ok(&["destroy", "u.toml", "--yes"]);
}

#[test]
fn a_volume_that_becomes_read_only_keeps_the_places_of_those_mounted_below_it() {
    let volumes = "[volumes.f]\ncapacity = \"16MiB\"\n[volumes.g]\ncapacity = \"16MiB\"\n";
    let below =
        "[[pods.p.mounts]]\nvolume = \"f\"\npath = \"/e/f\"\n[[pods.p.mounts]]\nvolume = \"g\"\npath = \"/e/f/g\"\n";
    let text = manifest("64MiB", "").replace("[pods.p]", &format!("{volumes}[pods.p]"));
    let place = Place::new();
    place.write("u.toml", &format!("{text}{below}"));
    place.ok(&["apply", "u.toml", "--yes"]);
    fs::write(place.join("root/e/f/g/precious"), "kept").unwrap();
    place.write("u.toml", &format!("{text}read_only = true\n{below}"));

    place.ok(&["apply", "u.toml", "--yes"]);

    assert_eq!(fs::read_to_string(place.join("root/e/f/g/precious")).unwrap(), "kept");
    assert!(fs::write(place.join("root/e/refused"), "").is_err());
    assert_eq!(place.exit(&["plan", "u.toml", "--detailed-exitcode"]).0, 0);
    place.write("u.toml", &format!("{text}{below}"));
    place.ok(&["apply", "u.toml", "--yes"]);
    place.ok(&["destroy", "u.toml", "--yes"]);
    assert!(!place.join("root").exists());
    assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_was_mounted_in_a_volume_that_became_read_only_is_taken_down_all_the_same() {
    let below = "[[pods.p.mounts]]\nvolume = \"f\"\npath = \"/e/f\"\n";
    let text = manifest("64MiB", "").replace("[pods.p]", "[volumes.f]\ncapacity = \"16MiB\"\n[pods.p]");
    let place = Place::new();
    place.write("u.toml", &format!("{text}{below}"));
    place.ok(&["apply", "u.toml", "--yes"]);
    place.write("u.toml", &format!("{text}read_only = true\n{below}"));
    place.ok(&["apply", "u.toml", "--yes"]);
    place.write("u.toml", &format!("{text}read_only = true\n"));

    let (code, said) = place.exit(&["apply", "u.toml", "--yes"]);

    assert_eq!(code, 0, "{said}");
    assert!(said.contains("root/e/f is left: what it lies in is read-only"), "{said}");
    assert_eq!(place.exit(&["plan", "u.toml", "--detailed-exitcode"]).0, 0);
    place.ok(&["destroy", "u.toml", "--yes"]);
    assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn an_expand_waits_for_another_csictl_that_works_on_the_volume() {
    let place = up("64MiB", "");
    let layout = Layout::new(place.state(), place.run());
    let at_work = fs::File::open(place.join("root/e/precious")).unwrap();
    let lock = fs::File::options().write(true).open(layout.volume_lock(&"u.e".parse().unwrap())).unwrap();
    lock.lock().unwrap();
    let ends = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        drop(at_work);
        drop(lock);
    });

    let (code, said) = place.exit(&["expand", "u.e", "80MiB", "--yes"]);

    ends.join().unwrap();
    assert_eq!(code, 0, "{said}");
    assert_eq!(size_of_image(&place), 80 << 20);
    place.write("u.toml", &manifest("80MiB", ""));
    place.ok(&["destroy", "u.toml", "--yes"]);
}

#[test]
fn a_volume_of_which_nothing_was_ever_made_leaves_no_record_when_it_leaves_the_manifest() {
    let place = up("64MiB", "");
    let wrong = "[volumes.n]\ncapacity = \"64MiB\"\nfs = { type = \"ext4\", mkfs_options = [\"-O\", \"^sparse_super\"] }\n[pods.p]";
    place.write("u.toml", &manifest("64MiB", "").replace("[pods.p]", wrong));
    let (code, said) = place.exit(&["apply", "u.toml", "--yes"]);
    assert_ne!(code, 0, "{said}");
    assert!(place.state().join("volumes/u.n.json").exists(), "{said}");
    place.write("u.toml", &manifest("64MiB", ""));

    let plan = place.exit(&["plan", "u.toml"]).1;
    place.ok(&["apply", "u.toml", "--yes"]);

    assert!(plan.contains("nothing of it was ever made"), "{plan}");
    assert!(!place.state().join("volumes/u.n.json").exists());
    place.ok(&["destroy", "u.toml", "--yes"]);
    place.write("u.toml", "version = 1\nproject = \"u\"\n[pools.main]\npath = \"pool\"\n");
    place.ok(&["apply", "u.toml", "--yes"]);
    assert!(place.state().join("volumes/u.e.json").exists(), "what was made is released, not forgotten");
}

#[test]
fn a_copy_without_csictls_attribute_is_refused_by_the_plan_whatever_its_inode() {
    let place = up("64MiB", "");
    place.ok(&["destroy", "u.toml", "--yes"]);
    let image = place.join("pool/u.e.img");
    rustix::fs::removexattr(&image, "trusted.csictl").unwrap();

    let (code, said) = place.exit(&["plan", "u.toml"]);

    assert!(code == 5 && said.contains("cp -a"), "{code} {said}");
    fs::remove_file(&image).unwrap();
    let (code, said) = place.exit(&["plan", "u.toml"]);
    assert!(code == 5 && said.contains("extended attributes (cp -a, rsync -aX)"), "{code} {said}");
}

#[test]
fn no_umask_keeps_a_pods_user_from_its_directories() {
    let place = Place::new();
    let directory = "[volumes.d]\ndirectory = { path = \"n/d\", create = true }\n[pods.p]";
    place.write("u.toml", &manifest("16MiB", "").replace("[pods.p]", directory));
    let mut apply = place.csictl();
    apply.args(["apply", "u.toml", "--yes"]);
    let applied = std::process::Command::new("sh")
        .args(["-c", "umask 077; exec \"$0\" \"$@\""])
        .arg(apply.get_program())
        .args(apply.get_args())
        .envs(apply.get_envs().filter_map(|(key, value)| Some((key, value?))))
        .current_dir(place.path())
        .status()
        .unwrap();

    assert!(applied.success());
    for made in ["root", "n", "n/d"] {
        let mode = fs::metadata(place.join(made)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o755, "{made}");
    }
    place.ok(&["destroy", "u.toml", "--yes"]);
}
