//! Another `device.path` for a volume that is there: a second name of the disk it has is taken, up or down; another disk never, since no bytes
//! are moved.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::support::Place;
use crate::support::place::{checksum, unwrapped};

/// Two disks, and three names of them that only this test's mount namespace has: `one` and `alias` are one disk.
struct Disks {
    place: Place,
    nodes: Vec<String>,
}

impl Disks {
    fn new(second: &str) -> Self {
        let place = Place::new();
        mount(Some("names"), "/dev/disk", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        fs::create_dir("/dev/disk/by-id").unwrap();
        let mut nodes = vec![];
        for name in ["one", "two"] {
            let file = place.join(name);
            fs::File::create(&file).unwrap().set_len(320 << 20).unwrap();
            if name == "two" && !second.is_empty() {
                run(Command::new(format!("mkfs.{second}")).arg("-q").arg(&file));
            }
            nodes.push(run(Command::new("losetup").args(["--find", "--show"]).arg(&file)));
        }
        for (name, node) in [("one", &nodes[0]), ("alias", &nodes[0]), ("two", &nodes[1])] {
            symlink(node, Path::new("/dev/disk/by-id").join(name)).unwrap();
        }
        Self { place, nodes }
    }

    fn write(&self, name: &str, raw: bool) {
        let (mode, list) = if raw { ("volume_mode = \"block\"", "devices") } else { ("fs.type = \"ext4\"", "mounts") };
        let text = format!(
            "version = 1\nproject = \"p\"\n[volumes.a]\ndevice = {{ path = \"/dev/disk/by-id/{name}\" }}\n{mode}\n\
             [pods.x]\nroot = \"r\"\n[[pods.x.{list}]]\nvolume = \"a\"\npath = \"/d\"\n"
        );
        self.place.write("m.toml", &text);
    }

    fn plan(&self) -> (i32, String) {
        self.place.exit(&["plan", "m.toml", "--detailed-exitcode"])
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        let _ = self.place.exit(&["destroy", "m.toml", "--yes"]);
        for node in &self.nodes {
            crate::support::place::detach(Path::new(node), self.place.path());
        }
        let _ = umount2("/dev/disk", MntFlags::UMOUNT_NOFOLLOW);
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn another_disk_is_refused_up_and_down_by_plan_and_apply() {
    for (second, raw) in [("", false), ("ext4", false), ("xfs", false), ("", true)] {
        let disks = Disks::new(second);
        let place = &disks.place;
        disks.write("one", raw);
        place.ok(&["apply", "m.toml", "--yes"]);
        if !raw {
            fs::write(place.join("r/d/precious"), "kept").unwrap();
        }
        let other = checksum(&place.join("two"));
        for up in [true, false] {
            let what = format!("other disk: {second:?}, block: {raw}, up: {up}");
            if !up {
                disks.write("one", raw);
                place.ok(&["destroy", "m.toml", "--yes"]);
            }
            let mounts = place.mounts();
            disks.write("two", raw);

            for words in [&["plan", "m.toml", "--detailed-exitcode"][..], &["apply", "m.toml", "--yes"]] {
                let (code, said) = place.exit(words);
                assert_eq!(code, 5, "{what}: {words:?}: {said}");
                let says = "its device would change from /dev/disk/by-id/one to /dev/disk/by-id/two";
                assert!(unwrapped(&said).contains(says), "{what}: {words:?}: {said}");
            }
            assert_eq!((place.mounts(), checksum(&place.join("two"))), (mounts, other.clone()), "{what}");
        }
        disks.write("one", raw);
        place.ok(&["apply", "m.toml", "--yes"]);
        assert_eq!(disks.plan().0, 0);
        if !raw {
            assert_eq!(fs::read_to_string(place.join("r/d/precious")).unwrap(), "kept");
        }
        place.ok(&["destroy", "m.toml", "--yes"]);
        assert_eq!(place.mounts(), Vec::<PathBuf>::new());
    }
}

#[test]
fn another_name_of_the_same_disk_is_taken_up_and_down() {
    for raw in [false, true] {
        for up in [true, false] {
            let what = format!("block: {raw}, up: {up}");
            let disks = Disks::new("");
            let place = &disks.place;
            disks.write("one", raw);
            place.ok(&["apply", "m.toml", "--yes"]);
            if !raw {
                fs::write(place.join("r/d/precious"), "kept").unwrap();
            }
            for name in ["alias", "one"] {
                if !up {
                    place.ok(&["destroy", "m.toml", "--yes"]);
                }
                let mounts = place.mounts();
                disks.write(name, raw);

                let (code, said) = disks.plan();
                assert_eq!(code, 2, "{what}: {said}");
                assert!(!up || !said.contains("unpublish"), "{what}: it stays where it is: {said}");
                place.ok(&["apply", "m.toml", "--yes"]);

                let (code, said) = disks.plan();
                assert_eq!(code, 0, "{what}: {said}");
                assert!(!up || place.mounts() == mounts, "{what}");
                if !raw {
                    assert_eq!(fs::read_to_string(place.join("r/d/precious")).unwrap(), "kept", "{what}");
                }
            }
        }
    }
}

/// That the old name is gone is why another one is given.
#[test]
fn another_name_of_the_same_disk_is_taken_though_the_old_one_is_gone() {
    for up in [true, false] {
        let disks = Disks::new("");
        let place = &disks.place;
        disks.write("one", false);
        place.ok(&["apply", "m.toml", "--yes"]);
        fs::write(place.join("r/d/precious"), "kept").unwrap();
        if !up {
            place.ok(&["destroy", "m.toml", "--yes"]);
        }
        fs::remove_file("/dev/disk/by-id/one").unwrap();
        let (code, said) = disks.plan();
        assert!(code == 5 || up, "up {up}: {said}");
        disks.write("two", false);
        let (code, said) = disks.plan();
        assert_eq!(code, 5, "another disk, up {up}: {said}");
        disks.write("alias", false);

        let (code, said) = disks.plan();

        assert_eq!(code, 2, "up {up}: {said}");
        assert!(!said.contains("unpublish"), "up {up}: {said}");
        place.ok(&["apply", "m.toml", "--yes"]);
        let (code, said) = disks.plan();
        assert_eq!(code, 0, "up {up}: {said}");
        assert_eq!(fs::read_to_string(place.join("r/d/precious")).unwrap(), "kept", "up {up}");
    }
}
