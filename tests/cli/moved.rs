//! What a volume lies on becomes another thing, or goes, while it is up; and what is not one volume's alone: pods of two projects, a
//! state directory that is a link, or open to others.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Place;

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A formatted disk: its node.
fn disk(place: &Place, name: &str) -> String {
    let file = place.join(name);
    fs::File::create(&file).unwrap().set_len(32 << 20).unwrap();
    run(&["mkfs.ext4", "-q", file.to_str().unwrap()]);
    run(&["losetup", "--find", "--show", file.to_str().unwrap()])
}

fn manifest(project: &str, volume: &str, root: &str) -> String {
    format!(
        "version = 1\nproject = \"{project}\"\n[pools.p]\npath = \"pool\"\n[volumes.v]\n{volume}\n\
         [pods.x]\nroot = \"{root}\"\n[[pods.x.mounts]]\nvolume = \"v\"\npath = \"/v\"\n"
    )
}

const TMPFS: &str = "tmpfs = { size = \"1MiB\" }";

fn no_mounts_but(place: &Place, own: &[PathBuf]) {
    let left: Vec<_> = place.mounts().into_iter().filter(|mount| !own.contains(mount)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_device_that_is_another_or_gone_is_taken_down_for_true() {
    for gone in [false, true] {
        let place = Place::new();
        run(&["mount", "-t", "tmpfs", "names", "/dev/mapper"]);
        let (one, other) = (disk(&place, "one"), disk(&place, "other"));
        let name = Path::new("/dev/mapper/disk");
        symlink(&one, name).unwrap();
        let device = format!("device = {{ path = \"{}\" }}", name.display());
        place.write("m.toml", &manifest("d", &device, "root"));
        place.ok(&["apply", "m.toml", "--yes"]);
        fs::remove_file(name).unwrap();
        if !gone {
            symlink(&other, name).unwrap();
        }
        assert_eq!(place.exit(&["status", "m.toml", "--check"]).0, 4);
        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
        assert_eq!(code, 5, "{said}");

        place.ok(&["destroy", "m.toml", "--yes"]);

        no_mounts_but(&place, &[]);
        let table = fs::read_to_string("/proc/thread-self/mounts").unwrap();
        assert!(!table.lines().any(|line| line.starts_with(&one) || line.starts_with(&other)), "{table}");
        run(&["losetup", "-d", &one]);
        run(&["losetup", "-d", &other]);
        run(&["umount", "/dev/mapper"]);
    }
}

#[test]
fn a_directory_that_was_removed_is_taken_down_for_true() {
    let place = Place::new();
    place.write("m.toml", &manifest("d", "directory = { path = \"files\", create = true }", "root"));
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::remove_dir(place.join("files")).unwrap();

    place.ok(&["destroy", "m.toml", "--yes"]);

    no_mounts_but(&place, &[]);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_bind_of_somebody_elses_where_the_removed_directory_was_shown_is_left_alone() {
    let place = Place::new();
    place.write("m.toml", &manifest("d", "directory = { path = \"files\", create = true }", "root"));
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::remove_dir(place.join("files")).unwrap();
    let (at, theirs) = (place.join("root/v"), place.join("theirs"));
    run(&["umount", at.to_str().unwrap()]);
    fs::create_dir(&theirs).unwrap();
    fs::write(theirs.join("kept"), "kept").unwrap();
    run(&["mount", "--bind", theirs.to_str().unwrap(), at.to_str().unwrap()]);

    let (_, said) = place.exit(&["destroy", "m.toml", "--yes"]);

    assert_eq!(fs::read_to_string(at.join("kept")).ok().as_deref(), Some("kept"), "{said}");
    run(&["umount", at.to_str().unwrap()]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    no_mounts_but(&place, &[]);
}

#[test]
fn a_protected_volume_whose_image_is_gone_goes_when_its_manifest_lifts_the_protection_and_names_it() {
    for unlinked_while_up in [true, false] {
        let place = Place::new();
        let volume = |protect: &str| {
            format!("capacity = \"16MiB\"\nimage = {{ allocate = \"sparse\" }}\nprevent_destroy = {protect}")
        };
        place.write("m.toml", &manifest("d", &volume("true"), "root"));
        place.ok(&["apply", "m.toml", "--yes"]);
        if !unlinked_while_up {
            place.ok(&["destroy", "m.toml", "--yes"]);
        }
        fs::remove_file(place.join("pool/d.v.img")).unwrap();

        let (code, said) = place.exit(&["destroy", "m.toml", "--yes", "--delete-data", "v"]);
        assert!(code == 5 && said.contains("prevent_destroy = false"), "{code} {said}");
        place.write("m.toml", &manifest("d", &volume("false"), "root"));
        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
        assert!(code == 5 && said.contains("--delete-data"), "{code} {said}");
        if unlinked_while_up {
            let (code, said) = place.exit(&["destroy", "m.toml", "--yes"]);
            assert!(code == 5 && place.join("root/v/lost+found").exists(), "{code} {said}");
        }

        place.ok(&["destroy", "m.toml", "--yes", "--delete-data", "v"]);

        no_mounts_but(&place, &[]);
        place.ok(&["apply", "m.toml", "--yes"]);
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}

#[test]
fn a_protected_volume_whose_image_is_there_stays_whatever_is_named() {
    let place = Place::new();
    let volume = |protect: &str| {
        format!("capacity = \"16MiB\"\nimage = {{ allocate = \"sparse\" }}\nprevent_destroy = {protect}")
    };
    place.write("m.toml", &manifest("d", &volume("true"), "root"));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.write("m.toml", &manifest("d", &volume("false"), "root"));

    let (code, said) = place.exit(&["destroy", "m.toml", "--yes", "--delete-data", "v"]);

    assert!(code == 5 && said.contains("csictl::guard::protected"), "{code} {said}");
    assert!(place.join("pool/d.v.img").exists());
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_tmpfs_that_becomes_an_image_is_not_said_to_keep_its_files() {
    let place = Place::new();
    place.write("m.toml", &manifest("d", TMPFS, "root"));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.write("m.toml", &manifest("d", "capacity = \"16MiB\"\nimage = { allocate = \"sparse\" }", "root"));
    let plan = place.ok(&["plan", "m.toml"]);
    assert!(plan.contains("data: scratch") && !plan.contains("data: kept"), "{plan}");
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_file_system_becomes_a_block_volume_at_the_same_path() {
    let place = Place::new();
    let image = "capacity = \"16MiB\"\nimage = { allocate = \"sparse\" }";
    let text = manifest("d", image, "root");
    place.write("m.toml", &text);
    place.ok(&["apply", "m.toml", "--yes"]);
    let block = text
        .replace("[[pods.x.mounts]]", "[[pods.x.devices]]")
        .replace(image, &format!("volume_mode = \"block\"\n{image}"));
    place.write("m.toml", &block);
    place.ok(&["apply", "m.toml", "--yes", "--approve", "volume.v=wipe"]);
    assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"));
    place.write("m.toml", &text);
    place.ok(&["apply", "m.toml", "--yes", "--approve", "volume.v=wipe"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    // Where the directory is somebody else's, nothing can be bound over it, which the plan knows.
    fs::create_dir_all(place.join("root/v")).unwrap();
    place.ok(&["apply", "m.toml", "--yes"]);
    place.write("m.toml", &block);
    let (code, said) = place.exit(&["apply", "m.toml", "--yes", "--approve", "volume.v=wipe"]);
    assert_eq!(code, 5, "{said}");
    assert!(!said.contains("done"), "{said}");
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn pods_of_two_projects_with_one_name_are_two() {
    let place = Place::new();
    for project in ["one", "two"] {
        place.write(&format!("{project}.toml"), &manifest(project, TMPFS, project));
        place.ok(&["apply", &format!("{project}.toml"), "--yes"]);
    }
    let pods = place.ok(&["get", "pods"]);
    assert_eq!(pods.lines().filter(|line| line.starts_with('x')).count(), 2, "{pods}");
    assert!(pods.contains("PROJECT"), "{pods}");
    let tree = place.ok(&["tree"]);
    assert_eq!(tree.lines().filter(|line| line.starts_with("pod")).count(), 2, "{tree}");
    let pods: serde_json::Value = serde_json::from_str(&place.ok(&["get", "pods", "-o", "json"])).unwrap();
    assert_eq!(pods["items"][1]["project"], "two", "{pods}");
    for project in ["one", "two"] {
        place.ok(&["destroy", &format!("{project}.toml"), "--yes"]);
    }
}

#[test]
fn a_state_directory_may_be_a_link_and_is_refused_once_where_others_may_write() {
    let place = Place::new();
    place.write("m.toml", &manifest("d", TMPFS, "root"));
    fs::create_dir(place.join("large")).unwrap();
    fs::set_permissions(place.join("large"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("large", place.state()).unwrap();
    place.ok(&["apply", "m.toml", "--yes"]);
    assert!(place.join("large/volumes/d.v.json").exists());
    place.ok(&["destroy", "m.toml", "--yes"]);

    fs::set_permissions(place.join("large"), fs::Permissions::from_mode(0o777)).unwrap();
    for words in [&["plan", "m.toml"][..], &["apply", "m.toml", "--yes"]] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 5, "{words:?}: {said}");
        assert!(said.contains("chmod") && !said.contains("failed"), "{words:?}: {said}");
        assert_eq!(said.matches("others may write").count(), 1, "{words:?}: {said}");
    }
}

#[test]
fn expand_advises_the_size_as_a_person_writes_it() {
    let place = Place::new();
    place.write("m.toml", &manifest("d", "capacity = \"16MiB\"\nimage = { allocate = \"sparse\" }", "root"));
    place.ok(&["apply", "m.toml", "--yes"]);
    let (code, said) = place.exit(&["expand", "v", "64MiB", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("capacity = \"64MiB\""), "{said}");
    place.ok(&["destroy", "m.toml", "--yes"]);
}
