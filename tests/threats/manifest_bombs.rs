//! Threat: a manifest that costs more to read than anybody has. It is refused in bounded memory, and in a time that needs no clock here:
//! `tests/manifest/hostile` has the sorts of bombs one by one.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::process::Command;

use crate::support::Place;
use crate::support::place::said;

/// Runs `validate` with so much address space and no more.
fn refused(place: &Place, manifest: &str) -> String {
    const MEMORY: u64 = 1 << 30;
    let csictl = place.csictl();
    let mut limited = Command::new("prlimit");
    limited.arg(format!("--as={MEMORY}")).arg("--").arg(csictl.get_program()).args(["plan", manifest]);
    limited.current_dir(place.path()).env_clear();
    limited.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(65), "{}", said.chars().take(2000).collect::<String>());
    assert!(said.len() < 1 << 20, "the error itself is a bomb of {} bytes", said.len());
    said
}

#[test]
fn a_hundred_megabytes_are_refused() {
    let place = Place::new();
    let mut file = File::create(place.join("m.toml")).unwrap();
    for _ in 0..100 {
        file.write_all(&b"a = 1 # filler\n".repeat((1 << 20) / 15)).unwrap();
    }

    let said = refused(&place, "m.toml");

    assert!(said.contains("too large") || said.contains("too-large"), "{said}");
}

#[test]
fn a_file_without_an_end_is_refused() {
    let place = Place::new();

    refused(&place, "/dev/zero");
}

#[test]
fn a_million_volumes_are_refused() {
    let place = Place::new();
    let mut text = String::from("version = 1\nproject = \"p\"\n");
    for number in 0..1_000_000 {
        writeln!(text, "[volumes.v{number}]\ntmpfs.size = \"1MiB\"").unwrap();
    }
    place.write("m.toml", &text);

    refused(&place, "m.toml");
}

#[test]
fn depth_without_an_end_is_refused() {
    let place = Place::new();
    for open in ["[", "{a=", "[{a="] {
        place.write("m.toml", &format!("x = {}", open.repeat(100_000)));
        refused(&place, "m.toml");
    }
    place.write("m.toml", &format!("{} = 1", vec!["a"; 100_000].join(".")));
    refused(&place, "m.toml");
}
