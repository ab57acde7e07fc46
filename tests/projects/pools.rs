//! A pool that several projects share: its limit counts them all, and nothing is made where its file system is not mounted.

use std::path::Path;
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount, umount};

use crate::support::Place;

fn manifest(project: &str, limit: &str, volumes: &[(&str, u32)]) -> String {
    let mut text = format!("version = 1\nproject = \"{project}\"\n[pools.p]\npath = \"mnt/pool\"\n{limit}\n");
    for (name, mib) in volumes {
        text.push_str(&format!("[volumes.{name}]\ncapacity = \"{mib}MiB\"\nimage = {{ allocate = \"sparse\" }}\n"));
    }
    text
}

fn images(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn nothing_is_made_where_the_pools_file_system_is_not_mounted() {
    let place = Place::new();
    let mnt = place.join("mnt");
    std::fs::create_dir(&mnt).unwrap();
    let put = || mount(Some("pool"), &mnt, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    put();
    let before = || images(&mnt.join("pool"));
    place.write("um.toml", &manifest("um", "", &[("a", 16)]));
    place.ok(&["apply", "um.toml", "--yes"]);
    assert_eq!(before(), ["um.a.img"]);
    // Below the mount: moved aside, as an unmounted disk is.
    let aside = place.join("aside");
    std::fs::create_dir(&aside).unwrap();
    mount(Some(&mnt), &aside, None::<&str>, MsFlags::MS_MOVE, None::<&str>).unwrap();
    place.write("um.toml", &manifest("um", "", &[("a", 16), ("new", 16)]));
    place.write("um2.toml", &manifest("um2", "", &[("b", 16)]));

    for words in [
        &["apply", "um.toml", "--yes"][..],
        &["apply", "um.toml", "--yes", "--on-refusal", "continue"],
        &["apply", "um2.toml", "--yes"],
        &["apply", "um2.toml", "--yes", "--on-refusal", "continue"],
    ] {
        let (code, said) = place.exit(words);
        assert!(matches!(code, 5 | 6), "{words:?}: {code} {said}");
        assert!(said.contains("csictl::guard::not-ready") || said.contains("not mounted"), "{words:?}: {said}");
        assert_eq!(images(&mnt), Vec::<String>::new(), "{words:?} wrote below the mount point: {said}");
    }
    mount(Some(&aside), &mnt, None::<&str>, MsFlags::MS_MOVE, None::<&str>).unwrap();
    place.ok(&["apply", "um.toml", "--yes"]);
    place.ok(&["apply", "um2.toml", "--yes"]);
    assert_eq!(before(), ["um.a.img", "um.new.img", "um2.b.img"]);
    umount(&mnt).unwrap();
}

#[test]
fn the_limit_holds_for_snapshots_growth_and_restored_volumes_too() {
    let place = Place::new();
    let limit = "limit = \"70MiB\"";
    place.write("la.toml", &manifest("la", limit, &[("a", 40)]));
    place.write("lb.toml", &manifest("lb", limit, &[("b", 20)]));
    place.ok(&["apply", "la.toml", "--yes"]);
    place.ok(&["apply", "lb.toml", "--yes"]);

    for words in [&["snapshot", "create", "lb.b", "s", "--yes"][..], &["expand", "lb.b", "60MiB", "--yes"]] {
        let (code, said) = place.exit(words);
        assert_eq!(code, 5, "{words:?}: {said}");
        assert!(said.contains("limit is 70 MiB"), "{words:?}: {said}");
    }
    place.ok(&["expand", "lb.b", "24MiB", "--yes"]);
    let raised = manifest("lb", "limit = \"90MiB\"", &[("b", 24)]);
    place.write("lb.toml", &raised);
    place.ok(&["apply", "lb.toml", "--yes"]);
    place.ok(&["snapshot", "create", "lb.b", "s", "--yes"]);
    let (code, said) = place.exit(&["snapshot", "restore", "lb.s", "c", "--yes"]);
    assert_eq!(code, 5, "{said}");
    assert_eq!(images(&place.join("mnt/pool")), ["la.a.img", "lb.b.img", "lb.s.snap"]);
}

#[test]
fn the_limit_holds_while_projects_are_applied_at_once() {
    for _ in 0..3 {
        let place = Place::new();
        let running: Vec<_> = (0..6)
            .map(|n| {
                let name = format!("p{n}.toml");
                place.write(&name, &manifest(&format!("p{n}"), "limit = \"50MiB\"", &[("a", 40)]));
                let mut command: Command = place.csictl();
                command.args(["apply", &name, "--yes"]).stdout(Stdio::null()).stderr(Stdio::null());
                command.spawn().unwrap()
            })
            .collect();
        let mut codes: Vec<_> = running.into_iter().map(|mut child| child.wait().unwrap().code().unwrap()).collect();
        codes.sort_unstable();

        assert_eq!(codes, [0, 5, 5, 5, 5, 5]);
        assert_eq!(images(&place.join("mnt/pool")).len(), 1);
    }
}

#[test]
fn the_limit_holds_for_snapshots_and_growth_at_once() {
    let place = Place::new();
    let names: Vec<String> = (0..6).map(|n| format!("v{n}")).collect();
    let volumes: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 16)).collect();
    place.write("m.toml", &manifest("m", "limit = \"112MiB\"", &volumes));
    place.ok(&["apply", "m.toml", "--yes"]);
    let running: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| {
            let id = format!("m.{name}");
            let words = if n % 2 == 0 {
                vec!["expand".to_owned(), id, "32MiB".to_owned(), "--yes".to_owned()]
            } else {
                vec!["snapshot".to_owned(), "create".to_owned(), id, format!("s{n}"), "--yes".to_owned()]
            };
            let mut command = place.csictl();
            command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        })
        .collect();
    let done = running.into_iter().filter_map(|mut child| child.wait().unwrap().code()).filter(|code| *code == 0);

    assert_eq!(done.count(), 1, "room for one more 16 MiB only");
    let pool = place.join("mnt/pool");
    let nominal: u64 = images(&pool).iter().map(|name| std::fs::metadata(pool.join(name)).unwrap().len()).sum();
    assert!(nominal <= 112 << 20, "{nominal}");
}
