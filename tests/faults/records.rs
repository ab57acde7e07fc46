//! Records of every damaged kind: none keeps anything from coming down, none blocks another volume, none loses data.

use std::fs;
use std::path::Path;

use super::oracle::{converges, write_canaries};
use crate::support::Place;

const MANIFEST: &str = "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.one]\ncapacity = \"16MiB\"\n\
    image = { allocate = \"sparse\" }\n[volumes.two]\ncapacity = \"16MiB\"\nimage = { allocate = \"sparse\" }\n\
    [pods.a]\nroot = \"a\"\n[[pods.a.mounts]]\nvolume = \"one\"\npath = \"/one\"\n[[pods.a.mounts]]\nvolume = \"two\"\npath = \"/two\"\n";

/// A way to damage a record: its name, and what becomes of the file, given its bytes and the other volume's.
type Damage = (&'static str, fn(&Path, &[u8], &[u8]));

const DAMAGES: [Damage; 12] = [
    ("empty", |path, _, _| fs::write(path, "").unwrap()),
    ("half of its first line", |path, bytes, _| {
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        fs::write(path, &bytes[..line / 2]).unwrap();
    }),
    ("without its last line", |path, bytes, _| {
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        fs::write(path, &bytes[..=line]).unwrap();
    }),
    ("its last line torn", |path, bytes, _| fs::write(path, &bytes[..bytes.len() - 20]).unwrap()),
    ("one bit flipped", |path, bytes, _| {
        let mut bytes = bytes.to_vec();
        for at in (70..bytes.len()).step_by(97) {
            bytes[at] ^= 1;
        }
        fs::write(path, bytes).unwrap();
    }),
    ("zeros", |path, bytes, _| fs::write(path, vec![0; bytes.len()]).unwrap()),
    ("not text", |path, _, _| fs::write(path, [0xff; 4096]).unwrap()),
    ("another volume's", |path, _, other| fs::write(path, other).unwrap()),
    ("JSON of no record", |path, _, _| fs::write(path, "{\"schema\":\"other/1\",\"version\":1}\n").unwrap()),
    ("a directory", |path, _, _| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    }),
    ("a dangling link", |path, _, _| {
        fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/nowhere/at/all", path).unwrap();
    }),
    ("gone", |path, _, _| fs::remove_file(path).unwrap()),
];

fn applied() -> (Place, super::oracle::Canaries) {
    let place = Place::new();
    place.write("m.toml", MANIFEST);
    place.ok(&["apply", "m.toml", "--yes"]);
    let canaries = write_canaries(&place, &["a/one", "a/two"]);
    (place, canaries)
}

#[test]
fn a_damaged_record_of_any_kind_keeps_nothing_up_and_loses_nothing() {
    for (kind, damage) in DAMAGES {
        for run in [false, true] {
            let (place, canaries) = applied();
            let folder = if run { place.run().join("volumes") } else { place.state().join("volumes") };
            let (record, other) = (folder.join("p.one.json"), folder.join("p.two.json"));
            damage(&record, &fs::read(&record).unwrap(), &fs::read(&other).unwrap());
            let (code, words) = place.exit(&["status"]);
            assert!(code == 0 || !words.is_empty(), "{kind}: status says {code}: {words}");
            let (_, words) = place.exit(&["destroy", "m.toml", "--yes"]);
            assert!(!words.contains("panicked"), "{kind}: {words}");
            assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new(), "{kind} (run: {run}): {words}");
            assert_eq!(place.loops(), vec![], "{kind} (run: {run}): {words}");
            converges(&place, "m.toml", &canaries, &format!("record {kind} (run: {run})"));
        }
    }
}

#[test]
fn a_record_of_a_newer_version_stays_and_its_volume_comes_down() {
    let (place, canaries) = applied();
    let record = place.state().join("volumes/p.one.json");
    let own = fs::read(&record).unwrap();
    let newer = "{\"schema\":\"csictl.volume/9\",\"version\":9,\"record\":{}}";
    fs::write(&record, newer).unwrap();
    let (code, words) = place.exit(&["apply", "m.toml", "--yes"]);
    assert!(code != 0 && words.contains("newer"), "{code}: {words}");
    let (_, words) = place.exit(&["destroy", "m.toml", "--yes"]);
    assert_eq!(fs::read_to_string(&record).unwrap(), newer);
    assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new(), "{words}");
    fs::write(&record, own).unwrap();
    converges(&place, "m.toml", &canaries, "a newer record");
}
