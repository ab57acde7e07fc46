//! Finds the system calls at which a command can be killed or fail, and lets it. strace injects SIGKILL *before* the call is made;
//! its `when=` counts a thread's calls of one name, so a point is a name and a number.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

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

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} number {}", self.call, self.number)
    }
}

impl Point {
    fn killed(&self) -> String {
        format!("inject={}:signal=SIGKILL:when={}", self.call, self.number)
    }
}

/// The command under strace, writing what it does to a log.
pub fn strace(command: &Command, options: &[&str], log: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(log).args(["-e", &format!("trace={EFFECTS}")]).args(options);
    strace.arg(command.get_program()).args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        strace.current_dir(folder);
    }
    strace.env_clear().stdin(Stdio::null());
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
    let status = strace(command, &["-e", &point.killed()], Path::new("/dev/null")).output().unwrap().status;
    !status.success()
}

/// Runs the command, in which each thread's call at the point fails with this error instead of being made.
pub fn fail_at(command: &Command, point: &Point, errno: &str) -> Output {
    let inject = format!("inject={}:error={errno}:when={}", point.call, point.number);
    strace(command, &["-e", &inject], Path::new("/dev/null")).output().unwrap()
}

/// The same for every call of one name that is made on one path, of the command and the programs it starts.
pub fn fail_on(command: &Command, calls: &str, errno: &str, path: &Path, log: &Path) -> Output {
    let inject = format!("inject={calls}:error={errno}");
    strace(command, &["-P", path.to_str().unwrap(), "-e", &format!("trace={calls}"), "-e", &inject], log)
        .output()
        .unwrap()
}

/// strace on a process that runs already; dropping it lets the process go on alone.
pub struct Watch(Child);

impl Watch {
    /// Watches from now on (`None` if strace does not get hold of every thread), with numbers counted from here, and kills at the point if there is one.
    pub fn on(pid: u32, log: &Path, point: Option<&Point>) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args(["-q", "-f", "-o"]).arg(log).args(["-e", &format!("trace={EFFECTS}")]);
        if let Some(point) = point {
            command.args(["-e", &point.killed()]);
        }
        command.args(["-p", &pid.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
        // A thread that is born while strace goes through the list is missed for good: then it begins anew.
        for _ in 0..3 {
            let watch = Self(command.spawn().unwrap());
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(1) {
                // The server has work of its own, in which it may come to the point before anybody calls.
                if traced(pid) || ended(pid) {
                    return Some(watch);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        None
    }

    /// Lets go and answers the points that were passed.
    pub fn points(mut self, log: &Path) -> Vec<Point> {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
        points_in(log)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Of a process that was killed strace waits for the end, which the process's parent has to see first.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a process has come to its end, seen by its parent or not.
fn ended(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z"))
}

/// Whether every thread of a process is traced.
fn traced(pid: u32) -> bool {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let free = |text: String| text.lines().any(|line| line == "TracerPid:\t0");
    tasks.flatten().all(|task| !fs::read_to_string(task.path().join("status")).is_ok_and(free))
}
