//! Whose mounts a record tells of: the number that a mount namespace shows is given to the next one as soon as it is gone, and a volume
//! whose namespace is gone waits for nobody who got its number.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use csictl::host::Observe;
use csictl::host::linux::LinuxHost;
use csictl::model::record::{Recorded, RunRecord};
use csictl::model::{MountNamespace, NamespaceState};
use csictl::state::record::{decode, encode};

use super::machine::ONE_VOLUME;
use crate::support::Place;
use crate::support::place::{said, sees_the_machines_processes};

/// No namespace has it.
const NOBODYS: u64 = u64::MAX;

fn remember(place: &Place, namespace: MountNamespace) {
    let path = place.join("run/volumes/p.data.json");
    let Recorded::Present(mut run) = decode::<RunRecord>(&fs::read(&path).unwrap(), "p.data") else {
        panic!("no record")
    };
    (run.mount_namespace, run.mount_namespace_id) = (namespace.inode, namespace.id);
    fs::write(path, encode(&run)).unwrap();
}

#[test]
fn a_namespace_is_told_from_the_one_that_got_its_number() {
    let place = Place::new();
    let host = LinuxHost::new();
    let here = host.facts().unwrap().mount_namespace;
    assert!(here.id.is_some(), "Linux 6.11 or newer");
    // The test's first thread stayed in the machine's.
    let machines = fs::metadata("/proc/self/ns/mnt").unwrap().ino();
    for (namespace, lives) in [
        (here, true),
        (MountNamespace { id: None, ..here }, true),
        (MountNamespace { id: Some(NOBODYS), ..here }, false),
        (MountNamespace { inode: machines, id: None }, true),
        (MountNamespace { inode: machines, id: here.id }, false),
    ] {
        assert_eq!(host.namespace_state(namespace).unwrap() == NamespaceState::Lives, lives, "{namespace:?}");
    }

    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    let file = place.join("pods/web/data/file");
    fs::write(&file, "kept").unwrap();

    remember(&place, MountNamespace { inode: machines, id: None });
    let (exit, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert!(exit == 5 && said.contains("other-namespace"), "{exit} {said}");

    remember(&place, MountNamespace { inode: machines, id: Some(NOBODYS) });
    let (exit, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert_eq!(exit, if sees_the_machines_processes() { 0 } else { 5 }, "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    remember(&place, here);
    place.ok(&["destroy", "m.toml", "--yes"]);
    assert_eq!(place.mounts().len(), 0);
}

/// A container sees neither the machine's processes nor its mounts, and what a machine's csictl has up may be in use there all the same.
fn in_container(place: &Place, words: &[&str]) -> (i32, String) {
    let csictl = place.csictl();
    let mut contained = Command::new("unshare");
    contained.args(["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"]);
    contained.arg(csictl.get_program()).args(words).current_dir(place.path());
    contained.env_clear().envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = contained.stdin(Stdio::null()).output().unwrap();
    (output.status.code().unwrap_or(-1), said(&output))
}

#[test]
fn what_is_up_on_the_machine_is_not_taken_for_gone_by_a_container() {
    let raw = ONE_VOLUME.replace("mounts", "devices").replace("image =", "volume_mode = \"block\"\nimage =");
    for (manifest, shown) in [(ONE_VOLUME.to_owned(), "pods/web/data/file"), (raw, "pods/web/data")] {
        let place = Place::new();
        place.write("m.toml", &manifest);
        place.ok(&["apply", "m.toml", "--yes"]);
        let shown = place.join(shown);
        if shown.ends_with("file") {
            fs::write(&shown, "kept").unwrap();
        }
        let (mounts, loops) = (place.mounts(), place.loops());

        for words in [
            &["destroy", "m.toml", "--yes"][..],
            &["destroy", "m.toml", "--yes", "--delete-data", "data"],
            &["apply", "m.toml", "--yes"],
            &["delete", "p.data", "--yes", "--approve", "volume.p.data=delete"],
        ] {
            let (exit, said) = in_container(&place, words);
            assert!(exit == 5 && said.contains("other-namespace"), "{words:?}: {exit} {said}");
        }

        assert_eq!((place.mounts(), place.loops()), (mounts, loops));
        assert!(shown.exists());
        place.ok(&["destroy", "m.toml", "--yes"]);
        // Down, it is anybody's.
        let (exit, said) = in_container(&place, &["destroy", "m.toml", "--yes", "--delete-data", "data"]);
        assert_eq!(exit, 0, "{said}");
    }
}

#[test]
fn what_a_container_that_is_gone_had_mounted_comes_up_in_the_next() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    for _ in 0..2 {
        let (exit, said) = in_container(&place, &["apply", "m.toml", "--yes"]);
        assert_eq!(exit, 0, "{said}");
    }
    let (exit, said) = in_container(&place, &["destroy", "m.toml", "--yes"]);
    assert_eq!(exit, 0, "{said}");
}
