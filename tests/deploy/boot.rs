//! What `csictl-apply@.service` runs at boot, run here: a missing device fails its own volume and no other, and when it is there the
//! next run brings it up.

use super::tools::text;
use crate::support::place::Place;

/// The words of the unit's ExecStart for this manifest.
fn exec_start(manifest: &str) -> Vec<String> {
    let unit = text("deploy/systemd/csictl-apply@.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/csictl ")).unwrap();
    line.replace("/etc/csictl/%i.toml", manifest).split(' ').map(str::to_owned).collect()
}

fn boot(place: &Place, manifest: &str) -> (i32, String) {
    let words = exec_start(manifest);
    place.exit(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Three volumes: one whole, one on a directory that is missing as a device would be, one mounted below that one.
fn manifest(place: &Place) -> String {
    let root = place.join("srv");
    let text = format!(
        r#"
        version = 1
        project = "shop"

        [volumes.data]
        capacity = "16MiB"

        [volumes.late]
        directory = {{ path = "{late}" }}

        [volumes.below]
        tmpfs = {{ size = "1MiB" }}

        [pods.web]
        root = "{root}"
        mounts = [
          {{ volume = "data", path = "/data" }},
          {{ volume = "late", path = "/late" }},
          {{ volume = "below", path = "/late/cache" }},
        ]
        "#,
        late = place.join("late").display(),
        root = root.display(),
    );
    place.write("shop.toml", &text).to_str().unwrap().to_owned()
}

fn mounted(place: &Place, path: &str) -> bool {
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let path = format!(" {} ", place.join("srv").join(path).display());
    mounts.lines().any(|line| line.contains(&path))
}

#[test]
fn what_is_missing_fails_alone() {
    let place = Place::new();
    let manifest = manifest(&place);

    let (exit, said) = boot(&place, &manifest);

    assert_eq!(exit, 6, "{said}");
    assert!(said.contains("volume.late: there is no directory"), "{said}");
    assert!(said.contains("volume.below: it lies below"), "{said}");
    assert_eq!(["data", "late", "late/cache"].map(|path| mounted(&place, path)), [true, false, false]);
    place.ok(&["destroy", &manifest, "--yes"]);
}

#[test]
fn the_next_try_changes_nothing_and_says_what_still_fails() {
    let place = Place::new();
    let manifest = manifest(&place);
    boot(&place, &manifest);

    let (exit, said) = boot(&place, &manifest);

    assert_eq!(exit, 6, "{said}");
    assert!(said.contains("no changes") && said.contains("volume.late: there is no directory"), "{said}");
    place.ok(&["destroy", &manifest, "--yes"]);
}

#[test]
fn when_it_is_there_all_of_it_comes_up() {
    let place = Place::new();
    let manifest = manifest(&place);
    boot(&place, &manifest);
    std::fs::create_dir(place.join("late")).unwrap();

    let (exit, said) = boot(&place, &manifest);

    assert_eq!(exit, 0, "{said}");
    assert_eq!(["data", "late", "late/cache"].map(|path| mounted(&place, path)), [true, true, true]);
    place.ok(&["destroy", &manifest, "--yes"]);
}

#[test]
fn with_people_watching_a_refusal_stops_everything() {
    let place = Place::new();
    let manifest = manifest(&place);

    let (exit, _) = place.exit(&["apply", &manifest, "--yes"]);

    assert_eq!(exit, 5);
    assert!(!mounted(&place, "data"));
}
