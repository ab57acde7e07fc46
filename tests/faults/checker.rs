//! The checker of a file system's own makers, chosen by what is in an image: a name says nothing of what a copy or a killed command left under it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use csictl::host::Observe;
use csictl::host::linux::LinuxObserve;
use csictl::model::FsType;

use super::disks::{let_go, run};
use crate::support::Place;
use crate::support::place::said;

/// The file system in an image, as blkid tells it, if there is one.
pub fn kind(image: &Path) -> Option<String> {
    let output = Command::new("blkid").args(["-p", "-o", "value", "-s", "TYPE"]).arg(image).output().unwrap();
    let kind = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    (!kind.is_empty()).then_some(kind)
}

/// What the file system in an image leaves unused at its end, beyond what alignment takes: a growth that was not brought to its end.
pub fn short(image: &Path) -> Option<String> {
    const SLACK: u64 = 4 << 20;
    let fs = match kind(image)?.as_str() {
        "ext4" => FsType::Ext4,
        "xfs" => FsType::Xfs,
        "btrfs" => FsType::Btrfs,
        _ => return None,
    };
    let has = LinuxObserve::new().filesystem_size(image, fs).unwrap().get();
    let image_has = fs::metadata(image).unwrap().len();
    (has + SLACK < image_has).then(|| format!("{} has {image_has} bytes, its {fs} {has}", image.display()))
}

/// What its checker finds wrong with an image. A freeze leaves a log of xfs with something to replay: of what was copied while frozen and never
/// mounted since that is done first, on a copy.
pub fn fault(place: &Place, image: &Path, frozen: bool) -> Option<String> {
    let kind = kind(image);
    let check: &[&str] = match kind.as_deref() {
        Some("ext4") => &["e2fsck", "-fn"],
        Some("xfs") => &["xfs_repair", "-n", "-f"],
        Some("btrfs") => &["btrfs", "check", "--readonly"],
        other => return Some(format!("{}: {other:?} is no file system that csictl makes", image.display())),
    };
    let replayed = match (frozen && check[0] == "xfs_repair").then(|| replayed(place, image)).transpose() {
        Ok(replayed) => replayed,
        Err(said) => return Some(format!("{} is not clean, its log cannot be replayed:\n{said}", image.display())),
    };
    let output = Command::new(check[0]).args(&check[1..]).arg(replayed.as_deref().unwrap_or(image)).output().unwrap();
    if let Some(copy) = replayed {
        fs::remove_file(copy).unwrap();
    }
    (!output.status.success()).then(|| format!("{} is not clean:\n{}", image.display(), said(&output)))
}

/// A copy whose log the kernel has replayed, or why it does not.
fn replayed(place: &Place, image: &Path) -> Result<PathBuf, String> {
    let (copy, at) = (place.join("replayed"), place.join("replaying"));
    run(&["cp", "--sparse=always", image.to_str().unwrap()], &copy);
    fs::create_dir_all(&at).unwrap();
    let mounted = Command::new("mount").args(["-o", "loop,nouuid"]).args([&copy, &at]).output().unwrap();
    if mounted.status.success() {
        let_go(&at);
    }
    fs::remove_dir(&at).unwrap();
    if mounted.status.success() { Ok(copy) } else { Err(said(&mounted)) }
}
