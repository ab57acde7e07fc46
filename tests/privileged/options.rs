//! Changed, failed, lost and forgotten mount options on the real kernel: what mountinfo shows at the stage and at every pod is what the
//! manifest says, whatever was there before, and a plan after it is empty.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Place;

fn manifest(fs: &str, size: &str, options: &str) -> String {
    format!(
        r#"
version = 1
project = "mo"
[pools.main]
path = "pool"
[volumes.a]
capacity = "{size}"
access_mode = "single-node-multi-writer"
image = {{ allocate = "sparse" }}
fs = {{ type = "{fs}" }}
mount_options = [{options}]
[pods.one]
root = "one"
[[pods.one.mounts]]
volume = "a"
path = "/a"
[[pods.one.mounts]]
volume = "a"
path = "/reader"
read_only = true
"#
    )
}

/// Options of the mount, and of its file system, as mountinfo shows them at a path of the place.
fn shown(place: &Place, path: &str) -> (Vec<String>, Vec<String>) {
    let path = format!(" {} ", place.join(path).display());
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let line = table.lines().find(|line| line.contains(&path)).unwrap_or_else(|| panic!("nothing is mounted at{path}"));
    let words = |text: &str| text.split(',').map(str::to_owned).collect();
    (words(line.split(' ').nth(5).unwrap()), words(line.rsplit(' ').next().unwrap()))
}

const STAGE: &str = "run/staging/mo.a";

fn remount(path: &Path, options: &str) {
    let status = Command::new("mount").args(["-i", "-o", &format!("remount,{options}")]).arg(path).status().unwrap();
    assert!(status.success(), "{options}");
}

#[track_caller]
fn settled(place: &Place, context: &str) {
    let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
    assert_eq!(code, 0, "{context}: {said}");
    assert!(!said.contains("drift"), "{context}: {said}");
}

#[test]
fn what_the_manifest_says_is_in_force_everywhere_whatever_was_there_before() {
    // Options as they follow each other; flags that every mount has then, and options that the file system has and has not.
    type Stand = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);
    let ext4: &[Stand] = &[
        ("\"noexec\", \"commit=30\"", &["noexec", "relatime"], &["commit=30"], &[]),
        ("\"noatime\", \"stripe=16\"", &["noatime"], &["stripe=16"], &["commit=30"]),
        ("\"ro\"", &["ro", "relatime"], &["ro"], &["stripe=16"]),
        ("\"data=journal\"", &["relatime"], &["rw", "data=journal"], &["stripe=16"]),
        ("\"nodiratime\", \"strictatime\"", &["nodiratime"], &["rw"], &["data=journal"]),
        ("", &["relatime"], &["rw"], &["data=journal", "commit=30"]),
    ];
    let xfs: &[Stand] = &[
        ("\"logbsize=64k\", \"noexec\"", &["noexec"], &["logbsize=64k"], &[]),
        ("\"allocsize=1m\"", &["relatime"], &["allocsize=1024k"], &["logbsize=64k"]),
        ("", &["relatime"], &["rw"], &["allocsize=1024k"]),
    ];
    let btrfs: &[Stand] = &[
        ("\"compress=lzo\"", &["relatime"], &["compress=lzo"], &[]),
        ("\"nodatacow\"", &["relatime"], &["nodatacow"], &["compress=lzo"]),
        ("", &["relatime"], &["rw"], &["nodatacow", "nodatasum"]),
    ];
    for (fs, size, stands) in [("ext4", "32MiB", ext4), ("xfs", "300MiB", xfs), ("btrfs", "128MiB", btrfs)] {
        let place = Place::new();
        place.write("m.toml", &manifest(fs, size, ""));
        place.ok(&["apply", "m.toml", "--yes"]);
        fs::write(place.join("one/a/canary"), "kept").unwrap();
        for (options, flags, has, has_not) in stands {
            let context = format!("{fs} [{options}]");
            place.write("m.toml", &manifest(fs, size, options));
            place.ok(&["apply", "m.toml", "--yes"]);
            settled(&place, &context);
            for path in [STAGE, "one/a", "one/reader"] {
                let (of_mount, of_fs) = shown(&place, path);
                let always = ["nosuid", "nodev", if path == "one/reader" { "ro" } else { flags[0] }];
                for flag in flags.iter().chain(&always) {
                    assert!(of_mount.iter().any(|is| is == flag), "{context} at {path}: {flag} not in {of_mount:?}");
                }
                for flag in ["noexec", "noatime", "nodiratime", "ro"] {
                    let asked = flags.contains(&flag) || (flag == "ro" && path == "one/reader");
                    assert_eq!(of_mount.iter().any(|is| is == flag), asked, "{context} at {path}: {of_mount:?}");
                }
                for option in *has {
                    assert!(of_fs.iter().any(|is| is == option), "{context}: {option} not in {of_fs:?}");
                }
                for option in *has_not {
                    assert!(!of_fs.iter().any(|is| is == option), "{context}: {option} in {of_fs:?}");
                }
            }
            assert_eq!(fs::read_to_string(place.join("one/a/canary")).unwrap(), "kept", "{context}");
            let writable = fs::write(place.join("one/a/file"), "x").is_ok();
            assert_eq!(writable, !flags.contains(&"ro"), "{context}");
            assert!(fs::write(place.join("one/reader/file"), "x").is_err(), "{context}: the reader writes");
        }
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}

#[test]
fn an_option_that_the_kernel_refuses_is_not_recorded_as_done() {
    let place = Place::new();
    place.write("m.toml", &manifest("ext4", "32MiB", ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("one/a/canary"), "kept").unwrap();
    // No security module of this machine knows it.
    place.write("m.toml", &manifest("ext4", "32MiB", "\"context=system_u:object_r:none_t:s0\""));

    let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
    assert!(code == 2 && said.contains("taken only at mount") && said.contains("unstage"), "{said}");
    for _ in 0..2 {
        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
        assert!(code == 69 && said.contains("this kernel does not mount ext4 with context="), "{code} {said}");
        assert_eq!(fs::read_to_string(place.join("one/a/canary")).unwrap(), "kept", "the pod keeps its mount");
        assert_eq!(place.exit(&["plan", "m.toml", "--detailed-exitcode"]).0, 2);
    }

    place.write("m.toml", &manifest("ext4", "32MiB", ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    settled(&place, "taken back");
    assert_eq!(fs::read_to_string(place.join("one/a/canary")).unwrap(), "kept");
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn options_that_no_mount_of_this_kernel_takes_leave_no_image_behind() {
    for (mkfs, mount) in
        [("", "\"context=system_u:object_r:none_t:s0\""), ("\"-O\", \"casefold\"", ""), ("\"-O\", \"quota\"", "")]
    {
        let place = Place::new();
        let text = manifest("ext4", "32MiB", mount);
        place.write("m.toml", &text.replace("type = \"ext4\"", &format!("type = \"ext4\", mkfs_options = [{mkfs}]")));
        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
        let refused = code != 0;

        assert!(!refused || said.contains("this kernel does not mount"), "{mkfs}{mount}: {code} {said}");
        assert_eq!(place.join("pool/mo.a.img").exists(), !refused, "{mkfs}{mount}: {said}");
        // A kernel may know a feature; a label that no security module knows is refused wherever there is none.
        assert!(refused || mount.is_empty(), "{said}");
        place.write("m.toml", &manifest("ext4", "32MiB", ""));
        place.ok(&["apply", "m.toml", "--yes"]);
        settled(&place, mkfs);
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}

#[test]
fn flags_changed_by_hand_are_drift_and_mended() {
    let place = Place::new();
    place.write("m.toml", &manifest("ext4", "32MiB", ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    for (path, change, lost) in [
        ("one/a", "bind,suid,dev", "nosuid"),
        ("one/a", "bind,nosuid,nodev,noexec", "noexec"),
        (STAGE, "bind,suid,dev", "nodev"),
    ] {
        remount(&place.join(path), change);

        let (code, said) = place.exit(&["status", "m.toml", "--check"]);
        assert!(code == 4 && said.contains(lost), "{path} {change}: {code} {said}");
        let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
        assert!(code == 2 && said.contains(lost), "{path} {change}: {code} {said}");
        place.ok(&["apply", "m.toml", "--yes"]);
        let (flags, _) = shown(&place, path);
        let has = |flag: &str| flags.iter().any(|is| is == flag);
        assert!(has("nosuid") && has("nodev") && !has("noexec"), "{path} {change}: {flags:?}");
        settled(&place, change);
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_file_system_that_stopped_writing_after_an_error_is_checked_and_writable_again() {
    let place = Place::new();
    place.write("m.toml", &manifest("ext4", "32MiB", ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("one/a/canary"), "kept").unwrap();
    let by_error = || {
        // It may have got another loop device since.
        let node = place.loops()[0].0.clone();
        let name = node.file_name().unwrap().to_str().unwrap();
        fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "tested").unwrap();
    };
    let by_hand = || remount(&place.join(STAGE), "ro");
    for (how, stop) in [("by hand", &by_hand as &dyn Fn()), ("by an error", &by_error)] {
        stop();
        assert!(fs::write(place.join("one/a/file"), "x").is_err(), "{how}: it still writes");

        let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
        assert!(code == 2 && said.contains("read-only"), "{how}: {code} {said}");
        place.ok(&["apply", "m.toml", "--yes"]);

        fs::write(place.join("one/a/file"), "x").unwrap();
        assert_eq!(fs::read_to_string(place.join("one/a/canary")).unwrap(), "kept");
        settled(&place, how);
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
    let checked = Command::new("e2fsck").arg("-fn").arg(place.join("pool/mo.a.img")).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}

/// What is mounted read-only takes no owner; nothing fails for it, and it is given when the volume becomes writable.
#[test]
fn owner_mode_and_group_wait_until_the_volume_is_mounted_writable() {
    use std::os::unix::fs::MetadataExt;
    let owned = |options: &str| {
        let text = manifest("ext4", "16MiB", options).replace("[pods.one]", "[pods.one]\nfs_group = 7");
        text.replace("[volumes.a]", "[volumes.a]\nowner = \"5:6\"\nmode = \"0750\"")
    };
    for before in [None, Some(manifest("ext4", "16MiB", "")), Some(manifest("ext4", "16MiB", "\"ro\""))] {
        let place = Place::new();
        if let Some(before) = &before {
            place.write("m.toml", before);
            place.ok(&["apply", "m.toml", "--yes"]);
        }
        place.write("m.toml", &owned("\"ro\""));

        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

        assert_eq!(code, 0, "{said}");
        assert!(said.contains("owner and mode wait until it is mounted writable"), "{said}");
        settled(&place, "read-only");
        place.write("m.toml", &owned(""));
        place.ok(&["apply", "m.toml", "--yes"]);
        let root = fs::metadata(place.join("one/a")).unwrap();
        assert_eq!((root.uid(), root.gid(), root.mode() & 0o777), (5, 7, 0o770));
        settled(&place, "writable");
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}
