//! What somebody else did to a volume that is up, or to csictl's own names: it is seen, it is said what to do, and every command gets out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use csictl::model::record::{Recorded, VolumeRecord};
use csictl::state::record::{decode, encode};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::Place;
use crate::support::place::unwrapped;
use crate::support::serving::Serving;

/// One volume of this file system and size, in one pod.
fn manifest(fs: &str, size: &str) -> String {
    format!(
        "version = 1\nproject = \"d\"\n[pools.main]\npath = \"pool\"\n[volumes.a]\ncapacity = \"{size}\"\nfs = {{ type = \"{fs}\" }}\n\
         image = {{ allocate = \"sparse\" }}\n[pods.p]\nroot = \"root\"\n[[pods.p.mounts]]\nvolume = \"a\"\npath = \"/a\"\n"
    )
}

fn up(fs: &str, size: &str) -> Place {
    let place = Place::new();
    place.write("d.toml", &manifest(fs, size));
    place.ok(&["apply", "d.toml", "--yes"]);
    place
}

fn sh(place: &Place, line: &str) {
    let output = Command::new("sh").args(["-ec", line]).current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Somebody who writes to the pod's file system and, where that is frozen, waits and cannot be killed.
struct Writer(Child);

impl Writer {
    fn of(place: &Place) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "echo x >root/a/written"]).current_dir(place.path()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn ends_within(&mut self, time: Duration) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < time {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            sleep(Duration::from_millis(10));
        }
        false
    }

    fn waits(&mut self) -> bool {
        !self.ends_within(Duration::from_millis(300))
    }

    fn goes_on(&mut self) -> bool {
        self.ends_within(Duration::from_secs(10))
    }
}

/// Whoever fails in between must not leave a file system frozen: nobody could end those who wait for it.
struct Thaws(PathBuf);

impl Drop for Thaws {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).stderr(Stdio::null()).status();
    }
}

fn freeze(place: &Place) -> Thaws {
    sh(place, "fsfreeze -f run/staging/d.a");
    Thaws(place.join("run/staging/d.a"))
}

#[test]
fn a_volume_frozen_by_another_is_seen_and_every_command_gets_out() {
    for (fs, size) in [("ext4", "16MiB"), ("xfs", "300MiB")] {
        let place = up(fs, size);
        let frozen = freeze(&place);
        let mut writer = Writer::of(&place);
        assert!(writer.waits(), "{fs}");

        let (code, plan) = place.exit(&["plan", "d.toml", "--detailed-exitcode"]);
        assert!(code == 2 && plan.contains("frozen: every write to it waits"), "{fs}: {code} {plan}");
        let status = place.ok(&["status", "d.toml"]);
        assert!(status.contains("frozen"), "{fs}: {status}");
        let left = place.ok(&["gc", "--dry-run"]);
        assert!(left.contains("frozen file system of volume d.a"), "{fs}: {left}");

        let applied = place.ok(&["apply", "d.toml", "--yes"]);
        assert!(applied.contains("thawed"), "{fs}: {applied}");
        assert!(writer.goes_on(), "{fs}");
        assert_eq!(place.exit(&["plan", "d.toml", "--detailed-exitcode"]).0, 0, "{fs}");

        drop(frozen);
        let _frozen = freeze(&place);
        let mut writer = Writer::of(&place);
        assert!(writer.waits(), "{fs}");
        place.ok(&["gc", "--yes"]);
        assert!(writer.goes_on(), "{fs}");
        place.ok(&["destroy", "d.toml", "--yes"]);
    }
}

#[test]
fn a_frozen_volume_comes_down_though_somebody_waits_for_a_write_to_it() {
    for (fs, size) in [("ext4", "16MiB"), ("xfs", "300MiB"), ("btrfs", "128MiB")] {
        let place = up(fs, size);
        let _frozen = freeze(&place);
        let mut writer = Writer::of(&place);
        assert!(writer.waits(), "{fs}");
        writer.0.kill().unwrap();

        let said = place.ok(&["destroy", "d.toml", "--yes"]);

        assert!(said.contains("thawed"), "{fs}: {said}");
        assert!(writer.goes_on(), "{fs}");
        assert_eq!(place.mounts(), Vec::<PathBuf>::new(), "{fs}");
    }
}

/// Takes a snapshot and kills csictl and the child that holds the freeze, so that neither can thaw it.
fn killed_while_frozen(place: &Place, name: &str) -> Thaws {
    let mut command = place.csictl();
    command.args(["snapshot", "create", "d.a", name, "--yes"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut snapshot = command.spawn().unwrap();
    let pid = snapshot.id();
    let signal = |pid: u32, signal: &str| {
        let _ = Command::new("kill").args([signal, &pid.to_string()]).stderr(Stdio::null()).status();
    };
    let children = || -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        lists.flat_map(|list| list.split(' ').filter_map(|pid| pid.trim().parse().ok()).collect::<Vec<_>>()).collect()
    };
    let begun = Instant::now();
    // The child says that it holds the freeze before anything is copied.
    let copying = || {
        let names = fs::read_dir(place.join("pool")).unwrap().map(|entry| entry.unwrap().file_name());
        names.into_iter().any(|file| file.to_string_lossy().ends_with(&format!("{name}.snap.part")))
    };
    while !copying() || children().is_empty() {
        assert!(snapshot.try_wait().unwrap().is_none(), "it ended before it could be killed");
        assert!(begun.elapsed() < Duration::from_secs(30));
        sleep(Duration::from_millis(1));
    }
    signal(pid, "-STOP");
    children().into_iter().for_each(|child| signal(child, "-KILL"));
    signal(pid, "-KILL");
    snapshot.wait().unwrap();
    Thaws(place.join("run/staging/d.a"))
}

#[test]
fn what_a_snapshot_killed_with_its_keeper_left_frozen_is_thawed_by_apply_gc_and_serve() {
    let place = up("ext4", "256MiB");
    sh(&place, "head -c 128M /dev/urandom >root/a/data; sync -f root/a");
    for (number, by) in ["apply", "gc", "serve"].into_iter().enumerate() {
        let _frozen = killed_while_frozen(&place, &format!("s{number}"));
        let mut writer = Writer::of(&place);
        assert!(writer.waits(), "{by}: it was not left frozen");
        let serving = match by {
            "apply" => {
                place.ok(&["apply", "d.toml", "--yes"]);
                None
            }
            "gc" => {
                place.ok(&["gc", "--yes"]);
                None
            }
            _ => Some(Serving::start(&place, &[])),
        };
        assert!(writer.goes_on(), "{by}");
        assert!(!place.run().join("frozen/d.a").exists(), "{by}");
        drop(serving);
    }
    place.ok(&["gc", "--yes"]);
    place.ok(&["destroy", "d.toml", "--yes"]);
}

#[test]
fn what_is_no_file_at_a_name_of_csictls_own_is_named_and_hangs_nobody() {
    let place = up("ext4", "16MiB");
    place.ok(&["destroy", "d.toml", "--yes"]);
    let pipe = |path: &Path| mkfifo(path, Mode::S_IRWXU).unwrap();
    let directory = |path: &Path| fs::create_dir_all(path.join("kept")).unwrap();
    for (name, is_pipe) in [
        ("pool/.d.a.img.grow", true),
        ("pool/.d.a.img.grow", false),
        ("state/locks/d.a", false),
        ("pool/d.a.img", true),
    ] {
        let path = place.join(name);
        let kept = place.join("kept-away");
        if path.exists() {
            fs::rename(&path, &kept).unwrap();
        }
        if is_pipe {
            pipe(&path);
        } else {
            directory(&path);
        }
        let output = Command::new("timeout")
            .args(["-s", "KILL", "60", env!("CARGO_BIN_EXE_csictl"), "apply", "d.toml", "--yes"])
            .current_dir(place.path())
            .env("CSICTL_STATE_DIR", place.state())
            .env("CSICTL_RUN_DIR", place.run())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!matches!(output.status.code(), None | Some(0 | 137)), "{name}: {:?} {said}", output.status);
        assert!(said.contains(path.to_str().unwrap()), "{name}: {said}");
        let (code, left) = place.exit(&["gc", "--yes"]);
        if name != "pool/d.a.img" {
            assert!(said.contains("remove it"), "{name}: {said}");
            assert!(code == 0 && left.contains(path.to_str().unwrap()), "{name}: {code} {left}");
        }
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        if kept.exists() {
            fs::rename(&kept, &path).unwrap();
        }
        place.ok(&["apply", "d.toml", "--yes"]);
        place.ok(&["destroy", "d.toml", "--yes"]);
    }
    // A new image, and a new record, are made at their temporary names.
    for (volume, name) in [("b", "pool/.d.b.img.part"), ("c", "state/volumes/.d.c.json.tmp")] {
        let text = manifest("ext4", "16MiB").replace("volumes.a", &format!("volumes.{volume}"));
        place.write("d.toml", &text.replace("\"a\"", &format!("\"{volume}\"")));
        let path = place.join(name);
        directory(&path);
        let (code, said) = place.exit(&["apply", "d.toml", "--yes"]);
        assert!(code == 5 && said.contains(path.to_str().unwrap()) && said.contains("remove it"), "{code} {said}");
        let (code, left) = place.exit(&["gc", "--yes"]);
        assert!(code == 0 && left.contains(path.to_str().unwrap()), "{code} {left}");
        fs::remove_dir_all(&path).unwrap();
        place.ok(&["apply", "d.toml", "--yes"]);
        place.ok(&["destroy", "d.toml", "--yes"]);
    }
}

#[test]
fn a_publish_under_a_later_mount_is_drift_and_says_what_hides_it() {
    let place = up("ext4", "16MiB");
    let root = place.join("root");
    sh(&place, "mount -t tmpfs over root");

    let (code, plan) = place.exit(&["plan", "d.toml", "--detailed-exitcode"]);
    let status = place.ok(&["status", "d.toml"]);
    let (applied, said) = place.exit(&["apply", "d.toml", "--yes"]);
    let (destroyed, why) = place.exit(&["destroy", "d.toml", "--yes"]);

    sh(&place, "umount root");
    let umount = format!("umount {}", root.display());
    assert!(code != 0 && plan.contains("hidden") && plan.contains(&umount), "{code} {plan}");
    assert!(status.contains("hidden"), "{status}");
    assert!(applied == 5 && said.contains(&umount), "{applied} {said}");
    assert!(destroyed == 5 && why.contains(&umount), "{destroyed} {why}");
    assert_eq!(place.exit(&["plan", "d.toml", "--detailed-exitcode"]).0, 0);
    place.ok(&["destroy", "d.toml", "--yes"]);
}

#[test]
fn an_image_grown_by_hand_meets_a_smaller_growth_without_a_pause_and_for_good() {
    let place = up("ext4", "32MiB");
    place.ok(&["destroy", "d.toml", "--yes"]);
    sh(&place, "truncate -s 64M pool/d.a.img");
    place.ok(&["apply", "d.toml", "--yes"]);
    let _user = fs::File::open(place.join("root/a")).unwrap();
    place.write("d.toml", &manifest("ext4", "48MiB"));

    let applied = place.ok(&["apply", "d.toml", "--yes"]);

    assert!(!applied.contains("unpublish"), "{applied}");
    let (code, plan) = place.exit(&["plan", "d.toml", "--detailed-exitcode"]);
    assert!(code == 0 && plan.contains("grown elsewhere"), "{code} {plan}");
    drop(_user);
    place.write("d.toml", &manifest("ext4", "40MiB"));
    assert_eq!(place.exit(&["plan", "d.toml"]).0, 5, "what was asked for is not taken back");
    place.write("d.toml", &manifest("ext4", "48MiB"));
    place.ok(&["destroy", "d.toml", "--yes"]);
}

#[test]
fn an_image_that_was_moved_while_it_is_up_is_lost_to_nobody_and_comes_down() {
    let place = up("ext4", "16MiB");
    fs::write(place.join("root/a/precious"), "kept").unwrap();
    fs::rename(place.join("pool/d.a.img"), place.join("elsewhere.img")).unwrap();

    let said = place.ok(&["destroy", "d.toml", "--yes"]);

    assert!(!said.contains("last of its bytes"), "{said}");
    assert_eq!(place.mounts(), Vec::<PathBuf>::new());
    fs::rename(place.join("elsewhere.img"), place.join("pool/d.a.img")).unwrap();
    place.ok(&["apply", "d.toml", "--yes"]);
    assert_eq!(fs::read_to_string(place.join("root/a/precious")).unwrap(), "kept");
    place.ok(&["destroy", "d.toml", "--yes"]);
}

#[test]
fn a_read_only_run_directory_lets_everything_come_down_with_a_note() {
    let place = Place::new();
    place.write("d.toml", &manifest("ext4", "16MiB"));
    sh(&place, "mkdir -m 700 run; mount -t tmpfs run run -o mode=0700");
    place.ok(&["apply", "d.toml", "--yes"]);
    sh(&place, "mount -o remount,ro run");

    let (code, said) = place.exit(&["destroy", "d.toml", "--yes"]);

    sh(&place, "mount -o remount,rw run");
    assert!(code == 0 && said.contains("is left"), "{code} {said}");
    assert_eq!(place.mounts(), [place.run()]);
    assert_eq!(place.loops().len(), 0);
    place.ok(&["apply", "d.toml", "--yes"]);
    place.ok(&["destroy", "d.toml", "--yes"]);
    sh(&place, "umount run");
}

#[test]
fn a_stage_that_was_moved_away_is_named() {
    let place = up("ext4", "16MiB");
    sh(&place, "mkdir moved; umount root/a; mount --move run/staging/d.a moved");

    let (code, said) = place.exit(&["destroy", "d.toml", "--yes"]);

    sh(&place, "umount moved");
    assert!(code != 0 && said.contains(place.join("moved").to_str().unwrap()), "{code} {said}");
    place.ok(&["destroy", "d.toml", "--yes"]);
    assert_eq!(place.loops().len(), 0);
}

#[test]
fn a_record_of_another_volume_tells_the_way_out() {
    let place = Place::new();
    let text = manifest("ext4", "16MiB");
    place.write(
        "d.toml",
        &format!("{text}[volumes.b]\ncapacity = \"16MiB\"\n[[pods.p.mounts]]\nvolume = \"b\"\npath = \"/b\"\n"),
    );
    place.ok(&["apply", "d.toml", "--yes"]);
    fs::write(place.join("root/a/precious"), "kept").unwrap();
    place.ok(&["destroy", "d.toml", "--yes"]);
    let path = place.state().join("volumes/d.a.json");
    let read = |id: &str| match decode::<VolumeRecord>(
        &fs::read(place.state().join(format!("volumes/{id}.json"))).unwrap(),
        id,
    ) {
        Recorded::Present(record) => record,
        other => panic!("{other:?}"),
    };
    let mut record = read("d.a");
    record.fs_uuid = read("d.b").fs_uuid;
    fs::write(&path, encode(&record)).unwrap();

    let (code, said) = place.exit(&["apply", "d.toml", "--yes"]);

    // Long lines are folded.
    let words = unwrapped(&said);
    assert!(code == 5 && words.contains("move the record away"), "{code} {said}");
    fs::rename(&path, place.join("away.json")).unwrap();
    place.ok(&["apply", "d.toml", "--yes"]);
    assert_eq!(fs::read_to_string(place.join("root/a/precious")).unwrap(), "kept");
    place.ok(&["destroy", "d.toml", "--yes"]);
}

#[test]
fn a_dead_loop_device_of_somebody_else_is_no_line_of_every_command() {
    let place = up("ext4", "16MiB");
    sh(
        &place,
        "truncate -s 320M disk.raw; mkfs.xfs -q disk.raw; mkdir disk; mount -o loop disk.raw disk; truncate -s 1M disk/file",
    );
    sh(&place, "losetup --find --show disk/file >node; xfs_io -x -c shutdown disk");

    let (_, plan) = place.exit(&["plan", "d.toml"]);
    let (_, gc) = place.exit(&["gc", "--dry-run"]);
    let (_, told) = place.exit(&["gc", "--dry-run", "-v"]);

    sh(&place, "losetup -d $(cat node); umount disk");
    assert!(!plan.contains("passed over") && !gc.contains("passed over"), "{plan} {gc}");
    assert_eq!(told.matches("passed over").count(), 1, "{told}");
    place.ok(&["destroy", "d.toml", "--yes"]);
}
