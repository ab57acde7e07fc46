//! The Nomad files: they are HCL, and agree with each other. Nomad itself is not asked; it can't be had from a package registry.

use serde_json::Value;

use super::tools::{hcl, strings};

fn task() -> Value {
    hcl("deploy/nomad/plugin.nomad.hcl")["job"][0]["csictl"]["group"][0]["plugin"]["task"][0]["csictl"].clone()
}

#[test]
fn every_volume_is_one_of_a_plugin_that_the_job_makes() {
    let job = hcl("deploy/nomad/plugin.nomad.hcl");
    let plugin = task()["csi_plugin"][0].clone();
    assert_eq!(job["job"][0]["csictl"]["type"], "system");
    assert_eq!((&plugin["type"], &plugin["id"]), (&"monolith".into(), &"csictl-${var.node}".into()));
    for file in ["deploy/nomad/volume.hcl", "deploy/nomad/registered.hcl"] {
        let volume = hcl(file);
        assert_eq!((&volume["type"], &volume["plugin_id"]), (&"csi".into(), &"csictl-worker1".into()), "{file}");
    }
}

#[test]
fn the_example_uses_the_volume_as_it_was_made() {
    let volume = hcl("deploy/nomad/volume.hcl");
    let example = hcl("deploy/nomad/example.nomad.hcl");
    let wanted = &example["job"][0]["shop"]["group"][0]["web"]["volume"][0]["data"];
    assert_eq!(wanted["source"], volume["id"]);
    for key in ["access_mode", "attachment_mode"] {
        assert_eq!(wanted[key], volume["capability"][0][key], "{key}");
    }
}

#[test]
fn the_endpoint_is_nomads_to_say_and_mounts_reach_the_host() {
    let task = task();
    let config = &task["config"][0];
    assert!(!strings(&config["args"]).iter().any(|arg| arg.starts_with("--endpoint")), "CSI_ENDPOINT says it");
    assert_eq!(config["privileged"], true);
    let run = config["mount"].as_array().unwrap().iter().find(|mount| mount["target"] == "/run/csictl").unwrap();
    assert_eq!(run["bind_options"][0]["propagation"], "rshared");
    let below = |inner: &Value, outer: &Value| inner.as_str().unwrap().starts_with(outer.as_str().unwrap());
    let plugin = &task["csi_plugin"][0];
    assert!(
        !below(&plugin["stage_publish_base_dir"], &plugin["mount_dir"]),
        "Nomad would clear it with the socket's directory"
    );
}
