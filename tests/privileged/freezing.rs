//! A frozen file system thaws whatever becomes of who froze it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use csictl::host::linux::LinuxHost;
use csictl::host::{ErrorKind, Host};
use csictl::model::Done;

use super::rig::Rig;

const CHILD: &str = "CSICTL_TEST_CHILD";

/// Writes in a thread of its own and answers when it is through; a write to a frozen file system waits and can't be killed.
fn writer(folder: &Path) -> mpsc::Receiver<()> {
    let (through, receiver) = mpsc::channel();
    let path: PathBuf = folder.join("written");
    thread::spawn(move || {
        fs::write(path, "x").unwrap();
        through.send(()).unwrap();
    });
    receiver
}

#[test]
fn writers_wait_while_the_guard_lives_and_no_longer() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let freeze = rig.host.freeze(&staged.path, Duration::from_secs(30)).unwrap();
    assert!(freeze.held());
    let error = rig.host.freeze(&staged.path, Duration::from_secs(30)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
    let waiting = writer(&staged.path);
    assert!(waiting.recv_timeout(Duration::from_millis(300)).is_err(), "a write went into a frozen file system");
    drop(freeze);
    waiting.recv_timeout(Duration::from_secs(5)).expect("thawed");
    assert_eq!(rig.host.thaw(&staged.path).unwrap(), Done::Already);
}

#[test]
fn it_thaws_when_its_time_is_over_and_the_guard_knows() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let freeze = rig.host.freeze(&staged.path, Duration::from_millis(300)).unwrap();
    writer(&staged.path).recv_timeout(Duration::from_secs(5)).expect("thawed");
    thread::sleep(Duration::from_millis(50));
    assert!(!freeze.held());
}

#[test]
fn it_thaws_when_its_process_is_killed() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let _freeze = LinuxHost::new().freeze(Path::new(&folder), Duration::from_secs(60)).unwrap();
        let mut stdout = std::io::stdout();
        writeln!(stdout, "\nfrozen").and_then(|()| stdout.flush()).unwrap();
        thread::sleep(Duration::from_secs(60));
    }
    // A machine that is busy with other things gets further tries.
    let thawed: Vec<Duration> = (0..4).map(|_| killed()).collect();
    assert!(thawed.iter().any(|after| *after < Duration::from_secs(1)), "{thawed:?}");
}

/// How long after its process was killed a frozen file system takes writes again.
fn killed() -> Duration {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "privileged::freezing::it_thaws_when_its_process_is_killed", "--nocapture"])
        .env(CHILD, &staged.path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    assert!(said.lines().map_while(Result::ok).any(|line| line == "frozen"));
    let waiting = writer(&staged.path);
    assert!(waiting.recv_timeout(Duration::from_millis(200)).is_err(), "a write went into a frozen file system");
    child.kill().unwrap();
    let begun = Instant::now();
    waiting.recv_timeout(Duration::from_secs(10)).expect("thawed");
    let after = begun.elapsed();
    child.wait().unwrap();
    after
}

#[test]
fn what_somebody_left_frozen_is_thawed() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    assert!(super::rig::run("fsfreeze", &["-f", staged.path.to_str().unwrap()]).status.success());
    assert_eq!(rig.host.thaw(&staged.path).unwrap(), Done::Changed);
    assert_eq!(rig.host.thaw(&staged.path).unwrap(), Done::Already);
    writer(&staged.path).recv_timeout(Duration::from_secs(5)).expect("thawed");
}

#[test]
fn who_held_it_knows_whether_somebody_else_thawed_it() {
    let rig = Rig::new();
    let staged = rig.staged("stage");
    assert!(rig.host.freeze(&staged.path, Duration::from_secs(30)).unwrap().end());

    let freeze = rig.host.freeze(&staged.path, Duration::from_secs(30)).unwrap();
    assert_eq!(rig.host.thaw(&staged.path).unwrap(), Done::Changed);
    assert!(!freeze.end());

    let freeze = rig.host.freeze(&staged.path, Duration::from_millis(100)).unwrap();
    thread::sleep(Duration::from_millis(300));
    assert!(!freeze.end(), "its time was over");
}
