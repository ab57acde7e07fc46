//! The JSON Schema and the parser accept the same keys and words; every example holds for both.

use std::path::PathBuf;

use csictl::manifest::{STARTER, schema, shape};
use jsonschema::Validator;
use serde_json::Value;

use super::{accept, read};

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema::schema()).unwrap()
}

fn as_json(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap()
}

/// Every example, by file name.
pub fn examples() -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut examples: Vec<(String, String)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "toml"))
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
        .collect();
    examples.push(("starter".to_owned(), STARTER.to_owned()));
    examples.sort();
    examples
}

#[test]
fn the_schema_is_a_schema() {
    jsonschema::draft202012::meta::validate(&schema::schema()).unwrap();
}

#[test]
fn every_example_is_accepted_by_schema_and_parser() {
    let validator = validator();
    let examples = examples();
    assert!(examples.len() >= 7, "{examples:?}");
    for (name, text) in &examples {
        let errors: Vec<_> = validator.iter_errors(&as_json(text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
        assert!(!accept(text).volumes.is_empty(), "{name}");
    }
}

#[test]
fn what_is_commented_out_in_the_starter_is_right_too() {
    let uncommented: String = STARTER
        .lines()
        .map(|line| match line.strip_prefix('#') {
            // Prose has a blank after its '#', a key or header has none.
            Some(key) if !key.starts_with(' ') && !key.is_empty() => format!("{key}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let whole = uncommented.replace("/dev/disk/by-id/…", "/dev/disk/by-id/wwn-0x5000");

    let desired = accept(&whole);

    assert_eq!(desired.volumes.len(), 5);
    assert_eq!(desired.snapshots.len(), 1);
}

#[test]
fn unknown_keys_and_words_are_refused_by_both() {
    let validator = validator();
    for (what, text) in [
        ("top level", "project = \"p\"\nvolume = {}"),
        ("volume", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nsize = \"1GiB\""),
        ("class", "project = \"p\"\n[classes.c]\ncapacity = \"1GiB\""),
        ("image", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nimage = { alloc = \"full\" }"),
        ("capacity", "project = \"p\"\n[volumes.v]\ncapacity = { required = \"1GiB\", most = \"2GiB\" }"),
        ("expect", "project = \"p\"\n[volumes.v]\ndevice = { path = \"/dev/vg/lv\", expect = { uuid = \"x\" } }"),
        (
            "mount",
            "project = \"p\"\n[volumes.v]\ntmpfs = { size = \"1MiB\" }\n[[pods.p.mounts]]\nvolume = \"v\"\npath = \"/a\"\nro = true",
        ),
        ("format", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nfs = { format = \"always\" }"),
        ("type", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nfs = { type = \"zfs\" }"),
        ("access mode", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\naccess_mode = \"rwx\""),
        (
            "propagation",
            "project = \"p\"\n[volumes.v]\ntmpfs = { size = \"1MiB\" }\n[[pods.p.mounts]]\nvolume = \"v\"\npath = \"/a\"\npropagation = \"shared\"",
        ),
        ("sector size", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nimage = { sector_size = 1024 }"),
        ("version", "project = \"p\"\nversion = 2"),
        ("a missing project", "version = 1"),
        ("a name", "project = \"P\""),
        ("a volume's name", "project = \"p\"\n[volumes.\"a/b\"]\ncapacity = \"1GiB\""),
        ("a bare unit", "project = \"p\"\n[volumes.v]\ncapacity = \"1G\""),
        ("a number for a size", "project = \"p\"\n[volumes.v]\ncapacity = 1"),
        ("owner", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nowner = \"root\""),
        ("mode", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nmode = \"999\""),
        (
            "a relative target",
            "project = \"p\"\n[volumes.v]\ntmpfs = { size = \"1MiB\" }\n[[pods.p.mounts]]\nvolume = \"v\"\npath = \"a\"",
        ),
        ("two backings", "project = \"p\"\n[volumes.v]\nimage = {}\ntmpfs = { size = \"1MiB\" }"),
        ("an empty source", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nsource = {}"),
        (
            "two sources",
            "project = \"p\"\n[volumes.w]\ncapacity = \"1GiB\"\n[snapshots.s]\nvolume = \"w\"\n[volumes.v]\ncapacity = \"1GiB\"\nsource = { volume = \"w\", snapshot = \"s\" }",
        ),
        (
            "a sub_path that leads out",
            "project = \"p\"\n[volumes.v]\ntmpfs = { size = \"1MiB\" }\n[[pods.p.mounts]]\nvolume = \"v\"\npath = \"/a\"\nsub_path = \"x/../../y\"",
        ),
        ("a tab in a description", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\ndescription = \"a\\tb\""),
        ("a capacity of nothing", "project = \"p\"\n[volumes.v]\ncapacity = \"0GiB\""),
        ("a capacity beyond the kernel", "project = \"p\"\n[volumes.v]\ncapacity = \"9EiB\""),
        ("no capacity and no backing", "project = \"p\"\n[volumes.v]\ndescription = \"x\""),
        ("a capacity on memory", "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\ntmpfs = { size = \"1MiB\" }"),
        (
            "a file system on block",
            "project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\nvolume_mode = \"block\"\nfs = {}",
        ),
        ("a file system on memory", "project = \"p\"\n[volumes.v]\ntmpfs = { size = \"1MiB\" }\nfs = {}"),
        (
            "a block volume of memory",
            "project = \"p\"\n[volumes.v]\ntmpfs = { size = \"1MiB\" }\nvolume_mode = \"block\"",
        ),
    ] {
        assert!(read(text).is_err(), "the parser accepts {what}");
        assert!(!validator.is_valid(&as_json(text)), "the schema accepts {what}");
    }
}

#[test]
fn what_only_looks_wrong_is_accepted_by_both() {
    let validator = validator();
    for text in [
        "project = \"p\"\n[pools.a]\npath = \"a\"\nreserve = \"0GiB\"",
        "project = \"p\"\n[volumes.v]\ncapacity = \"0.5GiB\"\nvolume_mode = \"block\"",
        "project = \"p\"\n[volumes.v]\ncapacity = \" 100 MiB \"\nimage = { allocate = \"sparse\" }",
        "project = \"p\"\n[volumes.v]\ntmpfs = { size = \"1MiB\" }\n[[pods.p.mounts]]\nvolume = \"v\"\npath = \"/a.b/..c\"\nsub_path = \".x/y..z\"",
    ] {
        accept(text);
        let errors: Vec<_> = validator.iter_errors(&as_json(text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{text}: {errors:?}");
    }
}

#[test]
fn both_accept_every_word_the_shape_lists() {
    let validator = validator();
    for row in shape::reference() {
        let Some(key) = row.key.strip_prefix("volumes.NAME.") else { continue };
        let words = match key {
            "access_mode" | "volume_mode" | "reclaim" | "fs.type" | "fs.format" | "image.allocate" => {
                row.values.split(", ")
            }
            _ => continue,
        };
        for word in words {
            let text = format!("project = \"p\"\n[volumes.v]\ncapacity = \"1GiB\"\n{key} = \"{word}\"");
            accept(&text);
            assert!(validator.is_valid(&as_json(&text)), "{text}");
        }
    }
}

#[test]
fn the_reference_says_something_about_every_key() {
    let rows = shape::reference();

    assert!(rows.len() > 60, "{}", rows.len());
    for row in rows {
        assert!(row.meaning.ends_with('.') && row.meaning.len() > 5, "{}", row.key);
        assert!(!row.required || row.default.is_empty(), "{}", row.key);
    }
}
