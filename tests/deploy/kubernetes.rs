//! The kustomize base and the Helm chart: the same objects, valid for the Kubernetes releases they are meant for, and in
//! agreement with themselves.

use std::collections::BTreeMap;

use serde_json::Value;

use super::tools::{container, containers, helm, kustomize, object, repository, strings, text, tool};

/// Kind and name; objects of one kind share no name here.
type Key = (String, String);

/// What is meant to differ: the namespace, which Helm makes itself, the labels Helm adds, and how a changed configuration restarts the pods
/// (a name with a hash, a checksum on the pods).
fn comparable(objects: Vec<Value>) -> BTreeMap<Key, Value> {
    let mut all = BTreeMap::new();
    for mut object in objects {
        let kind = object["kind"].as_str().unwrap().to_owned();
        if kind == "Namespace" {
            continue;
        }
        if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
            labels.retain(|label, _| {
                !["app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"]
                    .contains(&label.as_str())
            });
        }
        if kind == "ConfigMap" {
            let name = object["metadata"]["name"].as_str().unwrap();
            object["metadata"]["name"] = Value::from(without_hash(name));
        }
        if kind == "DaemonSet" {
            let template = &mut object["spec"]["template"];
            template["metadata"]["annotations"].as_object_mut().unwrap().remove("checksum/config");
            for volume in template["spec"]["volumes"].as_array_mut().unwrap() {
                if let Some(name) = volume["configMap"]["name"].as_str().map(without_hash) {
                    volume["configMap"]["name"] = Value::from(name);
                }
            }
        }
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        assert!(all.insert((kind.clone(), name.clone()), object).is_none(), "{kind} {name} twice");
    }
    all
}

fn without_hash(name: &str) -> String {
    match name.rsplit_once('-') {
        Some((front, hash)) if hash.len() == 10 => front.to_owned(),
        _ => name.to_owned(),
    }
}

fn assert_same(kustomize: Vec<Value>, helm: Vec<Value>) {
    let (kustomize, helm) = (comparable(kustomize), comparable(helm));
    assert_eq!(kustomize.keys().collect::<Vec<_>>(), helm.keys().collect::<Vec<_>>());
    for (key, object) in &kustomize {
        assert_eq!(object, &helm[key], "{key:?}: kustomize left, helm right");
    }
}

#[test]
fn the_chart_makes_the_objects_of_the_base() {
    assert_same(kustomize("base"), helm(&[]));
}

#[test]
fn without_snapshots_too() {
    let objects = kustomize("without-snapshots");
    assert!(!objects.iter().any(|object| object["kind"] == "VolumeSnapshotClass"));
    assert_same(objects, helm(&["snapshots.enabled=false"]));
}

#[test]
fn every_object_is_valid_in_the_oldest_and_the_newest_release_meant() {
    let everything = [
        r#"imagePullSecrets=[{"name": "registry"}]"#,
        r#"extraHostPaths=[{"name": "fast", "path": "/srv/csictl"}]"#,
        r#"node.topology={"topology.example.org/rack": "r1"}"#,
        r#"csiDriver.ephemeralVolumeProfile="restricted""#,
        r#"sidecars.securityContext.seLinuxOptions={"type": "spc_t"}"#,
    ];
    let renderings = [kustomize("base"), kustomize("without-snapshots"), helm(&[]), helm(&everything)];
    // The custom resource's kind is not among Kubernetes' own.
    let objects: Vec<Value> =
        renderings.into_iter().flatten().filter(|object| object["kind"] != "VolumeSnapshotClass").collect();
    assert!(objects.len() > 60, "{}", objects.len());
    let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(file.path(), list.to_string()).unwrap();
    // The strict form refuses keys it does not know.
    let path = file.path().to_str().unwrap();
    for release in ["1.30", "1.37"] {
        let script = "import json, sys, kubernetes_validate as k\n\
                      for o in json.load(open(sys.argv[1]))['items']: k.validate(o, sys.argv[2], strict=True)";
        tool("python", &["-c", script, path, release], "");
    }
}

#[test]
fn an_unknown_key_would_be_refused() {
    let script = "import sys, kubernetes_validate as k\n\
                  try: k.validate({'apiVersion': 'storage.k8s.io/v1', 'kind': 'CSIDriver', 'metadata': {'name': 'a'},\n\
                  \x20                'spec': {'attachRequird': False}}, '1.37', strict=True)\n\
                  except k.ValidationError: print('refused')";
    assert_eq!(tool("python", &["-c", script], "").trim(), "refused");
}

#[test]
fn the_snapshot_class_is_the_drivers() {
    let class = object(&kustomize("base"), "VolumeSnapshotClass", "csictl").clone();
    assert_eq!(class["apiVersion"], "snapshot.storage.k8s.io/v1");
    assert_eq!((&class["driver"], &class["deletionPolicy"]), (&Value::from("csi.csictl.io"), &Value::from("Delete")));
    assert!(class["metadata"].get("namespace").is_none(), "it belongs to the cluster");
}

#[test]
fn one_socket_under_all_its_names() {
    for objects in
        [kustomize("base"), helm(&[]), helm(&[r#"node.kubeletDir="/data/kubelet""#, r#"driverName="x.example.org""#])]
    {
        let driver = container(&objects, "csictl");
        assert!(strings(&driver["args"]).contains(&"--endpoint=unix:///csi/csi.sock".to_owned()));
        for sidecar in containers(&objects).iter().filter(|sidecar| sidecar["name"] != "csictl") {
            let name = &sidecar["name"];
            assert!(strings(&sidecar["args"]).contains(&"--csi-address=/csi/csi.sock".to_owned()), "{name}");
            assert!(
                sidecar["volumeMounts"]
                    .as_array()
                    .unwrap()
                    .contains(&serde_json::json!({"name": "socket", "mountPath": "/csi"})),
                "{name}"
            );
        }
        let set = object(&objects, "DaemonSet", "csictl-node");
        let volumes = set["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
        let socket = volumes.iter().find(|volume| volume["name"] == "socket").unwrap();
        let directory = socket["hostPath"]["path"].as_str().unwrap();
        let registered = format!("--kubelet-registration-path={directory}/csi.sock");
        assert!(strings(&container(&objects, "node-driver-registrar")["args"]).contains(&registered), "{registered}");
    }
}

#[test]
fn only_the_driver_is_privileged_and_its_mounts_reach_the_host() {
    let objects = kustomize("base");
    for container in containers(&objects) {
        let privileged = container["securityContext"]["privileged"] == true;
        assert_eq!(privileged, container["name"] == "csictl", "{}", container["name"]);
        assert!(container["resources"]["requests"]["memory"].is_string(), "{}", container["name"]);
    }
    let driver = container(&objects, "csictl");
    let mounts = driver["volumeMounts"].as_array().unwrap();
    for path in ["/var/lib/kubelet/plugins", "/var/lib/kubelet/pods", "/run/csictl"] {
        let mount = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(mount["mountPropagation"], "Bidirectional", "{path}");
    }
}

#[test]
fn a_pod_has_time_to_drain() {
    for objects in [kustomize("base"), helm(&["node.drainTimeoutSeconds=300"])] {
        let args = strings(&container(&objects, "csictl")["args"]);
        let drain = args.iter().find_map(|arg| arg.strip_prefix("--drain-timeout=")).unwrap();
        let drain: u64 = drain.strip_suffix('s').unwrap().parse().unwrap();
        let set = object(&objects, "DaemonSet", "csictl-node");
        assert!(set["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap() > drain);
    }
}

#[test]
fn each_sidecar_may_do_what_it_needs_and_secrets_are_nobodys() {
    let objects = kustomize("base");
    let roles = objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Role"));
    for role in roles {
        for rule in role["rules"].as_array().unwrap() {
            for word in ["resources", "verbs", "apiGroups"].map(|key| strings(&rule[key])).concat() {
                assert!(word != "*" && word != "secrets" && word != "nodes", "{}: {word}", role["metadata"]["name"]);
            }
        }
    }
    for name in ["csictl-provisioner", "csictl-snapshotter", "csictl-resizer"] {
        object(&objects, "ClusterRole", name);
        let binding = object(&objects, "ClusterRoleBinding", name);
        assert_eq!(
            (&binding["roleRef"]["name"], &binding["subjects"][0]["name"]),
            (&name.into(), &"csictl-node".into())
        );
    }
}

#[test]
fn the_chart_is_well_formed_and_its_schema_refuses_what_it_does_not_know() {
    tool("helm", &["lint", "--strict", "deploy/kubernetes/helm/csictl"], "");
    let schema: Value = serde_json::from_str(&text("deploy/kubernetes/helm/csictl/values.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let values = |text: &str| super::tools::yaml(text).remove(0);
    let defaults = values(&text("deploy/kubernetes/helm/csictl/values.yaml"));
    assert!(schema.is_valid(&defaults));
    for wrong in ["snapshot: {enabled: true}", "node: {logFormat: yaml}", "driverName: Not_A_Name", "config: ''"] {
        assert!(!schema.is_valid(&values(wrong)), "{wrong}");
    }
}

#[test]
fn a_release_of_another_name_meets_no_object_of_the_first() {
    let words = ["template", "two", "deploy/kubernetes/helm/csictl", "--namespace=other", "--kube-version=1.36.0"];
    let other = super::tools::yaml(&tool("helm", &words, ""));
    let set = object(&other, "DaemonSet", "two-csictl-node");
    assert_eq!(set["metadata"]["namespace"], "other");
    let binding = object(&other, "ClusterRoleBinding", "two-csictl-resizer");
    assert_eq!(binding["subjects"][0]["namespace"], "other");
}

#[test]
fn the_files_of_the_base_are_all_used() {
    let kustomization = text("deploy/kubernetes/kustomize/base/kustomization.yaml");
    for entry in std::fs::read_dir(repository("deploy/kubernetes/kustomize/base")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name == "kustomization.yaml" || kustomization.contains(&format!("- {name}\n")), "{name}");
    }
}
