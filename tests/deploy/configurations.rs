//! The pools and classes that come with `deploy/` are valid, and everything that asks for a class or pool finds it there.

use super::tools::{hcl, helm, kustomize, object, text};

/// Every configuration: where it stands, and its text.
fn all() -> Vec<(String, String)> {
    let job = hcl("deploy/nomad/plugin.nomad.hcl");
    let task = &job["job"][0]["csictl"]["group"][0]["plugin"]["task"][0]["csictl"];
    let nomad = task["template"][0]["data"].as_str().unwrap();
    let nomad = nomad.trim_start_matches("<<-EOF").trim_end().trim_end_matches("EOF");
    let helm = helm(&[]);
    let helm = object(&helm, "ConfigMap", "csictl-config")["data"]["config.toml"].as_str().unwrap().to_owned();
    vec![
        ("systemd".to_owned(), text("deploy/systemd/serve.toml")),
        ("kustomize".to_owned(), text("deploy/kubernetes/kustomize/base/config.toml")),
        ("helm".to_owned(), helm),
        ("nomad".to_owned(), nomad.to_owned()),
    ]
}

#[test]
fn each_one_is_valid() {
    let base_dir = std::path::Path::new("/etc/csictl");
    let layout = csictl::model::Layout::new("/var/lib/csictl", "/run/csictl");
    for (name, config) in all() {
        let context = csictl::manifest::Context { name: &name, base_dir, layout: &layout };
        let storage =
            csictl::manifest::storage(&config, &context).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        assert_eq!((storage.pools.len(), storage.classes.len()), (1, 2), "{name}");
    }
}

#[test]
fn storage_classes_ask_for_classes_that_are_there_and_agree_with_them() {
    let config: toml::Table = toml::from_str(&text("deploy/kubernetes/kustomize/base/config.toml")).unwrap();
    let objects = kustomize("base");
    let classes: Vec<_> = objects.iter().filter(|object| object["kind"] == "StorageClass").collect();
    assert_eq!(classes.len(), 2);
    for class in classes {
        let parameters = &class["parameters"];
        let asked = parameters["class"].as_str().unwrap();
        let there = config["classes"].get(asked).unwrap_or_else(|| panic!("class '{asked}' is not in config.toml"));
        assert_eq!(there["fs"]["type"].as_str(), parameters["csi.storage.k8s.io/fstype"].as_str(), "{asked}");
    }
    let volume = hcl("deploy/nomad/volume.hcl");
    assert!(config["classes"].get(volume["parameters"][0]["class"].as_str().unwrap()).is_some());
}
