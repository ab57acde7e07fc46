//! JSON documents: their schema names and exactly the fields scripts rely on.

use serde_json::Value;

use super::run::{Folder, SMALL};
use crate::support::Place;

fn fields(value: &Value) -> Vec<&str> {
    let mut fields: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_plan_is_a_document_and_writes_nothing() {
    let folder = Folder::new();
    folder.write("shop.toml", SMALL);
    let ran = folder.run(&["plan", "shop.toml", "-o", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let plan = ran.json();
    assert_eq!(plan["schema"], "csictl.plan/1");
    let summary = ["create", "change", "replace", "delete", "release", "unchanged", "drift"];
    assert_eq!(fields(&plan["summary"]), sorted(&summary));
    assert_eq!(plan["summary"]["create"], 1);
    assert_eq!(plan["drift"], Value::Array(vec![]));
    let steps = plan["steps"].as_array().unwrap();
    let verbs: Vec<_> = steps.iter().map(|step| step["verb"].as_str().unwrap()).collect();
    assert_eq!(verbs, ["create", "attach", "stage", "publish"]);
    for (index, step) in steps.iter().enumerate() {
        let expected = ["id", "verb", "object", "pod", "path", "after", "risk", "reason"];
        assert_eq!(fields(step), sorted(&expected));
        assert_eq!(step["id"], format!("s{}", index + 1));
        assert_eq!(step["object"], "volume.db");
        assert_eq!(step["risk"], "none");
    }
    assert_eq!(steps[3]["pod"], "web");
    assert_eq!(steps[3]["path"], folder.path().join("root/srv/db").to_str().unwrap());
    assert_eq!(steps[3]["after"], serde_json::json!(["s3"]));
    assert_eq!(folder.files(), ["shop.toml"], "a plan writes nothing");
}

#[test]
fn a_plan_has_exit_codes_for_scripts() {
    let folder = Folder::new();
    folder.write("shop.toml", SMALL);
    assert_eq!(folder.run(&["plan", "shop.toml"]).code, 0);
    assert_eq!(folder.run(&["plan", "shop.toml", "--detailed-exitcode"]).code, 2);
    assert_eq!(folder.run(&["plan", "shop.toml", "--destroy", "--detailed-exitcode"]).code, 0);
}

#[test]
fn apply_and_status_are_documents() {
    let place = Place::new();
    place.write("shop.toml", SMALL);
    let apply = parse(&place.ok(&["apply", "shop.toml", "--yes", "-o", "json"]));
    assert_eq!(apply["schema"], "csictl.apply/1");
    assert_eq!(fields(&apply), sorted(&["schema", "done", "failed", "skipped", "duration_ms"]));
    let done = apply["done"].as_array().unwrap();
    assert_eq!(done.len(), 4);
    for step in done {
        for field in ["id", "verb", "object"] {
            assert!(step[field].is_string(), "{step}");
        }
    }
    assert!(apply["duration_ms"].is_u64());
    let again = parse(&place.ok(&["apply", "shop.toml", "--yes", "-o", "json"]));
    for list in ["done", "failed", "skipped"] {
        assert_eq!(again[list], Value::Array(vec![]), "a second apply does nothing");
    }

    let status = parse(&place.ok(&["status", "shop.toml", "-o", "json"]));
    assert_eq!(status["schema"], "csictl.status/1");
    assert_eq!(fields(&status), sorted(&["schema", "project", "volumes", "pods"]));
    assert_eq!(status["project"], "shop");
    let volume = &status["volumes"][0];
    let expected = [
        "name",
        "id",
        "phase",
        "backing",
        "device",
        "capacity_bytes",
        "used_bytes",
        "fs",
        "staged",
        "published",
        "drift",
    ];
    assert_eq!(fields(volume), sorted(&expected));
    assert_eq!((&volume["name"], &volume["id"]), (&"db".into(), &"shop.db".into()));
    assert_eq!(volume["phase"], "published");
    assert_eq!(volume["backing"], "image");
    assert!(volume["device"].as_str().unwrap().starts_with("/dev/loop"));
    assert_eq!(volume["capacity_bytes"], 32 << 20);
    assert!(volume["used_bytes"].is_u64());
    assert_eq!(volume["fs"], "ext4");
    assert_eq!(volume["staged"], true);
    let path = place.join("root/srv/db");
    let published = serde_json::json!([{"pod": "web", "path": path.to_str().unwrap(), "read_only": false}]);
    assert_eq!(volume["published"], published);
    assert_eq!(volume["drift"], Value::Array(vec![]));
    assert_eq!(status["pods"][0]["name"], "web");

    let all = parse(&place.ok(&["status", "-o", "json"]));
    assert_eq!(all["project"], Value::Null);
    assert_eq!(all["volumes"], status["volumes"]);

    let mounts = parse(&place.ok(&["get", "mounts", "-o", "json"]));
    assert_eq!((&mounts["schema"], mounts["items"].as_array().unwrap().len()), (&"csictl.get/1".into(), 2));
    assert_eq!(place.ok(&["get", "volumes", "-o", "name"]), "shop.db\n");
    assert_eq!(place.ok(&["get", "pods", "web", "-o", "name"]), "web\n");
    let tree = place.ok(&["tree"]);
    for part in ["pod web", "root/srv/db", "stage ", "device /dev/loop", "image "] {
        assert!(tree.contains(part), "{part} in\n{tree}");
    }
    assert_eq!(parse(&place.ok(&["tree", "-o", "json"]))["schema"], "csictl.tree/1");
    let export = parse(&place.ok(&["state", "export"]));
    assert_eq!(export["schema"], "csictl.state/1");
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn drift_is_told_and_checked() {
    let place = Place::new();
    place.write("shop.toml", SMALL);
    place.ok(&["apply", "shop.toml", "--yes"]);
    assert_eq!(place.exit(&["status", "--check"]).0, 0);
    nix::mount::umount(&place.join("root/srv/db")).unwrap();
    let (code, said) = place.exit(&["status", "--check"]);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("drift") && said.contains("not mounted"), "{said}");
    let status = parse(&place.ok(&["status", "-o", "json"]));
    let drift = &status["volumes"][0]["drift"][0];
    assert_eq!(fields(drift), sorted(&["object", "what", "expected", "found"]));
    let plan = parse(&place.ok(&["plan", "shop.toml", "-o", "json"]));
    assert_eq!(plan["summary"]["drift"], 1);
    place.ok(&["apply", "shop.toml", "--yes"]);
    assert_eq!(place.exit(&["status", "shop.toml", "--check"]).0, 0, "apply mends it");
    place.ok(&["destroy", "shop.toml", "--yes"]);
}
