//! Threat: `errors=panic`, in an option or in a superblock that somebody brings along: a volume's content could stop the machine.

use std::fs;
use std::process::Command;

use super::machine::ONE_VOLUME;
use crate::support::Place;

fn tune(image: &std::path::Path, words: &[&str]) {
    let output = Command::new("tune2fs").args(words).arg(image).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// What the kernel does on an error in the file system on the loop device of this place's one image.
fn on_error(place: &Place) -> String {
    let loops = place.loops();
    let [(node, _)] = &loops[..] else { panic!("{loops:?}") };
    let name = node.file_name().unwrap().to_str().unwrap();
    let options = fs::read_to_string(format!("/proc/fs/ext4/{name}/options")).unwrap();
    options.lines().find(|line| line.starts_with("errors=")).unwrap().to_owned()
}

#[test]
fn a_superblock_that_asks_for_a_panic_is_mounted_without_one() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    tune(&place.join("pool/p.data.img"), &["-e", "panic", "-o", "nobarrier"]);

    place.ok(&["apply", "m.toml", "--yes"]);

    assert_eq!(on_error(&place), "errors=remount-ro");
    place.ok(&["destroy", "m.toml", "--yes"]);
}

/// Default mount options in the superblock (`tune2fs -E mount_opts`) are the image's word, and the kernel's own parser reads them first.
#[test]
fn options_hidden_in_a_superblock_do_not_win() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    tune(&place.join("pool/p.data.img"), &["-E", "mount_opts=errors=panic"]);

    place.ok(&["apply", "m.toml", "--yes"]);

    assert_eq!(on_error(&place), "errors=remount-ro");
    place.ok(&["destroy", "m.toml", "--yes"]);
}
