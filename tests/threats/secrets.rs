//! Threat: a secret in a log, an error, a record or an argument list (CVE-2023-2878, CVE-2024-3744). csictl's manifests hold none by
//! design; what the caller has in its environment and descriptors must not come out anywhere. The gRPC side is `tests/csi`'s.

use std::fs;
use std::process::Command;

use super::machine::ONE_VOLUME;
use crate::support::Place;
use crate::support::place::said;

const CANARY: &str = "canary-1f4a9c-never-to-be-seen";

#[test]
fn what_the_caller_holds_comes_out_nowhere_at_the_highest_verbosity() {
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    let mut everything = String::new();
    for (number, words) in [
        &["apply", "m.toml", "--yes", "-vvv"][..],
        &["status", "-vvv"],
        &["snapshot", "create", "data", "s", "--yes", "-vvv"],
        &["state", "export"],
        &["doctor"],
        &["apply", "missing.toml", "-vvv"],
        &["destroy", "m.toml", "--yes", "-vvv"],
    ]
    .into_iter()
    .enumerate()
    {
        let log = place.join(format!("log{number}"));
        let csictl = place.csictl();
        let mut strace = Command::new("strace");
        // Argument lists and environments of every program that is started, in full.
        strace.args(["-f", "-v", "-s", "65536", "-e", "trace=execve", "-o"]).arg(&log);
        strace.arg(csictl.get_program()).args(words).current_dir(place.path()).env_clear();
        strace.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        strace.env("CSI_SECRET", CANARY).env("AWS_SECRET_ACCESS_KEY", CANARY).env("RUST_LOG", "trace");

        let output = strace.stdin(std::process::Stdio::null()).output().unwrap();

        everything += &said(&output);
        // The first execve is csictl's own, whose environment is the caller's.
        everything.extend(fs::read_to_string(&log).unwrap().lines().skip(1).map(|line| format!("{line}\n")));
        fs::remove_file(&log).unwrap();
    }
    for folder in [place.state(), place.run(), place.join("pool")] {
        let grep = Command::new("grep").args(["-rlaF", CANARY]).arg(folder).output().unwrap();
        everything += &String::from_utf8_lossy(&grep.stdout);
    }

    assert!(everything.contains("mke2fs"), "nothing was watched: {everything}");
    assert!(!everything.contains(CANARY), "{everything}");
}

#[test]
fn records_plan_files_and_images_are_roots_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.write("m.toml", ONE_VOLUME);
    place.ok(&["plan", "m.toml", "--out", "plan.json"]);
    place.ok(&["apply", "m.toml", "--yes"]);

    for file in
        ["plan.json", "state/volumes/p.data.json", "run/volumes/p.data.json", "pool/p.data.img", "state/locks/p.data"]
    {
        let mode = fs::metadata(place.join(file)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{file}");
    }
    for folder in ["state", "state/volumes", "run", "run/staging", "pool"] {
        let mode = fs::metadata(place.join(folder)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{folder}");
    }
    place.ok(&["destroy", "m.toml", "--yes"]);
}
