//! Secrets, tokens and contexts stay where they are: a canary goes through every RPC at the highest verbosity and is looked for in the
//! log, in the records, and in the arguments of every process.

use std::collections::BTreeSet;
use std::path::Path;

use csictl::csi::client::{Kind, RPCS};

use super::process::csi;
use crate::support::Place;
use crate::support::place::said;
use crate::support::serving::Serving;

const CANARY: &str = "c4n4ry-hunter2";

/// The words of one call with every flag it has; secrets and contexts are the canary.
fn words(place: &Place, rpc: &csictl::csi::client::Rpc, id: &str) -> Vec<String> {
    let mut words = vec![rpc.command()];
    for flag in rpc.flags {
        let value = match (flag.kind, flag.name) {
            (Kind::Secrets, _) => "secrets".to_owned(),
            (_, "volume-context" | "publish-context") => {
                format!("csi.storage.k8s.io/serviceAccount.tokens={CANARY}")
            }
            (_, "volume-id" | "source-volume-id") => id.to_owned(),
            (_, "name") => "canary".to_owned(),
            (_, "node-id") => "node-1".to_owned(),
            (_, "required-bytes") => "16MiB".to_owned(),
            (_, "params") => format!("allocate=sparse,csi.storage.k8s.io/provisioner-secret-name={CANARY}"),
            (Kind::Capability | Kind::Capabilities, _) => "SINGLE_NODE_WRITER,mount,ext4".to_owned(),
            (_, "staging-path") => place.join("staging").display().to_string(),
            (_, "target-path" | "volume-path") => place.join("target").display().to_string(),
            _ => continue,
        };
        words.extend([format!("--{}", flag.name), value]);
    }
    words
}

/// Every file below a directory that holds the canary.
fn holding(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() && std::fs::metadata(entry.path()).is_ok_and(|metadata| metadata.len() < 1 << 20) {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                if bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()) {
                    found.insert(entry.path().display().to_string());
                }
            }
        }
    }
    found
}

#[test]
fn a_canary_in_every_call_is_nowhere_afterwards() {
    let place = Place::new();
    place.write("secrets", &format!("token={CANARY}\nmore={CANARY}\n"));
    std::fs::create_dir(place.join("staging")).unwrap();
    let serving = Serving::start(&place, &["-vv", "--log-format", "json"]);
    let create = words(&place, csictl::csi::client::Rpc::find("create-volume").unwrap(), "");
    let create: Vec<&str> = create.iter().map(String::as_str).collect();
    let made = csi(&place, serving.socket(), &[&create[..], &["-o", "json"]].concat());
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let id = made["response"]["volume"]["volumeId"].as_str().unwrap().to_owned();
    let mut answered = 0;
    // Unmaking calls come after all others.
    let is_un = |name: &str| ["Delete", "Unpublish", "Unstage"].iter().any(|word| name.contains(word));
    let (un, make): (Vec<_>, Vec<_>) = RPCS.iter().partition(|rpc| is_un(rpc.name));
    let order = ["NodeUnpublishVolume", "NodeUnstageVolume", "ControllerUnpublishVolume"];
    let un_first = order.iter().filter_map(|name| un.iter().find(|rpc| rpc.name == *name));
    let un_last = un.iter().filter(|rpc| !order.contains(&rpc.name));
    for rpc in make.iter().chain(un_first).chain(un_last) {
        let words = words(&place, rpc, &id);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = csi(&place, serving.socket(), &words);
        let code = output.status.code().unwrap();
        assert!(code == 0 || (101..=116).contains(&code), "{}: {}", rpc.name, said(&output));
        answered += usize::from(code == 0);
        let log = serving.log();
        assert!(log.contains(rpc.name), "{} is logged", rpc.name);
        assert!(!log.contains(CANARY), "{}: {}", rpc.name, log.lines().find(|line| line.contains(CANARY)).unwrap());
        for directory in [place.state(), place.run()] {
            assert_eq!(holding(&directory), BTreeSet::new(), "{}", rpc.name);
        }
    }
    assert!(answered > 15, "most calls got through: {answered}");
    let arguments = std::fs::read(format!("/proc/{}/cmdline", serving.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&arguments).contains(CANARY));
}

#[test]
fn a_call_is_logged_with_its_object_time_and_code_and_nothing_else() {
    let place = Place::new();
    let serving = Serving::start(&place, &["--log-format", "json"]);
    csi(&place, serving.socket(), &["controller-get-volume", "--volume-id", "vol-none"]);
    let log = serving.log();
    let line = log.lines().find(|line| line.contains("ControllerGetVolume")).unwrap_or_else(|| panic!("{log}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let fields = line["fields"].as_object().unwrap();
    assert_eq!(fields["rpc"], "ControllerGetVolume");
    assert_eq!(fields["object"], "vol-none");
    assert_eq!(fields["code"], "NOT_FOUND");
    assert!(fields["millis"].as_f64().unwrap() < 10_000.0);
    let names: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(names, BTreeSet::from(["code", "error", "message", "millis", "object", "rpc"]));
}
