//! Threat: `../` in an id or a name (CVE-2026-3864, CVE-2020-8567). Ids are types of their own, made only from text that is no path; a bad
//! one never reaches the disk.

use std::fs;
use std::path::{Component, Path};

use csictl::model::{Layout, Name, SnapshotId, VolumeId};
use proptest::prelude::*;

use crate::support::Place;

/// Whether a path is one name right below a directory.
fn is_right_below(path: &Path, directory: &Path) -> bool {
    let Ok(rest) = path.strip_prefix(directory) else { return false };
    let parts: Vec<_> = rest.components().collect();
    matches!(parts[..], [Component::Normal(_)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever text becomes an id, everything named after it lies where it should.
    #[test]
    fn no_id_leads_anywhere_else(text in r"[a-z0-9./\\@_ \x00-\x1f-]{0,12}|\PC{0,300}|(\.\.?/){0,3}[a-z]{0,3}(\.[a-z/]{0,4})?") {
        let layout = Layout::new("/state", "/run/csictl");
        if let Ok(id) = text.parse::<VolumeId>() {
            prop_assert!(is_right_below(&layout.volume_record(&id), &layout.volumes()));
            prop_assert!(is_right_below(&layout.volume_lock(&id), &layout.locks()));
            prop_assert!(is_right_below(&layout.run_record(&id), &layout.run_volumes()));
            prop_assert!(is_right_below(&layout.staging_path(&id), &layout.staging()));
            prop_assert!(is_right_below(&layout.frozen_mark(&id), &layout.frozen()));
        }
        if let Ok(id) = text.parse::<SnapshotId>() {
            prop_assert!(is_right_below(&layout.snapshot_record(&id), &layout.snapshots()));
            prop_assert!(is_right_below(&layout.snapshot_lock(&id), &layout.locks()));
        }
        if let Ok(name) = text.parse::<Name>() {
            prop_assert!(is_right_below(&Path::new("/pods").join(name.as_str()), Path::new("/pods")));
        }
    }
}

const BAD: [&str; 9] = ["../victim", "../../victim", "/etc", "a/b", "..", ".", "", "a\nb", "-rf"];

#[test]
fn a_bad_name_in_a_manifest_makes_nothing() {
    for bad in BAD {
        let place = Place::new();
        let keys = [
            format!("project = {bad:?}\n[volumes.v]\ncapacity = \"16MiB\"\n"),
            format!("project = \"p\"\n[volumes.{bad:?}]\ncapacity = \"16MiB\"\n"),
            format!("project = \"p\"\n[pools.{bad:?}]\npath = \"pool\"\n"),
            format!("project = \"p\"\n[volumes.v]\ncapacity = \"16MiB\"\n[snapshots.{bad:?}]\nvolume = \"v\"\n"),
            format!("project = \"p\"\n[volumes.v]\ncapacity = \"16MiB\"\n[pods.{bad:?}]\nroot = \"pods\"\n"),
        ];
        for text in keys {
            place.write("m.toml", &format!("version = 1\n{text}"));

            let (code, said) = place.exit(&["apply", "m.toml", "--yes"]);

            assert_eq!(code, 65, "{text}: {said}");
        }
        let made: Vec<_> = fs::read_dir(place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(made, ["m.toml"], "{bad}");
    }
}

#[test]
fn a_bad_name_on_the_command_line_touches_nothing() {
    let place = Place::new();
    let victim = place.write("state/victim.json", "precious");
    fs::set_permissions(place.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    for bad in ["../victim", "../../state/victim", "/etc/passwd", "p/../../victim"] {
        for words in [
            vec!["delete", bad, "--approve", bad],
            vec!["expand", bad, "1GiB", "--yes"],
            vec!["snapshot", "create", bad, "s", "--yes"],
            vec!["snapshot", "delete", bad, "--yes"],
            vec!["snapshot", "restore", bad, "v", "--yes"],
        ] {
            let (code, said) = place.exit(&words);

            assert_ne!(code, 0, "{words:?}: {said}");
            assert_eq!(fs::read_to_string(&victim).unwrap(), "precious", "{words:?}");
        }
    }
}
