//! How a server begins: what it refuses, what it takes over, what it puts right.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output};

use super::process::{Process, csi, serve};
use crate::support::Place;
use crate::support::place::said;
use crate::support::serving::Serving;

#[test]
fn what_can_not_be_served_is_said_with_the_right_exit_code() {
    let place = Place::new();
    place.write("plain", "precious");
    place.write("broken.toml", "version = 1\n[pools.x]\npaht = \"/srv\"\n");
    let plain = place.join("plain");
    for (words, code, expected) in [
        (&["--driver-name", "a_b"][..], 64, "--driver-name"),
        (&["--node-id", ""], 64, "--node-id"),
        (&["--topology", "zone=a b"], 64, "--topology"),
        (&["--metrics-addr", "0.0.0.0:9810"], 64, "127.0.0.1:9810"),
        (&["--endpoint", "tcp://127.0.0.1:1"], 64, "unix:///"),
        (&["--endpoint", plain.to_str().unwrap()], 5, "no socket"),
        (&["--config", "broken.toml"], 65, "paht"),
        (&["--config", "nowhere.toml"], 1, "nowhere.toml"),
    ] {
        let endpoint = place.join("csi.sock");
        let mut command = place.csictl();
        command.args(["serve", "--log-format", "text"]).args(words);
        if !words.contains(&"--endpoint") {
            command.arg("--endpoint").arg(&endpoint);
        }
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{words:?}: {}", said(&output));
        assert!(!endpoint.exists(), "{words:?}");
    }
    assert_eq!(std::fs::read_to_string(plain).unwrap(), "precious");
}

#[test]
fn a_second_server_is_refused_and_the_first_still_answers() {
    let place = Place::new();
    let first = Serving::start(&place, &[]);
    assert_eq!(std::fs::metadata(first.socket()).unwrap().permissions().mode() & 0o777, 0o600);
    let endpoint = first.socket().to_str().unwrap();
    let (code, text) = Process(serve(&place, &["--endpoint", endpoint]).spawn().unwrap()).said();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another csictl serves here"), "{text}");
    assert_eq!(csi(&place, first.socket(), &["probe"]).status.code(), Some(0));
}

#[test]
fn a_killed_servers_socket_and_half_made_files_are_no_hindrance_and_a_torn_record_neither() {
    let place = Place::new();
    Serving::start(&place, &[]).kill();
    let half_made = place.state().join("pool/.vol-1.img.part");
    std::fs::create_dir_all(half_made.parent().unwrap()).unwrap();
    std::fs::write(&half_made, "half").unwrap();
    let of_a_project = place.state().join("pool/.shop.db.img.part");
    std::fs::write(&of_a_project, "theirs").unwrap();
    std::fs::write(place.state().join("volumes/vol-torn.json"), "{\"version\":1,").unwrap();
    let lock = |id: &str| place.state().join("locks").join(id);
    for id in ["vol-gone", "vol-torn"] {
        std::fs::write(lock(id), "").unwrap();
    }
    let serving = Serving::start(&place, &[]);
    assert!(!half_made.exists(), "a server's own are disposable");
    assert!(!lock("vol-gone").exists() && lock("vol-torn").exists(), "locks of what nothing is recorded of go");
    assert!(of_a_project.exists(), "a project's are its own business");
    let listed = csi(&place, serving.socket(), &["list-volumes"]);
    assert_eq!(listed.status.code(), Some(0), "{}", said(&listed));
}

#[test]
fn a_machine_that_can_not_attach_or_record_is_not_ready_and_says_why() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let probe = || {
        std::thread::sleep(std::time::Duration::from_millis(600));
        csi(&place, serving.socket(), &["probe"])
    };
    let elsewhere = place.join("moved");
    std::fs::rename(place.state(), &elsewhere).unwrap();
    let refused = probe();
    assert_eq!(refused.status.code(), Some(109), "{}", said(&refused));
    assert!(said(&refused).contains("state"), "{}", said(&refused));
    std::fs::rename(&elsewhere, place.state()).unwrap();
    assert_eq!(probe().status.code(), Some(0));
    // A socket in its place can't be opened, as a missing module's device can't.
    let socket = place.join("no-loops");
    let _bound = UnixListener::bind(&socket).unwrap();
    let mounted = Command::new("mount").arg("--bind").arg(&socket).arg("/dev/loop-control").status().unwrap();
    assert!(mounted.success());
    let refused = probe();
    let unmounted = Command::new("umount").arg("/dev/loop-control").status().unwrap();
    assert!(unmounted.success());
    assert_eq!(refused.status.code(), Some(109), "{}", said(&refused));
    assert!(said(&refused).contains("modprobe loop"), "{}", said(&refused));
    assert_eq!(probe().status.code(), Some(0));
}

#[test]
fn another_user_is_refused_whatever_the_sockets_mode_unless_allowed() {
    const NOBODY: &str = "65534";
    let place = Place::new();
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let probe_as_nobody = |socket: &std::path::Path| -> Output {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", env!("CARGO_BIN_EXE_csictl")]);
        command.args(["csi", "probe", "--timeout", "10s", "--endpoint"]).arg(socket).env_clear().output().unwrap()
    };
    for (flags, mode, code) in [
        (&[][..], 0o600, 114),
        (&[], 0o666, 114),
        (&["--allow-uid", NOBODY], 0o600, 114),
        (&["--allow-uid", NOBODY], 0o666, 0),
    ] {
        let serving = Serving::start(&place, flags);
        open(place.path(), 0o755);
        open(serving.socket().parent().unwrap(), 0o755);
        open(serving.socket(), mode);
        let output = probe_as_nobody(serving.socket());
        assert_eq!(output.status.code(), Some(code), "{flags:?} {mode:o}: {}", said(&output));
        if mode == 0o666 && code != 0 {
            assert!(serving.log().contains("user not allowed"), "{}", serving.log());
        }
        assert_eq!(csi(&place, serving.socket(), &["probe"]).status.code(), Some(0), "root is served");
    }
}
