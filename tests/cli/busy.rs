//! Volumes that processes use while a change wants them to pause: nothing is taken away from the other pods for it.

use std::path::Path;
use std::process::{Child, Command};

use crate::support::Place;
use crate::support::place::said;

/// A process that stays in a directory until it is dropped.
struct Stays(Child);

impl Stays {
    fn within(directory: &Path) -> Self {
        Self(Command::new("sleep").arg("1000").current_dir(directory).spawn().unwrap())
    }
}

impl Drop for Stays {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A volume with three mounts; its file system's type forces it to pause while it is replaced.
fn manifest(fs: &str, paths: &[&str]) -> String {
    let head = format!(
        "version = 1\nproject = \"d\"\n[pools.p]\npath = \"pool\"\n[volumes.v]\naccess_mode = \"rwo\"\ncapacity = \"128MiB\"\n\
         image = {{ allocate = \"sparse\" }}\nfs = {{ type = \"{fs}\" }}\n[pods.x]\nroot = \"r\"\n"
    );
    let mount = |path: &&str| format!("[[pods.x.mounts]]\nvolume = \"v\"\npath = \"{path}\"\n");
    head + &paths.iter().map(mount).collect::<String>()
}

const ALL: [&str; 3] = ["/a", "/b", "/c"];

fn targets(place: &Place) -> Vec<String> {
    let mounts = place.mounts().into_iter();
    mounts.filter_map(|at| Some(at.strip_prefix(place.join("r")).ok()?.display().to_string())).collect()
}

#[test]
fn a_volume_in_use_that_would_pause_is_refused_before_anything_is_taken_down() {
    let place = Place::new();
    place.write("m.toml", &manifest("ext4", &ALL));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.write("m.toml", &manifest("btrfs", &ALL));
    let wipe = ["apply", "m.toml", "--yes", "--approve", "volume.v=wipe"];
    let user = Stays::within(&place.join("r/b"));

    let (planned, plan) = place.exit(&["plan", "m.toml"]);
    let (code, words) = place.exit(&wipe);

    assert_eq!((planned, code), (5, 5), "{plan}\n{words}");
    assert!(words.contains("csictl::guard::busy"), "{words}");
    assert!(words.contains(&format!("sleep (pid {}", user.0.id())), "{words}");
    assert_eq!(targets(&place), ["a", "b", "c"]);
    drop(user);
    place.ok(&wipe);
    assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"));
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn one_mount_made_anew_asks_only_who_uses_that_mount() {
    let place = Place::new();
    let text = manifest("ext4", &ALL);
    place.write("m.toml", &text);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.write("m.toml", &format!("{text}propagation = \"bidirectional\"\n"));
    let elsewhere = Stays::within(&place.join("r/b"));
    let there = Stays::within(&place.join("r/c"));

    let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);

    assert_eq!(code, 5, "{words}");
    assert!(words.contains(&format!("pid {}", there.0.id())), "{words}");
    assert!(!words.contains(&format!("pid {}", elsewhere.0.id())), "{words}");
    drop(there);
    place.ok(&["apply", "m.toml", "--yes"]);
    drop(elsewhere);
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn what_was_taken_down_comes_back_when_the_volume_turns_out_to_be_busy() {
    for (which, taken) in [("2+", "one target"), ("4+", "all targets")] {
        let place = Place::new();
        place.write("m.toml", &manifest("ext4", &ALL));
        place.ok(&["apply", "m.toml", "--yes"]);
        std::fs::write(place.join("r/b/kept"), "kept").unwrap();
        place.write("m.toml", &manifest("btrfs", &ALL));
        let csictl = place.csictl();
        let mut traced = Command::new("strace");
        let inject = format!("inject=umount2:error=EBUSY:when={which}");
        traced.args(["-f", "-o", "/dev/null", "-e", "trace=umount2", "-e", &inject]);
        traced.arg(csictl.get_program()).args(["--parallelism", "1", "apply", "m.toml", "--yes"]);
        traced.args(["--approve", "volume.v=wipe"]).current_dir(place.path());
        traced.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = traced.output().unwrap();

        let words = said(&output);
        assert_eq!(output.status.code(), Some(5), "{taken}: {words}");
        assert!(words.contains("put back"), "{taken}: {words}");
        assert_eq!(targets(&place), ["a", "b", "c"], "{taken}: {words}");
        assert_eq!(std::fs::read_to_string(place.join("r/b/kept")).unwrap(), "kept");
        place.write("m.toml", &manifest("ext4", &ALL));
        assert!(place.ok(&["apply", "m.toml", "--yes"]).contains("no changes"), "{taken}");
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}
