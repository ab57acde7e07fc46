//! Threat: records that somebody edited, replaced or brought along, and a state directory into which others can write. A record's checksum
//! keeps accidents out and nobody who means harm: paths in it are never enough to remove, format or give anything away.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use csictl::model::record::{Recorded, VolumeRecord};
use csictl::model::{Backing, PublishKind};
use csictl::state::record::{decode, encode};

use super::machine::ONE_VOLUME;
use crate::support::Place;

const RECORD: &str = "state/volumes/p.data.json";

/// A place with the volume made and taken down, and a directory that plays the host's `/etc`.
fn made() -> Place {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    place.write("etc/passwd", "root:x:0:0");
    fs::create_dir_all(place.join("etc/empty")).unwrap();
    fs::write(place.join("etc/nothing"), "").unwrap();
    place
}

fn edit(place: &Place, change: impl FnOnce(&mut VolumeRecord)) {
    let Recorded::Present(mut record) = decode::<VolumeRecord>(&fs::read(place.join(RECORD)).unwrap(), "p.data") else {
        panic!("no record")
    };
    change(&mut record);
    fs::write(place.join(RECORD), encode(&record)).unwrap();
}

pub(super) fn listing(folder: &Path) -> String {
    let output = Command::new("find").arg(folder).args(["-printf", "%p %y %s %u:%g %m\n"]).output().unwrap();
    let mut lines: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines.join("\n")
}

/// Every command there is, whatever it answers; none may be killed by a signal, panic or hang.
fn everything(place: &Place) {
    for words in [
        &["status"][..],
        &["get", "volumes"],
        &["plan", "m.toml"],
        &["state", "export"],
        &["apply", "m.toml", "--yes", "--approve", "volume.data=wipe", "--approve", "volume.data=delete"],
        &["snapshot", "create", "data", "s", "--yes"],
        &["destroy", "m.toml", "--yes"],
        &["destroy", "m.toml", "--yes", "--delete-data", "data"],
        &["delete", "data", "--yes", "--approve", "volume.data=delete"],
        &["gc", "--yes"],
    ] {
        place.survives(words);
    }
}

#[test]
fn a_record_edited_to_point_elsewhere_gets_nothing_there() {
    for what in ["pool", "directory", "targets"] {
        let place = made();
        fs::write(place.join("etc/p.data.img"), "somebody else's image").unwrap();
        let before = listing(&place.join("etc"));
        let etc = place.join("etc");
        edit(&place, |record| match what {
            "pool" => {
                if let Backing::Image(image) = &mut record.spec.backing {
                    image.pool_path = etc;
                }
            }
            "directory" => {
                let backing = csictl::model::DirectoryBacking { path: etc, create: true };
                record.spec.backing = Backing::Directory(backing);
                record.spec.fs = None;
                record.spec.fs_group = Some(4242);
                record.made_directory = true;
            }
            _ => {
                record.made_targets.insert(etc.join("passwd"), PublishKind::Device);
                record.made_targets.insert(etc.clone(), PublishKind::Mount);
            }
        });

        everything(&place);

        assert_eq!(listing(&place.join("etc")), before, "{what}");
    }
}

/// A document from elsewhere says that csictl made directories of this machine, which it might remove or give away therefore.
#[test]
fn an_imported_record_is_not_believed_to_have_made_anything_here() {
    let place = made();
    place.write("etc/ssl/key", "secret");
    let before = listing(&place.join("etc"));
    let etc = place.join("etc");
    edit(&place, |record| {
        record.made_targets.insert(etc.join("empty"), PublishKind::Mount);
        record.made_targets.insert(etc.join("nothing"), PublishKind::Device);
    });
    let document = place.ok(&["state", "export"]);
    fs::remove_file(place.join(RECORD)).unwrap();
    place.write("hostile.json", &document);

    place.ok(&["state", "import", "hostile.json"]);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes", "--delete-data", "data"]);

    assert_eq!(listing(&place.join("etc")), before);
}

#[test]
fn an_imported_record_gives_no_directory_of_the_host_to_a_group() {
    let place = Place::new();
    place.write(
        "m.toml",
        "version = 1\nproject = \"p\"\n[volumes.data]\ndirectory = { path = \"etc\", create = true }\n\
         [pods.web]\nroot = \"pods\"\nfs_group = 4242\n[[pods.web.mounts]]\nvolume = \"data\"\npath = \"/d\"\n",
    );
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
    place.write("document.json", &place.ok(&["state", "export"]));
    fs::remove_dir_all(place.state()).unwrap();
    fs::remove_dir_all(place.join("etc")).unwrap();
    place.write("etc/ssl/key", "the host's");
    let before = listing(&place.join("etc"));

    place.ok(&["state", "import", "document.json"]);
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);

    assert_eq!(listing(&place.join("etc")), before);
}

/// What lies in a record's place and in that of a document, and is none.
#[test]
fn whatever_lies_in_a_records_place_nothing_panics_hangs_or_is_written_through() {
    for what in ["huge", "deep", "binary", "numbers", "link", "dangling", "pipe", "folder", "zeros", "newer"] {
        let place = made();
        let victim = place.write("victim", "precious");
        let record = place.join(RECORD);
        fs::remove_file(&record).unwrap();
        match what {
            "huge" => fs::write(&record, vec![b'{'; 17 << 20]).unwrap(),
            "deep" => fs::write(&record, "[".repeat(200_000)).unwrap(),
            "binary" => fs::write(&record, [0xff, 0xfe, 0, 1, 2, 3]).unwrap(),
            "numbers" => fs::write(&record, r#"{"schema":"csictl.volume/1","version":1e999,"record":-1}"#).unwrap(),
            "link" => symlink(&victim, &record).unwrap(),
            "dangling" => symlink(place.join("nowhere"), &record).unwrap(),
            "pipe" => nix::unistd::mkfifo(&record, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "folder" => fs::create_dir(&record).unwrap(),
            "zeros" => fs::File::create(&record).unwrap().set_len(4096).unwrap(),
            _ => fs::write(&record, r#"{"schema":"csictl.volume/999","version":999}"#).unwrap(),
        }

        everything(&place);

        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{what}");
        assert!(!place.join("nowhere").exists(), "{what}");
    }
}

#[test]
fn links_under_every_name_that_csictl_writes_are_not_followed() {
    let place = made();
    let victim = place.write("victim", "precious");
    for name in [
        "state/volumes/.p.data.json.tmp",
        "state/locks/p.data",
        "state/locks/@global",
        "pool/.p.data.img.part",
        "pool/.p.s.snap.part",
        "run/volumes/.p.data.json.tmp",
    ] {
        let path = place.join(name);
        let _ = fs::remove_file(&path);
        symlink(&victim, &path).unwrap();

        everything(&place);

        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{name}");
        assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o644, "{name}");
        let _ = fs::remove_file(&path);
    }
}

#[test]
fn directories_into_which_others_can_write_are_refused() {
    for (folder, mode, owner) in [
        ("state", 0o777, 0),
        ("state", 0o720, 0),
        ("state/volumes", 0o702, 0),
        ("state", 0o700, 1000),
        ("run", 0o777, 0),
        ("run/staging", 0o770, 0),
    ] {
        let place = made();
        fs::set_permissions(place.join(folder), fs::Permissions::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(place.join(folder), Some(owner), None).unwrap();

        let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

        assert_eq!(code, 5, "{folder} {mode:o}: {said}");
        assert!(said.contains(place.join(folder).to_str().unwrap()), "{said}");
        assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn a_document_without_an_end_is_refused_in_bounded_memory() {
    let place = Place::new();
    let mut csictl = Command::new("prlimit");
    let built = place.csictl();
    csictl.arg(format!("--as={}", 1_500_u64 << 20)).arg("--").arg(built.get_program());
    csictl.args(["state", "import", "/dev/zero"]).current_dir(place.path()).env_clear();
    csictl.envs(built.get_envs().filter_map(|(name, value)| Some((name, value?))));

    let output = csictl.output().unwrap();

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!place.state().exists());
}
