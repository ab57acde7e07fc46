//! Ctrl-C and SIGTERM, as a user sends them to a running apply. A step is made to last by holding the lock it waits for.

use std::fs::{File, create_dir_all};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::Place;

const MANIFEST: &str = r#"
version = 1
project = "p"

[volumes.data]
directory = { path = "PLACE/data", create = true }

[pods.web]
root = "PLACE/web"
[[pods.web.mounts]]
volume = "data"
path = "/data"
"#;

/// An apply whose first step waits for a lock.
struct Waiting {
    place: Place,
    lock: Flock<File>,
    apply: Child,
}

/// The same command with the signals as a terminal leaves them: who runs the tests in the background may have them ignored, and csictl leaves
/// ignored what it finds ignored.
fn with_signals(command: &Command) -> Command {
    let mut wrapped = Command::new("env");
    wrapped.args(["--default-signal=INT,HUP,TERM", "--"]).arg(command.get_program());
    wrapped.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    wrapped.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
    wrapped
}

impl Waiting {
    fn begin() -> Self {
        let place = Place::new();
        create_dir_all(place.join("web")).unwrap();
        create_dir_all(place.state().join("locks")).unwrap();
        let manifest = place.write("p.toml", &MANIFEST.replace("PLACE", place.path().to_str().unwrap()));
        let lock =
            Flock::lock(File::create(place.state().join("locks/p.data")).unwrap(), FlockArg::LockExclusive).unwrap();
        let words = ["--progress", "json", "--lock-timeout", "5m", "apply", "--yes"];
        let apply = with_signals(&place.csictl())
            .args(words)
            .arg(manifest)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Self { place, lock, apply }
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.apply.id().cast_signed()), signal).unwrap();
    }
}

/// Reads events up to the first of this sort.
fn until(events: &mut impl BufRead, event: &str) {
    let mut seen = String::new();
    while events.read_line(&mut seen).unwrap() > 0 {
        if seen.lines().last().is_some_and(|line| line.contains(&format!("\"event\":\"{event}\""))) {
            return;
        }
    }
    panic!("no {event} event:\n{seen}");
}

#[test]
fn the_first_signal_lets_the_running_step_end_and_begins_no_more() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let mut waiting = Waiting::begin();
        let mut events = BufReader::new(waiting.apply.stderr.take().unwrap());
        until(&mut events, "started");
        waiting.send(signal);
        until(&mut events, "interrupted");
        waiting.lock.unlock().unwrap();
        until(&mut events, "finished");
        let mut rest = String::new();
        events.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("\"event\":\"started\""), "{rest}");
        assert_eq!(waiting.apply.wait().unwrap().code(), Some(code));
        assert!(waiting.place.mounts().is_empty(), "nothing was begun after the first step");
    }
}

#[test]
fn the_second_signal_leaves_at_once_and_the_next_apply_finishes() {
    let mut waiting = Waiting::begin();
    let mut events = BufReader::new(waiting.apply.stderr.take().unwrap());
    until(&mut events, "started");
    waiting.send(Signal::SIGINT);
    until(&mut events, "interrupted");
    let asked = Instant::now();
    waiting.send(Signal::SIGTERM);
    assert_eq!(waiting.apply.wait().unwrap().code(), Some(143));
    assert!(asked.elapsed() < Duration::from_secs(10), "it waited for the lock");
    waiting.lock.unlock().unwrap();
    waiting.place.ok(&["apply", "--yes", "p.toml"]);
    assert_eq!(waiting.place.mounts().last(), Some(&waiting.place.join("web/data")));
    waiting.place.ok(&["destroy", "--yes", "p.toml"]);
}

/// A file may be no longer than `ulimit -f` says: the write is refused, and the signal that goes with it ends nobody without a word.
#[test]
fn a_limit_on_the_length_of_files_is_an_error_and_without_it_the_next_apply_finishes() {
    let place = Place::new();
    let manifest =
        "version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n[volumes.data]\ncapacity = \"16MiB\"\n";
    place.write("m.toml", manifest);
    let csictl = place.csictl();
    let mut limited = Command::new("prlimit");
    limited.args(["--fsize=102400", "--"]).arg(csictl.get_program()).args(["apply", "m.toml", "--yes"]);
    limited.env_clear().envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.current_dir(place.path()).stdin(Stdio::null()).output().unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(1 | 5)), "{}: {said}", output.status);
    assert!(said.contains("File too large"), "{said}");
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}
