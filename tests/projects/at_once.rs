//! Two projects that want one place, or one above the other's, at the same moment: at most one gets it, the other is refused by name, and
//! each can be taken down afterwards.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::support::Place;
use crate::support::place::said;

/// A project whose one volume is published at `root/path`.
fn project(name: &str, path: &str) -> String {
    format!(
        "version = 1\nproject = \"{name}\"\n[pools.main]\npath = \"./pool\"\n[volumes.a]\ncapacity = \"16MiB\"\nimage = {{ allocate = \"sparse\" }}\n[pods.p]\nroot = \".\"\n[[pods.p.mounts]]\nvolume = \"a\"\npath = \"{path}\"\n"
    )
}

/// Starts an apply that waits before each bind, and answers once it has written down that it is about to make one at `target`.
fn about_to_bind(place: &Place, project: &str, target: &Path) -> Child {
    let csictl = place.csictl();
    let mut traced = Command::new("strace");
    traced.args(["-f", "-o", "/dev/null", "-e", "trace=move_mount", "-e", "inject=move_mount:delay_enter=2500000"]);
    traced.arg(csictl.get_program()).args(["apply", &format!("{project}.toml"), "--yes"]).current_dir(place.path());
    traced.envs(csictl.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = traced.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (record, target) = (place.run().join(format!("volumes/{project}.a.json")), target.to_str().unwrap());
    let deadline = Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string(&record).is_ok_and(|text| text.contains(&format!("\"{target}\""))) {
        assert!(Instant::now() < deadline, "{} never says {target}", record.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// Nothing is stuck: each project agrees with its plan, comes down, and comes up alone.
fn each_comes_down(place: &Place) {
    for project in ["p1.toml", "p2.toml"] {
        place.ok(&["destroy", project, "--yes"]);
    }
    assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new());
    for project in ["p1.toml", "p2.toml"] {
        place.ok(&["apply", project, "--yes"]);
        assert_eq!(place.exit(&["plan", project, "--detailed-exitcode"]).0, 0);
        place.ok(&["destroy", project, "--yes"]);
    }
}

#[test]
fn whoever_comes_while_another_project_is_about_to_mount_there_is_refused() {
    // (the first one's path, the second one's): the same, one above, one below.
    for (first, second) in [("/r/y", "/r/y"), ("/r", "/r/in"), ("/r/in", "/r")] {
        let place = Place::new();
        for (name, path) in [("p1", first), ("p2", second)] {
            place.write(&format!("{name}.toml"), &project(name, path));
            place.ok(&["apply", &format!("{name}.toml"), "--yes"]);
            place.ok(&["destroy", &format!("{name}.toml"), "--yes"]);
        }
        let target = place.join(first.trim_start_matches('/'));
        let child = about_to_bind(&place, "p1", &target);

        let (code, words) = place.exit(&["apply", "p2.toml", "--yes"]);

        let other = child.wait_with_output().unwrap();
        assert_eq!(code, 5, "{first} and {second}: {words}");
        let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("volume p1.a of project:p1"), "{first} and {second}: {words}");
        assert_eq!(other.status.code(), Some(0), "{first} and {second}: {}", said(&other));
        let shown = place.mounts().into_iter().filter(|mount| !mount.starts_with(place.run())).collect::<Vec<_>>();
        assert_eq!(shown, [target], "{first} and {second}");
        each_comes_down(&place);
    }
}

#[test]
fn what_a_killed_run_was_about_to_mount_keeps_nobody_out() {
    let place = Place::new();
    for name in ["p1", "p2"] {
        place.write(&format!("{name}.toml"), &project(name, "/r/y"));
    }
    let mut child = about_to_bind(&place, "p1", &place.join("r/y"));
    let traced = fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    let csictl: i32 = traced.split_whitespace().next().unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(csictl), nix::sys::signal::Signal::SIGKILL).unwrap();
    child.wait().unwrap();
    assert!(!place.mounts().contains(&place.join("r/y")), "it was killed too late");

    place.ok(&["apply", "p2.toml", "--yes"]);

    assert_eq!(place.exit(&["plan", "p2.toml", "--detailed-exitcode"]).0, 0);
    assert_eq!(place.exit(&["apply", "p1.toml", "--yes"]).0, 5);
    each_comes_down(&place);
}

#[test]
fn of_two_projects_applied_at_once_at_most_one_is_published() {
    let place = Place::new();
    for (first, second) in [("/r/y", "/r/y"), ("/r", "/r/in")] {
        for (name, path) in [("p1", first), ("p2", second)] {
            place.write(&format!("{name}.toml"), &project(name, path));
            place.ok(&["apply", &format!("{name}.toml"), "--yes"]);
            place.ok(&["destroy", &format!("{name}.toml"), "--yes"]);
        }
        for _ in 0..12 {
            let start = |name: &str| {
                let mut csictl = place.csictl();
                csictl.args(["apply", name, "--yes"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            };
            let both = ["p1.toml", "p2.toml"].map(start);
            let ended = both.map(|child| child.wait_with_output().unwrap());

            let codes = ended.each_ref().map(|output| output.status.code());
            let words = ended.each_ref().map(said).join("\n");
            // One below the other is well where the upper one came first.
            let nested = first != second;
            assert!(codes.iter().all(|code| matches!(code, Some(0 | 5 | 6))), "{codes:?}: {words}");
            assert!(nested || codes != [Some(0), Some(0)], "{words}");
            for (project, code) in ["p1.toml", "p2.toml"].iter().zip(codes) {
                if code == Some(0) {
                    let (planned, words) = place.exit(&["plan", project, "--detailed-exitcode"]);
                    assert_eq!(planned, 0, "{project}: {words}");
                }
            }
            // The inner one first: nobody unmounts what lies below something.
            for project in ["p2.toml", "p1.toml"] {
                place.ok(&["destroy", project, "--yes"]);
            }
            assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new(), "{words}");
        }
    }
}

#[test]
fn what_lands_on_a_mount_of_somebody_elses_is_taken_away_again() {
    let place = Place::new();
    place.write("p1.toml", &project("p1", "/r/y"));
    let target = place.join("r/y");
    let child = about_to_bind(&place, "p1", &target);
    std::thread::sleep(Duration::from_millis(700));
    mount(Some("theirs"), &target, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();

    let output = child.wait_with_output().unwrap();

    let words = said(&output);
    assert_eq!(output.status.code(), Some(6), "{words}");
    assert!(words.contains("mounted there at the same moment"), "{words}");
    assert_eq!(place.mounts().iter().filter(|mount| **mount == target).count(), 1, "{words}");
    umount(&target).unwrap();
    place.ok(&["apply", "p1.toml", "--yes"]);
    place.ok(&["destroy", "p1.toml", "--yes"]);
}

#[test]
fn a_mount_that_was_begun_before_and_landed_after_is_seen_to_lie_on_top() {
    let place = Place::new();
    place.write("p1.toml", &project("p1", "/r/y"));
    let target = place.join("r/y");
    fs::create_dir_all(&target).unwrap();
    fs::create_dir(place.join("theirs")).unwrap();
    // Its id is the older one: the kernel lists it first.
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let theirs = open_tree(CWD, place.join("theirs"), clone).unwrap();
    place.ok(&["apply", "p1.toml", "--yes"]);
    move_mount(theirs, "", CWD, &target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();

    for words in [["plan", "p1.toml"].as_slice(), &["destroy", "p1.toml", "--yes"]] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 5, "{words:?}: {said}");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("mounted over it") || said.contains("something else is mounted"), "{words:?}: {said}");
    }
    umount(&target).unwrap();
    place.ok(&["destroy", "p1.toml", "--yes"]);
}
