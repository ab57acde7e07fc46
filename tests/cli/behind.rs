//! What happens behind csictl's back on a live machine, and what a plan has to say of it before anything is touched.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use crate::support::Place;

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Volumes of one sort each, seen in `root`; more lines at the end.
fn manifest(volumes: &[(&str, &str)], pod: &str, more: &str) -> String {
    let mut text = "version = 1\nproject = \"d\"\n[pools.p]\npath = \"pool\"\n".to_owned();
    for (name, rest) in volumes {
        text += &format!("[volumes.{name}]\n{rest}\n");
    }
    text + "[pods.x]\nroot = \"root\"\n" + pod + more
}

const SPARSE: &str = "capacity = \"32MiB\"\nimage = { allocate = \"sparse\" }";
const BLOCK: &str = "capacity = \"4MiB\"\nvolume_mode = \"block\"\nimage = { allocate = \"sparse\" }";
const A: &str = "[[pods.x.mounts]]\nvolume = \"a\"\npath = \"/a\"\n";

/// One applied ext4 volume at `root/a`.
fn one(place: &Place) {
    place.write("m.toml", &manifest(&[("a", SPARSE)], A, ""));
    place.ok(&["apply", "m.toml", "--yes"]);
}

#[test]
fn the_last_of_a_volumes_bytes_is_not_taken_away_as_if_it_were_kept() {
    for replaced in [false, true] {
        let place = Place::new();
        one(&place);
        fs::write(place.join("root/a/f"), "precious").unwrap();
        let image = place.join("pool/d.a.img");
        if replaced {
            fs::copy(&image, place.join("other")).unwrap();
            fs::rename(place.join("other"), &image).unwrap();
        } else {
            fs::remove_file(&image).unwrap();
        }

        for words in
            [&["plan", "--destroy", "m.toml"][..], &["destroy", "m.toml", "--yes"], &["apply", "m.toml", "--yes"]]
        {
            let (code, said) = place.exit(words);
            assert_eq!(code, 5, "{words:?}: {said}");
            assert!(said.contains("/dev/loop") && said.contains("--delete-data"), "{words:?}: {said}");
        }
        // The same where the volume has left its manifest, or its pod.
        for (volumes, pod) in [(vec![], ""), (vec![("a", SPARSE)], "")] {
            place.write("m.toml", &manifest(&volumes, pod, ""));
            let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
            assert_eq!(code, 5, "{said}");
        }
        assert_eq!(fs::read_to_string(place.join("root/a/f")).unwrap(), "precious");
        place.write("m.toml", &manifest(&[("a", SPARSE)], A, ""));
        let (code, said) = place.exit(&["destroy", "m.toml", "--yes", "--delete-data", "a"]);
        // A file that is not the volume's stays, whatever was named.
        assert!(if replaced { code != 0 } else { code == 0 }, "{code}: {said}");
        assert!(replaced || place.loops().is_empty(), "{:?}", place.loops());
    }
}

#[test]
fn a_stale_bind_of_a_block_volume_is_taken_away_and_made_anew() {
    for destroyed in [true, false] {
        let place = Place::new();
        let pod = "[[pods.x.devices]]\nvolume = \"r\"\npath = \"/raw\"\n";
        place.write("m.toml", &manifest(&[("r", BLOCK)], pod, ""));
        place.ok(&["apply", "m.toml", "--yes"]);
        let (node, _) = place.loops()[0].clone();
        run(&["losetup", "-d", text(&node)]);
        assert!(place.loops().is_empty(), "the bound node does not hold its loop");

        let status = place.ok(&["status", "m.toml"]);
        assert!(status.contains("root/raw"), "the stale bind is seen: {status}");
        if destroyed {
            place.ok(&["destroy", "m.toml", "--yes"]);
            assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new());
        }
        place.ok(&["apply", "m.toml", "--yes"]);
        let (node, _) = place.loops()[0].clone();
        let shown = run(&["stat", "-c", "%Hr:%Lr", text(&place.join("root/raw"))]);
        assert_eq!(shown, run(&["stat", "-c", "%Hr:%Lr", text(&node)]));
        assert_eq!(place.mounts().len(), 1);
        assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"));
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}

#[test]
fn nosuid_and_nodev_lost_at_a_target_are_put_back() {
    let place = Place::new();
    one(&place);
    let at = place.join("root/a");
    run(&["mount", "-o", "remount,bind,suid,dev", text(&at)]);

    let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("nosuid") && said.contains("nodev"), "{said}");
    assert_eq!(place.exit(&["status", "m.toml", "--check"]).0, 4);
    place.ok(&["apply", "m.toml", "--yes"]);
    let options = run(&["findmnt", "-no", "OPTIONS", text(&at)]);
    assert!(options.contains("nosuid") && options.contains("nodev"), "{options}");
    assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"));
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn growth_that_the_kernel_refuses_is_refused_by_the_plan() {
    let place = Place::new();
    let volume =
        |size: &str| format!("capacity = \"{size}\"\nimage = {{ allocate = \"sparse\" }}\nfs = {{ type = \"btrfs\" }}");
    place.write("m.toml", &manifest(&[("a", &volume("200MiB"))], A, ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.write("m.toml", &manifest(&[("a", &volume("250MiB"))], A, ""));

    for words in [&["plan", "m.toml"][..], &["apply", "m.toml", "--yes"]] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 5, "{said}");
        assert!(said.contains("256 MiB"), "{said}");
    }
    place.write("m.toml", &manifest(&[("a", &volume("300MiB"))], A, ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_foreign_mount_over_a_target_is_refused_before_anything_comes_down() {
    let place = Place::new();
    one(&place);
    let at = place.join("root/a");
    run(&["mount", "-t", "tmpfs", "foreign", text(&at)]);

    for words in [&["plan", "--destroy", "m.toml"][..], &["destroy", "m.toml", "--yes"]] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 5, "{said}");
        assert!(said.contains("foreign") && !said.contains("done"), "{words:?}: {said}");
    }
    run(&["umount", text(&at)]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_file_system_that_became_read_only_is_told_of_and_mounted_anew() {
    let place = Place::new();
    one(&place);
    let stage = run(&["findmnt", "-no", "TARGET", "-S", text(&place.loops()[0].0)]);
    let stage = stage.lines().find(|line| line.contains("/run/")).unwrap().to_owned();
    run(&["mount", "-o", "remount,ro", &stage]);

    let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("read-only") && said.contains("unstage"), "{said}");
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("root/a/f"), "writable").unwrap();
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_pods_root_may_be_a_link_and_lie_below_one() {
    for link in ["root", "par"] {
        let place = Place::new();
        fs::create_dir_all(place.join("elsewhere/inner")).unwrap();
        std::os::unix::fs::symlink("elsewhere", place.join(link)).unwrap();
        let root = if link == "root" { "root" } else { "par/inner/new" };
        place.write(
            "m.toml",
            &manifest(&[("a", SPARSE)], A, "").replace("root = \"root\"", &format!("root = \"{root}\"")),
        );

        place.ok(&["apply", "m.toml", "--yes"]);
        assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"));
        fs::write(place.join(root).join("a/f"), "here").unwrap();
        assert_eq!(place.exit(&["status", "m.toml", "--check"]).0, 0);
        place.ok(&["destroy", "m.toml", "--yes"]);

        assert!(place.join(link).is_symlink(), "the link is its owner's");
        assert!(place.join("elsewhere/inner").is_dir());
        assert!(!place.join(root).join("a").exists(), "what csictl made is gone");
        assert!(place.mounts().is_empty() && place.loops().is_empty());
    }
}

#[test]
fn a_sub_path_that_cannot_be_shown_is_refused_while_the_old_mount_stays() {
    let place = Place::new();
    one(&place);
    let inside = place.join("root/a");
    fs::write(inside.join("file"), "").unwrap();
    std::os::unix::fs::symlink("/etc", inside.join("link")).unwrap();
    for (sub_path, code) in [("link", 5), ("file", 5), ("link/x", 5)] {
        let pod = format!("{A}sub_path = \"{sub_path}\"\n");
        place.write("m.toml", &manifest(&[("a", SPARSE)], &pod, ""));
        for words in [&["plan", "m.toml"][..], &["apply", "m.toml", "--yes"]] {
            let (is, said) = place.exit(words);
            assert_eq!(is, code, "{sub_path}: {said}");
            assert!(said.contains("sub_path"), "{sub_path}: {said}");
        }
        assert!(inside.join("file").exists(), "{sub_path}: the running mount is still there");
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_sub_path_of_a_new_volume_is_made_for_those_who_may_use_the_volume() {
    let place = Place::new();
    let volume = format!("{SPARSE}\nowner = \"1000:44\"\nmode = \"2770\"");
    place.write("m.toml", &manifest(&[("a", &volume)], &format!("{A}sub_path = \"v2/deep\"\n"), ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    for inside in ["", "v2", "v2/deep"] {
        let facts = fs::metadata(place.run().join("staging/d.a").join(inside)).unwrap();
        assert_eq!((facts.uid(), facts.gid(), facts.mode() & 0o7777), (1000, 44, 0o2770), "{inside}");
    }
    fs::write(place.join("root/a/f"), "here").unwrap();
    place.ok(&["destroy", "m.toml", "--yes"]);
    one(&place);
    assert_eq!(fs::read_to_string(place.join("root/a/v2/deep/f")).unwrap(), "here");
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_truncated_image_is_refused_and_nothing_is_planned_to_grow() {
    let place = Place::new();
    one(&place);
    let image = fs::File::options().write(true).open(place.join("pool/d.a.img")).unwrap();
    image.set_len(16 << 20).unwrap();

    let (code, said) = place.exit(&["plan", "m.toml"]);

    assert_eq!(code, 5, "{said}");
    assert!(said.contains("truncated") && !said.contains("expand"), "{said}");
    image.set_len(32 << 20).unwrap();
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn what_lies_on_a_volume_that_is_down_is_looked_at_by_the_plan() {
    for junk in ["/dev/zero", "/dev/urandom"] {
        let place = Place::new();
        one(&place);
        place.ok(&["destroy", "m.toml", "--yes"]);
        let image = place.join("pool/d.a.img");
        let (input, output) = (format!("if={junk}"), format!("of={}", image.display()));
        run(&["dd", &input, &output, "bs=1M", "count=32", "conv=notrunc", "status=none"]);

        let (code, said) = place.exit(&["plan", "m.toml"]);

        assert_eq!(code, 5, "{junk}: {said}");
        assert!(said.contains("--delete-data a"), "{junk}: {said}");
        assert_eq!(place.exit(&["status", "m.toml", "--check"]).0, 4, "{junk}");
        // The help leads somewhere.
        place.ok(&["destroy", "m.toml", "--yes", "--delete-data", "a"]);
        place.ok(&["apply", "m.toml", "--yes"]);
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}

#[test]
fn status_check_tells_of_a_volume_that_its_pod_does_not_see() {
    let place = Place::new();
    fs::create_dir_all(place.join("root")).unwrap();
    place.write("m.toml", &manifest(&[("a", SPARSE)], A, ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    let (code, said) = place.exit(&["status", "m.toml", "--check"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("not mounted"), "{said}");
}

#[test]
fn a_read_only_block_volume_becomes_writable_in_one_apply() {
    let place = Place::new();
    let pod = |read_only: bool| {
        format!(
            "[[pods.x.devices]]\nvolume = \"r\"\npath = \"/rb\"\nread_only = {read_only}\n\
             [[pods.x.devices]]\nvolume = \"r\"\npath = \"/rb2\"\nread_only = {read_only}\n"
        )
    };
    let volume = format!("{BLOCK}\naccess_mode = \"rwo\"");
    place.write("m.toml", &manifest(&[("r", &volume)], &pod(true), ""));
    place.ok(&["apply", "m.toml", "--yes"]);
    for read_only in [false, true] {
        place.write("m.toml", &manifest(&[("r", &volume)], &pod(read_only), ""));
        place.ok(&["apply", "m.toml", "--yes"]);
        assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"));
        let says = run(&["blockdev", "--getro", text(&place.loops()[0].0)]);
        assert_eq!(says.trim(), if read_only { "1" } else { "0" });
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_size_or_an_option_that_was_changed_by_a_remount_is_drift_and_put_back() {
    // (the volume, the remount, what is listed, as it is before and after)
    let cases = [
        ("tmpfs = { size = \"16MiB\" }", "size=512M", "size=16 MiB", "size=16384k"),
        (
            "tmpfs = { size = \"16MiB\" }\nmount_options = [\"nr_inodes=2k\"]",
            "nr_inodes=9k",
            "nr_inodes=2048",
            "nr_inodes=2048",
        ),
        (SPARSE, "sync", "no sync", "rw"),
        (
            "mount_options = [\"commit=30\", \"sync\"]\ncapacity = \"32MiB\"",
            "async,commit=77",
            "commit=30",
            "commit=30",
        ),
    ];
    for (volume, change, listed, shown) in cases {
        let place = Place::new();
        place.write("m.toml", &manifest(&[("a", volume)], A, ""));
        place.ok(&["apply", "m.toml", "--yes"]);
        fs::write(place.join("root/a/f"), "kept").unwrap();
        let stage = place.mounts().into_iter().find(|mount| mount.starts_with(place.run())).unwrap();
        let options = || run(&["findmnt", "-rno", "FS-OPTIONS", text(&stage)]);
        let before = options();
        assert!(before.contains(shown), "{volume}: {before}");
        run(&["mount", "-o", &format!("remount,{change}"), text(&stage)]);
        assert_ne!(options(), before, "{volume}");

        let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
        assert_eq!(code, 2, "{volume}: {said}");
        assert!(said.contains(listed), "{volume}: {said}");
        assert_eq!(place.exit(&["status", "m.toml", "--check"]).0, 4, "{volume}");

        place.ok(&["apply", "m.toml", "--yes"]);
        assert_eq!(options(), before, "{volume}");
        assert_eq!(place.exit(&["plan", "m.toml", "--detailed-exitcode"]).0, 0, "{volume}");
        // Nothing was taken down for it.
        assert_eq!(fs::read_to_string(place.join("root/a/f")).unwrap(), "kept");
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}

/// A file that somebody made longer while it is attached is a note, as it is when it is down; a monitor has nothing to report.
#[test]
fn an_image_made_longer_than_its_loop_device_is_noted_and_no_drift() {
    let place = Place::new();
    one(&place);
    fs::OpenOptions::new().write(true).open(place.join("pool/d.a.img")).unwrap().set_len(40 << 20).unwrap();

    let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);

    assert!(code == 0 && said.contains("it was grown elsewhere: 40 MiB instead of 32 MiB"), "{code}: {said}");
    for words in [&["status", "--check"][..], &["status", "m.toml", "--check"]] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 0, "{words:?}: {said}");
    }
    place.ok(&["expand", "a", "40MiB", "--yes"]);
    assert_eq!(place.exit(&["status", "--check"]).0, 0);
    place.ok(&["destroy", "m.toml", "--yes"]);
}
