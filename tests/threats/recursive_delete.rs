//! Threat: a delete that runs through a mount which could not be taken away. csictl removes a target by rmdir or unlink only, and only
//! once it has seen that nothing is mounted there.

use std::fs;
use std::process::Command;

use super::machine::ONE_VOLUME;
use crate::support::Place;
use crate::support::place::said;

/// Runs csictl with every call of umount2 answered by this error.
fn with_failing_unmount(place: &Place, errno: &str, words: &[&str]) -> std::process::Output {
    let csictl = place.csictl();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "trace=umount2", "-e"]).arg(format!("inject=umount2:error={errno}"));
    strace.arg(csictl.get_program()).args(words).current_dir(place.path()).env_clear();
    strace.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.stdin(std::process::Stdio::null()).output().unwrap()
}

#[test]
fn data_stays_when_an_unmount_fails_whatever_is_asked_for() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    fs::create_dir_all(place.join("pods/web/data/deep/er")).unwrap();
    fs::write(place.join("pods/web/data/deep/er/keep"), "precious").unwrap();
    // EINVAL is what the kernel says of a place that is no mount: csictl may not believe it.
    for errno in ["EBUSY", "EINVAL", "EPERM", "ENOENT"] {
        for words in [
            vec!["destroy", "m.toml", "--yes"],
            vec!["destroy", "m.toml", "--yes", "--delete-data", "data"],
            vec!["gc", "--yes"],
        ] {
            let output = with_failing_unmount(&place, errno, &words);

            let (text, ended) = (said(&output), output.status.success());
            assert!(words[0] == "gc" || !ended, "{errno} {words:?}: success without an unmount: {text}");
            let kept = fs::read_to_string(place.join("pods/web/data/deep/er/keep"));
            assert_eq!(kept.unwrap(), "precious", "{errno} {words:?}: {text}");
            assert!(place.join("pool/p.data.img").exists(), "{errno} {words:?}: {text}");
        }
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
}

#[test]
fn what_somebody_put_into_a_target_stays() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["apply", "m.toml", "--yes"]);
    let below = place.join("pods/web");
    fs::write(below.join("theirs"), "precious").unwrap();

    place.ok(&["destroy", "m.toml", "--yes", "--delete-data", "data"]);

    assert_eq!(fs::read_to_string(below.join("theirs")).unwrap(), "precious");
}
