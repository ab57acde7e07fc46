//! A pool is root's, but somebody else owns a directory that leads there: he can put another directory in its place at any moment. The
//! programs that root runs on an image work on the file that csictl opened, whatever its path leads to by then.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::data_loss::shell;
use crate::support::Place;
use crate::support::place::checksum;
use crate::support::place::said;

/// Runs csictl, each program of its own held back for a while before it starts. Once `part` lies in the pool, the pool becomes another
/// directory, in which that name leads to `victim`; puts the pool back at the end. What csictl said.
fn exchanged_while_at_work(place: &Place, words: &[&str], part: &str) -> String {
    let csictl = place.csictl();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-o", "/dev/null", "-e", "trace=execve", "-e", "inject=execve:delay_enter=600000"]);
    strace.arg(csictl.get_program()).args(words).current_dir(place.path()).env_clear();
    strace.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (pool, aside) = (place.join("home/pool"), place.join("home/aside"));
    let patience = Instant::now() + Duration::from_secs(60);
    while !pool.join(part).exists() {
        assert!(Instant::now() < patience, "csictl did not make {part}");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(200));
    fs::rename(&pool, &aside).unwrap();
    fs::create_dir(&pool).unwrap();
    symlink(place.join("victim"), pool.join(part)).unwrap();
    symlink("../aside/p.data.img", pool.join("p.data.img")).unwrap();
    let output = child.wait_with_output().unwrap();
    fs::remove_dir_all(&pool).unwrap();
    fs::rename(&aside, &pool).unwrap();
    said(&output)
}

fn manifest(fs: &str, capacity: &str) -> String {
    format!(
        "version = 1\nproject = \"p\"\n[pools.main]\npath = \"home/pool\"\n[volumes.data]\ncapacity = \"{capacity}\"\n\
         image = {{ allocate = \"sparse\" }}\nfs = {{ type = \"{fs}\" }}\n"
    )
}

#[test]
fn a_mkfs_that_somebody_aims_elsewhere_meets_its_own_image() {
    for fs in ["ext4", "xfs", "btrfs"] {
        let place = Place::new();
        shell(
            &place,
            "mkdir -p home/pool; chmod 755 home/pool; chown 65534 home; truncate -s 320M victim; mkfs.ext4 -q victim",
        );
        let victim = place.join("victim");
        let before = checksum(&victim);
        place.write("m.toml", &manifest(fs, "320MiB"));

        let said = exchanged_while_at_work(&place, &["apply", "m.toml", "--yes"], ".p.data.img.part");

        assert_eq!(checksum(&victim), before, "{fs}: {said}");
        shell(&place, "! getfattr -n trusted.csictl victim 2>/dev/null");
        place.ok(&["apply", "m.toml", "--yes"]);
        place.ok(&["destroy", "m.toml", "--yes"]);
        assert_eq!(checksum(&victim), before, "{fs}");
    }
}

#[test]
fn a_resize2fs_that_somebody_aims_elsewhere_meets_its_own_copy() {
    let place = Place::new();
    shell(
        &place,
        "mkdir -p home/pool; chmod 755 home/pool; chown 65534 home; truncate -s 48M victim; mkfs.ext4 -q victim 16M",
    );
    let victim = place.join("victim");
    place.write("m.toml", &manifest("ext4", "16MiB"));
    place.ok(&["apply", "m.toml", "--yes"]);
    let before = checksum(&victim);

    let said = exchanged_while_at_work(&place, &["expand", "p.data", "48MiB", "--yes"], ".p.data.img.part");

    assert_eq!(checksum(&victim), before, "{said}");
    place.write("m.toml", &manifest("ext4", "48MiB"));
    place.ok(&["apply", "m.toml", "--yes"]);
    place.ok(&["destroy", "m.toml", "--yes"]);
}
