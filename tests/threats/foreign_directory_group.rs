//! Threat: fs_group or an owner given recursively to a directory of the host (`directory = "/etc"`). Only what csictl made is changed, no link
//! is followed, no other file system entered.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use csictl::host::Host;
use csictl::host::linux::LinuxHost;

use super::machine::{Exchanger, foreign_tmpfs};
use crate::support::Place;

const GROUP: u32 = 4242;

/// Owner, group and mode of everything below, links not followed.
fn ownerships(folder: &Path) -> Vec<(std::path::PathBuf, u32, u32, u32)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let facts = fs::symlink_metadata(&path).unwrap();
            found.push((path.clone(), facts.uid(), facts.gid(), facts.mode()));
            if facts.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

fn manifest(directory: &str) -> String {
    format!(
        "version = 1\nproject = \"p\"\n[volumes.d]\ndirectory = {directory}\nowner = \"77:77\"\nmode = \"0700\"\n\
         [pods.web]\nroot = \"pods\"\nfs_group = {GROUP}\n[[pods.web.mounts]]\nvolume = \"d\"\npath = \"/d\"\n"
    )
}

#[test]
fn a_directory_that_was_there_keeps_its_owners() {
    let place = Place::new();
    for (key, path) in [("create = true", "etc"), ("create = false", "etc")] {
        place.write("etc/ssl/private/key", "secret");
        let before = (ownerships(&place.join("etc")), fs::metadata(place.join("etc")).unwrap().mode());
        place.write("m.toml", &manifest(&format!("{{ path = {path:?}, {key} }}")));

        place.ok(&["apply", "m.toml", "--yes"]);

        let after = (ownerships(&place.join("etc")), fs::metadata(place.join("etc")).unwrap().mode());
        assert_eq!(after, before, "{key}");
        place.ok(&["destroy", "m.toml", "--yes"]);
        assert_eq!((ownerships(&place.join("etc")), fs::metadata(place.join("etc")).unwrap().mode()), before, "{key}");
    }
}

#[test]
fn a_directory_that_csictl_made_gets_its_group() {
    let place = Place::new();
    place.write("m.toml", &manifest("{ path = \"made\", create = true }"));

    place.ok(&["apply", "m.toml", "--yes"]);

    assert_eq!(fs::metadata(place.join("made")).unwrap().gid(), GROUP);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn neither_links_nor_other_file_systems_are_entered() {
    let place = Place::new();
    let victim = place.write("victim/file", "precious");
    let root = place.join("volume");
    fs::create_dir_all(root.join("deep")).unwrap();
    symlink(&victim, root.join("deep/link")).unwrap();
    symlink(place.join("victim"), root.join("deep/folder")).unwrap();
    foreign_tmpfs(&root.join("deep/other"));
    fs::write(root.join("deep/other/theirs"), "").unwrap();
    let before = ownerships(&place.join("victim"));

    LinuxHost::new().change_group(&root, GROUP).unwrap();

    assert_eq!(fs::metadata(root.join("deep")).unwrap().gid(), GROUP);
    assert_eq!(ownerships(&place.join("victim")), before);
    assert_ne!(fs::metadata(root.join("deep/other/theirs")).unwrap().gid(), GROUP);
    assert_ne!(fs::metadata(root.join("deep/other")).unwrap().gid(), GROUP);
}

/// The pod owns the volume's content and exchanges a directory in it with a link while its group is changed.
#[test]
fn a_directory_exchanged_with_a_link_gives_nothing_of_the_host_away() {
    let place = Place::new();
    place.write("victim/deep/file", "precious");
    let root = place.join("volume");
    for number in 0..20 {
        place.write(&format!("volume/a/{number}/file"), "");
    }
    symlink(place.join("victim"), root.join("b")).unwrap();
    let before = ownerships(&place.join("victim"));

    std::thread::scope(|scope| {
        let exchanger = Exchanger::begin(scope, root.join("a"), root.join("b"));
        let mut group = GROUP;
        while exchanger.exchanges() < 10_000 || group < GROUP + 200 {
            group += 1;
            let _ = LinuxHost::new().change_group(&root, group);
        }
    });

    assert_eq!(ownerships(&place.join("victim")), before);
}
