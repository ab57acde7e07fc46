//! Threat: a mount option that undoes what csictl promises, alone or smuggled in behind another (`commit=5,suid,dev`). Options are an
//! allow-list, one option a string; nosuid and nodev are in force whatever is asked for.

use std::fs;

use csictl::host::Observe;
use csictl::host::linux::LinuxObserve;
use csictl::model::mount_options::{MountKind, check_all};
use csictl::model::{Action, FsType};

use super::machine::{Machine, ONE_VOLUME};
use crate::support::Place;

/// Options that are no user's to set, and ways to hide them.
const EVIL: [&str; 24] = [
    "commit=5,suid,dev",
    "commit=5\nsuid",
    "suid",
    "dev",
    "errors=panic",
    "errors=continue",
    "noatime,errors=panic",
    "context=\"a,b\",suid",
    "context=a\"b",
    "noload",
    "norecovery",
    "journal_path=/dev/sda",
    "journal_dev=0x801",
    "logdev=/dev/sda",
    "device=/dev/sda",
    "loop",
    "bind",
    "remount",
    "move",
    "shared",
    "test_dummy_encryption",
    "dax=always,suid",
    "rw,suid",
    "",
];

#[test]
fn what_is_not_on_the_list_is_refused_in_a_manifest_before_anything_is_done() {
    for backing in
        ["capacity = \"16MiB\"", "tmpfs = { size = \"1MiB\" }", "directory = { path = \"d\", create = true }"]
    {
        for option in EVIL {
            let place = Place::new();
            let text = format!("version = 1\nproject = \"p\"\n[volumes.v]\n{backing}\nmount_options = [{option:?}]\n");
            place.write("m.toml", &text);

            let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

            assert_eq!(code, 65, "{text}: {said}");
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "{text}");
        }
    }
}

/// The list is asked again by the driver, so that no other caller comes round it.
#[test]
fn the_driver_asks_the_list_itself() {
    let machine = Machine::new(Place::new(), ONE_VOLUME).staged();
    machine.run(&machine.unstage()).unwrap();
    for option in EVIL {
        let Action::Stage(mut request) = machine.stage() else { unreachable!() };
        request.mount_options = vec![option.to_owned()];

        let error = machine.run(&Action::Stage(request)).unwrap_err();

        assert!(error.to_string().contains("is refused"), "{option}: {error}");
        assert_eq!(machine.place.mounts(), Vec::<std::path::PathBuf>::new(), "{option}");
        assert_eq!(machine.place.loops(), [], "{option}");
    }
}

#[test]
fn one_string_is_one_option() {
    for kind in
        [MountKind::Fs(FsType::Ext4), MountKind::Fs(FsType::Xfs), MountKind::Fs(FsType::Btrfs), MountKind::Tmpfs]
    {
        for option in EVIL {
            assert!(check_all(kind, &[option.to_owned()]).is_err(), "{kind} {option}");
        }
        for harmless in ["noatime", "ro", "noexec"] {
            for behind in ["suid", "dev", "errors=panic", "x"] {
                let smuggled = format!("{harmless},{behind}");
                assert!(check_all(kind, std::slice::from_ref(&smuggled)).is_err(), "{kind} {smuggled}");
            }
        }
    }
}

#[test]
fn nosuid_and_nodev_are_in_force_on_every_mount() {
    let place = Place::new();
    place.write(
        "m.toml",
        "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n\
         [volumes.image]\ncapacity = \"16MiB\"\nimage = { allocate = \"sparse\" }\nmount_options = [\"exec\", \"noatime\"]\n\
         [volumes.memory]\ntmpfs = { size = \"1MiB\" }\nmount_options = [\"exec\"]\n\
         [volumes.folder]\ndirectory = { path = \"d\", create = true }\n\
         [pods.web]\nroot = \"pods\"\n\
         [[pods.web.mounts]]\nvolume = \"image\"\npath = \"/image\"\n\
         [[pods.web.mounts]]\nvolume = \"memory\"\npath = \"/memory\"\n\
         [[pods.web.mounts]]\nvolume = \"folder\"\npath = \"/folder\"\n",
    );

    place.ok(&["apply", "m.toml", "--yes"]);

    let table = LinuxObserve::new().mount_table().unwrap();
    let ours: Vec<_> = table.iter().filter(|mount| mount.target.starts_with(place.path())).collect();
    assert_eq!(ours.len(), 6);
    for mount in ours {
        for flag in ["nosuid", "nodev"] {
            assert!(mount.options.iter().any(|option| option == flag), "{flag} is not on {mount:?}");
        }
    }
}
