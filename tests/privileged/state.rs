//! State directories that are in a bad way: taking down works all the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::Place;

/// A file system on a loop device, and a raw device, both published.
fn up() -> Place {
    let place = Place::new();
    let manifest = r#"
version = 1
project = "p"

[pools.main]
path = "./images"

[classes.thin]
image = { allocate = "sparse" }

[volumes.data]
class    = "thin"
capacity = "32MiB"

[volumes.raw]
class       = "thin"
volume_mode = "block"
capacity    = "1MiB"

[pods.web]
root = "./web"
[[pods.web.mounts]]
volume = "data"
path   = "/data"
[[pods.web.devices]]
volume = "raw"
path   = "/raw"
"#;
    place.write("p.toml", manifest);
    place.ok(&["apply", "--yes", "p.toml"]);
    fs::write(place.join("web/data/canary"), "precious").unwrap();
    place
}

fn remount(path: &Path, flags: MsFlags) {
    let flags = MsFlags::MS_BIND | flags;
    mount(None::<&str>, path, None::<&str>, MsFlags::MS_REMOUNT | flags, None::<&str>).unwrap();
}

#[test]
fn a_read_only_state_directory_keeps_nobody_from_taking_down() {
    let place = up();
    let state = place.state();
    mount(Some(&state), &state, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    remount(&state, MsFlags::MS_RDONLY);

    let (exit, said) = place.exit(&["destroy", "--yes", "p.toml"]);

    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("not written down"), "{said}");
    assert_eq!(place.mounts(), std::slice::from_ref(&state));
    assert!(place.loops().is_empty(), "{:?}", place.loops());
    umount2(&state, MntFlags::empty()).unwrap();
    place.ok(&["apply", "--yes", "p.toml"]);
    assert_eq!(fs::read_to_string(place.join("web/data/canary")).unwrap(), "precious");
    place.ok(&["destroy", "--yes", "p.toml"]);
}

#[test]
fn what_is_no_file_is_no_record_and_is_set_aside() {
    let place = up();
    let victim = place.write("victim", "untouched");
    let record = place.state().join("volumes/p.data.json");
    let plants: [fn(&Path, &Path); 3] = [
        |record, victim| symlink(victim, record).unwrap(),
        |record, _| mkfifo(record, Mode::S_IRWXU).unwrap(),
        |record, _| fs::create_dir(record).unwrap(),
    ];
    for plant in plants {
        fs::remove_file(&record).unwrap();
        plant(&record, &victim);

        let (exit, said) = place.exit(&["destroy", "--yes", "p.toml"]);

        assert_eq!(exit, 0, "{said}");
        assert!(place.mounts().is_empty(), "{said}\n{:?}", place.mounts());
        place.ok(&["apply", "--yes", "p.toml"]);
        assert!(fs::symlink_metadata(&record).unwrap().is_file());
        assert_eq!(fs::read_to_string(place.join("web/data/canary")).unwrap(), "precious");
    }
    assert_eq!(fs::read_to_string(victim).unwrap(), "untouched");
    place.ok(&["destroy", "--yes", "p.toml"]);
}
