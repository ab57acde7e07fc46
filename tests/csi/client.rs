//! `csictl csi`: a client for any CSI socket.

use std::process::Output;

use crate::support::Place;
use crate::support::place::said;
use crate::support::serving::Serving;

/// Runs one call against a server, or against where none is.
fn csi(place: &Place, endpoint: &str, words: &[&str]) -> Output {
    place.csictl().args(["csi", "--endpoint", endpoint]).args(words).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

#[test]
fn an_answer_is_text_for_people_and_one_document_for_programs() {
    let place = Place::new();
    let serving = Serving::start(&place, &[]);
    let endpoint = format!("unix://{}", serving.socket().display());
    let text = csi(&place, &endpoint, &["get-plugin-info"]);
    assert_eq!(text.status.code(), Some(0), "{}", said(&text));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(said(&text), format!("name            csi.csictl.io\nvendor_version  {version}\n"));
    let document = json(&csi(&place, &endpoint, &["GetPluginInfo", "-o", "json"]));
    assert_eq!(document["schema"], "csictl.csi/1");
    assert_eq!(document["rpc"], "GetPluginInfo");
    assert_eq!(
        document["response"],
        serde_json::json!({"name": "csi.csictl.io", "vendorVersion": version, "manifest": {}})
    );
}

#[test]
fn an_error_is_the_code_and_the_servers_words() {
    let place = Place::new();
    let serving = Serving::start(&place, &["--mode", "node"]);
    let endpoint = serving.socket().display().to_string();
    let output = csi(&place, &endpoint, &["list-volumes", "-o", "json"]);
    assert_eq!(output.status.code(), Some(112), "{}", said(&output));
    let error = &json(&output)["errors"][0];
    assert_eq!(error["code"], "csictl::csi::unimplemented");
    assert!(error["message"].as_str().unwrap().contains(&endpoint), "{error}");
    assert!(error["help"].as_str().unwrap().contains("get-plugin-capabilities"), "{error}");
    assert_eq!(place.exit(&["explain", "csi::unimplemented"]).0, 0);
}

#[test]
fn nobody_at_the_socket_is_unavailable_and_says_what_to_do() {
    let place = Place::new();
    let stale = place.join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    for (socket, expected) in [("nowhere.sock", "there is no socket"), ("stale.sock", "nobody answers")] {
        let output = csi(&place, socket, &["probe"]);
        assert_eq!(output.status.code(), Some(114), "{}", said(&output));
        assert!(output.stdout.is_empty());
        let said = said(&output);
        assert!(said.contains(expected) && said.contains(socket) && said.contains("csictl serve"), "{said}");
    }
}

#[test]
fn a_server_that_never_answers_costs_the_timeout_and_no_more() {
    let place = Place::new();
    let socket = place.join("mute.sock");
    let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let output = csi(&place, "mute.sock", &["probe", "--timeout", "100ms"]);
    assert_eq!(output.status.code(), Some(104), "{}", said(&output));
    assert!(said(&output).contains("no answer within 100ms"), "{}", said(&output));
}

#[test]
fn a_wrong_command_line_is_usage_and_reaches_no_server() {
    let place = Place::new();
    place.write("secrets", "hunter2");
    for (words, expected) in [
        (&["create-volume", "--cap", "RWO,mount"][..], "SINGLE_NODE_WRITER"),
        (&["create-volume", "--required-bytes", "1G"], "GiB"),
        (&["delete-volume", "--request", "{\"volumeId\": 7}"], "DeleteVolumeRequest"),
        (&["delete-volume", "--request", "{"], "no JSON"),
        (&["delete-volume", "--request", "{\"secrets\": {\"a\": \"hunter2\"}}"], "--secrets FILE"),
        (&["delete-volume", "--secrets", "secrets"], "line 1 is no KEY=VALUE"),
        (&["no-such-call"], "no-such-call"),
    ] {
        let output = csi(&place, "nowhere.sock", words);
        assert_eq!(output.status.code(), Some(64), "{words:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{words:?}: {}", said(&output));
        assert!(!said(&output).contains("hunter2"), "{}", said(&output));
    }
    let network = csi(&place, "tcp://127.0.0.1:1", &["probe"]);
    assert_eq!(network.status.code(), Some(64), "{}", said(&network));
}

#[test]
fn every_call_has_help_with_an_example_that_parses() {
    let place = Place::new();
    for rpc in csictl::csi::client::RPCS {
        let (code, help) = place.exit(&["csi", &rpc.command(), "-h"]);
        assert_eq!(code, 0, "{}", rpc.name);
        let example = help.replace(" \\\n", " ");
        let example = example.lines().find(|line| line.starts_with("  csictl csi ")).unwrap();
        let words: Vec<&str> = example.split_whitespace().skip(1).collect();
        let (code, said) = place.exit(&[&words[..], &["--endpoint", "nowhere.sock"]].concat());
        assert_eq!(code, 114, "{example}: {said}");
    }
}
