//! Threat: what somebody else mounted or attached is taken for csictl's own, and used, unmounted or detached.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::mount::MsFlags;

use super::machine::{ONE_VOLUME, foreign_tmpfs};
use crate::support::Place;
use crate::support::place::checksum;

const TAKE_DOWN: [&[&str]; 3] =
    [&["destroy", "m.toml", "--yes"], &["destroy", "m.toml", "--yes", "--delete-data", "data"], &["gc", "--yes"]];

#[test]
fn a_tmpfs_that_lies_on_the_target_is_neither_used_nor_covered_nor_taken_away() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    let target = place.join("pods/web/data");
    foreign_tmpfs(&target);
    fs::write(target.join("keep"), "precious").unwrap();

    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert_eq!(code, 5, "{said}");
    for words in TAKE_DOWN {
        let _ = place.exit(words);
        assert_eq!(place.mounts(), std::slice::from_ref(&target), "{words:?}");
        assert_eq!(fs::read_to_string(target.join("keep")).unwrap(), "precious", "{words:?}");
    }
}

#[test]
fn a_tmpfs_mounted_over_a_publish_stays() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    let target = place.join("pods/web/data");
    fs::write(target.join("keep"), "precious").unwrap();
    foreign_tmpfs(&target);
    fs::write(target.join("theirs"), "theirs").unwrap();

    for words in TAKE_DOWN {
        let (code, said) = place.exit(words);
        assert!(code != 0 || words[0] == "gc", "{words:?}: {said}");
        assert_eq!(fs::read_to_string(target.join("theirs")).unwrap(), "theirs", "{words:?}");
    }
    nix::mount::umount2(&target, nix::mount::MntFlags::UMOUNT_NOFOLLOW).unwrap();
    assert_eq!(fs::read_to_string(target.join("keep")).unwrap(), "precious");
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn a_staging_path_on_which_something_else_is_mounted_is_left_alone() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    let staging = place.run().join("staging/p.data");
    foreign_tmpfs(&staging);
    fs::write(staging.join("keep"), "precious").unwrap();

    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert_eq!(code, 5, "{said}");
    for words in &TAKE_DOWN[..1] {
        let _ = place.exit(words);
        assert_eq!(fs::read_to_string(staging.join("keep")).unwrap(), "precious", "{words:?}: {said}");
    }
}

fn losetup(words: &[&str]) -> String {
    let output = Command::new("losetup").args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A part of the same file is another device's content, and two devices on one file destroy it: nothing is attached, nothing detached, and
/// no file system is made to fit the part.
#[test]
fn a_loop_that_shows_a_part_of_the_image_is_not_taken_for_the_volumes() {
    for part in [&["-r", "-o", "1048576"][..], &["-o", "1048576"], &["--sizelimit", "8388608"]] {
        let place = Place::new();
        place.write("m.toml", ONE_VOLUME);
        place.ok(&["apply", "m.toml", "--yes"]);
        place.ok(&["destroy", "m.toml", "--yes"]);
        let image = place.join("pool/p.data.img");
        let sum = checksum(&image);
        let theirs = losetup(&[&["-f", "--show"], part, &[image.to_str().unwrap()]].concat());

        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
        assert!(code == 5 && said.contains(&theirs), "{part:?}: {code} {said}");
        assert_eq!(checksum(&image), sum, "{part:?}");
        for words in TAKE_DOWN {
            let _ = place.exit(words);
            assert_eq!(place.loops().len(), 1, "{part:?} {words:?}");
        }

        losetup(&["-d", &theirs]);
    }
}

/// A loop of a file beside the image, of the same content and even the same name in its own folder.
#[test]
fn a_loop_of_another_file_stays_whatever_it_looks_like() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::create_dir(place.join("backup")).unwrap();
    fs::copy(place.join("pool/p.data.img"), place.join("backup/p.data.img")).unwrap();
    let theirs = losetup(&["-f", "--show", place.join("backup/p.data.img").to_str().unwrap()]);

    place.ok(&["destroy", "m.toml", "--yes", "--delete-data", "data"]);
    place.write("pools.toml", "version = 1\nproject = \"q\"\n[pools.backup]\npath = \"backup\"\n");
    place.ok(&["gc", "--yes", "--config", "pools.toml"]);

    assert_eq!(place.loops(), [(PathBuf::from(&theirs), place.join("backup/p.data.img"))]);
    assert!(place.join("backup/p.data.img").exists());
    losetup(&["-d", &theirs]);
}

/// A copy of what somebody writes to meanwhile is torn, and what csictl did not mount is not its to freeze: wherever it is mounted.
#[test]
fn what_somebody_else_mounted_through_a_loop_of_his_own_is_not_copied() {
    for (fs_type, size, elsewhere) in [("ext4", "16MiB", false), ("ext4", "16MiB", true), ("btrfs", "128MiB", true)] {
        let place = Place::new();
        let volume = format!("{size}\"\nfs = {{ type = \"{fs_type}\" }}");
        let manifest = ONE_VOLUME.replacen("16MiB\"", &volume, 1);
        place.write("m.toml", &manifest);
        place.ok(&["apply", "m.toml", "--yes"]);
        place.ok(&["destroy", "m.toml", "--yes"]);
        let theirs = losetup(&["-f", "--show", place.join("pool/p.data.img").to_str().unwrap()]);
        let at = place.join("theirs");
        fs::create_dir(&at).unwrap();
        let line = format!("mount {theirs} {}; echo up; exec sleep 600", at.display());
        let mut holder = elsewhere.then(|| {
            let mut unshare = Command::new("unshare");
            unshare.args(["--mount", "--propagation", "private", "sh", "-ec", &line]).stdout(Stdio::piped());
            let mut holder = unshare.spawn().unwrap();
            let mut said = String::new();
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
            assert_eq!(said, "up\n");
            holder
        });
        if !elsewhere {
            nix::mount::mount(Some(theirs.as_str()), &at, Some("ext4"), MsFlags::empty(), None::<&str>).unwrap();
        }
        let source = format!("[volumes.copy]\ncapacity = \"{volume}\nsource = {{ volume = \"data\" }}\n");
        let copy = manifest + &source;
        place.write("copy.toml", &copy.replace("[[pods.web.mounts]]\nvolume = \"data\"\npath = \"/web/data\"\n", ""));

        for words in [&["snapshot", "create", "p.data", "s", "--yes"][..], &["apply", "copy.toml", "--yes"]] {
            let (code, said) = place.exit(words);
            assert!(code == 5 && said.contains(&theirs), "{fs_type} {elsewhere} {words:?}: {code} {said}");
        }
        assert!(!place.join("pool/p.s.snap").exists() && !place.join("pool/p.copy.img").exists(), "{elsewhere}");

        if let Some(holder) = &mut holder {
            holder.kill().unwrap();
            holder.wait().unwrap();
        } else {
            nix::mount::umount2(&at, nix::mount::MntFlags::UMOUNT_NOFOLLOW).unwrap();
        }
        place.ok(&["snapshot", "create", "p.data", "s", "--yes"]);
    }
}

/// The same of a snapshot, which is restored as it is. One that is only looked at, through a device that nobody can write to, harms nobody.
#[test]
fn a_snapshot_that_somebody_has_mounted_to_write_to_is_not_restored_and_not_cleared_away() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["snapshot", "create", "p.data", "s", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    let (file, at) = (place.join("pool/p.s.snap"), place.join("theirs"));
    fs::create_dir(&at).unwrap();
    let attach = |words: &[&str]| losetup(&[&["-f", "--show"], words, &[file.to_str().unwrap()]].concat());
    let up = |node: &str, flags| nix::mount::mount(Some(node), &at, Some("ext4"), flags, Some("noload")).unwrap();
    let down = |node: &str| {
        nix::mount::umount2(&at, nix::mount::MntFlags::UMOUNT_NOFOLLOW).unwrap();
        losetup(&["-d", node]);
    };
    let theirs = attach(&["-r"]);
    up(&theirs, MsFlags::MS_RDONLY);
    place.ok(&["snapshot", "restore", "p.s", "one", "--yes"]);
    down(&theirs);

    let theirs = attach(&[]);
    nix::mount::mount(Some(theirs.as_str()), &at, Some("ext4"), MsFlags::empty(), None::<&str>).unwrap();
    let (code, said) = place.exit(&["snapshot", "restore", "p.s", "two", "--yes"]);
    assert!(code == 5 && said.contains(&theirs), "{code}: {said}");
    assert!(!place.join("pool/p.two.img").exists());
    let (code, said) = place.exit(&["snapshot", "delete", "p.s", "--yes", "--approve", "snapshot.s=delete"]);
    assert!(code == 5 && said.contains(&theirs) && file.exists(), "{code}: {said}");
    // Without its record it is a stray file, which an approval may take, but not from under its user.
    fs::remove_file(place.state().join("snapshots/p.s.json")).unwrap();
    let gc = ["gc", "--config", "m.toml", "--yes", "--approve", "snapshot.p.s=delete"];
    let (code, said) = place.exit(&gc);
    assert!(code == 5 && file.exists(), "{code}: {said}");

    down(&theirs);
    place.ok(&gc);
    assert!(!file.exists());
}

/// A clone whose pool lies on its own source would wait for itself: the source is frozen while it is copied.
#[test]
fn a_copy_that_would_lie_on_its_own_frozen_source_is_refused_at_once() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    let (inside, bound) = (place.join("pods/web/data/pool"), place.join("bound"));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&bound).unwrap();
    nix::mount::mount(Some(&inside), &bound, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let more = "[pools.inside]\npath = \"bound\"\n[volumes.copy]\ncapacity = \"16MiB\"\npool = \"inside\"\n\
                image = { allocate = \"sparse\" }\nsource = { volume = \"data\" }\n[volumes.data]\npool = \"main\"\n";
    place.write("more.toml", &ONE_VOLUME.replace("[volumes.data]\n", more));

    let begun = std::time::Instant::now();
    let (code, said) = place.exit(&["apply", "more.toml", "--yes"]);

    assert!(code == 1 && said.contains("lies on the volume itself"), "{code} after {:?}: {said}", begun.elapsed());
    assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
    fs::write(place.join("pods/web/data/file"), "nothing is frozen").unwrap();
    nix::mount::umount(&bound).unwrap();
    place.ok(&["destroy", "m.toml", "--yes"]);
}
