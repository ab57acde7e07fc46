//! Commands on a real machine, and the exit codes that only one can give.

use std::process::Command;

use super::run::{SMALL, ran};
use crate::support::Place;

fn up() -> Place {
    let place = Place::new();
    place.write("shop.toml", SMALL);
    place.ok(&["apply", "shop.toml", "--yes"]);
    place
}

#[test]
fn snapshots_are_taken_restored_and_deleted_by_name() {
    let place = up();
    std::fs::write(place.join("root/srv/db/before"), "kept").unwrap();
    place.ok(&["snapshot", "create", "db", "nightly", "--yes"]);
    assert!(place.ok(&["snapshot", "list"]).contains("shop.nightly"));
    assert!(place.ok(&["snapshot", "create", "db", "nightly", "--yes"]).starts_with("no changes"));
    let (code, said) = place.exit(&["snapshot", "restore", "nightly", "db-old", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("no manifest declares it: add volumes.db-old"), "{said}");
    assert_eq!(place.ok(&["get", "volumes", "-o", "name"]), "shop.db\nshop.db-old\n");
    let (code, said) = place.exit(&["snapshot", "delete", "nightly", "--yes"]);
    assert_eq!(code, 5, "{said}");
    place.ok(&["snapshot", "delete", "nightly", "--yes", "--approve", "snapshot.nightly=delete"]);
    assert!(!place.ok(&["snapshot", "list"]).contains("nightly"));
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn a_volume_grows_by_name_and_never_shrinks() {
    let place = up();
    place.ok(&["expand", "db", "64MiB", "--yes"]);
    let status: serde_json::Value = serde_json::from_str(&place.ok(&["status", "-o", "json"])).unwrap();
    assert_eq!(status["volumes"][0]["capacity_bytes"], 64 << 20);
    assert_eq!(status["volumes"][0]["phase"], "published");
    let (code, said) = place.exit(&["expand", "db", "32MiB", "--yes"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("csictl::guard::out-of-range"), "{said}");
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn names_are_resolved_with_suggestions() {
    let place = up();
    let (code, said) = place.exit(&["expand", "bd", "64MiB", "--yes"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("did you mean 'db'?"), "{said}");
    place.ok(&["get", "volumes", "shop.db"]);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn what_is_in_use_is_refused_and_its_user_named() {
    let place = up();
    let held = std::fs::File::create(place.join("root/srv/db/open")).unwrap();
    let (code, said) = place.exit(&["destroy", "shop.toml", "--yes"]);
    assert_eq!(code, 5, "{said}");
    let pid = std::process::id().to_string();
    for part in ["failed (1)", "skipped (2)", "csictl::guard::busy", &pid, "csictl destroy shop.toml"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(place.ok(&["who", "db"]).contains(&pid));
    drop(held);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn a_released_volume_is_deleted_by_name() {
    let place = up();
    place.write("shop.toml", "version = 1\nproject = \"shop\"\n");
    place.ok(&["apply", "shop.toml", "--yes"]);
    assert!(place.ok(&["status"]).contains("released"));
    let (code, said) = place.exit(&["delete", "db", "--yes"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("--approve volume.db=delete"), "{said}");
    place.ok(&["delete", "db", "--yes", "--approve", "volume.db=delete"]);
    assert_eq!(place.ok(&["status"]), "no volumes\n");
}

#[test]
fn destroy_deletes_only_data_that_is_named() {
    let place = up();
    let image = place.state().join("pool/shop.db.img");
    place.ok(&["destroy", "shop.toml", "--yes"]);
    assert!(image.exists());
    let (code, said) = place.exit(&["destroy", "shop.toml", "--yes", "--delete-data", "dd"]);
    assert_eq!(code, 1, "{said}");
    place.ok(&["destroy", "shop.toml", "--yes", "--delete-data", "db"]);
    assert!(!image.exists());
}

#[test]
fn a_held_lock_is_7() {
    let place = up();
    let lock = std::fs::File::open(place.state().join("locks/shop.db")).unwrap();
    lock.lock().unwrap();
    let (code, said) = place.exit(&["expand", "db", "64MiB", "--yes", "--lock-timeout", "100ms"]);
    assert_eq!(code, 7, "{said}");
    assert!(said.contains("--lock-timeout"), "{said}");
    drop(lock);
    place.ok(&["apply", "shop.toml", "--yes"]);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn part_of_the_work_is_6_and_the_rest_is_done_later() {
    let place = Place::new();
    let two = format!("{SMALL}\n[volumes.more]\ndirectory = {{ path = \"./more\", create = true }}\n");
    place.write("shop.toml", &two);
    // A state directory's pool that takes no image: a file stands in its place.
    std::fs::create_dir(place.state()).unwrap();
    place.write("state/pool", "");
    let (code, said) = place.exit(&["apply", "shop.toml", "--yes"]);
    assert_eq!(code, 6, "{said}");
    assert!(said.contains("done (1)") && said.contains("failed (1)"), "{said}");
    std::fs::remove_file(place.state().join("pool")).unwrap();
    place.ok(&["apply", "shop.toml", "--yes"]);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

/// Runs csictl as nobody, who may read the folder but not the state.
fn as_nobody(place: &Place, words: &[&str]) -> super::run::Ran {
    use std::os::unix::fs::PermissionsExt;
    // The binary and the folder may lie where nobody may look: copies lie where everybody may.
    let open = tempfile::tempdir().unwrap();
    std::fs::set_permissions(open.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = open.path().join("csictl");
    // By a program of its own: a file that this process has open for writing while another thread forks cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_csictl")).arg(&program).status().unwrap();
    assert!(copied.success());
    std::fs::copy(place.join("shop.toml"), open.path().join("shop.toml")).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program).args(words);
    command.current_dir(open.path()).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("CSICTL_STATE_DIR", place.state()).env("CSICTL_RUN_DIR", place.run());
    ran(&command.stdin(std::process::Stdio::null()).output().unwrap())
}

#[test]
fn without_root_a_plan_says_unknown_and_apply_is_77() {
    let place = up();
    let plan = as_nobody(&place, &["plan", "shop.toml"]);
    assert_eq!(plan.code, 0, "{}{}", plan.stdout, plan.stderr);
    assert!(plan.stdout.contains("unknown") && !plan.stdout.contains("to create"), "{}", plan.stdout);
    assert_eq!(as_nobody(&place, &["plan", "shop.toml", "--detailed-exitcode"]).code, 77);
    let apply = as_nobody(&place, &["apply", "shop.toml", "--yes"]);
    assert_eq!(apply.code, 77, "{}", apply.stderr);
    assert_eq!(as_nobody(&place, &["status", "shop.toml", "--check"]).code, 77);
    let doctor = as_nobody(&place, &["doctor"]);
    assert_eq!(doctor.code, 77, "{}", doctor.stdout);
    assert!(doctor.stdout.contains("fix: "), "{}", doctor.stdout);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn gc_shows_removes_and_then_finds_nothing() {
    let place = up();
    let left = place.write("state/pool/.shop.lost.img.part", "half");
    let (code, said) = place.exit(&["gc"]);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains(".shop.lost.img.part") && said.contains("--yes"), "{said}");
    assert!(place.ok(&["gc", "--dry-run"]).contains(".shop.lost.img.part"));
    assert!(left.exists());
    place.ok(&["gc", "--yes"]);
    assert!(!left.exists());
    assert_eq!(place.ok(&["gc", "--yes"]), "nothing is left over\n");
    assert_eq!(place.mounts().len(), 2, "what is owned stays");
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn gc_finds_what_a_killed_snapshot_left_frozen() {
    let place = up();
    std::fs::create_dir_all(place.run().join("frozen")).unwrap();
    let mark = place.run().join("frozen/shop.db");
    std::fs::write(&mark, "").unwrap();

    let said = place.ok(&["gc", "--dry-run"]);

    assert!(said.contains("frozen file system of volume shop.db"), "{said}");
    assert!(mark.exists());
    place.ok(&["gc", "--yes"]);
    assert!(!mark.exists());
    assert_eq!(place.ok(&["gc", "--yes"]), "nothing is left over\n");
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn records_move_with_export_and_import() {
    let place = up();
    place.ok(&["destroy", "shop.toml", "--yes"]);
    let exported = place.ok(&["state", "export"]);
    place.write("state.json", &exported);
    std::fs::remove_dir_all(place.state().join("volumes")).unwrap();
    place.ok(&["state", "import", "state.json"]);
    assert!(place.ok(&["status"]).contains("shop.db"));
    assert!(place.ok(&["state", "import", "state.json"]).contains("1 were there already"));
    let (code, said) = place.exit(&["state", "import", "shop.toml"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("csictl::state::bad-document"), "{said}");
}

#[test]
fn only_who_came_in_through_a_bind_keeps_it_busy() {
    let place = Place::new();
    let text = r#"
version = 1
project = "shop"
[volumes.raw]
volume_mode = "block"
capacity = "8MiB"
[volumes.files]
directory = { path = "./files", create = true }
[pods.app]
root = "./root"
[[pods.app.devices]]
volume = "raw"
path = "/dev/raw"
[[pods.app.mounts]]
volume = "files"
path = "/files"
"#;
    place.write("shop.toml", text);
    place.ok(&["apply", "shop.toml", "--yes"]);
    // The device file system and the folder's own are used by every process there is; none of them keeps these mounts.
    assert_eq!(place.ok(&["who", "root/files"]), "nobody keeps root/files busy\n");
    assert!(place.ok(&["who", "raw"]).starts_with("no process keeps raw busy; it is mounted at "));

    let held = [
        ("raw", std::fs::File::open(place.join("root/dev/raw")).unwrap()),
        ("root/files", std::fs::File::create(place.join("root/files/open")).unwrap()),
    ];
    let pid = std::process::id().to_string();
    for (target, _) in &held {
        let said = place.ok(&["who", target]);
        let pids: Vec<_> = said.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(pids, [pid.as_str()], "{target}: {said}");
    }
    let (code, said) = place.exit(&["destroy", "shop.toml", "--yes"]);
    assert_eq!(code, 5, "{said}");
    let named = format!("(pid {pid},");
    assert!(said.contains(&named), "{said}");
    assert_eq!(said.matches("(pid ").count(), said.matches(&named).count(), "no other process is named: {said}");
    drop(held);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn a_mount_on_a_publish_is_named_and_no_process_is_blamed() {
    let place = up();
    let on_it = place.join("root/srv/db/on-it");
    std::fs::create_dir(&on_it).unwrap();
    nix::mount::mount(Some("none"), &on_it, Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    let (code, said) = place.exit(&["destroy", "shop.toml", "--yes"]);
    assert_eq!(code, 5, "{said}");
    let mount = format!("mount {}", on_it.display());
    for part in ["what is mounted on it", &mount, "unmount them and try again"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("(pid"), "{said}");
    nix::mount::umount(&on_it).unwrap();
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn a_plan_file_comes_with_the_approvals_it_needs() {
    let place = up();
    place.write(
        "shop.toml",
        &SMALL.replace("[volumes.db]", "[volumes.db]\nfs = { type = \"btrfs\" }").replace("32MiB", "128MiB"),
    );
    let (code, said) = place.exit(&["plan", "shop.toml", "--out", "shop.plan"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("csictl apply shop.plan --approve volume.db=wipe"), "{said}");
    place.write("shop.toml", SMALL);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn root_is_not_told_to_be_root() {
    let place = Place::new();
    // No block device: a file at a path that has to be one.
    std::fs::create_dir_all("/dev/mapper").unwrap();
    nix::mount::mount(Some("none"), "/dev/mapper", Some("tmpfs"), nix::mount::MsFlags::empty(), None::<&str>).unwrap();
    std::fs::write("/dev/mapper/plain", "").unwrap();
    place.write("d.toml", "project = \"d\"\n[volumes.dev]\ndevice = { path = \"/dev/mapper/plain\" }\n");
    let (code, said) = place.exit(&["apply", "d.toml", "--yes"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("it is not a block device"), "{said}");
    assert!(said.contains("mend or move away what is named there") && !said.contains("run as root"), "{said}");
}

#[test]
fn a_volume_whose_making_failed_is_absent_and_not_created() {
    let place = Place::new();
    place.write("shop.toml", SMALL);
    let pool = place.state().join("pool");
    std::fs::create_dir_all(&pool).unwrap();
    let tiny = Some("size=8k,mode=700");
    nix::mount::mount(Some("none"), &pool, Some("tmpfs"), nix::mount::MsFlags::empty(), tiny).unwrap();
    let (code, said) = place.exit(&["apply", "shop.toml", "--yes"]);
    assert_eq!(code, 1, "{said}");
    for words in [&["status", "shop.toml"][..], &["status"]] {
        let status = place.ok(words);
        assert!(status.contains("db") && status.contains("absent"), "its image was never made: {status}");
    }
    nix::mount::umount(&pool).unwrap();
    place.ok(&["apply", "shop.toml", "--yes"]);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn doctor_finds_directories_that_nothing_can_be_written_to() {
    let place = Place::new();
    for (name, options, word) in [("read-only", "ro,mode=700", "read-only"), ("full", "size=64k,mode=700", "full")] {
        let root = place.join(name);
        std::fs::create_dir(&root).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "none"]).arg(&root).status().unwrap();
        assert!(mounted.success());
        if name == "full" {
            // As much as there is room for.
            let _ = std::fs::write(root.join("filler"), vec![1; 1 << 20]);
        }
        for state in [root.clone(), root.join("not/yet/there")] {
            let output = place.csictl().args(["doctor", "--state-dir"]).arg(&state).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let line = said.lines().find(|line| line.contains("state directory")).unwrap();
            assert!(line.starts_with("xx") && line.contains(word), "{}: {said}", state.display());
            assert_eq!(output.status.code(), Some(69), "{said}");
        }
    }
}

#[test]
fn who_of_an_image_asks_about_its_loop_device_and_of_a_plain_path_nothing() {
    let place = up();
    let (_, image) = place.loops().remove(0);

    // Other people's mkfs look at every block device for a moment.
    let asked = || place.ok(&["who", image.to_str().unwrap()]);
    let said = (0..50).map(|_| asked()).find(|said| !said.starts_with("PID")).unwrap_or_else(asked);
    assert!(said.contains("root/srv/db"), "{said}");
    let (code, said) = place.exit(&["who", place.path().to_str().unwrap()]);
    assert!(code == 1 && said.contains("nothing is mounted at"), "{code}: {said}");
}
