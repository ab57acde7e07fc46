//! The Dockerfile, as far as it can be checked without a registry of images: what it copies is there and not ignored, the packages
//! it installs are those whose tools csictl runs, its command is csictl's (`command_lines.rs`).

use std::collections::BTreeSet;

use csictl::host::linux::helper::tools;

use super::tools::{repository, text};

/// The Dockerfile's instructions, continued lines joined.
fn instructions() -> Vec<String> {
    let joined = text("Dockerfile").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What each stage installs with apt.
fn packages() -> Vec<BTreeSet<String>> {
    let installs = instructions().into_iter().filter_map(|line| {
        let (_, rest) = line.split_once("--no-install-recommends ")?;
        Some(rest.split("&&").next().unwrap().split_whitespace().map(str::to_owned).collect())
    });
    installs.collect()
}

#[test]
fn what_is_copied_is_there_and_not_ignored() {
    let ignored = text(".dockerignore");
    let mut copied = 0;
    for line in instructions() {
        let Some(words) = line.strip_prefix("COPY ").filter(|words| !words.starts_with("--from")) else { continue };
        let words: Vec<&str> = words.split(' ').collect();
        for source in &words[..words.len() - 1] {
            assert!(repository(source).exists(), "COPY {source}");
            assert!(ignored.lines().any(|kept| kept == format!("!{source}")), "{source} is ignored");
            copied += 1;
        }
    }
    assert_eq!(copied, 5);
}

#[test]
fn the_image_has_every_tool_csictl_runs() {
    let there = &packages()[1];
    for tool in tools() {
        assert!(there.contains(tool.package), "{} of {}", tool.name, tool.package);
    }
}

#[test]
fn it_is_built_with_what_the_build_needs() {
    let script = text("scripts/packages");
    let list = script.lines().find_map(|line| line.strip_prefix("build=(")).unwrap().trim_end_matches(')');
    let needed: BTreeSet<String> = list.split(' ').map(str::to_owned).collect();
    let [build, image] = &packages()[..] else { panic!("two stages install") };
    let all: BTreeSet<String> = build.union(image).cloned().collect();
    assert!(needed.is_subset(&all), "{needed:?} {all:?}");
}
