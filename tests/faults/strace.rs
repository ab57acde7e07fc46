//! Finds the system calls at which a command can be killed, and kills it there. strace injects SIGKILL *before* the call is made;
//! its `when=` counts a thread's calls of one name, so a point is a name and a number.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Every call with an effect, and the few after which a kill is interesting (a close drops a lock or a loop).
pub const EFFECTS: &str = "mkdir,mkdirat,ftruncate,fallocate,write,pwrite64,fsync,fdatasync,syncfs,rename,renameat2,unlinkat,\
linkat,ioctl,fsopen,fsconfig,fsmount,open_tree,mount_setattr,move_mount,mount,umount2,execve,vfork,clone3,flock,openat,openat2,\
copy_file_range,fsetxattr,fchownat,fchmod,close,exit_group";

/// A system call by name, and which one of its kind in a thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub call: String,
    pub number: usize,
}

/// The command under strace, writing what it does to a log.
pub fn strace(command: &Command, options: &[&str], log: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(log).args(["-e", &format!("trace={EFFECTS}")]).args(options);
    strace.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    strace.env_clear().stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        strace.envs(value.map(|value| (name, value)));
    }
    strace
}

/// Runs the command to its end and answers every point it passes.
pub fn points(command: &Command, log: &Path) -> Vec<Point> {
    let output = strace(command, &[], log).output().expect("strace is installed (make test installs it)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    points_in(log)
}

/// Every point that a log tells of.
pub fn points_in(log: &Path) -> Vec<Point> {
    let text = fs::read_to_string(log).unwrap();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.contains(" resumed>")) {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        *counts.entry((thread, call)).or_default() += 1;
    }
    let mut most: BTreeMap<&str, usize> = BTreeMap::new();
    for ((_, call), count) in &counts {
        let entry = most.entry(call).or_default();
        *entry = (*entry).max(*count);
    }
    let each =
        most.iter().flat_map(|(call, &most)| (1..=most).map(|number| Point { call: (*call).to_owned(), number }));
    each.collect()
}

/// Runs the command and kills whichever thread's process first comes to the point. Whether it was killed.
pub fn kill_at(command: &Command, point: &Point) -> bool {
    let inject = format!("inject={}:signal=SIGKILL:when={}", point.call, point.number);
    let status = strace(command, &["-e", &inject], Path::new("/dev/null")).output().unwrap().status;
    !status.success()
}
