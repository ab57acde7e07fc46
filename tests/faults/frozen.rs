//! Everything that csictl started is killed while it holds a file system still, the keeper of the freeze too, and the mount namespace in which it
//! happened goes with them, as when a container is killed. The kernel keeps the frozen file system and its loop device without a
//! mount; the next run, whichever it is, has to bring them back.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::disks::manifest;
use super::oracle::{Canaries, converges, write_canaries};
use crate::support::Place;
use crate::support::place::sees_the_machines_processes;

const VOLUMES: [(&str, &str); 3] = [
    ("e", "capacity = \"16MiB\""),
    ("x", "capacity = \"300MiB\"\nimage = { allocate = \"sparse\" }\nfs = { type = \"xfs\" }"),
    ("b", "capacity = \"128MiB\"\nimage = { allocate = \"sparse\" }\nfs = { type = \"btrfs\" }"),
];

/// Volumes up in a namespace that is gone, frozen and marked as csictl marks them.
fn left() -> (Place, Canaries) {
    let place = Place::new();
    place.write("m.toml", &manifest(&place.join("pool"), &VOLUMES));
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/e", "a/x", "a/b"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    let freeze = "\"$0\" apply m.toml --yes && mkdir -p run/frozen && for v in e x b; do \
                  fsfreeze -f run/staging/p.$v && touch run/frozen/p.$v || exit 1; done; kill -9 $$";
    let csictl = place.csictl();
    let mut killed = Command::new("unshare");
    killed.args(["--mount", "--propagation", "private", "sh", "-c", freeze]).arg(csictl.get_program());
    killed.current_dir(place.path()).env_clear();
    killed.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?)))).process_group(0);
    let output = killed.output().unwrap();
    assert_eq!(output.status.code(), None, "{output:?}");
    assert_eq!((attached(&place), place.mounts().len()), (3, 0), "frozen, they are kept without a mount");
    (place, canaries)
}

/// How many of the images are behind a loop device, by their inodes: the path that the kernel tells led through a namespace that is gone.
fn attached(place: &Place) -> usize {
    let output = Command::new("losetup").args(["--noheadings", "--output", "BACK-INO,BACK-MAJ:MIN"]).output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let is_image = |line: &&str| {
        VOLUMES.iter().any(|(name, _)| {
            let image = std::fs::metadata(place.join(format!("pool/p.{name}.img"))).unwrap();
            let device = format!("{}:{}", nix::sys::stat::major(image.dev()), nix::sys::stat::minor(image.dev()));
            line.split_whitespace().eq([image.ino().to_string().as_str(), device.as_str()])
        })
    };
    listed.lines().filter(is_image).count()
}

/// A command that has to end: what waits for a frozen file system can't even be killed.
fn ends(place: &Place, words: &[&str]) {
    let begun = Instant::now();
    let said = place.join("said");
    let out = std::fs::File::create(&said).unwrap();
    let mut csictl = place.csictl();
    let mut csictl = csictl.args(words).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
    let status = loop {
        if let Some(status) = csictl.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < Duration::from_secs(90), "{words:?} hangs");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.success(), "{words:?}: {status}: {}", std::fs::read_to_string(said).unwrap());
}

#[test]
fn what_was_frozen_when_all_was_killed_and_its_namespace_went_is_brought_back_by_whatever_runs_next() {
    for words in [&["apply", "m.toml", "--yes"][..], &["destroy", "m.toml", "--yes"], &["gc", "--yes"]] {
        let (place, canaries) = left();
        if !sees_the_machines_processes() && words[0] != "gc" {
            // It may be up in a container that is not seen; what is only frozen gc takes away all the same.
            let (code, said) = place.exit(words);
            assert!(code == 5 && said.contains("other-namespace"), "{words:?}: {code} {said}");
            ends(&place, &["gc", "--yes"]);
        }

        ends(&place, words);

        let up = words[0] == "apply";
        assert_eq!(attached(&place), if up { 3 } else { 0 }, "{words:?}");
        if up {
            ends(&place, &["snapshot", "create", "e", "after", "--yes"]);
            write_canaries(&place, &["a/e", "a/x", "a/b"]);
        }
        converges(&place, "m.toml", &canaries, words[0]);
    }
}
