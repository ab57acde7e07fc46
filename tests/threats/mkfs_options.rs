//! Threat: arguments of a mkfs that read the host into the volume (`-d /etc`), write elsewhere, or overwrite. They are an allow-list; what
//! passes goes to an absolute path as an argument of its own, without a shell.

use std::fs;
use std::path::PathBuf;

use csictl::host::linux::LinuxHost;
use csictl::host::{ErrorKind, FormatRequest, Host, Lock};
use csictl::model::{FsType, FsUuid, SectorSize};

use crate::support::Place;

const EVIL: [(FsType, &[&str]); 22] = [
    (FsType::Ext4, &["-d", "/etc"]),
    (FsType::Ext4, &["-d/etc"]),
    (FsType::Ext4, &["-F"]),
    (FsType::Ext4, &["-FF"]),
    (FsType::Ext4, &["-J", "device=/dev/sda"]),
    (FsType::Ext4, &["-E", "offset=1048576"]),
    (FsType::Ext4, &["-z", "/etc/undo"]),
    (FsType::Ext4, &["-l", "/etc/passwd"]),
    (FsType::Ext4, &["-m", "1", "/dev/sda"]),
    (FsType::Ext4, &["--", "/dev/sda"]),
    (FsType::Ext4, &["/dev/sda"]),
    (FsType::Ext4, &["-m1", "-d", "/etc"]),
    (FsType::Ext4, &["-m", "-d"]),
    (FsType::Xfs, &["-f"]),
    (FsType::Xfs, &["-p", "/etc/passwd"]),
    (FsType::Xfs, &["-l", "logdev=/dev/sda"]),
    (FsType::Xfs, &["-d", "name=/etc/passwd"]),
    (FsType::Xfs, &["-c", "options=/etc/passwd"]),
    (FsType::Btrfs, &["-f"]),
    (FsType::Btrfs, &["--rootdir", "/etc"]),
    (FsType::Btrfs, &["--rootdir=/etc"]),
    (FsType::Btrfs, &["-r/etc"]),
];

#[test]
fn what_is_not_on_the_list_is_refused_in_a_manifest_before_anything_is_done() {
    for (fs_type, options) in EVIL {
        let place = Place::new();
        let text = format!(
            "version = 1\nproject = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nfs = {{ type = \"{fs_type}\", mkfs_options = {options:?} }}\n"
        );
        place.write("m.toml", &text);

        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

        assert_eq!(code, 65, "{text}: {said}");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "{text}");
    }
}

/// Asked again right before the program is started.
#[test]
fn the_host_asks_the_list_itself() {
    let place = Place::new();
    let image = place.join("image");
    fs::File::create(&image).unwrap().set_len(1 << 30).unwrap();
    for (fs_type, options) in EVIL {
        let request = FormatRequest {
            path: image.clone(),
            fs: fs_type,
            uuid: FsUuid::random(),
            label: None,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            sector_size: SectorSize::B512,
            fresh_image: true,
            discard: true,
            block: None,
            resume: false,
            template: false,
        };

        let error = LinuxHost::new().format(&request, &Lock::of(())).unwrap_err();

        assert_eq!(error.kind, ErrorKind::Invalid, "{options:?}: {error}");
        assert_eq!(std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&image).unwrap()), 0, "{options:?}");
    }
}

/// What would be a command for a shell is a name for a mkfs.
#[test]
fn a_label_is_no_command() {
    let place = Place::new();
    place.write(
        "m.toml",
        "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.v]\ncapacity = \"16MiB\"\n\
         image = { allocate = \"sparse\" }\nfs = { label = \"$(touch x);`id`\" }\n",
    );

    let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

    assert!(code == 0 || code == 65, "{said}");
    let made: Vec<PathBuf> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!made.iter().any(|path| path.ends_with("x")), "{made:?}");
    if code == 0 {
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
}
