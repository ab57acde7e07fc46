//! Questions: asked on a terminal, never answered by csictl itself; where nobody can be asked, nothing is done.

use std::io::Write;
use std::process::Stdio;

use super::run::SMALL;
use crate::support::Place;

/// A volume that is deleted when it leaves the manifest.
const GOING: &str = "version = 1\nproject = \"shop\"\n[volumes.db]\ncapacity = \"32MiB\"\nimage = { allocate = \"sparse\" }\nreclaim = \"delete\"\n";
const GONE: &str = "version = 1\nproject = \"shop\"\n";

/// Runs csictl on a terminal of its own (script(1)) and types the answers.
fn typed(place: &Place, words: &str, answers: &str) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_csictl");
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &format!("{program} {words}"), "/dev/null"]).current_dir(place.path());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TERM", "dumb").env("NO_COLOR", "1");
    command.env("CSICTL_STATE_DIR", place.state()).env("CSICTL_RUN_DIR", place.run());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn without_a_terminal_and_without_yes_nothing_is_done() {
    let place = Place::new();
    place.write("shop.toml", SMALL);
    let (code, said) = place.exit(&["apply", "shop.toml"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("csictl::cli::not-confirmed") && said.contains("--yes"), "{said}");
    assert!(!place.state().exists() && place.mounts().is_empty(), "nothing was done");
}

#[test]
fn a_terminal_is_asked_and_only_yes_is_yes() {
    let place = Place::new();
    place.write("shop.toml", SMALL);
    let (code, said) = typed(&place, "apply shop.toml", "\n");
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("Do these 4 steps? [y/N]"), "{said}");
    assert!(place.mounts().is_empty(), "{said}");
    let (code, said) = typed(&place, "apply shop.toml", "y\n");
    assert_eq!(code, 0, "{said}");
    assert_eq!(place.mounts().len(), 2);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn yes_never_covers_a_loss_of_data() {
    let place = Place::new();
    place.write("shop.toml", GOING);
    place.ok(&["apply", "shop.toml", "--yes"]);
    place.write("shop.toml", GONE);
    let image = place.state().join("pool/shop.db.img");
    assert!(image.exists());
    for approve in [&[][..], &["--approve", "volume.db=wipe"], &["--approve", "volume.other=delete"]] {
        let (code, said) = place.exit(&[&["apply", "shop.toml", "--yes"], approve].concat());
        assert_eq!(code, 5, "{said}");
        assert!(said.contains("--approve volume.db=delete"), "{said}");
        assert!(image.exists());
    }
    assert_eq!(place.exit(&["plan", "shop.toml", "--detailed-exitcode"]).0, 3);
    place.ok(&["apply", "shop.toml", "--yes", "--approve", "volume.db=delete"]);
    assert!(!image.exists());
}

#[test]
fn a_loss_takes_the_name_typed_in_full() {
    let place = Place::new();
    place.write("shop.toml", GOING);
    place.ok(&["apply", "shop.toml", "--yes"]);
    place.write("shop.toml", GONE);
    let image = place.state().join("pool/shop.db.img");
    let (code, said) = typed(&place, "apply shop.toml --yes", "y\n");
    assert_eq!(code, 5, "{said}");
    assert!(image.exists(), "{said}");
    let (code, said) = typed(&place, "apply shop.toml --yes", "db\n");
    assert_eq!(code, 0, "{said}");
    assert!(!image.exists(), "{said}");
}

#[test]
fn a_plan_file_is_applied_once_and_refused_when_stale() {
    let place = Place::new();
    place.write("shop.toml", SMALL);
    place.ok(&["plan", "shop.toml", "--out", "shop.plan"]);
    for command in ["plan", "validate", "destroy", "status"] {
        let (code, said) = place.exit(&[command, "shop.plan"]);
        assert_eq!((code, said.matches("csictl::").count()), (65, 1), "{command}: {said}");
        assert!(said.contains("csictl apply shop.plan"), "{command}: {said}");
    }
    // What was shown is done, whatever became of the manifest meanwhile.
    place.write("shop.toml", "nonsense");
    place.ok(&["apply", "shop.plan", "--yes"]);
    assert_eq!(place.mounts().len(), 2);
    let (code, said) = place.exit(&["apply", "shop.plan", "--yes"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("csictl::plan::stale"), "{said}");
    place.write("shop.toml", SMALL);
    place.ok(&["plan", "shop.toml", "--destroy", "--out", "down.plan"]);
    place.ok(&["apply", "down.plan", "--yes"]);
    assert!(place.mounts().is_empty());
    let (code, said) = place.exit(&["apply", "down.plan", "--yes"]);
    assert_eq!(code, 5, "{said}");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("csictl plan shop.toml --destroy --out down.plan"), "{said}");
    let (code, said) = place.exit(&["apply", "down.plan", "--yes", "--state-dir", "elsewhere"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("csictl::plan::bad-file"), "{said}");
}
