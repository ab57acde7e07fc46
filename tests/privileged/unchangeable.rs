//! A change that this machine cannot make: it is refused before the pod loses its mount, or the pod gets its mount back as it was.

use std::fs;

use crate::support::Place;

/// One sparse volume in one pod.
fn manifest(size: &str, more: &str) -> String {
    format!(
        "version = 1\nproject = \"u\"\n[pools.main]\npath = \"pool\"\n[volumes.e]\ncapacity = \"{size}\"\n\
         image = {{ allocate = \"sparse\" }}\n{more}\n[pods.p]\nroot = \"root\"\n[[pods.p.mounts]]\nvolume = \"e\"\npath = \"/e\"\n"
    )
}

fn up(size: &str, more: &str) -> Place {
    let place = Place::new();
    place.write("u.toml", &manifest(size, more));
    place.ok(&["apply", "u.toml", "--yes"]);
    fs::write(place.join("root/e/precious"), "kept").unwrap();
    place
}

fn size_of_image(place: &Place) -> u64 {
    fs::metadata(place.join("pool/u.e.img")).unwrap().len()
}

#[test]
fn a_size_that_comes_out_unclean_is_refused_and_the_pod_gets_its_mount_back() {
    let bigalloc = "fs = { type = \"ext4\", mkfs_options = [\"-O\", \"bigalloc\", \"-C\", \"64k\"] }";
    let place = up("64MiB", bigalloc);
    place.write("u.toml", &manifest("72MiB", bigalloc));

    let (code, said) = place.exit(&["apply", "u.toml", "--yes"]);

    assert!(code == 5 && said.contains("cannot become 72 MiB") && said.contains("put back"), "{code} {said}");
    assert!(!said.contains("storage may be failing"), "{said}");
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    assert_eq!(size_of_image(&place), 64 << 20);
    place.write("u.toml", &manifest("64MiB", bigalloc));
    assert_eq!(place.exit(&["plan", "u.toml", "--detailed-exitcode"]).0, 0);
    place.write("u.toml", &manifest("2GiB", bigalloc));
    place.ok(&["apply", "u.toml", "--yes"]);
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    place.ok(&["destroy", "u.toml", "--yes"]);
}

#[test]
fn an_image_whose_file_system_cannot_fill_it_is_used_with_the_size_it_has() {
    let bigalloc = "fs = { type = \"ext4\", mkfs_options = [\"-O\", \"bigalloc\", \"-C\", \"64k\"] }";
    let place = up("64MiB", bigalloc);
    place.ok(&["destroy", "u.toml", "--yes"]);
    fs::File::options().write(true).open(place.join("pool/u.e.img")).unwrap().set_len(72 << 20).unwrap();

    let said = place.ok(&["apply", "u.toml", "--yes"]);

    assert!(said.contains("used with the size it has"), "{said}");
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    let (code, plan) = place.exit(&["plan", "u.toml", "--detailed-exitcode"]);
    assert_eq!(code, 0, "{plan}");
    place.ok(&["destroy", "u.toml", "--yes"]);
}

#[test]
fn more_than_one_file_can_have_in_the_pool_is_refused_by_the_plan_and_nothing_comes_down() {
    let place = up("64MiB", "");
    let new = manifest("64MiB", "")
        .replace("[pods.p]", "[volumes.n]\ncapacity = \"30TiB\"\nimage = { allocate = \"sparse\" }\n[pods.p]");
    let cases = [manifest("20TiB", ""), new];
    for text in cases {
        place.write("u.toml", &text);

        let (planned, said) = place.exit(&["plan", "u.toml"]);
        let (applied, _) = place.exit(&["apply", "u.toml", "--yes"]);

        assert!(planned == 5 && applied == 5 && said.contains("has at most 16 TiB"), "{planned} {applied} {said}");
        assert!(!said.contains("let it be sparse"), "{said}");
    }
    let (code, said) = place.exit(&["expand", "u.e", "500TiB", "--yes"]);
    assert!(code == 5 && said.contains("has at most"), "{code} {said}");
    assert_eq!(fs::read_to_string(place.join("root/e/precious")).unwrap(), "kept");
    assert_eq!(size_of_image(&place), 64 << 20);
    place.write("u.toml", &manifest("64MiB", ""));
    place.ok(&["destroy", "u.toml", "--yes"]);
}
