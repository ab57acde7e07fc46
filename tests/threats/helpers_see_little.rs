//! Threat: a program that csictl starts gets more of the caller than it needs: an open descriptor (CVE-2024-21626), a variable, another
//! program of the same name from a hostile PATH. Every helper is watched at once: strace shows what it was started with.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::Place;

/// A volume of every file system, a snapshot and a clone of each: every helper has something to do.
fn manifest(clones: bool) -> String {
    let mut text = String::from("version = 1\nproject = \"p\"\n[pools.main]\npath = \"pool\"\n");
    for (fs, size) in [("ext4", "16MiB"), ("xfs", "300MiB"), ("btrfs", "128MiB")] {
        text += &format!(
            "[volumes.{fs}]\ncapacity = \"{size}\"\nimage = {{ allocate = \"sparse\" }}\nfs = {{ type = \"{fs}\" }}\n\
             [pods.{fs}]\nroot = \"pods/{fs}\"\n[[pods.{fs}.mounts]]\nvolume = \"{fs}\"\npath = \"/data\"\n"
        );
        if clones {
            text += &format!(
                "[volumes.{fs}-clone]\ncapacity = \"400MiB\"\nimage = {{ allocate = \"sparse\" }}\nfs = {{ type = \"{fs}\" }}\n\
                 source = {{ volume = \"{fs}\" }}\n[[pods.{fs}.mounts]]\nvolume = \"{fs}-clone\"\npath = \"/clone\"\n"
            );
        }
    }
    text
}

/// Programs of the helpers' names that leave a word that they were run.
fn evil_programs(place: &Place) -> PathBuf {
    let folder = place.join("evil");
    let names = [
        "mke2fs",
        "mkfs.ext4",
        "mkfs.xfs",
        "mkfs.btrfs",
        "e2fsck",
        "resize2fs",
        "tune2fs",
        "xfs_growfs",
        "xfs_db",
        "xfs_io",
        "xfs_repair",
        "btrfs",
        "btrfstune",
        "mount",
        "umount",
        "losetup",
        "blkid",
        "fsck",
        "sh",
        "findmnt",
        "cp",
        "sync",
    ];
    for name in names {
        let script = place
            .write(&format!("evil/{name}"), &format!("#!/bin/dash\necho {name} >>{}\n", place.join("ran").display()));
        fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    }
    folder
}

/// The command under strace, with descriptors, variables and a PATH that nobody should inherit.
fn watched(place: &Place, log: &Path, words: &[&str]) -> String {
    let evil = evil_programs(place);
    let csictl = place.csictl();
    let mut shell = Command::new("/bin/bash");
    shell.arg("-c").arg("exec 7</dev/zero 8</etc/shadow 9<\"$0\"; exec strace \"$@\"").arg(place.path());
    shell
        .args(["-f", "-y", "-s", "4096", "-v", "-e", "trace=execve", "-o"])
        .arg(log)
        .arg(csictl.get_program())
        .args(words);
    shell
        .current_dir(place.path())
        .env_clear()
        .envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    // strace and bash themselves are found by their own paths.
    shell.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", evil.display()));
    shell
        .env("SECRET_TOKEN", "canary-in-the-environment")
        .env("LD_PRELOAD_FAKE", "x")
        .env("MKE2FS_CONFIG", "/etc/evil.conf");
    shell.env("IFS", "/").env("TMPDIR", place.join("evil"));
    let output = shell.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    fs::read_to_string(log).unwrap()
}

/// Every program that was started but csictl itself: its path and the whole line.
fn started(log: &str) -> Vec<(String, String)> {
    let lines = log.lines().filter(|line| line.contains("execve(\"") && !line.contains("/csictl\""));
    lines.map(|line| (line.split('"').nth(1).unwrap().to_owned(), line.to_owned())).collect()
}

#[test]
fn only_absolute_paths_and_two_variables_whatever_the_caller_has() {
    let place = Place::new();
    let mut seen = BTreeSet::new();
    for (number, clones) in [false, true].into_iter().enumerate() {
        place.write("m.toml", &manifest(clones));
        let log = watched(&place, &place.join(format!("log{number}")), &["apply", "m.toml", "--yes"]);
        for (program, line) in started(&log) {
            let folder = Path::new(&program).parent().unwrap().to_str().unwrap().to_owned();
            assert!(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].contains(&folder.as_str()), "{line}");
            // With -v strace lists the environment: exactly these two.
            let environment = line.split("], [").nth(1).unwrap().split(']').next().unwrap();
            let names: Vec<_> = environment.split(", ").map(|entry| entry.split('=').next().unwrap()).collect();
            assert_eq!(names, ["\"LC_ALL", "\"PATH"], "{line}");
            assert!(environment.contains("\"PATH=/usr/sbin:"), "{line}");
            seen.insert(Path::new(&program).file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    place.ok(&["destroy", "m.toml", "--yes"]);

    assert!(!place.join("ran").exists(), "{:?}", fs::read_to_string(place.join("ran")));
    for tool in ["mke2fs", "mkfs.xfs", "mkfs.btrfs", "xfs_db", "btrfstune"] {
        assert!(seen.contains(tool), "{tool} was not started: {seen:?}");
    }
}

/// A helper stopped at its first call, to be looked at from outside: stdin is the volume's lock, and nothing else is open but its output.
#[test]
fn a_helper_has_its_stdio_and_the_lock_and_nothing_else() {
    let place = Place::new();
    place.write("m.toml", &manifest(false));
    let csictl = place.csictl();
    let mut shell = Command::new("/bin/bash");
    shell.arg("-c").arg("exec 7</dev/zero 8</etc/shadow 9<\"$0\"; exec strace \"$@\"").arg(place.path());
    // Every helper is stopped right after its execve, once for each.
    shell.args(["-f", "-o", "/dev/null", "-e", "trace=execve", "-e", "inject=execve:delay_exit=400000:when=1"]);
    shell.arg(csictl.get_program()).args(["apply", "m.toml", "--yes", "--parallelism", "1"]);
    shell
        .current_dir(place.path())
        .env_clear()
        .envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();

    let mut helpers = BTreeSet::new();
    let mut descriptors = BTreeSet::new();
    let patience = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < patience, "csictl did not end");
        for (name, open) in running_helpers(&place) {
            helpers.insert(name);
            descriptors.extend(open);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    place.ok(&["destroy", "m.toml", "--yes"]);

    assert!(!helpers.is_empty(), "no helper was seen");
    let locks = place.state().join("locks");
    for (number, to) in &descriptors {
        let fits = match number {
            0 => Path::new(to).starts_with(&locks) || to == "/dev/null",
            1 | 2 => to.starts_with("pipe:"),
            // What it opened itself: nothing of the caller's, and nothing that csictl has open.
            _ => {
                let strange = ["/dev/zero", "/etc/shadow", "/dev/loop-control"].contains(&to.as_str())
                    || Path::new(to) == place.path()
                    || [place.state(), place.run()].iter().any(|folder| Path::new(to).starts_with(folder));
                !strange
            }
        };
        assert!(fits, "descriptor {number} is open on {to}: {descriptors:?}");
    }
    assert!(
        descriptors.iter().any(|(number, to)| *number == 0 && Path::new(to).starts_with(&locks)),
        "{descriptors:?}"
    );
}

/// Names and descriptors of mkfs programs whose stdin is a lock of this place.
fn running_helpers(place: &Place) -> Vec<(String, Vec<(u32, String)>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let process = entry.path();
        let Ok(stdin) = fs::read_link(process.join("fd/0")) else { continue };
        let Ok(name) = fs::read_link(process.join("exe")) else { continue };
        let name = name.file_name().unwrap().to_string_lossy().into_owned();
        if !stdin.starts_with(place.state()) || !name.starts_with("mk") {
            continue;
        }
        let entries = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let open = entries.filter_map(|fd| {
            let number = fd.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(fd.path()).ok()?.to_string_lossy().into_owned()))
        });
        found.push((name, open.collect()));
    }
    found
}
