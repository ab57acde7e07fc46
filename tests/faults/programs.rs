//! Programs that make file systems, as they are on their worst day: slow, killed at a call of their own, lying. A script is bound over the
//! program in the test's mount namespace; it runs the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};

use crate::support::Place;
use crate::support::place::detach;

/// A script in a program's place; dropping it gives the program back.
pub struct Instead {
    program: PathBuf,
    log: PathBuf,
}

impl Instead {
    /// `body` runs with `$REAL` as the real program and `$LOG` as a file of its own; `"$@"` are the arguments.
    pub fn of(place: &Place, name: &str, body: &str) -> Self {
        let places = ["/usr/sbin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
        let program = places.iter().find_map(|path| fs::canonicalize(path).ok()).unwrap();
        let real = place.join(format!("real-{name}"));
        fs::copy(&program, &real).unwrap();
        let log = place.join(format!("{name}.log"));
        // Asked for its version it is as it was.
        let text = format!(
            "#!/bin/sh\nREAL={} LOG={}\n[ \"$1\" = -V ] && exec \"$REAL\" -V\n{body}\n",
            real.display(),
            log.display()
        );
        let script = place.write(&format!("instead-{name}"), &text);
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        mount(Some(&script), &program, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        Self { program, log }
    }

    /// One that takes this long after it has said `begin`, and says `end`.
    pub fn slow(place: &Place, name: &str, seconds: f32) -> Self {
        Self::of(
            place,
            name,
            &format!("echo begin >>$LOG; sleep {seconds}; \"$REAL\" \"$@\"; code=$?; echo end >>$LOG; exit $code"),
        )
    }

    /// What its runs have said.
    pub fn said(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Waits until its runs have said this many lines.
    pub fn until(&self, lines: usize) {
        let begun = Instant::now();
        while self.said().len() < lines {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{} was not run: {:?}",
                self.program.display(),
                self.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Instead {
    fn drop(&mut self) {
        let _ = umount(&self.program);
    }
}

/// A file of zeros on a loop device of its own, for what a disk does elsewhere.
pub struct Disk {
    pub file: PathBuf,
    pub node: PathBuf,
}

impl Disk {
    pub fn new(place: &Place, name: &str, mib: u64) -> Self {
        let file = place.join(name);
        fs::File::create(&file).unwrap().set_len(mib << 20).unwrap();
        Self::over(file)
    }

    /// A device over a file that is there.
    pub fn over(file: PathBuf) -> Self {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let node = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Self { file, node }
    }
}

/// A stable name for a disk, as a manifest asks for: below a `/dev/mapper` that only this test's mount namespace sees.
pub struct Named(PathBuf);

impl Named {
    pub fn of(disk: &Disk) -> Self {
        let folder = Path::new("/dev/mapper");
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let path = folder.join("disk");
        std::os::unix::fs::symlink(&disk.node, &path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = umount("/dev/mapper");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        detach(&self.node, self.file.parent().unwrap());
    }
}
