//! What has to hold after any fault, in one place: the next apply finishes, the one after it has nothing to do, exactly one mount
//! a target, loops for attached images and no others, no temporary file, the data as it was, the file systems clean, and after
//! destroy nothing of ours is mounted or attached.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::figures::Verdict;
use crate::support::Place;

/// Files below the pods with the text they have to hold.
pub type Canaries = BTreeMap<PathBuf, String>;

/// Brings the place to its manifest's end state and down again, and judges all of the above.
pub fn judge(place: &Place, manifest: &str, canaries: &Canaries) -> Verdict {
    let mut verdict = Verdict::default();
    let (code, said) = place.exit(&["apply", manifest, "--yes"]);
    verdict.expect(code == 0, || format!("the next apply fails:\n{said}"));
    let (code, said) = place.exit(&["plan", manifest, "--detailed-exitcode"]);
    verdict.expect(code == 0, || format!("a third apply would still do something:\n{said}"));
    one_mount_a_target(place, manifest, &mut verdict);
    no_temporary_file(place, &mut verdict);
    intact(place, canaries, &mut verdict);
    let loops = place.loops();
    let mut backing: Vec<_> = loops.iter().map(|(_, file)| file.clone()).collect();
    backing.sort();
    backing.dedup();
    verdict.expect(backing.len() == loops.len(), || format!("two loops on one image: {loops:?}"));
    let (code, said) = place.exit(&["destroy", manifest, "--yes"]);
    verdict.expect(code == 0, || format!("destroy fails:\n{said}"));
    nothing_left_up(place, &mut verdict);
    clean_filesystems(place, &mut verdict);
    verdict
}

/// The same for a single fault, where a row of figures says no more than a test does.
#[track_caller]
pub fn converges(place: &Place, manifest: &str, canaries: &Canaries, context: &str) {
    let verdict = judge(place, manifest, canaries);
    assert!(verdict.wrong.is_empty(), "{context}: {}", verdict.wrong.join("\n"));
}

/// The canaries' text is what was written.
pub fn intact(place: &Place, canaries: &Canaries, verdict: &mut Verdict) {
    for (path, text) in canaries {
        let found = fs::read(place.join(path)).unwrap_or_default();
        if found != text.as_bytes() {
            let same = found.iter().zip(text.as_bytes()).filter(|(found, asked)| found == asked).count();
            verdict.lost_bytes += text.len() - same;
            verdict.wrong.push(format!("{} changed", path.display()));
        }
    }
}

/// No mount and no loop of the place is left.
pub fn nothing_left_up(place: &Place, verdict: &mut Verdict) {
    let (mounts, loops) = (place.mounts(), place.loops());
    verdict.leaked_mounts += mounts.len();
    verdict.leaked_loops += loops.len();
    verdict.expect(mounts.is_empty(), || format!("mounts leaked: {mounts:?}"));
    verdict.expect(loops.is_empty(), || format!("loops leaked: {loops:?}"));
}

fn one_mount_a_target(place: &Place, manifest: &str, verdict: &mut Verdict) {
    let mounts = place.mounts();
    let mut once = mounts.clone();
    once.dedup();
    verdict.expect(once == mounts, || format!("mounts are stacked: {mounts:?}"));
    for target in targets(place, manifest) {
        verdict.expect(mounts.contains(&target), || format!("nothing is mounted at {}: {mounts:?}", target.display()));
    }
}

/// Where the manifest wants its volumes, by its own text.
fn targets(place: &Place, manifest: &str) -> Vec<PathBuf> {
    let manifest: toml::Table = fs::read_to_string(place.join(manifest)).unwrap().parse().unwrap();
    let pods = manifest.get("pods").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::values);
    let text = |value: &toml::Value, key: &str| value.get(key).and_then(toml::Value::as_str).unwrap().to_owned();
    pods.flat_map(|pod| {
        let wanted = ["mounts", "devices"].into_iter().filter_map(|kind| pod.get(kind)?.as_array());
        let paths = wanted.flatten().map(|wanted| text(wanted, "path"));
        paths.map(|path| place.join(text(pod, "root")).join(path.trim_start_matches('/'))).collect::<Vec<_>>()
    })
    .collect()
}

/// Neither the pool nor the records hold a file that is only half of one.
pub fn no_temporary_file(place: &Place, verdict: &mut Verdict) {
    for folder in [place.join("pool"), place.state().join("volumes"), place.state().join("snapshots")] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let left: Vec<_> = names.filter(|name| name.starts_with('.') || name.ends_with(".part")).collect();
        verdict.expect(left.is_empty(), || format!("temporary files in {}: {left:?}", folder.display()));
    }
}

/// Runs the checker of each image's own file system, which may not find a single fault.
fn clean_filesystems(place: &Place, verdict: &mut Verdict) {
    for entry in fs::read_dir(place.join("pool")).into_iter().flatten() {
        let image = entry.unwrap().path();
        let name = image.file_name().unwrap().to_str().unwrap().to_owned();
        let check: &[&str] = match name.split(['.', '-']).nth(1).unwrap_or("") {
            "ext4" => &["e2fsck", "-fn"],
            "xfs" => &["xfs_repair", "-n", "-f"],
            "btrfs" => &["btrfs", "check", "--readonly"],
            _ => continue,
        };
        let output = Command::new(check[0]).args(&check[1..]).arg(&image).output().unwrap();
        verdict.expect(output.status.success(), || {
            format!("{name} is not clean:\n{}", String::from_utf8_lossy(&output.stdout))
        });
    }
}

/// Writes a canary into every mounted pod path and answers what has to be there from now on.
pub fn write_canaries(place: &Place, paths: &[&str]) -> Canaries {
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
