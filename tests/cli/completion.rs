//! What the shell is offered: commands, flags, and the names of this machine's volumes and pods.

use super::run::Folder;

/// Asks as the bash script does: the words typed so far, the last one unfinished.
fn offered(folder: &Folder, words: &[&str]) -> Vec<String> {
    let mut command = folder.command(&[]);
    command.arg("--").args(words).env("CSICTL_COMPLETE", "bash");
    command.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string()).env("_CLAP_IFS", "\n");
    let output = command.output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn machine() -> Folder {
    let folder = Folder::new();
    for path in ["state/volumes", "state/snapshots", "run/volumes"] {
        std::fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    for id in ["shop.db", "shop.cache", "blog.db"] {
        folder.write(&format!("state/volumes/{id}.json"), "{}");
    }
    folder.write("state/snapshots/shop.nightly.json", "{}");
    folder.write("run/volumes/shop.db.json", r#"{"record": {"publishes": {"/srv": {"pod": "web"}}}}"#);
    folder
}

#[test]
fn commands_and_flags_are_offered() {
    let folder = Folder::new();
    assert_eq!(offered(&folder, &["csictl", "app"]), ["apply"]);
    let flags = offered(&folder, &["csictl", "apply", "--"]);
    for flag in ["--yes", "--approve", "--on-error", "--state-dir"] {
        assert!(flags.iter().any(|offer| offer == flag), "{flag} in {flags:?}");
    }
}

#[test]
fn names_of_this_machine_are_offered() {
    let folder = machine();
    let cases: [(&[&str], &[&str]); 6] = [
        (&["csictl", "delete", ""], &["blog.db", "cache", "shop.db"]),
        (&["csictl", "expand", "c"], &["cache"]),
        (&["csictl", "snapshot", "restore", ""], &["nightly"]),
        (&["csictl", "get", "volumes", "sh"], &["shop.db"]),
        (&["csictl", "get", "pods", ""], &["web"]),
        (&["csictl", "get", "snapshots", ""], &["nightly"]),
    ];
    for (words, names) in cases {
        let offers: Vec<_> = offered(&folder, words).into_iter().filter(|offer| !offer.starts_with('-')).collect();
        assert_eq!(offers, names, "{words:?}");
    }
}

#[test]
fn the_state_directory_on_the_line_counts() {
    let folder = machine();
    std::fs::create_dir_all(folder.path().join("other/volumes")).unwrap();
    folder.write("other/volumes/blog.posts.json", "{}");
    let offers = offered(&folder, &["csictl", "--state-dir", "other", "delete", ""]);
    assert!(offers.contains(&"posts".to_owned()) && !offers.contains(&"cache".to_owned()), "{offers:?}");
}

#[test]
fn a_machine_without_records_offers_nothing_and_fails_nothing() {
    let offers = offered(&Folder::new(), &["csictl", "delete", "x"]);
    assert_eq!(offers, Vec::<String>::new());
}
