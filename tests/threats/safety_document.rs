//! `docs/safety.md` is only worth what its tests are: each that it names exists, each threat here stands in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

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

/// The tests of this binary that would run, by its own word.
fn of_this_binary() -> BTreeSet<String> {
    let list = |more: &[&str]| {
        let mut this = Command::new(std::env::current_exe().unwrap());
        let output = this.args(["--list", "--format", "terse"]).args(more).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let ignored = list(&["--ignored"]);
    list(&[]).into_iter().filter(|name| !ignored.contains(name)).collect()
}

/// Whether a source has a function of this name that is a test: its attributes are above it, and none ignores it.
fn has_test(source: &str, function: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is = |line: &str| {
        line.strip_prefix("pub ")
            .unwrap_or(line)
            .strip_prefix("fn ")
            .is_some_and(|rest| rest.strip_prefix(function).is_some_and(|rest| rest.starts_with('(')))
    };
    lines.iter().enumerate().filter(|(_, line)| is(line)).any(|(at, _)| {
        let above = lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("///"));
        let attributes: Vec<_> = above.filter(|line| line.starts_with("#[")).collect();
        attributes.contains(&&"#[test]") && !attributes.iter().any(|line| line.starts_with("#[ignore"))
    })
}

#[test]
fn every_test_it_names_exists_and_runs() {
    let names = named(&text());
    assert!(names.len() > 40, "only {} tests are named", names.len());
    let here = of_this_binary();
    for name in names.difference(&here) {
        // Tests beside the code, and those of other binaries, are in no list of this one.
        let file = file_of(name).unwrap_or_else(|| panic!("no file for {name}"));
        let elsewhere =
            ["src", "tests/concurrency"].iter().any(|folder| file.starts_with(Path::new(ROOT).join(folder)));
        let (_, function) = name.rsplit_once("::").unwrap();
        let source = fs::read_to_string(&file).unwrap();
        assert!(elsewhere && has_test(&source, function), "{} has no test {function}", file.display());
    }
}

#[test]
fn only_a_test_counts_as_one() {
    let cases = [
        ("#[test]\nfn it_holds() {}", true),
        ("#[test]\n#[should_panic]\nfn it_holds() {}", true),
        ("    #[test]\n    /// Told.\n    fn it_holds() {}", true),
        ("fn it_holds() {}", false),
        ("// #[test]\n// fn it_holds() {}", false),
        ("#[test]\n#[ignore]\nfn it_holds() {}", false),
        ("#[test]\n#[ignore = \"slow\"]\nfn it_holds() {}", false),
        ("#[test]\nfn it_holds_more() {}", false),
        ("#[test]\nfn other() {}\nfn it_holds() {}", false),
    ];
    for (source, counts) in cases {
        assert_eq!(has_test(source, "it_holds"), counts, "{source}");
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

/// Verbs of the host that can lose data, each among the ways to lose it.
const LOSE: [&str; 18] = [
    "change_uuid",
    "check_filesystem",
    "copy_image",
    "create_image",
    "detach_loop",
    "erase_signatures",
    "finish_growth",
    "format",
    "freeze",
    "grow_filesystem",
    "place_image",
    "remove_image",
    "remove_small",
    "remove_target",
    "resize_image",
    "set_aside",
    "unmount",
    "write_small",
];

/// Verbs that take no byte of a user's away: they add, mount, look, wait, or touch what csictl made a moment ago.
const LOSE_NOTHING: [&str; 26] = [
    "allocate_image",
    "append_small",
    "attach_loop",
    "bind",
    "change_flags",
    "change_group",
    // Of a loop device whose file system is dead already: what it still holds can be read by nobody.
    "detach_dead",
    "flush_device",
    "lock",
    "made",
    "make_dir",
    "make_inside",
    "make_target",
    "mount",
    "remount",
    // rmdir(2): only what is empty.
    "remove_dir",
    "renew_loop",
    "resize_loop",
    "set_identity",
    "set_ownership",
    "settle_removal",
    "sync",
    "thaw",
    // Replays a journal, as the kernel does at every mount.
    "thaw_unmounted",
    // On scratch files of csictl's own.
    "try_filesystem",
    "try_growth",
];

/// Nobody adds a verb to the host without saying whether it can lose data, and none that can is missing in the document.
#[test]
fn every_verb_that_loses_data_is_listed() {
    let host = fs::read_to_string(Path::new(ROOT).join("src/host/mod.rs")).unwrap();
    let (_, writing) = host.split_once("pub trait Host").unwrap();
    let name = |line: &str| Some(line.trim().strip_prefix("fn ")?.split_once(['(', '<'])?.0.to_owned());
    let verbs: BTreeSet<String> = writing.lines().filter_map(name).collect();
    let sorted: BTreeSet<String> = LOSE.iter().chain(&LOSE_NOTHING).map(|verb| (*verb).to_owned()).collect();
    assert_eq!(verbs, sorted, "a verb of the host is in neither list, or in one and no more in the host");
    let text = text();
    let ways = text.split("## Threats").next().unwrap();
    for verb in LOSE {
        assert!(ways.contains(&format!("`{verb}`")), "{verb} is not among the ways to lose data");
    }
}
