//! N sparse 1 GiB ext4 volumes with one pod mount each, brought up and taken down by each contender in the same folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount, umount};

use crate::run::{Measured, measure};

pub const CSICTL: &str = env!("CARGO_BIN_EXE_csictl");

pub struct Workload {
    root: PathBuf,
    folder: PathBuf,
    manifest: PathBuf,
    count: usize,
}

impl Workload {
    pub fn new(root: &Path, count: usize) -> Self {
        let folder = root.join(count.to_string());
        for name in VOLATILE {
            volatile(&folder.join(name));
        }
        let mut text =
            String::from("version = 1\nproject = \"bench\"\n[pools.main]\npath = \"pool\"\n[pods.p]\nroot = \"pod\"\n");
        for n in 0..count {
            let _ = write!(
                text,
                "[volumes.v{n}]\ncapacity = \"1GiB\"\nimage = {{ allocate = \"sparse\" }}\n\
                 [[pods.p.mounts]]\nvolume = \"v{n}\"\npath = \"/v{n}\"\n"
            );
        }
        let manifest = root.join(format!("{count}.toml"));
        std::fs::write(
            &manifest,
            text.replace("\"pool\"", &format!("\"{count}/pool\"")).replace("\"pod\"", &format!("\"{count}/pod\"")),
        )
        .unwrap();
        Self { root: root.to_owned(), folder, manifest, count }
    }

    pub fn csictl(&self, command: &[&str]) -> Measured {
        let (state, run) = (self.folder.join("state"), self.folder.join("run"));
        let mut arguments = command.to_vec();
        let directories = ["--state-dir", state.to_str().unwrap(), "--run-dir", run.to_str().unwrap()];
        arguments.push(self.manifest.to_str().unwrap());
        arguments.extend(directories);
        measure(Path::new(CSICTL), &arguments)
    }

    /// The C program that makes the calls and nothing else.
    pub fn floor(&self, act: &str) -> Measured {
        measure(&self.c_program("floor"), &[act, self.folder.to_str().unwrap(), &self.count.to_string()])
    }

    /// The C program that takes down what csictl put up, with locks, records and looks.
    pub fn careful_down(&self) -> Measured {
        measure(&self.c_program("careful"), &[self.folder.to_str().unwrap(), &self.count.to_string()])
    }

    /// Built when first needed.
    fn c_program(&self, name: &str) -> PathBuf {
        let program = self.root.join(name);
        if !program.exists() {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("benches/{name}.c"));
            let built = Command::new("cc").args(["-O2", "-pthread", "-o"]).arg(&program).arg(source).status().unwrap();
            assert!(built.success(), "cc could not build {name}.c");
        }
        program
    }

    /// The shell script.
    pub fn shell(&self, act: &str) -> Measured {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/shell.sh");
        measure(&script, &[act, self.folder.to_str().unwrap(), &self.count.to_string()])
    }

    /// Forgets everything; what is still mounted makes this fail.
    pub fn reset(&self) {
        for name in VOLATILE {
            umount(&self.folder.join(name)).unwrap();
        }
        std::fs::remove_dir_all(&self.folder).unwrap();
        for name in VOLATILE {
            volatile(&self.folder.join(name));
        }
        // ext4 gives no inode away within 5 seconds of its deletion, and searches the longer the more there are.
        std::thread::sleep(INODES_REST);
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        for name in VOLATILE {
            // After a failure something may still be mounted on it; the namespace takes all along when this process ends.
            let _ = umount(&self.folder.join(name));
        }
    }
}

/// What the contenders keep below /run on a real machine: csictl its run directory, the others their staging paths.
const VOLATILE: [&str; 2] = ["run", "stage"];

const INODES_REST: Duration = Duration::from_secs(6);

/// A tmpfs, as /run is.
fn volatile(path: &Path) {
    if path.exists() {
        return;
    }
    std::fs::create_dir_all(path).unwrap();
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=700")).unwrap();
}
