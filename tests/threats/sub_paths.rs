//! Threat: a sub_path that leads out of its volume (CVE-2017-1002101): by a link in the volume, by `..`, by an absolute path, by another
//! mount, or by an exchange at the very moment.

use std::fs;
use std::os::unix::fs::symlink;

use csictl::host::Observe;
use csictl::host::linux::LinuxObserve;
use csictl::model::Action;

use super::machine::{Exchanger, Machine, ONE_VOLUME};
use crate::support::Place;

fn with_sub_path(sub_path: &str) -> String {
    format!("{ONE_VOLUME}sub_path = {sub_path:?}\n")
}

/// A place whose volume is staged, so that its content can be prepared.
fn staged(sub_path: &str) -> Machine {
    Machine::new(Place::new(), &with_sub_path(sub_path)).staged()
}

#[test]
fn a_link_in_the_volume_is_not_followed() {
    for (name, to) in [("etc", "/etc"), ("up", "../../.."), ("proc", "/proc/self/root"), ("here", "inside")] {
        for sub_path in [name.to_owned(), format!("{name}/ssl")] {
            let machine = staged(&sub_path);
            fs::create_dir_all(machine.staging_path().join("inside/ssl")).unwrap();
            symlink(to, machine.staging_path().join(name)).unwrap();

            let error = machine.run(&Action::Publish(machine.publish().clone())).unwrap_err();

            assert!(error.to_string().contains("symbolic link"), "{sub_path}: {error}");
            assert!(!machine.place.mounts().iter().any(|target| target.starts_with(machine.place.join("pods"))));
        }
    }
}

#[test]
fn dots_and_absolute_paths_are_refused_before_anything_is_done() {
    let place = Place::new();
    for sub_path in ["..", "../x", "a/../../x", "/etc", "./a", "a/./b", ""] {
        place.write("m.toml", &with_sub_path(sub_path));

        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

        assert_eq!(code, 65, "{sub_path}: {said}");
        assert!(!place.join("pool").exists(), "{sub_path}");
    }
}

/// The volume's content is its pod's, who exchanges a directory with a link to the host while it is published.
#[test]
fn a_directory_exchanged_with_a_link_shows_nothing_of_the_host() {
    let machine = staged("site");
    let volume = machine.staging_path();
    fs::create_dir(volume.join("site")).unwrap();
    symlink("/etc", volume.join("swap")).unwrap();
    let device = LinuxObserve::new().mounts_at(&volume).unwrap().pop().unwrap().device;
    let target = machine.publish().target.clone();
    let (mut published, mut refused) = (0, 0);

    std::thread::scope(|scope| {
        let exchanger = Exchanger::begin(scope, volume.join("site"), volume.join("swap"));
        while exchanger.exchanges() < 10_000 || published + refused < 300 {
            match machine.run(&Action::Publish(machine.publish().clone())) {
                Ok(_) => {
                    published += 1;
                    let shown = LinuxObserve::new().mounts_at(&target).unwrap();
                    assert!(shown.iter().all(|mount| mount.device == device), "{shown:?}");
                    assert!(!target.join("passwd").exists());
                }
                Err(_) => refused += 1,
            }
            machine.run(&machine.unpublish()).unwrap();
        }
    });

    assert!(published > 0 && refused > 0, "{published} published, {refused} refused: there was no race");
}
