//! Changes that were cut off, or reached one place and not the next; and what two projects must not do to each other.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::Place;
use crate::support::place::said;

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn options(at: &Path) -> String {
    run(&["findmnt", "-no", "OPTIONS", at.to_str().unwrap()])
}

const IMAGE: &str = "capacity = \"32MiB\"\nimage = { allocate = \"sparse\" }";

fn manifest(project: &str, volume: &str, more: &str) -> String {
    format!(
        "version = 1\nproject = \"{project}\"\n[pools.p]\npath = \"pool-{project}\"\n[volumes.v]\n{volume}\n{more}\n\
         [pods.x]\nroot = \"{project}\"\n[[pods.x.mounts]]\nvolume = \"v\"\npath = \"/v\"\n"
    )
}

#[test]
fn a_change_that_failed_or_was_cut_off_is_still_to_be_made() {
    for (call, how, change) in [
        ("fchown", "error=EIO", "owner = \"2:2\""),
        ("fchown", "signal=SIGKILL", "owner = \"2:2\""),
        ("fchmod", "signal=SIGKILL", "mode = \"0711\""),
        ("fallocate", "error=EIO", "FULL"),
    ] {
        let place = Place::new();
        place.write("m.toml", &manifest("d", IMAGE, "owner = \"1:1\"\nmode = \"0700\""));
        place.ok(&["apply", "m.toml", "--yes"]);
        let text = match change {
            "FULL" => manifest("d", &IMAGE.replace("sparse", "full"), "owner = \"1:1\"\nmode = \"0700\""),
            change if change.starts_with("owner") => manifest("d", IMAGE, &format!("{change}\nmode = \"0700\"")),
            change => manifest("d", IMAGE, &format!("owner = \"1:1\"\n{change}")),
        };
        place.write("m.toml", &text);
        let csictl = place.csictl();
        let mut traced = Command::new("strace");
        traced.args(["-f", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &format!("inject={call}:{how}")]);
        traced.arg(csictl.get_program()).args(["apply", "m.toml", "--yes"]).current_dir(place.path());
        traced.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = traced.output().unwrap();
        assert!(!output.status.success(), "{call} {how}: {}", said(&output));

        let (code, words) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
        assert_eq!(code, 2, "{call} {how}: {words}");
        place.ok(&["apply", "m.toml", "--yes"]);

        let root = fs::metadata(place.join("d/v")).unwrap();
        let image = fs::metadata(place.join("pool-d/d.v.img")).unwrap();
        let made = match change {
            "FULL" => image.blocks() * 512 >= 32 << 20,
            change if change.starts_with("owner") => root.uid() == 2,
            _ => root.mode() & 0o777 == 0o711,
        };
        assert!(made, "{call} {how}");
        assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"), "{call} {how}");
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}

#[test]
fn changed_mount_options_reach_what_pods_see_and_go_again() {
    let place = Place::new();
    let at = place.join("d/v");
    let apply = |options: &str| {
        place.write("m.toml", &manifest("d", IMAGE, &format!("mount_options = [{options}]")));
        place.ok(&["apply", "m.toml", "--yes"]);
        assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"), "[{options}]");
    };
    apply("");
    for flag in ["noexec", "noatime"] {
        apply(&format!("\"{flag}\", \"commit=30\""));
        let now = options(&at);
        assert!(now.contains(flag) && now.contains("commit=30"), "{now}");
        apply("");
        let now = options(&at);
        assert!(!now.contains(flag) && !now.contains("commit=30"), "{now}");
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_block_volume_on_a_device_is_published_by_its_link() {
    let place = Place::new();
    run(&["mount", "-t", "tmpfs", "names", "/dev/mapper"]);
    let file = place.join("disk");
    fs::File::create(&file).unwrap().set_len(4 << 20).unwrap();
    let node = run(&["losetup", "--find", "--show", file.to_str().unwrap()]);
    symlink(&node, "/dev/mapper/disk").unwrap();
    let device = "volume_mode = \"block\"\ndevice = { path = \"/dev/mapper/disk\" }";
    let text = manifest("d", device, "").replace("pods.x.mounts", "pods.x.devices");
    place.write("m.toml", &text);

    place.ok(&["apply", "m.toml", "--yes"]);

    let shown = |path: &str| run(&["stat", "-L", "-c", "%Hr:%Lr", path]);
    assert_eq!(shown(place.join("d/v").to_str().unwrap()), shown(&node));
    assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"));
    place.ok(&["destroy", "m.toml", "--yes"]);
    run(&["losetup", "-d", &node]);
    run(&["umount", "/dev/mapper"]);
}

#[test]
fn a_device_of_another_project_is_named_and_left_alone() {
    let place = Place::new();
    run(&["mount", "-t", "tmpfs", "names", "/dev/mapper"]);
    let file = place.join("disk");
    fs::File::create(&file).unwrap().set_len(32 << 20).unwrap();
    let node = run(&["losetup", "--find", "--show", file.to_str().unwrap()]);
    symlink(&node, "/dev/mapper/disk").unwrap();
    symlink(&node, "/dev/mapper/same").unwrap();
    place.write("one.toml", &manifest("one", "device = { path = \"/dev/mapper/disk\" }", ""));
    place.ok(&["apply", "one.toml", "--yes"]);
    place.ok(&["destroy", "one.toml", "--yes"]);

    for name in ["disk", "same"] {
        place.write("two.toml", &manifest("two", &format!("device = {{ path = \"/dev/mapper/{name}\" }}"), ""));
        let (code, words) = place.exit(&["apply", "two.toml", "--yes"]);
        assert_eq!(code, 5, "{words}");
        assert!(words.contains("one.v"), "{words}");
    }
    run(&["losetup", "-d", &node]);
    run(&["umount", "/dev/mapper"]);
}

#[test]
fn a_target_covers_nothing_of_another_project() {
    let place = Place::new();
    place.write("one.toml", &manifest("one", IMAGE, ""));
    place.write("dir.toml", &manifest("dir", "directory = { path = \"files\", create = true }", ""));
    place.ok(&["apply", "one.toml", "--yes"]);
    place.ok(&["apply", "dir.toml", "--yes"]);
    for (root, path, of) in
        [("pool-one", "", "one.v"), ("pool-one", "/sub", "one.v"), ("files", "", "dir.v"), ("one", "", "one.v")]
    {
        let text = manifest("two", "tmpfs = { size = \"1MiB\" }", "");
        let (above, name) = if path.is_empty() { (".", format!("/{root}")) } else { (root, path.to_owned()) };
        let text =
            text.replace("root = \"two\"", &format!("root = \"{above}\"")).replace("\"/v\"", &format!("\"{name}\""));
        place.write("two.toml", &text);
        for words in [&["plan", "two.toml"][..], &["apply", "two.toml", "--yes"]] {
            let (code, said) = place.exit(words);
            assert_eq!(code, 5, "{root}{path}: {said}");
            assert!(said.contains(of), "{root}{path}: {said}");
        }
    }
    // Below what another project shows there is room for more.
    let text = manifest("two", "tmpfs = { size = \"1MiB\" }", "").replace("root = \"two\"", "root = \"one/v\"");
    place.write("two.toml", &text);
    place.ok(&["apply", "two.toml", "--yes"]);
    place.ok(&["destroy", "two.toml", "--yes"]);
    place.ok(&["destroy", "dir.toml", "--yes"]);
    place.ok(&["destroy", "one.toml", "--yes"]);
}

#[test]
fn what_became_full_is_full_after_a_trim_and_the_next_attach() {
    let place = Place::new();
    place.write("m.toml", &manifest("d", IMAGE, ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.write("m.toml", &manifest("d", &IMAGE.replace("sparse", "full"), ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    run(&["fstrim", place.join("d/v").to_str().unwrap()]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    place.ok(&["apply", "m.toml", "--yes"]);
    let blocks = || fs::metadata(place.join("pool-d/d.v.img")).unwrap().blocks();
    assert!(blocks() * 512 >= 32 << 20, "{}", blocks());
    let _ = Command::new("fstrim").arg(place.join("d/v")).output().unwrap();
    assert!(blocks() * 512 >= 32 << 20, "{}", blocks());
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_clone_that_pauses_its_source_says_so() {
    let place = Place::new();
    place.write("m.toml", &manifest("d", IMAGE, ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    let clone = "[volumes.c]\nsource = { volume = \"v\" }\ncapacity = \"32MiB\"\nimage = { allocate = \"sparse\" }\n[snapshots.s]\nvolume = \"v\"\n";
    place.write("m.toml", &(manifest("d", IMAGE, "") + clone));
    let plan = place.ok(&["plan", "m.toml"]);
    let steps: Vec<_> = plan.lines().filter(|line| line.starts_with("  s")).collect();
    let paused = steps.iter().filter(|line| line.contains("offline: writes pause")).count();
    assert!(paused == 2 && !plan.contains("offline: not"), "{plan}");
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn an_empty_directory_that_is_not_the_one_csictl_made_is_not_removed() {
    let place = Place::new();
    place.write("m.toml", &manifest("d", IMAGE, ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    // Down for a moment, the target is made anew by somebody, who wants it.
    let at = place.join("d/v");
    run(&["umount", at.to_str().unwrap()]);
    fs::rename(&at, place.join("aside")).unwrap();
    fs::create_dir(&at).unwrap();
    place.ok(&["destroy", "m.toml", "--yes"]);
    assert!(at.exists(), "somebody else's directory is left");
}

#[test]
fn the_use_of_a_directory_is_not_that_of_the_disk_below() {
    let place = Place::new();
    place.write("m.toml", &manifest("d", "directory = { path = \"files\", create = true }", ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    let status: serde_json::Value = serde_json::from_str(&place.ok(&["status", "m.toml", "-o", "json"])).unwrap();
    assert_eq!(status["volumes"][0]["used_bytes"], serde_json::Value::Null, "{status}");
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn json_of_manifest_errors_has_what_stands_at_each_place() {
    let place = Place::new();
    let mount = "[[pods.x.mounts]]\nvolume = \"v\"\npath = \"/v\"\n";
    place.write("m.toml", &(manifest("d", IMAGE, "") + mount));
    let output = place.csictl().args(["validate", "m.toml", "-o", "json"]).output().unwrap();
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let labels = document["errors"][0]["labels"].as_array().unwrap_or_else(|| panic!("{document}"));
    assert!(
        labels.len() == 2 && labels.iter().all(|label| label["line"].is_u64() && label["text"].is_string()),
        "{document}"
    );
}
