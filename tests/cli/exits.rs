//! Exit codes that need no machine, and where global flags may stand.

use super::run::{Folder, SMALL};

#[test]
fn a_wrong_command_line_is_64() {
    let folder = Folder::new();
    folder.write("shop.toml", SMALL);
    let cases: [&[&str]; 15] = [
        &[],
        &["plann"],
        &["plan"],
        &["plan", "shop.toml", "--force"],
        &["apply", "shop.toml", "--approve", "db=wipe"],
        &["apply", "shop.toml", "--approve", "volume.db=all"],
        &["plan", "shop.toml", "--delete-data", "db"],
        &["status", "-o", "dot"],
        &["apply", "shop.toml", "-o", "wide"],
        &["version", "--parallelism", "0"],
        &["version", "--lock-timeout", "soon"],
        &["version", "-q", "-v"],
        &["plan", "m.toml", "--out", "-"],
        &["expand", "db", "10G"],
        &["completions", "cmd"],
    ];
    for words in cases {
        let ran = folder.run(words);
        assert_eq!(ran.code, 64, "{words:?}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.is_empty(), "{words:?}: errors belong to stderr");
        assert!(!ran.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn a_wrong_command_line_is_a_document_too_where_json_is_asked_for() {
    let ran = Folder::new().run(&["plann", "-o", "json"]);
    assert_eq!(ran.code, 64);
    let document = ran.json();
    assert_eq!(document["schema"], "csictl.error/1");
    assert_eq!(document["errors"][0]["code"], "csictl::cli::usage");

    // What is listed below the first line is part of the message.
    for (words, listed) in [(&["plan", "-o", "json"][..], "<MANIFEST>"), (&["get", "x", "-o", "json"], "volumes")] {
        let document = Folder::new().run(words).json();
        let message = document["errors"][0]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(listed) && !message.contains("Usage"), "{words:?}: {message}");
    }
}

#[test]
fn an_invalid_manifest_is_65_everywhere() {
    let folder = Folder::new();
    folder.write("bad.toml", "version = 1\nproject = \"Shop\"\n");
    for command in ["validate", "plan", "apply", "destroy", "status"] {
        assert_eq!(folder.run(&[command, "bad.toml"]).code, 65, "{command}");
    }
    assert_eq!(folder.files(), ["bad.toml"], "nothing was written");
}

#[test]
fn a_missing_manifest_is_1_and_named() {
    let ran = Folder::new().run(&["validate", "nowhere.toml"]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("nowhere.toml") && ran.stderr.contains("No such file"), "{}", ran.stderr);
}

#[test]
fn global_flags_stand_before_or_after_the_command() {
    let folder = Folder::new();
    for words in [["-o", "json", "version"], ["version", "-o", "json"]] {
        let document = folder.run(&words).json();
        assert_eq!(document["schema"], "csictl.version/1");
    }
}

#[test]
fn version_and_help_go_to_stdout() {
    let folder = Folder::new();
    for words in [&["--version"][..], &["version"], &["--help"], &["-h"]] {
        let ran = folder.run(words);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        assert!(!ran.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn init_never_overwrites() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["init"]).code, 0);
    let written = std::fs::read_to_string(folder.path().join("csictl.toml")).unwrap();
    assert_eq!(folder.run(&["validate", "csictl.toml"]).code, 0, "the starter is valid");
    folder.write("csictl.toml", "mine");
    let again = folder.run(&["init"]);
    assert_eq!(again.code, 1);
    assert!(again.stderr.contains("never overwritten"), "{}", again.stderr);
    assert_eq!(std::fs::read_to_string(folder.path().join("csictl.toml")).unwrap(), "mine");
    assert!(written.contains("[volumes.data]"));
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    use std::process::Stdio;
    let folder = Folder::new();
    let mut child = folder.command(&["explain"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn color_only_adds() {
    let folder = Folder::new();
    let plain = folder.run(&["explain", "not-blank", "--color", "never"]).stdout;
    let colored = folder.run(&["explain", "not-blank", "--color", "always"]).stdout;
    assert_ne!(plain, colored);
    let stripped: String = anstream::adapter::strip_str(&colored).to_string();
    assert_eq!(stripped, plain);
    let forced = folder.command(&["explain", "not-blank"]).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert_eq!(String::from_utf8(forced.stdout).unwrap(), colored);
}
