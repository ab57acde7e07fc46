//! Lets calls fail by what they are made on, which strace does well: the reads of one device, of csictl and of the programs it starts.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The command under strace, writing what it does to a log.
fn strace(command: &Command, options: &[&str], log: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o"]).arg(log).args(options);
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

/// Runs the command, in which every call of these names that is made on one path fails with this error instead of being made.
pub fn fail_on(command: &Command, calls: &str, errno: &str, path: &Path, log: &Path) -> Output {
    let inject = format!("inject={calls}:error={errno}");
    strace(command, &["-P", path.to_str().unwrap(), "-e", &format!("trace={calls}"), "-e", &inject], log)
        .output()
        .unwrap()
}
