//! `docs/safety.md` is only worth what its tests are: each that it names exists, each threat here stands in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn text() -> String {
    fs::read_to_string(Path::new(ROOT).join("docs/safety.md")).unwrap()
}

/// Every `module::function` in backquotes.
fn named(text: &str) -> BTreeSet<String> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted
        .filter(|name| name.contains("::") && !name.contains('…') && !name.starts_with("host::Host"))
        .map(str::to_owned)
        .collect()
}

/// The file a test should be in: a module of `tests`, or one of `src` with its tests inside it.
fn file_of(name: &str) -> Option<std::path::PathBuf> {
    let (module, _) = name.rsplit_once("::")?;
    let path = module.replace("::", "/");
    let places = [
        format!("tests/{path}.rs"),
        format!("tests/{path}/mod.rs"),
        format!("src/{path}.rs"),
        format!("src/{path}/tests.rs"),
    ];
    places.into_iter().map(|place| Path::new(ROOT).join(place)).find(|place| place.exists())
}

#[test]
fn every_test_it_names_exists() {
    let names = named(&text());
    assert!(names.len() > 40, "only {} tests are named", names.len());
    for name in names {
        let file = file_of(&name).unwrap_or_else(|| panic!("no file for {name}"));
        let (_, function) = name.rsplit_once("::").unwrap();
        let source = fs::read_to_string(&file).unwrap();
        assert!(source.contains(&format!("fn {function}(")), "{} has no test {function}", file.display());
    }
}

#[test]
fn every_test_of_a_threat_is_named() {
    let names = named(&text());
    for entry in fs::read_dir(Path::new(ROOT).join("tests/threats")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if ["mod", "machine", "safety_document"].contains(&module.as_str()) {
            continue;
        }
        assert!(names.iter().any(|name| name.starts_with(&format!("threats::{module}::"))), "{module} is in no row");
    }
}

/// The verbs of the host that lose data stand among the ways to lose it.
#[test]
fn every_verb_that_loses_data_is_listed() {
    let text = text();
    let ways = text.split("## Threats").next().unwrap();
    for verb in [
        "format",
        "erase_signatures",
        "place_image",
        "remove_image",
        "resize_image",
        "create_image",
        "copy_image",
        "remove_target",
        "write_small",
        "remove_small",
        "set_aside",
        "change_uuid",
    ] {
        let host = fs::read_to_string(Path::new(ROOT).join("src/host/mod.rs")).unwrap();
        assert!(host.contains(&format!("fn {verb}(")), "the host has no verb {verb} any more");
        assert!(ways.contains(&format!("`{verb}`")), "{verb} is not among the ways to lose data");
    }
}
