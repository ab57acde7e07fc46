//! What has to hold after any fault, in one place: the next apply finishes, the one after it has nothing to do, exactly one mount
//! a target, loops for attached images and no others, no temporary file, the data as it was, the file systems clean, and after
//! destroy nothing of ours is mounted or attached.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Place;

/// Brings the place to its manifest's end state, and checks all of the above. `canaries` are files below the pods with the text
/// they have to hold; with none the data is only written, to be there for a later fault.
pub fn converges(place: &Place, manifest: &str, canaries: &BTreeMap<PathBuf, String>, context: &str) {
    let (code, said) = place.exit(&["apply", manifest, "--yes"]);
    assert_eq!(code, 0, "{context}: the next apply fails:\n{said}");
    let (code, said) = place.exit(&["plan", manifest, "--detailed-exitcode"]);
    assert_eq!(code, 0, "{context}: a third apply would still do something:\n{said}");
    one_mount_a_target(place, context);
    no_temporary_file(place, context);
    for (path, text) in canaries {
        let found =
            fs::read_to_string(place.join(path)).unwrap_or_else(|e| panic!("{context}: {}: {e}", path.display()));
        assert_eq!(&found, text, "{context}: {} changed", path.display());
    }
    let loops = place.loops();
    let mut backing: Vec<_> = loops.iter().map(|(_, file)| file.clone()).collect();
    backing.dedup();
    assert_eq!(backing.len(), loops.len(), "{context}: two loops on one image: {loops:?}");
    let (code, said) = place.exit(&["destroy", manifest, "--yes"]);
    assert_eq!(code, 0, "{context}: destroy fails:\n{said}");
    assert_eq!(place.mounts(), Vec::<PathBuf>::new(), "{context}: mounts leaked");
    assert_eq!(place.loops(), vec![], "{context}: loops leaked");
    clean_filesystems(place, context);
}

fn one_mount_a_target(place: &Place, context: &str) {
    let mounts = place.mounts();
    let mut once = mounts.clone();
    once.dedup();
    assert_eq!(once, mounts, "{context}: mounts are stacked");
}

fn no_temporary_file(place: &Place, context: &str) {
    for folder in [place.join("pool"), place.state().join("volumes"), place.state().join("snapshots")] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let left: Vec<_> = names.iter().filter(|name| name.starts_with('.')).collect();
        assert!(left.is_empty(), "{context}: temporary files in {}: {left:?}", folder.display());
    }
}

/// Runs the checker of each image's own file system, which may not find a single fault.
fn clean_filesystems(place: &Place, context: &str) {
    for entry in fs::read_dir(place.join("pool")).unwrap() {
        let image = entry.unwrap().path();
        let name = image.file_name().unwrap().to_str().unwrap().to_owned();
        let check: &[&str] = match name.split(['.', '-']).nth(1).unwrap_or("") {
            "ext4" => &["e2fsck", "-fn"],
            "xfs" => &["xfs_repair", "-n", "-f"],
            "btrfs" => &["btrfs", "check", "--readonly"],
            _ => continue,
        };
        let output = Command::new(check[0]).args(&check[1..]).arg(&image).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{context}: {name} is not clean:\n{said}");
    }
}

/// Writes a canary into every mounted pod path and answers what has to be there from now on.
pub fn write_canaries(place: &Place, paths: &[&str]) -> BTreeMap<PathBuf, String> {
    paths
        .iter()
        .map(|path| {
            let file = Path::new(path).join("canary");
            let text = format!("the canary of {path}, not to be lost\n").repeat(64);
            fs::write(place.join(&file), &text).unwrap();
            (file, text)
        })
        .collect()
}
