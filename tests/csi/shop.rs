//! Volumes of a project for the snapshot tests: made by `apply`, in pools on file systems of their own, seen over gRPC like any other.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use csictl::csi::proto::{CreateSnapshotRequest, ListSnapshotsRequest, Snapshot};
use tonic::{Code, Status};

use crate::support::Place;
use crate::support::serving::Serving;

/// A file system of the place's own, on a loop device, mounted below it.
pub fn mount_pool(place: &Place, name: &str, mkfs: &[&str], mib: u64) -> PathBuf {
    let (image, at) = (place.join(format!("{name}.disk")), place.join(name));
    std::fs::create_dir_all(&at).unwrap();
    std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
    run(Command::new(mkfs[0]).args(&mkfs[1..]).arg(&image));
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at));
    at
}

/// A program that has to succeed.
pub fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A file system that the test itself keeps frozen: whatever writes to it waits until this goes.
pub struct Frozen(PathBuf);

impl Frozen {
    pub fn at(path: &Path) -> Self {
        run(Command::new("fsfreeze").arg("--freeze").arg(path));
        Self(path.to_owned())
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status();
    }
}

/// Makes volumes `shop.NAME` of 32 MiB in a pool, published at `root/NAME` where `up`.
pub fn volumes(place: &Place, manifest: &str, pool: &Path, names: &[&str], up: bool) {
    let project = manifest.trim_end_matches(".toml");
    let mut text = format!("version = 1\nproject = \"{project}\"\n[pools.main]\npath = \"{}\"\n", pool.display());
    for name in names {
        text.push_str(&format!("[volumes.{name}]\ncapacity = \"32MiB\"\nimage = {{ allocate = \"sparse\" }}\n"));
    }
    if up {
        text.push_str(&format!("[pods.app]\nroot = \"{}\"\n", place.join("root").display()));
        for name in names {
            text.push_str(&format!("[[pods.app.mounts]]\nvolume = \"{name}\"\npath = \"/{name}\"\n"));
        }
    }
    place.write(manifest, &text);
    place.ok(&["apply", manifest, "--yes"]);
}

/// Asks for a snapshot.
pub fn snapshot(serving: &Serving, volume: &str, name: &str) -> Result<Snapshot, Status> {
    let request = CreateSnapshotRequest {
        source_volume_id: volume.into(),
        name: name.into(),
        ..CreateSnapshotRequest::default()
    };
    serving.call(serving.controller().create_snapshot(request)).map(|answer| answer.snapshot.unwrap())
}

/// The code of a call that has to fail, whose message says something.
pub fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    let status = result.expect_err("it has to fail");
    assert!(!status.message().is_empty());
    status.code()
}

/// The ids of what a list request answers, and the token for more.
pub fn list(serving: &Serving, request: ListSnapshotsRequest) -> (Vec<String>, String) {
    let answer = serving.ok(serving.controller().list_snapshots(request));
    let ids = answer.entries.into_iter().map(|entry| entry.snapshot.unwrap().snapshot_id).collect();
    (ids, answer.next_token)
}
