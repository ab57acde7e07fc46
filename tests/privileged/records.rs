//! Records and locks on the real file system.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use csictl::host::linux::LinuxHost;
use csictl::host::{ErrorKind, Host, LockMode, Observe};
use csictl::model::Done;

use super::rig::Rig;

/// Set in the environment of a test that was started again as a child to be killed.
const CHILD: &str = "CSICTL_TEST_CHILD";

#[test]
fn a_record_is_replaced_read_set_aside_and_removed() {
    let rig = Rig::new();
    let record = rig.path("volumes/a.json");
    assert_eq!(rig.host.read_small(&record).unwrap(), None);
    assert_eq!(rig.host.write_small(&record, b"x", true).unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(rig.host.make_dir(&rig.path("volumes"), 0o700).unwrap(), Done::Changed);
    assert_eq!(rig.host.make_dir(&rig.path("volumes"), 0o755).unwrap(), Done::Already);
    for durable in [true, false] {
        rig.host.write_small(&record, b"first", durable).unwrap();
        rig.host.write_small(&record, b"second", durable).unwrap();
        assert_eq!(rig.host.read_small(&record).unwrap().unwrap(), b"second");
    }
    assert_eq!(fs::metadata(&record).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(rig.host.list(&rig.path("volumes")).unwrap(), ["a.json"]);

    let first = rig.host.set_aside(&record, &rig.path("aside")).unwrap();
    rig.host.write_small(&record, b"third", true).unwrap();
    let second = rig.host.set_aside(&record, &rig.path("aside")).unwrap();
    assert_ne!(first, second);
    assert_eq!(fs::read(&first).unwrap(), b"second");
    assert_eq!(fs::read(&second).unwrap(), b"third");
    rig.host.write_small(&record, b"fourth", true).unwrap();
    assert_eq!(rig.host.remove_small(&record, true).unwrap(), Done::Changed);
    assert_eq!(rig.host.remove_small(&record, true).unwrap(), Done::Already);
    assert_eq!(rig.host.list(&rig.path("missing")).unwrap().len(), 0);
}

#[test]
fn a_line_is_appended_only_to_a_whole_one_with_room() {
    let rig = Rig::new();
    let record = rig.path("a.json");
    let append = |line: &[u8]| rig.host.append_small(&record, line, 12).unwrap();
    assert_eq!(append(b"one\n"), Done::Already);
    for (is, fits) in [("", false), ("one", false), ("one\n", true), ("12345678\n", false)] {
        rig.host.write_small(&record, is.as_bytes(), false).unwrap();

        let done = append(b"two\n");

        let expect = if fits { (Done::Changed, format!("{is}two\n")) } else { (Done::Already, is.to_owned()) };
        assert_eq!((done, fs::read_to_string(&record).unwrap()), expect);
    }
    fs::write(rig.path("victim"), "untouched\n").unwrap();
    fs::remove_file(&record).unwrap();
    std::os::unix::fs::symlink(rig.path("victim"), &record).unwrap();
    assert_eq!(append(b"two\n"), Done::Already);
    assert_eq!(fs::read_to_string(rig.path("victim")).unwrap(), "untouched\n");
}

#[test]
fn a_link_or_a_leftover_in_the_way_is_not_written_through() {
    let rig = Rig::new();
    fs::write(rig.path("victim"), "untouched").unwrap();
    for name in ["a.json", ".a.json.tmp"] {
        std::os::unix::fs::symlink(rig.path("victim"), rig.path(name)).unwrap();
    }
    rig.host.write_small(&rig.path("a.json"), b"record", true).unwrap();
    assert_eq!(fs::read(rig.path("victim")).unwrap(), b"untouched");
    assert_eq!(fs::read(rig.path("a.json")).unwrap(), b"record");
    assert!(fs::symlink_metadata(rig.path("a.json")).unwrap().is_file());
    assert!(!rig.path(".a.json.tmp").exists());
}

#[test]
fn a_full_file_system_keeps_the_old_record() {
    let rig = Rig::new();
    let staged = rig.staged("state");
    let record = staged.path.join("a.json");
    rig.host.write_small(&record, b"old", true).unwrap();
    let mut filler = fs::File::create(staged.path.join("filler")).unwrap();
    for chunk in [1 << 20, 4096] {
        while filler.write_all(&vec![1u8; chunk]).is_ok() {}
    }
    let error = rig.host.write_small(&record, &vec![b'n'; 1 << 20], true).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoSpace, "{error}");
    assert_eq!(rig.host.read_small(&record).unwrap().unwrap(), b"old");
    assert_eq!(rig.host.list(&staged.path).unwrap(), ["a.json", "filler", "lost+found"]);
}

#[test]
fn a_writer_killed_at_any_moment_leaves_a_whole_record() {
    if let Some(folder) = std::env::var_os(CHILD) {
        write_for_ever(Path::new(&folder));
    }
    let rig = Rig::new();
    let name = "privileged::records::a_writer_killed_at_any_moment_leaves_a_whole_record";
    let mut seen = 0;
    for round in 0..20u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name])
            .env(CHILD, rig.place.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(30 + round * 7));
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(content) = rig.host.read_small(&rig.path("a.json")).unwrap() {
            assert_eq!(content.len(), 20_000);
            assert!(content.iter().all(|byte| *byte == content[0]), "half of one record, half of another");
            seen += 1;
        }
    }
    assert!(seen > 0, "no child ever got as far as writing");
    rig.host.write_small(&rig.path("a.json"), b"after", true).unwrap();
    assert_eq!(rig.host.list(rig.place.path()).unwrap(), ["a.json"], "a killed writer's temporary file is taken over");
}

fn write_for_ever(folder: &Path) -> ! {
    let host = LinuxHost::new();
    loop {
        for byte in b'a'..=b'z' {
            host.write_small(&folder.join("a.json"), &[byte; 20_000], true).unwrap();
        }
    }
}

#[test]
fn records_of_many_threads_are_all_there() {
    let rig = Rig::new();
    thread::scope(|scope| {
        for worker in 0..16 {
            let rig = &rig;
            scope.spawn(move || {
                for number in 0..50 {
                    let record = rig.path(format!("{worker}-{number}"));
                    rig.host.write_small(&record, record.as_os_str().as_encoded_bytes(), true).unwrap();
                }
            });
        }
    });
    let names = rig.host.list(rig.place.path()).unwrap();
    assert_eq!(names.len(), 800);
    for name in names {
        let path = rig.place.join(&name);
        let content = rig.host.read_small(&path).unwrap().unwrap();
        assert_eq!(content, path.as_os_str().as_encoded_bytes());
    }
}

#[test]
fn a_lock_excludes_threads_and_processes_alike() {
    let rig = Rig::new();
    let path = rig.path("lock");
    let patient = Duration::from_secs(20);
    let inside = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let _lock = rig.host.lock(&path, LockMode::Exclusive, patient).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });

    let shared = rig.host.lock(&path, LockMode::Shared, Duration::ZERO).unwrap();
    let also = rig.host.lock(&path, LockMode::Shared, Duration::ZERO).unwrap();
    let begin = Instant::now();
    let error = rig.host.lock(&path, LockMode::Exclusive, Duration::from_millis(100)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::LockHeld, "{error}");
    assert!(begin.elapsed() >= Duration::from_millis(100));
    drop((shared, also));

    // A helper that was given the lock keeps it after its parent let go.
    let lock = rig.host.lock(&path, LockMode::Exclusive, Duration::ZERO).unwrap();
    let stdin = Stdio::from(lock.file().unwrap().try_clone_to_owned().unwrap());
    let mut helper = Command::new("sleep").arg("60").stdin(stdin).spawn().unwrap();
    drop(lock);
    let error = rig.host.lock(&path, LockMode::Exclusive, Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::LockHeld);
    helper.kill().unwrap();
    helper.wait().unwrap();
    rig.host.lock(&path, LockMode::Exclusive, patient).unwrap();
}

#[test]
fn a_lock_on_a_file_that_was_replaced_is_taken_on_the_new_one() {
    let rig = Rig::new();
    let path = rig.path("lock");
    let held = rig.host.lock(&path, LockMode::Exclusive, Duration::ZERO).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| rig.host.lock(&path, LockMode::Exclusive, Duration::from_secs(20)));
        thread::sleep(Duration::from_millis(50));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        drop(held);
        let _taken = waiter.join().unwrap().unwrap();
        let error = rig.host.lock(&path, LockMode::Exclusive, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind, ErrorKind::LockHeld, "the waiter holds the file that is there");
    });
}
