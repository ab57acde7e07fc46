//! N sparse 1 GiB ext4 volumes with one pod mount each, brought up and taken down by each contender in the same folder.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

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
        std::fs::create_dir_all(&folder).unwrap();
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

    /// The C program, built when first needed.
    pub fn floor(&self, act: &str) -> Measured {
        let program = self.root.join("floor");
        if !program.exists() {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/floor.c");
            let built = Command::new("cc").args(["-O2", "-pthread", "-o"]).arg(&program).arg(source).status().unwrap();
            assert!(built.success(), "cc could not build floor.c");
        }
        measure(&program, &[act, self.folder.to_str().unwrap(), &self.count.to_string()])
    }

    /// The shell script.
    pub fn shell(root: &Path, act: &str, count: usize) -> Measured {
        let folder = root.join(count.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/shell.sh");
        measure(&script, &[act, folder.to_str().unwrap(), &count.to_string()])
    }

    /// Forgets everything; what is still mounted makes this fail.
    pub fn reset(&self) {
        std::fs::remove_dir_all(&self.folder).unwrap();
        std::fs::create_dir_all(&self.folder).unwrap();
    }
}
