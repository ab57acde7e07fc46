//! Whose mounts a record tells of: the number that a mount namespace shows is given to the next one as soon as it is gone, and a volume
//! whose namespace is gone waits for nobody who got its number.

use std::fs;
use std::os::unix::fs::MetadataExt;

use csictl::host::Observe;
use csictl::host::linux::LinuxHost;
use csictl::model::MountNamespace;
use csictl::model::record::{Recorded, RunRecord};
use csictl::state::record::{decode, encode};

use super::machine::ONE_VOLUME;
use crate::support::Place;

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
        assert_eq!(host.namespace_lives(namespace).unwrap(), lives, "{namespace:?}");
    }

    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    let file = place.join("pods/web/data/file");
    fs::write(&file, "kept").unwrap();

    remember(&place, MountNamespace { inode: machines, id: None });
    let (exit, said) = place.exit(&["apply", "m.toml", "--yes"]);
    assert!(exit == 5 && said.contains("other-namespace"), "{exit} {said}");

    remember(&place, MountNamespace { inode: machines, id: Some(NOBODYS) });
    place.ok(&["apply", "m.toml", "--yes"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    place.ok(&["destroy", "m.toml", "--yes"]);
    assert_eq!(place.mounts().len(), 0);
}
