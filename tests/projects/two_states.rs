//! Two csictl with a state directory each on one pool, which docs/decisions.md advises against: their locks do not meet, and still neither
//! takes an image from the other while it is being made.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::Place;
use crate::support::place::said;

/// The same volume in the same pool, in another directory for each of the two.
fn manifests(place: &Place) {
    for n in 1..=2 {
        let manifest = format!(
            "version = 1\nproject = \"p\"\n[pools.main]\npath = \"./pool\"\n[volumes.a]\ncapacity = \"16MiB\"\nimage = {{ allocate = \"sparse\" }}\n\
             [pods.p]\nroot = \"./pods{n}\"\n[[pods.p.mounts]]\nvolume = \"a\"\npath = \"/a\"\n"
        );
        place.write(&format!("{n}.toml"), &manifest);
    }
}

/// A command of one of the two.
fn csictl(place: &Place, n: u8, verb: &str) -> Command {
    let mut csictl = place.csictl();
    csictl
        .env("CSICTL_STATE_DIR", place.join(format!("state{n}")))
        .env("CSICTL_RUN_DIR", place.join(format!("run{n}")));
    csictl.args([verb, &format!("{n}.toml"), "--yes"]);
    csictl
}

fn ok(place: &Place, n: u8, verb: &str) {
    let output = csictl(place, n, verb).output().unwrap();
    assert!(output.status.success(), "{verb} of {n}: {}", said(&output));
}

#[test]
fn an_image_that_one_is_making_is_not_taken_from_it_by_the_other() {
    let place = Place::new();
    manifests(&place);
    let (first, trace) = (csictl(&place, 1, "apply"), place.join("trace"));
    let mut traced = Command::new("strace");
    traced.args(["-f", "-e", "trace=/setxattr", "-e", "inject=/setxattr:signal=STOP:when=1", "-o"]).arg(&trace);
    traced.arg(first.get_program()).args(first.get_args()).current_dir(place.path());
    traced.envs(first.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let first = traced.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let stopped = loop {
        let told = fs::read_to_string(&trace).unwrap_or_default();
        let told = told.lines().find(|line| line.contains("stopped by SIGSTOP")).map(str::to_owned);
        if let Some(line) = told {
            break line.split_whitespace().next().unwrap().parse().unwrap();
        }
        assert!(Instant::now() < deadline, "it never says who it is");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(place.join("pool/.p.a.img.part").exists());

    let second = csictl(&place, 2, "apply").output().unwrap();
    kill(Pid::from_raw(stopped), Signal::SIGCONT).unwrap();
    let first = first.wait_with_output().unwrap();
    assert_eq!(second.status.code(), Some(7), "{}", said(&second));
    assert!(first.status.success(), "{}", said(&first));

    fs::write(place.join("pods1/a/file"), "kept").unwrap();
    ok(&place, 1, "destroy");
    ok(&place, 2, "apply");
    assert_eq!(fs::read_to_string(place.join("pods2/a/file")).unwrap(), "kept");
    ok(&place, 2, "destroy");
}

#[test]
fn whoever_makes_it_first_both_have_the_same_volume_afterwards() {
    let place = Place::new();
    manifests(&place);
    for round in 0..6 {
        let started = [1, 2].map(|n| csictl(&place, n, "apply").stdout(Stdio::null()).stderr(Stdio::null()).spawn());
        let codes = started.map(|child| child.unwrap().wait().unwrap().code().unwrap());
        assert!(codes.contains(&0), "round {round}: {codes:?}");
        // The first can't take its share away while the second is up.
        for n in [1, 2, 1] {
            let _ = csictl(&place, n, "destroy").output().unwrap();
        }
        for n in [1, 2] {
            ok(&place, n, "apply");
            let file = place.join(format!("pods{n}/a/file"));
            if n == 1 {
                fs::write(&file, round.to_string()).unwrap();
            }
            assert_eq!(fs::read_to_string(&file).unwrap(), round.to_string(), "round {round}: {codes:?}");
            ok(&place, n, "destroy");
        }
        for rest in ["pool", "state1", "state2"] {
            fs::remove_dir_all(place.join(rest)).unwrap();
        }
    }
}
