//! Mounts that the kernel passes on: below a target with propagation "bidirectional" every mount has a copy below the stage, which comes and
//! goes with the one it is a copy of. What somebody else mounted there is somebody else's, copy or not.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::support::Place;
use crate::support::place::unwrapped;

/// A volume `a` at `/x` and a volume `b` at `/x/y`, of one project.
fn manifest(size: &str, more: &str, propagation: &str) -> String {
    format!(
        "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[classes.thin]\nimage = {{ allocate = \"sparse\" }}\n\
         [volumes.a]\nclass = \"thin\"\ncapacity = \"{size}\"\n{more}\n[volumes.b]\nclass = \"thin\"\ncapacity = \"16MiB\"\n\
         [pods.x]\nroot = \"r\"\n[[pods.x.mounts]]\nvolume = \"a\"\npath = \"/x\"\npropagation = \"{propagation}\"\n\
         [[pods.x.mounts]]\nvolume = \"b\"\npath = \"/x/y\"\n"
    )
}

fn up(propagation: &str) -> Place {
    let place = Place::new();
    place.write("m.toml", &manifest("32MiB", "", propagation));
    place.ok(&["apply", "m.toml", "--yes"]);
    for name in ["r/x/upper", "r/x/y/lower"] {
        fs::write(place.join(name), "kept").unwrap();
    }
    place
}

fn is_kept(place: &Place) {
    for name in ["r/x/upper", "r/x/y/lower"] {
        assert_eq!(fs::read_to_string(place.join(name)).unwrap(), "kept", "{name}");
    }
}

/// Changes for which `a` has to come down for a while: options that are taken only at mount, growth of ext4, and both.
const CHANGES: [(&str, &str); 3] =
    [("32MiB", "mount_options = [\"data=journal\"]"), ("64MiB", ""), ("96MiB", "mount_options = [\"data=journal\"]")];

#[test]
fn a_parent_that_passes_its_mounts_on_pauses_with_its_own_child() {
    for propagation in ["bidirectional", "host-to-container", "none"] {
        let place = up(propagation);
        let copied = place.mounts().contains(&place.join("run/staging/p.a/y"));
        assert_eq!(copied, propagation == "bidirectional", "{:?}", place.mounts());
        for (size, more) in CHANGES {
            let what = format!("{propagation}, {size} {more}");
            place.write("m.toml", &manifest(size, more, propagation));
            let mounts = place.mounts();

            let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
            assert_eq!(code, 2, "{what}: {said}");
            place.ok(&["apply", "m.toml", "--yes"]);

            assert_eq!(place.mounts(), mounts, "{what}");
            is_kept(&place);
            let (code, said) = place.exit(&["plan", "m.toml", "--detailed-exitcode"]);
            assert_eq!(code, 0, "{what}: {said}");
        }
        let (code, said) = place.exit(&["destroy", "m.toml", "--yes"]);
        assert_eq!((code, place.mounts(), place.loops()), (0, vec![], vec![]), "{propagation}: {said}");
    }
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
}

/// Neither a copy, nor being of a file system that goes, makes somebody else's mount the plan's.
#[test]
fn what_somebody_else_mounted_below_is_in_the_way_of_a_pause() {
    // (propagation, what is bound, where)
    let cases = [
        ("bidirectional", "foreign", "r/x/z"),
        ("bidirectional", "foreign", "run/staging/p.a/z"),
        ("bidirectional", "run/staging/p.b", "r/x/z"),
        ("bidirectional", "foreign", "r/x/y/in"),
        ("none", "foreign", "r/x/z"),
        ("none", "foreign", "run/staging/p.a/z"),
        ("none", "run/staging/p.b", "run/staging/p.a/y"),
    ];
    for (propagation, from, to) in cases {
        let what = format!("{propagation}: {from} at {to}");
        let place = up(propagation);
        fs::create_dir_all(place.join("foreign")).unwrap();
        fs::create_dir_all(place.join(to)).unwrap();
        bind(&place.join(from), &place.join(to));
        let mounts = place.mounts();
        for (size, more) in CHANGES {
            place.write("m.toml", &manifest(size, more, propagation));
            for words in [&["plan", "m.toml", "--detailed-exitcode"][..], &["apply", "m.toml", "--yes"]] {
                let (code, said) = place.exit(words);

                let said = unwrapped(&said);
                assert_eq!(code, 5, "{what}, {words:?}: {said}");
                assert!(said.contains("is in use by what is mounted on it"), "{what}, {words:?}: {said}");
                assert!(said.contains(to.rsplit('/').next().unwrap()), "{what}, {words:?}: {said}");
            }
            assert_eq!(place.mounts(), mounts, "{what}");
        }
        is_kept(&place);
        umount2(&place.join(to), MntFlags::empty()).unwrap();
        place.write("m.toml", &manifest("64MiB", "", propagation));
        place.ok(&["apply", "m.toml", "--yes"]);
        is_kept(&place);
        place.ok(&["destroy", "m.toml", "--yes"]);
        assert_eq!(place.mounts(), Vec::<PathBuf>::new(), "{what}");
    }
}

/// However mounts lie on each other, each is taken down once, and comes back.
#[test]
fn chains_of_mounts_that_are_passed_on_pause_as_a_whole() {
    const ON: &str = "propagation = \"bidirectional\"";
    // (volume, path, more keys) of each mount
    let cases: [&[(&str, &str, &str)]; 4] = [
        &[("a", "/x", ON), ("b", "/x/y", ON), ("c", "/x/y/z", "")],
        &[("a", "/x", "propagation = \"bidirectional\"\nsub_path = \"s\""), ("b", "/x/y", "")],
        &[("a", "/x", ON), ("a", "/w", ON), ("b", "/x/y", ""), ("c", "/w/k", "")],
        &[("a", "/x", ON), ("a", "/x/in", "")],
    ];
    for mounts in cases {
        let text = |options: &str| {
            let mount = |(volume, path, more): &(&str, &str, &str)| {
                format!("[[pods.x.mounts]]\nvolume = \"{volume}\"\npath = \"{path}\"\n{more}\n")
            };
            let image = "access_mode = \"rwo\"\ncapacity = \"16MiB\"\nimage = { allocate = \"sparse\" }\n";
            format!(
                "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.a]\nmount_options = [{options}]\n{image}\
                 [volumes.b]\n{image}[volumes.c]\ntmpfs = {{ size = \"1MiB\" }}\n[pods.x]\nroot = \"r\"\n{}",
                mounts.iter().map(mount).collect::<String>()
            )
        };
        let place = Place::new();
        place.write("m.toml", &text(""));
        place.ok(&["apply", "m.toml", "--yes"]);
        let last = place.join("r").join(&mounts[mounts.len() - 1].1[1..]).join("file");
        fs::write(&last, "kept").unwrap();
        place.write("m.toml", &text("\"data=journal\""));

        place.ok(&["apply", "m.toml", "--yes"]);

        // Which copies there are beside these depends on which of two peers was mounted first.
        let there = place.mounts();
        for (_, path, _) in mounts {
            assert!(there.contains(&place.join("r").join(&path[1..])), "{mounts:?}: {path} is not in {there:?}");
        }
        assert_eq!(fs::read_to_string(last).unwrap(), "kept", "{mounts:?}");
        assert_eq!(place.exit(&["plan", "m.toml", "--detailed-exitcode"]).0, 0, "{mounts:?}");
        let (code, said) = place.exit(&["destroy", "m.toml", "--yes"]);
        assert_eq!((code, place.mounts(), place.loops()), (0, vec![], vec![]), "{mounts:?}: {said}");
    }
}
