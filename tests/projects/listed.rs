//! Pods of one name in several projects are several pods.

use crate::support::Place;

#[test]
fn pods_of_different_projects_are_told_apart() {
    let place = Place::new();
    for project in ["a", "b"] {
        let text = format!(
            "version = 1\nproject = \"{project}\"\n[volumes.m]\ntmpfs = {{ size = \"1MiB\" }}\n[pods.web]\nroot = \"pods/{project}\"\n[[pods.web.mounts]]\nvolume = \"m\"\npath = \"/m\"\n"
        );
        place.write(&format!("{project}.toml"), &text);
        place.ok(&["apply", &format!("{project}.toml"), "--yes"]);
    }

    let text = place.ok(&["get", "pods"]);
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["POD", "PROJECT", "PUBLISHED"], ["web", "a", "1"], ["web", "b", "1"]]);
    let json: serde_json::Value = serde_json::from_str(&place.ok(&["get", "pods", "-o", "json"])).unwrap();
    let projects: Vec<_> =
        json["items"].as_array().unwrap().iter().map(|pod| pod["project"].as_str().unwrap()).collect();
    assert_eq!(projects, ["a", "b"]);
    let tree = place.ok(&["tree"]);
    let roots: Vec<_> = tree.lines().filter(|line| line.starts_with("pod ")).collect();
    assert_eq!(roots.len(), 2, "{tree}");
    assert!(roots[0].contains("of a") && roots[1].contains("of b"), "{tree}");
    for project in ["a", "b"] {
        place.ok(&["destroy", &format!("{project}.toml"), "--yes"]);
    }
}
