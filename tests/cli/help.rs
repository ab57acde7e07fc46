//! Help: short, and with examples. The snapshots are what users read.

use super::run::Folder;

/// Every command and form with help of its own.
const COMMANDS: [&[&str]; 31] = [
    &[],
    &["init"],
    &["validate"],
    &["plan"],
    &["apply"],
    &["destroy"],
    &["status"],
    &["get"],
    &["tree"],
    &["snapshot"],
    &["snapshot", "create"],
    &["snapshot", "list"],
    &["snapshot", "delete"],
    &["snapshot", "restore"],
    &["expand"],
    &["delete"],
    &["who"],
    &["gc"],
    &["doctor"],
    &["schema"],
    &["serve"],
    &["csi"],
    &["csi", "create-volume"],
    &["csi", "get-plugin-info"],
    &["explain"],
    &["state"],
    &["state", "export"],
    &["state", "import"],
    &["completions"],
    &["man"],
    &["version"],
];

/// A screen.
const LINES_MAX: usize = 48;

#[test]
fn every_command_has_short_help_with_examples() {
    let folder = Folder::new();
    for words in COMMANDS {
        let help = folder.run(&[words, &["-h"]].concat());
        assert_eq!(help.code, 0, "{words:?}");
        assert!(help.stderr.is_empty(), "{words:?}");
        assert!(help.stdout.contains("Examples:\n  csictl "), "{words:?}: no examples");
        let lines = help.stdout.lines().count();
        assert!(lines <= LINES_MAX, "{words:?}: {lines} lines");
        let name = if words.is_empty() { "csictl".to_owned() } else { words.join("-") };
        insta::assert_snapshot!(format!("help-{name}"), help.stdout);
    }
    assert!(folder.files().is_empty(), "help writes nothing");
}

#[test]
fn long_help_has_the_flags_that_all_share_and_the_exit_codes() {
    let folder = Folder::new();
    insta::assert_snapshot!("long-help-csictl", folder.run(&["--help"]).stdout);
    let apply = folder.run(&["apply", "--help"]).stdout;
    for flag in ["--state-dir", "--run-dir", "--progress", "--parallelism", "--lock-timeout", "--log-format", "--color"]
    {
        assert!(apply.contains(flag), "{flag}");
    }
}

#[test]
fn the_snapshots_cover_every_command() {
    let help = Folder::new().run(&["-h"]).stdout;
    let listed: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(listed.len() >= 20, "{listed:?}");
    for command in listed {
        assert!(COMMANDS.iter().any(|words| words.first() == Some(&command)), "{command} has no snapshot");
    }
}
