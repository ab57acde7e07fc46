//! One version everywhere, and the same sidecar images in both forms of the deployment.

use super::tools::{containers, hcl, helm, kustomize, text, yaml};

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn the_chart_and_all_images_have_the_packages_version() {
    let chart = yaml(&text("deploy/kubernetes/helm/csictl/Chart.yaml")).remove(0);
    assert_eq!((chart["version"].as_str(), chart["appVersion"].as_str()), (Some(VERSION), Some(VERSION)));
    let image = format!("localhost/csictl:{VERSION}");
    for objects in [kustomize("base"), helm(&[])] {
        assert_eq!(containers(&objects)[0]["image"], image);
    }
    let job = hcl("deploy/nomad/plugin.nomad.hcl");
    let variables = job["variable"].as_array().unwrap();
    let nomad = variables.iter().find_map(|variable| variable.get("image")).unwrap();
    assert_eq!(nomad["default"], image);
}

#[test]
fn every_sidecar_has_a_release_of_the_registry_of_kubernetes() {
    for container in &containers(&kustomize("base"))[1..] {
        let image = container["image"].as_str().unwrap();
        let (name, tag) = image.strip_prefix("registry.k8s.io/sig-storage/").unwrap().rsplit_once(':').unwrap();
        let numbers: Vec<&str> = tag.strip_prefix('v').unwrap().split('.').collect();
        assert!(numbers.len() == 3 && numbers.iter().all(|number| number.parse::<u32>().is_ok()), "{name}: {tag}");
    }
}

#[test]
fn commands_of_the_docs_name_this_version() {
    for page in ["systemd", "kubernetes", "nomad", "container"] {
        let page = format!("docs/deploy-{page}.md");
        let words = text(&page);
        for found in
            words.split("csictl:").skip(1).filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        {
            assert!(found.starts_with(VERSION), "{page}: csictl:{}", &found[..found.len().min(10)]);
        }
    }
}
