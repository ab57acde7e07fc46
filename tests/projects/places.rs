//! A target of one project over, in or above what another project needs is refused by name, whichever of them is up.

use crate::support::Place;

/// A project with an image in `pool`, published at `root/data`, and a directory volume.
const SHOP: &str = r#"
version = 1
project = "shop"
[pools.main]
path = "shop/pool"
[volumes.db]
capacity = "32MiB"
image = { allocate = "sparse" }
[volumes.uploads]
directory = { path = "shop/uploads/new", create = true }
[pods.web]
root = "pods"
[[pods.web.mounts]]
volume = "db"
path = "/shop/db"
[[pods.web.mounts]]
volume = "uploads"
path = "/shop/uploads"
"#;

fn other(target: &str) -> String {
    format!(
        "version = 1\nproject = \"blog\"\n[volumes.m]\ntmpfs = {{ size = \"1MiB\" }}\n[pods.p]\nroot = \".\"\n[[pods.p.mounts]]\nvolume = \"m\"\npath = \"/{target}\"\n"
    )
}

#[test]
fn what_another_project_needs_is_covered_by_no_target() {
    let place = Place::new();
    let shop = place.write("shop.toml", SHOP);
    place.ok(&["apply", "shop.toml", "--yes"]);
    // (target, what it meets, whether only while it is up)
    let cases = [
        ("shop/pool", "pool", false),
        ("shop/pool/sub", "pool", false),
        ("shop", "pool", false),
        ("shop/uploads/new", "directory", false),
        ("shop/uploads", "directory", false),
        ("pods/shop", "volume shop.db of project:shop", true),
        ("pods/shop/db", "volume shop.db of project:shop", true),
    ];
    for up in [true, false] {
        for (target, meets, only_up) in cases {
            place.write("blog.toml", &other(target));
            let (code, said) = place.exit(&["plan", "blog.toml", "--detailed-exitcode"]);
            if only_up && !up {
                assert_eq!(code, 2, "{target} is free while shop is down: {said}");
                continue;
            }
            assert_eq!(code, 5, "{target}: {said}");
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(meets) && said.contains("project:shop"), "{target}: {said}");
            let (code, said) = place.exit(&["apply", "blog.toml", "--yes"]);
            assert_eq!(code, 5, "{target}: {said}");
        }
        if up {
            place.ok(&["destroy", "shop.toml", "--yes"]);
        }
    }
    place.ok(&["apply", shop.to_str().unwrap(), "--yes"]);
    place.ok(&["destroy", "shop.toml", "--yes"]);
}

#[test]
fn no_pool_or_directory_is_made_in_what_another_project_has_mounted() {
    let place = Place::new();
    place.write("blog.toml", &other("data"));
    place.ok(&["apply", "blog.toml", "--yes"]);
    let pool = "version = 1\nproject = \"shop\"\n[pools.p]\npath = \"data/pool\"\n[volumes.a]\ncapacity = \"16MiB\"\n";
    let directory = "version = 1\nproject = \"shop\"\n[volumes.a]\ndirectory = { path = \"data/up\", create = true }\n";
    for manifest in [pool, directory] {
        place.write("shop.toml", manifest);
        let (code, said) = place.exit(&["apply", "shop.toml", "--yes"]);
        assert_eq!(code, 5, "{said}");
        assert!(said.contains("blog"), "{said}");
    }
    assert_eq!(std::fs::read_dir(place.join("data")).unwrap().count(), 0);
    place.ok(&["destroy", "blog.toml", "--yes"]);
}

#[test]
fn one_directory_may_be_shown_by_two_projects_and_neither_touches_the_other() {
    let place = Place::new();
    let manifest = |project: &str| {
        format!(
            "version = 1\nproject = \"{project}\"\n[volumes.u]\ndirectory = {{ path = \"media\", create = true }}\n[pods.p]\nroot = \"pods/{project}\"\n[[pods.p.mounts]]\nvolume = \"u\"\npath = \"/media\"\n"
        )
    };
    place.write("a.toml", &manifest("a"));
    place.write("b.toml", &manifest("b"));
    place.ok(&["apply", "a.toml", "--yes"]);
    place.ok(&["apply", "b.toml", "--yes"]);
    std::fs::write(place.join("pods/a/media/song"), "la").unwrap();

    place.ok(&["destroy", "a.toml", "--yes", "--delete-data", "u"]);

    assert_eq!(std::fs::read_to_string(place.join("pods/b/media/song")).unwrap(), "la");
    assert_eq!(place.exit(&["plan", "b.toml", "--detailed-exitcode"]).0, 0);
    place.ok(&["destroy", "b.toml", "--yes"]);
}

#[test]
fn a_pause_of_what_another_project_lies_upon_is_refused_once_with_the_way_out() {
    let place = Place::new();
    let lower = |options: &str| {
        format!(
            "version = 1\nproject = \"shop\"\n[pools.p]\npath = \"pool\"\n[volumes.a]\ncapacity = \"16MiB\"\nimage = {{ allocate = \"sparse\" }}\nmount_options = [{options}]\n[pods.p]\nroot = \".\"\n[[pods.p.mounts]]\nvolume = \"a\"\npath = \"/x\"\n"
        )
    };
    place.write("shop.toml", &lower(""));
    place.write("blog.toml", &other("x/in"));
    place.ok(&["apply", "shop.toml", "--yes"]);
    place.ok(&["apply", "blog.toml", "--yes"]);
    place.write("shop.toml", &lower("\"data=journal\""));

    for words in [&["plan", "shop.toml"][..], &["apply", "shop.toml", "--yes"]] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 5, "{words:?}: {said}");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("volume blog.m of project:blog is published at"), "{words:?}: {said}");
        assert!(said.contains("data=journal is taken only at mount"), "{words:?}: {said}");
        assert!(!said.contains("choose a path") && !said.contains("is in use by"), "{words:?}: {said}");
        assert_eq!(said.matches("would have to be taken down").count(), 1, "{words:?}: {said}");
    }
    place.ok(&["destroy", "blog.toml", "--yes"]);
    for manifest in ["shop.toml", "blog.toml"] {
        place.ok(&["apply", manifest, "--yes"]);
        assert_eq!(place.exit(&["plan", manifest, "--detailed-exitcode"]).0, 0);
    }
    for manifest in ["blog.toml", "shop.toml"] {
        place.ok(&["destroy", manifest, "--yes"]);
    }
}

#[test]
fn a_mount_upon_which_another_project_lies_goes_after_that_and_nothing_before() {
    let place = Place::new();
    let text = |project: &str, mounts: &[(&str, &str)]| {
        let head = format!(
            "version = 1\nproject = \"{project}\"\n[pools.p]\npath = \"pool\"\n[classes.thin]\nimage = {{ allocate = \"sparse\" }}\n\
             [volumes.a]\nclass = \"thin\"\ncapacity = \"16MiB\"\n[volumes.z]\nclass = \"thin\"\ncapacity = \"16MiB\"\n\
             [pods.x]\nroot = \"r\"\n"
        );
        let mount =
            |(volume, path): &(&str, &str)| format!("[[pods.x.mounts]]\nvolume = \"{volume}\"\npath = \"{path}\"\n");
        head + &mounts.iter().map(mount).collect::<String>()
    };
    let whole = text("one", &[("a", "/x"), ("z", "/z1")]);
    let dropped = text("one", &[("z", "/z1")]);
    let moved = text("one", &[("a", "/elsewhere"), ("z", "/z1")]);
    let volume_gone = dropped.replace("[volumes.a]\nclass = \"thin\"\ncapacity = \"16MiB\"\n", "");
    place.write("whole.toml", &whole);
    place.write("two.toml", &text("two", &[("a", "/x/in"), ("z", "/z2")]));
    place.ok(&["apply", "whole.toml", "--yes"]);
    place.ok(&["apply", "two.toml", "--yes"]);
    let before = (place.mounts(), place.loops());

    // Both commands of each way to take it away; the last words are the ones that it goes by in the end.
    for (manifest, words) in [
        (&whole, &["plan", "one.toml", "--destroy"][..]),
        (&whole, &["destroy", "one.toml", "--yes"]),
        (&dropped, &["plan", "one.toml"]),
        (&dropped, &["apply", "one.toml", "--yes"]),
        (&moved, &["plan", "one.toml"]),
        (&moved, &["apply", "one.toml", "--yes"]),
        (&volume_gone, &["plan", "one.toml"]),
        (&volume_gone, &["apply", "one.toml", "--yes"]),
    ] {
        place.write("one.toml", manifest);

        let (code, said) = place.exit(words);

        assert_eq!(code, 5, "{words:?}: {said}");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("volume two.a of project:two"), "{words:?}: {said}");
        assert!(said.contains("would be taken down, and"), "{words:?}: {said}");
        assert_eq!((place.mounts(), place.loops()), before, "{words:?}: {said}");
    }

    place.ok(&["destroy", "two.toml", "--yes"]);
    place.write("one.toml", &dropped);
    place.ok(&["apply", "one.toml", "--yes"]);
    assert!(!place.mounts().contains(&place.join("r/x")) && place.mounts().contains(&place.join("r/z1")));
    assert_eq!(place.exit(&["plan", "one.toml", "--detailed-exitcode"]).0, 0);
    place.ok(&["destroy", "one.toml", "--yes"]);
    assert_eq!(place.mounts(), Vec::<std::path::PathBuf>::new());
}
