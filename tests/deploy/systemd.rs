//! The systemd units: systemd itself reads them without a complaint, and they do what a boot needs.

use super::tools::{run, text};
use crate::support::place::Place;

const UNITS: [&str; 3] = ["csictl.socket", "csictl.service", "csictl-apply@.service"];

fn unit(name: &str) -> String {
    text(&format!("deploy/systemd/{name}"))
}

/// The values of a key, all lines of it.
fn values(unit: &str, key: &str) -> Vec<String> {
    let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

#[test]
fn systemd_has_no_complaint() {
    let place = Place::new();
    // It wants to see the program; here it is not yet installed.
    for name in UNITS {
        place.write(
            &format!("units/{name}"),
            &unit(name).replace("/usr/local/bin/csictl", env!("CARGO_BIN_EXE_csictl")),
        );
    }
    for name in ["csictl.socket", "csictl.service", "csictl-apply@shop.service"] {
        let path = place.join("units").join(name);
        let words = ["verify", "--man=no", "--recursive-errors=one", path.to_str().unwrap()];
        let (said, complaints) = run("/usr/bin/systemd-analyze", &words, "");
        assert_eq!((said.as_str(), complaints.as_str()), ("", ""), "{name}");
    }
}

#[test]
fn systemd_would_complain_of_a_wrong_key() {
    let place = Place::new();
    let path = place.write("wrong.service", "[Service]\nExecStart=/bin/true\nKilMode=mixed\n");
    let (_, complaints) = run("/usr/bin/systemd-analyze", &["verify", "--man=no", path.to_str().unwrap()], "");
    assert!(complaints.contains("KilMode"), "{complaints}");
}

#[test]
fn nothing_gives_them_a_mount_namespace_of_their_own() {
    // systemd.exec(5): each of these unshares the mount namespace.
    let unsharing = [
        "BindPaths",
        "BindReadOnlyPaths",
        "DynamicUser",
        "ExecPaths",
        "InaccessiblePaths",
        "LogNamespace",
        "MountFlags",
        "NoExecPaths",
        "PrivateDevices",
        "PrivateIPC",
        "PrivateMounts",
        "PrivateNetwork",
        "PrivateTmp",
        "PrivateUsers",
        "ProcSubset",
        "ProtectControlGroups",
        "ProtectHome",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelModules",
        "ProtectKernelTunables",
        "ProtectProc",
        "ProtectSystem",
        "ReadOnlyPaths",
        "ReadWritePaths",
        "RootDirectory",
        "RootImage",
        "TemporaryFileSystem",
        "RuntimeDirectory",
    ];
    for name in UNITS {
        for key in unsharing {
            assert!(values(&unit(name), key).is_empty(), "{name}: {key}");
        }
    }
}

#[test]
fn a_boot_applies_after_the_disks_and_before_those_who_need_them() {
    let apply = unit("csictl-apply@.service");
    assert_eq!(values(&apply, "After"), ["local-fs.target"]);
    assert_eq!(values(&apply, "RequiresMountsFor"), ["/var/lib/csictl"]);
    let before = values(&apply, "Before");
    for service in ["kubelet", "nomad", "docker", "containerd"] {
        assert!(before.contains(&format!("{service}.service")), "{service}");
    }
}

#[test]
fn a_failed_volume_and_a_shutdown_take_nothing_down() {
    let apply = unit("csictl-apply@.service");
    assert_eq!(values(&apply, "RemainAfterExit"), ["yes"]);
    for name in ["csictl.service", "csictl-apply@.service"] {
        for key in ["ExecStop", "ExecStopPost"] {
            assert!(values(&unit(name), key).is_empty(), "{name}: {key}");
        }
    }
    // 6, partly applied, is tried again: it is not among those where that is in vain.
    let final_ones = values(&apply, "RestartPreventExitStatus");
    assert!(!final_ones.contains(&"6".to_owned()) && final_ones.contains(&"5".to_owned()));
}

#[test]
fn the_socket_is_the_one_that_is_served_and_roots_alone() {
    let (socket, service) = (unit("csictl.socket"), unit("csictl.service"));
    let path = &values(&socket, "ListenStream")[0];
    assert!(values(&service, "ExecStart").contains(&format!("--endpoint=unix://{path}")));
    assert_eq!(
        (values(&socket, "SocketMode"), values(&socket, "DirectoryMode")),
        (vec!["0600".into()], vec!["0700".into()])
    );
    assert_eq!(values(&service, "Type"), ["notify"]);
}

#[test]
fn a_server_has_time_to_drain() {
    let service = unit("csictl.service");
    let seconds = |text: &str| text.strip_suffix('s').unwrap().parse::<u64>().unwrap();
    let words = values(&service, "ExecStart");
    let drain = words.iter().find_map(|word| word.strip_prefix("--drain-timeout=")).unwrap();
    assert!(seconds(&values(&service, "TimeoutStopSec")[0]) > seconds(drain));
    assert_eq!(values(&service, "KillMode"), ["mixed"]);
}
