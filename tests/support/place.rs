//! A temporary folder in a mount namespace of the test's own thread. Threads and commands started by the test inherit the
//! namespace; nothing mounted there is seen by the machine. Dropping a place unmounts, detaches the loops whose backing file
//! is in the folder, and fails the test if something of ours was still there that should not be.
//!
//! The namespace belongs to the *thread*: read `/proc/thread-self/mountinfo`, never `/proc/self/mountinfo`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// A folder and a mount namespace of one test's own.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// A new place. Fails loudly without root: a test that needs the machine does not skip.
    pub fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNS)
            .expect("this test attaches loop devices and mounts: run the tests as root (make test uses sudo)");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(parent).unwrap();
        Self { folder: TempDir::with_prefix_in("place-", parent).unwrap() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the folder.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path().join(path)
    }

    /// The state directory that [`Place::csictl`] uses.
    pub fn state(&self) -> PathBuf {
        self.join("state")
    }

    /// The run directory that [`Place::csictl`] uses.
    pub fn run(&self) -> PathBuf {
        self.join("run")
    }

    /// Writes a file and answers its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// The built csictl, to be run in the folder with state and run directories in it.
    pub fn csictl(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_csictl"));
        command.current_dir(self.path()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("CSICTL_STATE_DIR", self.state()).env("CSICTL_RUN_DIR", self.run());
        command.stdin(std::process::Stdio::null());
        command
    }

    /// Runs csictl with these words and expects exit code 0.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.csictl().args(words).output().unwrap();
        assert!(output.status.success(), "csictl {words:?}: {}\n{}", output.status, said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs csictl with these words and answers its exit code and all it said.
    pub fn exit(&self, words: &[&str]) -> (i32, String) {
        let output = self.csictl().args(words).output().unwrap();
        (output.status.code().unwrap_or(-1), said(&output))
    }

    /// Runs csictl with these words, whatever it answers: but it may not be killed by a signal, panic or hang.
    pub fn survives(&self, words: &[&str]) -> (i32, String) {
        const PATIENCE: &str = "60";
        let csictl = self.csictl();
        let mut bounded = Command::new("timeout");
        bounded.args(["--signal=KILL", PATIENCE]).arg(csictl.get_program()).args(words).current_dir(self.path());
        bounded.env_clear().envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = bounded.stdin(std::process::Stdio::null()).output().unwrap();
        let code = output.status.code().unwrap_or(-1);
        assert!(code >= 0 && code != 101 && code < 128, "{words:?}: {}: {}", output.status, said(&output));
        (code, said(&output))
    }

    /// Mounts of this namespace at or below the folder, and those of its loops wherever they are: the targets, sorted.
    pub fn mounts(&self) -> Vec<PathBuf> {
        let text = fs::read("/proc/thread-self/mountinfo").unwrap();
        let text = String::from_utf8_lossy(&text);
        let mut targets: Vec<PathBuf> = text
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .map(|target| PathBuf::from(target.replace("\\040", " ").replace("\\012", "\n")))
            .filter(|target| target.starts_with(self.path()))
            .collect();
        targets.sort();
        targets
    }

    /// Loop devices whose backing file is, or was, in the folder: (device node, backing file), sorted.
    pub fn loops(&self) -> Vec<(PathBuf, PathBuf)> {
        let mut loops = vec![];
        for entry in fs::read_dir("/sys/block").unwrap() {
            let entry = entry.unwrap().path();
            let Ok(backing) = fs::read_to_string(entry.join("loop/backing_file")) else { continue };
            let backing = PathBuf::from(backing.trim_end_matches('\n').trim_end_matches(" (deleted)"));
            if backing.starts_with(self.path()) {
                loops.push((Path::new("/dev").join(entry.file_name().unwrap()), backing));
            }
        }
        loops.sort();
        loops
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

/// Detaches a loop device if the file behind it is in the folder. Its number may go to another test at any moment: as long as it is held open
/// it does not, and is looked at again.
pub fn detach(node: &Path, folder: &Path) {
    let Ok(held) = fs::File::open(node) else { return };
    let backing = Path::new("/sys/block").join(node.file_name().unwrap()).join("loop/backing_file");
    if fs::read_to_string(backing).is_ok_and(|backing| Path::new(&backing).starts_with(folder)) {
        let _ = Command::new("losetup").arg("-d").arg(node).status();
    }
    drop(held);
}

/// Whether these tests see the machine's processes, and are in no container that has its own: only then is it known that a mount namespace
/// is gone.
pub fn sees_the_machines_processes() -> bool {
    const FIRST: u64 = 0xEFFF_FFFC;
    fs::metadata("/proc/self/ns/pid").unwrap().ino() == FIRST
}

/// A file's content in one number.
pub fn checksum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().split(' ').next().unwrap().to_owned()
}

/// Everything a command said.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Drop for Place {
    fn drop(&mut self) {
        for target in self.mounts().iter().rev() {
            let _ = umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
        }
        for (node, _) in self.loops() {
            detach(&node, self.path());
        }
        // A lazily detached loop goes a moment after its last mount.
        let patience = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !self.loops().is_empty() && std::time::Instant::now() < patience {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        if !std::thread::panicking() {
            assert!(self.loops().is_empty(), "loop devices left attached: {:?}", self.loops());
        }
    }
}

/// A message without the breaks of its lines, which lie elsewhere for each length of the test's own path.
pub fn unwrapped(said: &str) -> String {
    said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}
