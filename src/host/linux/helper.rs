//! Running the programs that make, check and grow file systems.
//!
//! A helper is found once, in the system's directories only, and run by its absolute path with an environment of two
//! variables, no shell, a working directory of `/`, a process group of its own (the terminal's Ctrl-C is not its own), and no
//! descriptor but its output, the image it works on and, as stdin, the lock of the volume: should csictl die, the helper goes
//! on and the volume stays locked until it ends. No exit status is believed here where the effect can be read: callers verify.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::output::{End, until_end};
use super::sys;
use crate::host::{ErrorKind, HostError, Result, ToolFacts};

/// Where helpers are looked for, and nowhere else.
pub const DIRECTORIES: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/run/current-system/sw/bin"];
const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin:/run/current-system/sw/bin";

/// How long a program may take to say its version.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Every helper: name, what it is needed for, Debian package.
const TOOLS: [(&str, &str, &str); 11] = [
    ("mke2fs", "making ext4", "e2fsprogs"),
    ("e2fsck", "checking ext4", "e2fsprogs"),
    ("resize2fs", "growing ext4", "e2fsprogs"),
    ("e2image", "growing ext4 that is not mounted", "e2fsprogs"),
    ("tune2fs", "new UUIDs of old ext4", "e2fsprogs"),
    ("mkfs.xfs", "making xfs", "xfsprogs"),
    ("xfs_growfs", "growing xfs", "xfsprogs"),
    ("xfs_db", "new UUIDs of xfs", "xfsprogs"),
    ("mkfs.btrfs", "making btrfs", "btrfs-progs"),
    ("btrfs", "growing btrfs", "btrfs-progs"),
    ("btrfstune", "new UUIDs of btrfs", "btrfs-progs"),
];

/// What a helper did.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said on stdout and stderr, in order; only the end where it was much.
    pub output: String,
    /// Name and arguments, for messages.
    pub command: String,
}

impl Ran {
    /// The failure this is, for a caller that wanted another exit status.
    pub fn failure(&self, act: &'static str, object: &Path) -> HostError {
        let said = || self.output.lines().rev().map(str::trim).filter(|line| !line.is_empty());
        // What a program says of itself may come behind its error: its stdout waits for a full buffer or the end.
        let last = said().find(|line| line.to_ascii_lowercase().starts_with("error")).or_else(|| said().next());
        let cause = format!("'{}' failed ({}): {}", self.command, self.status, last.unwrap_or("it said nothing"));
        HostError::new(ErrorKind::ToolFailed, act, object, cause).with_output(&self.output)
    }
}

/// One run of a helper, with everything it needs.
pub struct Helper<'a> {
    /// The program's name, one of those `doctor` lists.
    pub tool: &'static str,
    /// What is being done, for errors.
    pub act: &'static str,
    /// What it is done to, for errors; where the helper finds it too, unless there is a `file`.
    pub object: &'a Path,
    /// The file of csictl's own it is let loose on. It gets this descriptor and no path: whoever can exchange the directories that lead
    /// there would otherwise aim it at any file of root's.
    pub file: Option<BorrowedFd<'a>>,
    /// The lock it keeps until it ends.
    pub lock: Option<BorrowedFd<'a>>,
    /// After this long it is ended. Only for one whose work is worth nothing until it is whole (a mkfs); one at work on a file system
    /// with data is left to end by itself, however long that takes.
    pub limit: Option<Duration>,
}

impl Helper<'_> {
    /// What to name in its arguments.
    pub fn place(&self) -> PathBuf {
        match self.file {
            Some(file) => PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
            None => self.object.to_owned(),
        }
    }

    /// Runs it to its end, whatever that is.
    ///
    /// # Errors
    /// It is not installed, could not be started, or was ended because its time was up.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Ran> {
        self.run_with(arguments, &[])
    }

    /// The same with variables of csictl's own choice besides the two.
    ///
    /// # Errors
    /// It is not installed or could not be started.
    pub fn run_with<S: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = S>,
        variables: &[(&str, &str)],
    ) -> Result<Ran> {
        let arguments: Vec<OsString> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        let path = find(self.tool).ok_or_else(|| self.missing())?;
        let failed = |error: std::io::Error| HostError::io(self.act, self.object, &error);
        let stdin = match self.lock {
            Some(lock) => Stdio::from(lock.try_clone_to_owned().map_err(failed)?),
            None => Stdio::null(),
        };
        let (mut said, out) = std::io::pipe().map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        let mut command = Command::new(&path);
        command.args(&arguments).env_clear().env("LC_ALL", "C").env("PATH", PATH).current_dir("/").process_group(0);
        command.envs(variables.iter().copied()).stdin(stdin).stdout(out).stderr(err);
        if let Some(file) = self.file {
            sys::hand_down(&mut command, file);
        }
        let mut child = command.spawn().map_err(failed)?;
        // The command keeps the pipe's writing ends, and reading would never end.
        drop(command);
        let (end, output) = until_end(&mut child, &mut said, self.limit).map_err(failed)?;
        let (place, object) = (self.place(), self.object.to_string_lossy());
        let named = |text: &str| text.replace(&*place.to_string_lossy(), &object);
        let words = arguments.iter().map(|argument| argument.to_string_lossy());
        let command = named(&std::iter::once(self.tool.into()).chain(words).collect::<Vec<_>>().join(" "));
        let output = named(&output);
        let status = match end {
            End::Itself(status) => status,
            End::Killed => return Err(self.timed_out(&command, "was ended", &output)),
            End::Hangs => return Err(self.timed_out(&command, "hangs in the kernel and can't be ended", &output)),
        };
        tracing::info!(%command, %status, "helper ended");
        Ok(Ran { status, output, command })
    }

    /// Runs it and wants exit status 0.
    ///
    /// # Errors
    /// It is not installed, could not be started, or ended otherwise.
    pub fn succeed<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Ran> {
        let ran = self.run(arguments)?;
        if ran.status.success() { Ok(ran) } else { Err(ran.failure(self.act, self.object)) }
    }

    fn timed_out(&self, command: &str, what: &str, output: &str) -> HostError {
        let limit = self.limit.unwrap_or_default();
        let cause = format!("'{command}' {what} after {limit:?} (--step-timeout)");
        HostError::new(ErrorKind::TimedOut, self.act, self.object, cause).with_output(output)
    }

    fn missing(&self) -> HostError {
        let package = TOOLS.iter().find(|(name, _, _)| *name == self.tool).map_or("", |(_, _, package)| package);
        let cause = format!("'{}' is in none of {}: install {package}", self.tool, DIRECTORIES.join(", "));
        HostError::new(ErrorKind::MissingTool, self.act, self.object, cause)
    }
}

/// Where a helper is; looked for once in the life of a process.
pub fn find(tool: &'static str) -> Option<PathBuf> {
    static FOUND: OnceLock<Mutex<HashMap<&'static str, Option<PathBuf>>>> = OnceLock::new();
    let mut found = FOUND.get_or_init(Mutex::default).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    found.entry(tool).or_insert_with(|| look(tool)).clone()
}

fn look(tool: &str) -> Option<PathBuf> {
    DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(tool))
        .find(|path| path.metadata().is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0))
}

/// Every helper and where it is, for `doctor`.
pub fn tools() -> Vec<ToolFacts> {
    TOOLS
        .iter()
        .map(|&(name, needed_for, package)| {
            let version = if name == "mke2fs" { e2fsprogs().map(|(a, b)| format!("{a}.{b}")) } else { None };
            ToolFacts { name, path: find(name), version, needed_for, package }
        })
        .collect()
}

/// The version of e2fsprogs, `(1, 47)`, asked for once; `None` where it does not say.
pub fn e2fsprogs() -> Option<(u32, u32)> {
    static VERSION: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let object = Path::new("mke2fs");
        let limit = Some(VERSION_LIMIT);
        let helper = Helper { tool: "mke2fs", act: "ask for the version of", object, file: None, lock: None, limit };
        version(&helper.run(["-V"]).ok()?.output)
    })
}

/// `mke2fs 1.47.0 (5-Feb-2023)` → (1, 47).
fn version(text: &str) -> Option<(u32, u32)> {
    let word = text.split_whitespace().nth(1)?;
    let mut numbers = word.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("mke2fs 1.47.0 (5-Feb-2023)\n\tUsing"), Some((1, 47)));
        assert_eq!(version("mke2fs 1.46-WIP"), Some((1, 46)));
        assert_eq!(version(""), None);
    }

    #[test]
    fn a_helper_sees_its_stdio_the_lock_and_a_clean_environment_only() {
        let lock = tempfile::tempfile().unwrap();
        let open = std::fs::File::open("/dev/zero").unwrap();
        let helper = Helper {
            tool: "sh",
            act: "test",
            object: Path::new("/"),
            file: None,
            lock: Some(lock.as_fd()),
            limit: None,
        };

        let ran = helper.succeed(["-c", "readlink /proc/self/fd/0; ls -l /proc/$$/fd; env; pwd"]).unwrap();

        drop(open);
        let lines: Vec<&str> = ran.output.lines().collect();
        assert!(lines[0].ends_with("(deleted)"), "its stdin is the lock: {lines:?}");
        assert!(!ran.output.contains("/dev/zero"), "{lines:?}");
        assert!(lines.contains(&"LC_ALL=C") && !lines.iter().any(|line| line.starts_with("HOME=")), "{lines:?}");
        assert_eq!(lines.last(), Some(&"/"));
    }

    #[test]
    fn a_helper_reaches_its_file_whatever_lies_at_the_path_and_speaks_of_it_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("image"), folder.path().join("other"));
        std::fs::write(&other, "theirs").unwrap();
        let file = std::fs::File::create_new(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        let helper =
            Helper { tool: "sh", act: "test", object: &path, file: Some(file.as_fd()), lock: None, limit: None };
        let script = format!("echo ours >{0}; echo {0}", helper.place().display());

        let ran = helper.succeed(["-c", &script]).unwrap();

        assert_eq!(std::fs::read_to_string(&other).unwrap(), "theirs");
        assert_eq!(file.metadata().unwrap().len(), 5);
        assert_eq!(ran.output.trim(), path.to_str().unwrap());
    }

    #[test]
    fn a_helper_keeps_the_lock_until_it_ends() {
        use rustix::fs::{FlockOperation, flock};
        let path = tempfile::NamedTempFile::new().unwrap();
        let lock = std::fs::File::open(path.path()).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let start = std::time::Instant::now();

        let helper = std::thread::spawn(move || {
            let helper = Helper {
                tool: "sh",
                act: "test",
                object: Path::new("/"),
                file: None,
                lock: Some(lock.as_fd()),
                limit: None,
            };
            // The shell ends and its child goes on, as a helper does whose parent was killed.
            let ran = helper.run(["-c", "exec 3<&0; sleep 0.3 >/dev/null 2>&1 &"]).unwrap();
            drop(lock);
            ran.status.success()
        });

        assert!(helper.join().unwrap());
        let other = std::fs::File::open(path.path()).unwrap();
        assert!(flock(&other, FlockOperation::NonBlockingLockExclusive).is_err(), "{:?}", start.elapsed());
        flock(&other, FlockOperation::LockExclusive).unwrap();
        assert!(start.elapsed() >= std::time::Duration::from_millis(300));
    }

    #[test]
    fn a_failure_has_the_command_its_last_line_and_all_it_said() {
        let helper =
            Helper { tool: "sh", act: "format", object: Path::new("/dev/x"), file: None, lock: None, limit: None };

        let error = helper.succeed(["-c", "echo one; echo two >&2; exit 3"]).unwrap_err();

        let text = error.to_string();
        assert!(text.starts_with("format /dev/x: 'sh -c ") && text.ends_with("failed (exit status: 3): two"), "{text}");
        assert_eq!(error.tool_output.as_deref(), Some("one\ntwo\n"));
    }
}
