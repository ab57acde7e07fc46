//! Records that are lost while what they speak of is there: it is written down again or taken over by one apply, with what it says of itself,
//! and what cannot be had that way is refused by the plan.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;

use crate::support::Place;
use crate::support::place::unwrapped;

const HEAD: &str =
    "version = 1\nproject = \"l\"\n[pools.main]\npath = \"pool\"\n[classes.thin]\nimage = { allocate = \"sparse\" }\n";

fn plan(place: &Place) -> (i32, String) {
    place.exit(&["plan", "m.toml", "--detailed-exitcode"])
}

/// Whether a plan would do nothing.
#[track_caller]
fn settled(place: &Place) {
    let (code, said) = plan(place);
    assert_eq!(code, 0, "{said}");
}

/// Both the plan and the apply say no, with these words, and nothing of the place changes.
#[track_caller]
fn refused(place: &Place, words: &str) {
    let before = (place.mounts(), place.loops());
    for command in [&["plan", "m.toml", "--detailed-exitcode"][..], &["apply", "m.toml", "--yes"]] {
        let (code, said) = place.exit(command);
        assert_eq!(code, 5, "{command:?}: {said}");
        assert!(unwrapped(&said).contains(words), "{command:?}: {said}");
    }
    assert_eq!((place.mounts(), place.loops()), before);
}

/// Volumes by what is behind them: (name, the volume's keys, whether it is a block volume).
const KINDS: [(&str, &str, bool); 6] = [
    ("ext4", "class = \"thin\"\ncapacity = \"32MiB\"\n", false),
    ("xfs", "class = \"thin\"\ncapacity = \"300MiB\"\nfs = { type = \"xfs\" }\n", false),
    ("btrfs", "class = \"thin\"\ncapacity = \"128MiB\"\nfs = { type = \"btrfs\" }\n", false),
    ("tmpfs", "tmpfs = { size = \"1MiB\" }\n", false),
    ("directory", "directory = { path = \"directory\", create = true }\n", false),
    ("block", "class = \"thin\"\ncapacity = \"4MiB\"\nvolume_mode = \"block\"\n", true),
];

/// A mount is found by its record once the manifest no longer names its path; its target directory, which csictl did not make, tells nobody.
#[test]
fn a_mount_whose_records_were_lost_is_written_down_again_and_goes_with_its_line() {
    for (kind, keys, block) in KINDS {
        for lost in [&["run/volumes"][..], &["run/volumes", "state/volumes"]] {
            let what = format!("{kind}, lost: {lost:?}");
            let place = Place::new();
            let without = format!("{HEAD}[volumes.a]\n{keys}[pods.p]\nroot = \"root\"\n");
            let list = if block { "devices" } else { "mounts" };
            place.write("m.toml", &format!("{without}[[pods.p.{list}]]\nvolume = \"a\"\npath = \"/a\"\n"));
            let target = place.join("root/a");
            if block {
                place.write("root/a", "");
            } else {
                fs::create_dir_all(&target).unwrap();
            }
            place.ok(&["apply", "m.toml", "--yes"]);
            if !block {
                fs::write(target.join("kept"), "kept").unwrap();
            }
            for directory in lost {
                fs::remove_dir_all(place.join(directory)).unwrap();
            }
            let mounts = place.mounts();
            let used = fs::File::open(if block { target.clone() } else { target.join("kept") }).unwrap();

            let (code, said) = plan(&place);
            assert_eq!(code, 2, "{what}: {said}");
            assert!(said.contains("  publish ") && !said.contains("unpublish"), "{what}: {said}");
            place.ok(&["apply", "m.toml", "--yes"]);
            settled(&place);
            assert_eq!(place.mounts(), mounts, "{what}");
            if block {
                assert!(fs::metadata(&target).unwrap().file_type().is_block_device(), "{what}");
            } else {
                assert_eq!(fs::read_to_string(target.join("kept")).unwrap(), "kept", "{what}");
            }
            drop(used);

            place.write("m.toml", &without);
            let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);
            assert_eq!((code, place.mounts(), place.loops()), (0, vec![], vec![]), "{what}: {said}");
            settled(&place);
            assert!(target.exists(), "{what}: it was there before csictl");
            place.ok(&["destroy", "m.toml", "--yes"]);
        }
    }
}

/// A volume made from another and from a snapshot of it, whose sources are gone, taken down, and its record lost.
fn orphan(fs_type: &str, size: &str, from: &str) -> Place {
    let place = Place::new();
    let source = format!(
        "[volumes.v]\nclass = \"thin\"\nreclaim = \"delete\"\ncapacity = \"{size}\"\nfs = {{ type = \"{fs_type}\" }}\n\
         [pods.q]\nroot = \"root\"\n[[pods.q.mounts]]\nvolume = \"v\"\npath = \"/v\"\n"
    );
    place.write("m.toml", &format!("{HEAD}{source}"));
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("root/v/precious"), "kept").unwrap();
    let snapshot = if from == "snapshot" { "[snapshots.s]\nvolume = \"v\"\n" } else { "" };
    place.write("m.toml", &format!("{HEAD}{source}{snapshot}{}", made_from(from, size, "")));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.write("m.toml", &format!("{HEAD}{}", made_from(from, size, "")));
    place.ok(&["apply", "m.toml", "--yes", "--approve", "volume.v=delete"]);
    if from == "snapshot" {
        place.ok(&["snapshot", "delete", "s", "--yes", "--approve", "snapshot.s=delete"]);
    }
    settled(&place);
    place.ok(&["destroy", "m.toml", "--yes"]);
    for records in ["volumes", "snapshots"] {
        let _ = fs::remove_dir_all(place.state().join(records));
    }
    place
}

fn made_from(from: &str, size: &str, more: &str) -> String {
    let name = if from == "snapshot" { "s" } else { "v" };
    format!(
        "[volumes.c]\nclass = \"thin\"\nsource = {{ {from} = \"{name}\" }}\ncapacity = \"{size}\"\n{more}\
         [pods.p]\nroot = \"root\"\n[[pods.p.mounts]]\nvolume = \"c\"\npath = \"/c\"\n"
    )
}

/// A source acts at creation only: what was made of it has its type from its own image.
#[test]
fn an_image_made_from_a_source_that_is_gone_is_taken_over_with_the_type_it_has() {
    for (fs_type, size, other) in [("ext4", "64MiB", "xfs"), ("xfs", "300MiB", "ext4"), ("btrfs", "128MiB", "ext4")] {
        for from in ["volume", "snapshot"] {
            let what = format!("{fs_type} from a {from}");
            let place = orphan(fs_type, size, from);
            place.write("m.toml", &format!("{HEAD}{}", made_from(from, size, &format!("fs.type = \"{other}\"\n"))));
            refused(&place, &format!("asked for and its image holds {fs_type}"));
            for given in ["", &format!("fs.type = \"{fs_type}\"\n")] {
                place.write("m.toml", &format!("{HEAD}{}", made_from(from, size, given)));
                let (code, said) = plan(&place);
                if given.is_empty() {
                    assert!(code == 2 && said.contains("adopt") && said.contains(fs_type), "{what}: {code} {said}");
                }
                place.ok(&["apply", "m.toml", "--yes"]);
                settled(&place);
                assert_eq!(fs::read_to_string(place.join("root/c/precious")).unwrap(), "kept", "{what}");
            }
            assert!(place.ok(&["get", "volumes"]).contains(fs_type), "{what}");
            place.ok(&["destroy", "m.toml", "--yes"]);
        }
    }
}

/// Another volume of the source's name says nothing of what was made before.
#[test]
fn an_image_is_taken_over_with_its_own_type_though_its_source_is_there_again_with_another() {
    let place = orphan("xfs", "300MiB", "volume");
    let again = "[volumes.v]\nclass = \"thin\"\ncapacity = \"64MiB\"\nfs = { type = \"ext4\" }\n";
    place.write("m.toml", &format!("{HEAD}{again}{}", made_from("volume", "300MiB", "")));

    place.ok(&["apply", "m.toml", "--yes"]);

    settled(&place);
    assert_eq!(fs::read_to_string(place.join("root/c/precious")).unwrap(), "kept");
    place.ok(&["destroy", "m.toml", "--yes"]);
}

/// The manifest of one volume, published or not.
fn sized(capacity: &str, fs_type: &str, sector_size: u32, published: bool) -> String {
    let pod = "[pods.p]\nroot = \"root\"\n[[pods.p.mounts]]\nvolume = \"a\"\npath = \"/a\"\n";
    format!(
        "{HEAD}[volumes.a]\ncapacity = {capacity}\nfs = {{ type = \"{fs_type}\" }}\n\
         image = {{ allocate = \"sparse\", sector_size = {sector_size} }}\n{}",
        if published { pod } else { "" }
    )
}

/// A volume of this size with a file in it, whose record was lost while it was up or down.
fn forgotten(size: &str, fs_type: &str, up: bool) -> Place {
    let place = Place::new();
    place.write("m.toml", &sized(&format!("\"{size}\""), fs_type, 512, true));
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::write(place.join("root/a/precious"), "kept").unwrap();
    if !up {
        place.ok(&["destroy", "m.toml", "--yes"]);
    }
    fs::remove_dir_all(place.state().join("volumes")).unwrap();
    place
}

fn mib_of_file_system(place: &Place) -> u64 {
    let stat = nix::sys::statvfs::statvfs(&place.join("root/a")).unwrap();
    (stat.blocks() * stat.fragment_size()) >> 20
}

#[test]
fn an_image_without_a_record_grows_to_what_is_asked_in_the_apply_that_takes_it_over() {
    // (whether it is up when its record is lost, whether it is asked to be up)
    let ways = [(false, true), (false, false), (true, false), (true, true)];
    let cases = [("ext4", 64, 128), ("xfs", 300, 512), ("btrfs", 128, 256)];
    for (fs_type, small, large) in cases {
        for (up, published) in ways {
            let what = format!("{fs_type}, up: {up}, published: {published}");
            let place = forgotten(&format!("{small}MiB"), fs_type, up);
            let larger = format!("\"{large}MiB\"");
            place.write("m.toml", &sized(&larger, fs_type, 512, published));

            place.ok(&["apply", "m.toml", "--yes"]);

            settled(&place);
            assert_eq!(fs::metadata(place.join("pool/l.a.img")).unwrap().len(), large << 20, "{what}");
            place.write("m.toml", &sized(&larger, fs_type, 512, true));
            place.ok(&["apply", "m.toml", "--yes"]);
            settled(&place);
            // A file system keeps some of its device for itself, and its log does not grow along.
            let has = mib_of_file_system(&place);
            assert!(has > small && has > large * 4 / 5, "{what}: {has} MiB");
            assert_eq!(fs::read_to_string(place.join("root/a/precious")).unwrap(), "kept", "{what}");
            place.ok(&["destroy", "m.toml", "--yes"]);
        }
    }
}

#[test]
fn an_image_without_a_record_that_is_not_what_is_asked_is_refused_by_the_plan() {
    for up in [false, true] {
        let place = forgotten("64MiB", "ext4", up);
        let cases = [
            (sized("\"64MiB\"", "ext4", 4096, true), "sector"),
            (sized("{ required = \"32MiB\", limit = \"48MiB\" }", "ext4", 512, true), "more than the limit 48 MiB"),
            (sized("\"300MiB\"", "xfs", 512, true), "holds ext4, asked is xfs"),
        ];
        for (text, words) in cases {
            place.write("m.toml", &text);
            refused(&place, words);
        }
        place.write("m.toml", &sized("{ required = \"32MiB\", limit = \"64MiB\" }", "ext4", 512, true));
        place.ok(&["apply", "m.toml", "--yes"]);
        settled(&place);
        assert_eq!(fs::read_to_string(place.join("root/a/precious")).unwrap(), "kept");
        place.ok(&["destroy", "m.toml", "--yes"]);
        assert_eq!(place.mounts(), Vec::<PathBuf>::new());
    }
}
