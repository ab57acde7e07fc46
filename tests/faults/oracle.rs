//! What has to hold after any fault, in one place: the next apply finishes, the one after it has nothing to do, exactly one mount
//! a target, loops for attached images and no others, no temporary file, no file system left frozen, the data as it was, the file systems
//! and the snapshots of them clean, and after destroy nothing of ours is mounted or attached.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{StatVfsMountFlags, statvfs};

use super::checker;
use super::figures::Verdict;
use crate::support::Place;

/// Files and devices below the pods with the text they have to hold, a device at its beginning.
pub type Canaries = BTreeMap<PathBuf, String>;

/// Brings the place to its manifest's end state and down again, and judges all of the above.
pub fn judge(place: &Place, manifest: &str, canaries: &Canaries) -> Verdict {
    judge_by(place, manifest, canaries, &["apply", manifest, "--yes"], |_| {})
}

/// The same with an apply that is told more, and something that is done and looked at once it is through.
pub fn judge_by(
    place: &Place,
    manifest: &str,
    canaries: &Canaries,
    apply: &[&str],
    more: impl FnOnce(&mut Verdict),
) -> Verdict {
    let mut verdict = Verdict::default();
    let (code, said) = place.exit(apply);
    verdict.expect(code == 0, || format!("the next apply fails:\n{said}"));
    nothing_frozen(place, manifest, &mut verdict);
    more(&mut verdict);
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
    clean_filesystems(place, manifest, &mut verdict);
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
        let found = held(&place.join(path), text.len()).unwrap_or_default();
        if found != text.as_bytes() {
            let same = found.iter().zip(text.as_bytes()).filter(|(found, asked)| found == asked).count();
            verdict.lost_bytes += text.len() - same;
            verdict.wrong.push(format!("{} changed", path.display()));
        }
    }
}

/// What a file holds, or a device in its first bytes.
fn held(path: &Path, length: usize) -> std::io::Result<Vec<u8>> {
    if !is_device(path) {
        return fs::read(path);
    }
    let mut found = vec![0; length];
    fs::File::open(path)?.read_exact(&mut found)?;
    Ok(found)
}

fn is_device(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|facts| facts.file_type().is_block_device())
}

/// How long a write may take before it counts as held up by a freeze.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file can be written to each mounted file system. Nobody can end a process that waits for a frozen one: that is thawed after it was found.
fn nothing_frozen(place: &Place, manifest: &str, verdict: &mut Verdict) {
    for target in targets(place, manifest).into_iter().filter(|target| target.is_dir()) {
        if statvfs(&target).unwrap().f_flag.contains(StatVfsMountFlags::RDONLY) {
            continue;
        }
        let file = target.join("written-after");
        let mut writer = Command::new("touch").arg(&file).spawn().unwrap();
        let begun = Instant::now();
        let ended = loop {
            match writer.try_wait().unwrap() {
                None if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
                ended => break ended,
            }
        };
        if ended.is_none() {
            let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&target).output().unwrap();
            writer.wait().unwrap();
        }
        let written = ended.is_some_and(|ended| ended.success());
        verdict.expect(written, || format!("{} takes no file: {ended:?}", target.display()));
        let _ = fs::remove_file(file);
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

fn read(place: &Place, manifest: &str) -> toml::Table {
    fs::read_to_string(place.join(manifest)).unwrap().parse().unwrap()
}

/// Where the manifest wants its volumes, by its own text.
fn targets(place: &Place, manifest: &str) -> Vec<PathBuf> {
    let manifest = read(place, manifest);
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

/// The images that the manifest asks for, each with its file system unless it is raw.
fn images(place: &Place, manifest: &str) -> BTreeMap<PathBuf, Option<String>> {
    let manifest = read(place, manifest);
    let text = |value: &toml::Value, key: &str| value.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    let (project, pools) = (manifest["project"].as_str().unwrap(), manifest.get("pools"));
    let volumes = manifest["volumes"].as_table().unwrap().iter();
    volumes
        .filter(|(_, volume)| volume.get("capacity").is_some() && volume.get("device").is_none())
        .map(|(name, volume)| {
            let pools = pools.and_then(toml::Value::as_table).unwrap();
            let pool = text(volume, "pool").map_or_else(|| pools.values().next().unwrap(), |pool| &pools[&pool]);
            let fs = volume.get("fs").and_then(|fs| text(fs, "type")).unwrap_or_else(|| "ext4".to_owned());
            let raw = text(volume, "volume_mode").as_deref() == Some("block");
            let image = place.join(text(pool, "path").unwrap()).join(format!("{project}.{name}.img"));
            (image, (!raw).then_some(fs))
        })
        .collect()
}

/// Each image is there with the file system that it is to have, and no checker finds a single fault in it or in a snapshot.
fn clean_filesystems(place: &Place, manifest: &str, verdict: &mut Verdict) {
    let mut asked = images(place, manifest);
    for entry in fs::read_dir(place.join("pool")).into_iter().flatten() {
        let image = entry.unwrap().path();
        let frozen = image.extension().is_some_and(|extension| extension == "snap");
        match asked.remove(&image) {
            // Any bytes are a raw volume's.
            Some(None) => continue,
            Some(asked) => {
                let found = checker::kind(&image);
                verdict.expect(found == asked, || format!("{} is {found:?}", image.display()));
                verdict.wrong.extend(checker::short(&image));
            }
            None => {}
        }
        verdict.wrong.extend(checker::fault(place, &image, frozen));
    }
    verdict.expect(asked.is_empty(), || format!("images are missing: {asked:?}"));
}

/// Writes a canary into every mounted pod path, to the beginning of a raw one, and answers what has to be there from now on.
pub fn write_canaries(place: &Place, paths: &[&str]) -> Canaries {
    paths
        .iter()
        .map(|path| {
            let raw = is_device(&place.join(path));
            let file = if raw { PathBuf::from(path) } else { Path::new(path).join("canary") };
            let text = format!("the canary of {path}, not to be lost\n").repeat(64);
            let mut opened =
                fs::OpenOptions::new().write(true).create(!raw).truncate(!raw).open(place.join(&file)).unwrap();
            opened.write_all(text.as_bytes()).unwrap();
            if raw {
                opened.sync_all().unwrap();
            }
            (file, text)
        })
        .collect()
}
