//! Every rule of the manifest: what breaks it, which code it gives, where, and that nothing else is complained about.

use super::read;

/// A manifest of volume `v` alone, with these lines.
fn volume(lines: &str) -> String {
    format!("project = \"p\"\n[volumes.v]\n{lines}")
}

/// One image `v` and these lines after it.
fn image(lines: &str) -> String {
    volume(&format!("capacity = \"64MiB\"\n{lines}"))
}

/// The codes of all errors, shortened, with their lines.
fn codes(text: &str) -> Vec<(usize, String)> {
    match read(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .errors()
            .iter()
            .map(|error| (error.line, error.code.strip_prefix("csictl::manifest::").unwrap().to_owned()))
            .collect(),
    }
}

/// What is tried, the text, and the errors it gives: line and code.
type Case<'a> = (&'a str, String, &'a [(usize, &'a str)]);

/// Asserts that each text gives exactly these errors.
fn expect(cases: &[Case<'_>]) {
    for (what, text, expected) in cases {
        let found = codes(text);
        let found: Vec<_> = found.iter().map(|(line, code)| (*line, code.as_str())).collect();
        assert_eq!(found, *expected, "{what}\n---\n{text}");
    }
}

#[test]
fn one_mistake_gives_one_error_and_several_give_all() {
    let pool = |path: &str| {
        format!(
            "project = \"p\"\n[pools.main]\npath = {path}\n[volumes.v]\ncapacity = \"64MiB\"\n[[pods.p.mounts]]\nvolume = \"v\"\npath = \"/f\""
        )
    };
    let class = |options: &str| format!("project = \"p\"\n[classes.c]\nmount_options = {options}");
    expect(&[
        ("a pool's path of another type", pool("3"), &[(3, "wrong-type")]),
        ("a pool at the root", pool("\"/\""), &[(3, "path-reserved")]),
        (
            "options of all sorts",
            class("[\n\"suid\",\n\"errors=panic\",\n3\n]"),
            &[(4, "mount-option"), (5, "mount-option"), (6, "wrong-type")],
        ),
        ("an option against another", class("[\"ro\",\n\"noexec\",\n\"rw\"]"), &[(5, "mount-option")]),
        ("an option against itself", image("mount_options = [\"commit=5\",\n\"commit=10\"]"), &[(5, "mount-option")]),
        ("access times in two ways", image("mount_options = [\"noatime\",\n\"relatime\"]"), &[(5, "mount-option")]),
        ("an option twice", image("mount_options = [\"noatime\",\n\"noatime\"]"), &[(5, "mount-option")]),
        (
            "options that only look so",
            image("mount_options = [\"nosuid\", \"nodev\", \"noatime\", \"nodiratime\"]"),
            &[],
        ),
    ]);
}

#[test]
fn what_a_snapshot_holds_is_not_judged_by_what_its_volume_is_now() {
    let text = |more: &str| {
        format!(
            "project = \"p\"\n[volumes.v]\ncapacity = \"300MiB\"\nfs = {{ type = \"xfs\" }}\n[snapshots.s]\nvolume = \"v\"\n[volumes.r]\n{more}"
        )
    };
    expect(&[
        ("smaller than its volume may be now", text("capacity = \"32MiB\"\nsource = { snapshot = \"s\" }"), &[]),
        (
            "the type it had then",
            text("capacity = \"32MiB\"\nsource = { snapshot = \"s\" }\nfs = { type = \"ext4\" }"),
            &[],
        ),
        (
            "a clone has the type its source has",
            text("capacity = \"300MiB\"\nsource = { volume = \"v\" }\nfs = { type = \"ext4\" }"),
            &[(10, "source-mismatch")],
        ),
    ]);
}

#[test]
fn shape() {
    expect(&[
        ("nothing at all", String::new(), &[(1, "missing-key")]),
        ("project only", "project = \"p\"".into(), &[]),
        ("no TOML", "project = \"p\"\nx = = 1".into(), &[(2, "syntax")]),
        ("two slips", "project = \nx = [1\n".into(), &[(1, "syntax"), (2, "syntax")]),
        ("a table twice", image("[volumes.v]\ncapacity = \"1GiB\""), &[(4, "syntax")]),
        (
            "unknown keys everywhere",
            image("sise = 1\n[pods.p]\nrot = \"/\"\n[x]"),
            &[(4, "unknown-key"), (6, "unknown-key"), (7, "unknown-key")],
        ),
        ("unknown key in an inline table", image("image = { alocate = \"full\" }"), &[(4, "unknown-key")]),
        (
            "unknown key in a list of tables",
            image("[[pods.p.mounts]]\nvolume = \"v\"\npath = \"/a\"\nsubpath = \"x\""),
            &[(7, "unknown-key")],
        ),
        ("a newer version", "version = 2\nproject = \"p\"".into(), &[(1, "unknown-value")]),
        ("a version as text", "version = \"1\"\nproject = \"p\"".into(), &[(1, "wrong-type")]),
        ("project in upper case", "project = \"Shop\"".into(), &[(1, "invalid-name")]),
        (
            "a volume with a dot",
            "project = \"p\"\n[volumes.\"a.b\"]\ncapacity = \"1GiB\"".into(),
            &[(2, "invalid-name")],
        ),
        (
            "a volume that climbs",
            "project = \"p\"\n[volumes.\"../x\"]\ncapacity = \"1GiB\"".into(),
            &[(2, "invalid-name")],
        ),
        ("a volume that is no table", "project = \"p\"\n[volumes]\nv = 1".into(), &[(3, "wrong-type")]),
        ("single brackets", image("[pods.p.mounts]\nvolume = \"v\"\npath = \"/a\""), &[(4, "wrong-type")]),
        ("number for size", volume("capacity = 64"), &[(3, "wrong-type")]),
        ("text for flag", image("prevent_destroy = \"yes\""), &[(4, "wrong-type")]),
        ("integer mode", image("mode = 750"), &[(4, "wrong-type")]),
        ("empty description", image("description = \"\""), &[(4, "empty")]),
        ("control character", image("description = \"a\\nb\""), &[(4, "control-character")]),
        ("options as text", image("mount_options = \"noatime\""), &[(4, "wrong-type")]),
        ("an option that is a number", image("mount_options = [1]"), &[(4, "wrong-type")]),
        ("a mount without a path", image("[[pods.p.mounts]]\nvolume = \"v\""), &[(4, "missing-key")]),
        ("a pool without a path", "project = \"p\"\n[pools.a]".into(), &[(2, "missing-key")]),
        ("a sector size between", image("image = { sector_size = 1024 }"), &[(4, "unknown-value")]),
    ]);
}

#[test]
fn words_and_values() {
    expect(&[
        ("access mode", image("access_mode = \"rwx\""), &[(4, "unknown-value")]),
        ("format always", image("fs = { format = \"always\" }"), &[(4, "unknown-value")]),
        ("file system", image("fs = { type = \"ntfs\" }"), &[(4, "unknown-value")]),
        ("volume mode", image("volume_mode = \"Block\""), &[(4, "unknown-value")]),
        ("reclaim", image("reclaim = \"recycle\""), &[(4, "unknown-value")]),
        ("allocate", image("image = { allocate = \"thin\" }"), &[(4, "unknown-value")]),
        ("bare unit", volume("capacity = \"10G\""), &[(3, "invalid-size")]),
        ("no size", volume("capacity = \"lots\""), &[(3, "invalid-size")]),
        ("owner by name", image("owner = \"root:root\""), &[(4, "invalid-owner")]),
        ("mode in letters", image("mode = \"rwxr-x---\""), &[(4, "invalid-mode")]),
        ("group below zero", image("[pods.p]\nfs_group = -1"), &[(5, "invalid-owner")]),
        ("relative target", image("[[pods.p.mounts]]\nvolume = \"v\"\npath = \"data\""), &[(6, "invalid-path")]),
        ("climbing target", image("[[pods.p.mounts]]\nvolume = \"v\"\npath = \"/a/../b\""), &[(6, "invalid-path")]),
        (
            "climbing sub_path",
            image("[[pods.p.mounts]]\nvolume = \"v\"\npath = \"/a\"\nsub_path = \"../x\""),
            &[(7, "invalid-path")],
        ),
        ("home", "project = \"p\"\n[pools.a]\npath = \"~/pool\"".into(), &[(3, "invalid-path")]),
        ("variable", "project = \"p\"\n[pools.a]\npath = \"$HOME/pool\"".into(), &[(3, "invalid-path")]),
        ("kernel name", volume("device = { path = \"/dev/sdb\" }"), &[(3, "invalid-path")]),
    ]);
}

#[test]
fn capacity() {
    expect(&[
        ("missing", volume(""), &[(2, "capacity-missing")]),
        ("small ext4", volume("capacity = \"15MiB\""), &[(3, "capacity-too-small")]),
        ("small xfs", volume("capacity = \"299MiB\"\nfs = { type = \"xfs\" }"), &[(3, "capacity-too-small")]),
        ("small btrfs", volume("capacity = \"108MiB\"\nfs = { type = \"btrfs\" }"), &[(3, "capacity-too-small")]),
        ("just large enough", volume("capacity = \"300MiB\"\nfs = { type = \"xfs\" }"), &[]),
        ("small block", volume("capacity = \"1MiB\"\nvolume_mode = \"block\""), &[]),
        (
            "more than the limit",
            volume("capacity = { required = \"2GiB\", limit = \"1GiB\" }"),
            &[(3, "capacity-range")],
        ),
        (
            "rounded past the limit",
            volume("capacity = { required = \"20000001B\", limit = \"20000002B\" }"),
            &[(3, "capacity-range")],
        ),
        ("a range without its start", volume("capacity = { limit = \"1GiB\" }"), &[(3, "missing-key")]),
        (
            "on a directory",
            volume("capacity = \"1GiB\"\ndirectory = { path = \"/srv/a\" }"),
            &[(3, "key-not-applicable")],
        ),
        ("on tmpfs", volume("capacity = \"1GiB\"\ntmpfs = { size = \"1GiB\" }"), &[(3, "key-not-applicable")]),
        (
            "on a device",
            volume("capacity = \"1GiB\"\ndevice = { path = \"/dev/mapper/a\" }"),
            &[(3, "key-not-applicable")],
        ),
    ]);
}

#[test]
fn backings_and_their_keys() {
    let directory = |lines: &str| volume(&format!("directory = {{ path = \"/srv/a\" }}\n{lines}"));
    let tmpfs = |lines: &str| volume(&format!("tmpfs = {{ size = \"1MiB\" }}\n{lines}"));
    let block = |lines: &str| image(&format!("volume_mode = \"block\"\n{lines}"));
    expect(&[
        (
            "two backings",
            volume("tmpfs = { size = \"1MiB\" }\ndirectory = { path = \"/srv/a\" }"),
            &[(4, "several-backings")],
        ),
        (
            "image and device",
            image("image = {}\ndevice = { path = \"/dev/mapper/a\" }"),
            &[(3, "key-not-applicable"), (5, "several-backings")],
        ),
        ("fs on a directory", directory("fs = {}"), &[(4, "key-not-applicable")]),
        (
            "pool on a directory",
            directory("pool = \"a\"\n[pools.a]\npath = \"/srv/pool\""),
            &[(4, "key-not-applicable")],
        ),
        ("block directory", directory("volume_mode = \"block\""), &[(4, "key-not-applicable")]),
        ("block tmpfs", tmpfs("volume_mode = \"block\""), &[(4, "key-not-applicable")]),
        ("protected tmpfs", tmpfs("prevent_destroy = true"), &[(4, "key-not-applicable")]),
        ("unprotected tmpfs", tmpfs("prevent_destroy = false"), &[]),
        (
            "a directory with owner, mode and options",
            directory("owner = \"1:1\"\nmode = \"0700\"\nmount_options = [\"noexec\"]"),
            &[],
        ),
        ("a source on tmpfs", tmpfs("source = { snapshot = \"s\" }"), &[(4, "key-not-applicable")]),
        (
            "fs, options, owner and mode on block",
            block("fs = {}\nmount_options = []\nowner = \"1:1\"\nmode = \"0700\""),
            &[
                (5, "key-not-applicable"),
                (6, "key-not-applicable"),
                (7, "key-not-applicable"),
                (8, "key-not-applicable"),
            ],
        ),
        ("a file system on a block device", volume("device = { path = \"/dev/vg/lv\" }\nvolume_mode = \"block\""), &[]),
        ("the root directory", volume("directory = { path = \"/\" }"), &[(3, "path-reserved")]),
        (
            "a directory twice",
            directory("[volumes.w]\ndirectory = { path = \"/srv//a/\" }"),
            &[(5, "duplicate-backing")],
        ),
        (
            "a device twice",
            volume("device = { path = \"/dev/vg/lv\" }\n[volumes.w]\ndevice = { path = \"/dev/vg/lv\" }"),
            &[(5, "duplicate-backing")],
        ),
        ("a directory above the state", volume("directory = { path = \"/var/lib\" }"), &[(3, "path-reserved")]),
        ("a directory in a pool", directory("[pools.a]\npath = \"/srv\""), &[(3, "path-reserved")]),
        ("a directory over a pool", directory("[pools.a]\npath = \"/srv/a/pool\""), &[(3, "path-reserved")]),
    ]);
}

#[test]
fn file_systems_and_options() {
    let xfs = |more: &str| volume(&format!("capacity = \"1GiB\"\nfs = {{ type = \"xfs\"{more} }}"));
    expect(&[
        ("a long ext4 label", image("fs = { label = \"0123456789abcdefg\" }"), &[(4, "label")]),
        ("an ext4 label that fits", image("fs = { label = \"0123456789abcdef\" }"), &[]),
        ("a long xfs label", xfs(", label = \"0123456789abc\""), &[(4, "label")]),
        ("a label like an option", image("fs = { label = \"-x\" }"), &[(4, "label")]),
        ("mkfs reads the host", image("fs = { mkfs_options = [\"-d\", \"/etc\"] }"), &[(4, "mkfs-option")]),
        ("mkfs options of another file system", xfs(", mkfs_options = [\"-E\", \"stride=4\"]"), &[(4, "mkfs-option")]),
        ("suid", image("mount_options = [\"suid\"]"), &[(4, "mount-option")]),
        ("errors=panic", image("mount_options = [\"noatime\", \"errors=panic\"]"), &[(4, "mount-option")]),
        ("three in one", image("mount_options = [\"commit=5,suid,dev\"]"), &[(4, "mount-option")]),
        ("an option of another file system", image("mount_options = [\"inode64\"]"), &[(4, "mount-option")]),
        (
            "an option on tmpfs",
            volume("tmpfs = { size = \"1MiB\" }\nmount_options = [\"data=journal\"]"),
            &[(4, "mount-option")],
        ),
        (
            "a class's own mistakes, once",
            image(
                "class = \"c\"\n[volumes.w]\ncapacity = \"1GiB\"\nclass = \"c\"\n[classes.c]\nfs = { label = \"0123456789abcdefg\" }\nmount_options = [\"suid\"]",
            ),
            &[(9, "label"), (10, "mount-option")],
        ),
    ]);
}

#[test]
fn classes_and_pools() {
    expect(&[
        ("unknown class", image("class = \"fats\"\n[classes.fast]"), &[(4, "unknown-class")]),
        ("unknown default class", image("[defaults]\nclass = \"fast\""), &[(5, "unknown-class")]),
        ("unknown pool", image("pool = \"a\""), &[(4, "unknown-pool")]),
        ("unknown default pool", image("[defaults]\npool = \"a\""), &[(5, "unknown-pool")]),
        ("unknown pool of a class", image("[classes.c]\npool = \"a\""), &[(5, "unknown-pool")]),
        (
            "several pools, none named, said once",
            image("[volumes.w]\ncapacity = \"1GiB\"\n[pools.a]\npath = \"/a\"\n[pools.b]\npath = \"/b\""),
            &[(2, "pool-ambiguous")],
        ),
        (
            "several pools, none needed",
            volume("tmpfs = { size = \"1MiB\" }\n[pools.a]\npath = \"/a\"\n[pools.b]\npath = \"/b\""),
            &[],
        ),
        (
            "one directory twice",
            image("pool = \"a\"\n[pools.a]\npath = \"/a\"\n[pools.b]\npath = \"/a/\""),
            &[(8, "pool-conflict")],
        ),
        (
            "one in the other",
            image("pool = \"a\"\n[pools.a]\npath = \"/a\"\n[pools.b]\npath = \"/a/b\""),
            &[(8, "pool-conflict")],
        ),
        ("the root", "project = \"p\"\n[pools.a]\npath = \"/\"".into(), &[(3, "path-reserved")]),
        (
            "in the run directory",
            "project = \"p\"\n[pools.a]\npath = \"/run/csictl/pool\"".into(),
            &[(3, "path-reserved")],
        ),
        (
            "among the records",
            "project = \"p\"\n[pools.a]\npath = \"/var/lib/csictl/volumes\"".into(),
            &[(3, "path-reserved")],
        ),
        ("beside the records", "project = \"p\"\n[pools.a]\npath = \"/var/lib/csictl/images\"".into(), &[]),
        ("a key a class can't have", "project = \"p\"\n[classes.c]\ncapacity = \"1GiB\"".into(), &[(3, "unknown-key")]),
    ]);
}

#[test]
fn sources_and_snapshots() {
    let two = |first: &str, second: &str| {
        format!(
            "project = \"p\"\n[volumes.a]\ncapacity = \"1GiB\"\n{first}\n[volumes.b]\ncapacity = \"1GiB\"\n{second}"
        )
    };
    let of_a = "source = { volume = \"a\" }";
    expect(&[
        ("a clone", two("", of_a), &[]),
        ("a clone of a volume outside", two("", "source = { volume = \"gone\" }"), &[]),
        ("a restore of a snapshot outside", two("", "source = { snapshot = \"gone\" }"), &[]),
        ("no source", two("", "source = {}"), &[(7, "source")]),
        ("two sources", two("", "source = { volume = \"a\", snapshot = \"s\" }"), &[(7, "source")]),
        ("itself", two("source = { volume = \"a\" }", ""), &[(4, "source-ring")]),
        ("each other", two("source = { volume = \"b\" }", of_a), &[(4, "source-ring")]),
        (
            "its own snapshot",
            two("source = { snapshot = \"s\" }\n[snapshots.s]\nvolume = \"a\"", ""),
            &[(4, "source-ring")],
        ),
        ("another file system", two("", &format!("{of_a}\nfs = {{ type = \"xfs\" }}")), &[(8, "source-mismatch")]),
        ("a file system named again", two("", &format!("{of_a}\nfs = {{ type = \"ext4\" }}")), &[]),
        (
            "another sector size",
            two("", &format!("{of_a}\nimage = {{ sector_size = 4096 }}")),
            &[(8, "source-mismatch")],
        ),
        ("another mode", two("", &format!("{of_a}\nvolume_mode = \"block\"")), &[(7, "source-mismatch")]),
        (
            "a label on a clone",
            two("", &format!("{of_a}\nfs = {{ label = \"x\", mkfs_options = [\"-m\", \"0\"] }}")),
            &[(8, "key-not-applicable"), (8, "key-not-applicable")],
        ),
        (
            "a clone of tmpfs",
            volume("tmpfs = { size = \"1MiB\" }\n[volumes.b]\ncapacity = \"1GiB\"\nsource = { volume = \"v\" }"),
            &[(6, "source-mismatch")],
        ),
        (
            "a small clone of xfs",
            two("fs = { type = \"xfs\" }", "").replace(
                "[volumes.b]\ncapacity = \"1GiB\"",
                "[volumes.b]\ncapacity = \"64MiB\"\nsource = { volume = \"a\" }",
            ),
            &[(6, "capacity-too-small")],
        ),
        ("a snapshot of nothing", image("[snapshots.s]\nvolume = \"w\""), &[(5, "unknown-volume")]),
        (
            "a snapshot of tmpfs",
            volume("tmpfs = { size = \"1MiB\" }\n[snapshots.s]\nvolume = \"v\""),
            &[(5, "snapshot-backing")],
        ),
    ]);
}

#[test]
fn publishes() {
    let mount = |pod: &str, path: &str, more: &str| {
        format!("[[pods.{pod}.mounts]]\nvolume = \"v\"\npath = \"{path}\"\n{more}\n")
    };
    let device = |pod: &str, path: &str, more: &str| {
        format!("[[pods.{pod}.devices]]\nvolume = \"v\"\npath = \"{path}\"\n{more}\n")
    };
    let many = |lines: &str| image(&format!("access_mode = \"rwo\"\n{lines}"));
    let block = |lines: &str| image(&format!("access_mode = \"rwo\"\nvolume_mode = \"block\"\n{lines}"));
    let reader = |lines: &str| image(&format!("access_mode = \"rox\"\n{lines}"));
    expect(&[
        ("an unknown volume", image("[[pods.p.mounts]]\nvolume = \"w\"\npath = \"/a\""), &[(5, "unknown-volume")]),
        ("a block volume mounted", block(&mount("p", "/a", "")), &[(7, "wrong-list")]),
        ("a file system as a device", image(&device("p", "/a", "")), &[(5, "wrong-list")]),
        (
            "two mounts of one writer",
            image(&(mount("p", "/a", "") + &mount("q", "/b", ""))),
            &[(9, "too-many-publishes")],
        ),
        (
            "two mounts of one reader",
            reader(&(mount("p", "/a", "") + &mount("q", "/b", ""))),
            &[(10, "too-many-publishes")],
        ),
        ("two mounts of many", many(&(mount("p", "/a", "") + &mount("q", "/b", ""))), &[]),
        ("a reader that writes", reader(&mount("p", "/a", "read_only = false")), &[(8, "reader-only")]),
        ("a reader", reader(&mount("p", "/a", "")), &[]),
        (
            "mixed block",
            block(&(device("p", "/a", "read_only = true") + &device("q", "/b", ""))),
            &[(9, "block-mixed")],
        ),
        (
            "read-only block",
            block(&(device("p", "/a", "read_only = true") + &device("q", "/b", "read_only = true"))),
            &[],
        ),
        ("a path twice", many(&(mount("p", "/a/b", "") + &mount("q", "/a//b/", ""))), &[(11, "path-taken")]),
        (
            "a path twice through a root",
            many(&format!("[pods.p]\nroot = \"/a\"\n{}{}", mount("p", "/b", ""), mount("q", "/a/b", ""))),
            &[(13, "path-taken")],
        ),
        ("nested paths", many(&(mount("p", "/a/b", "") + &mount("q", "/a", ""))), &[]),
        ("below a device", block(&(device("p", "/a", "") + &device("q", "/a/b", ""))), &[(12, "path-conflict")]),
        ("over the state", image(&mount("p", "/var/lib", "")), &[(6, "path-reserved")]),
        ("in the run directory", image(&mount("p", "/run/csictl/x", "")), &[(6, "path-reserved")]),
        (
            "in a pool",
            image(&format!("{}[pools.a]\npath = \"/srv\"", mount("p", "/srv/x", ""))),
            &[(6, "path-reserved")],
        ),
        ("in /proc", image(&mount("p", "/proc/x", "")), &[(6, "path-reserved")]),
        (
            "over a directory's own",
            image(&format!("{}[volumes.d]\ndirectory = {{ path = \"/srv/a/b\" }}", mount("p", "/srv/a", ""))),
            &[(9, "path-conflict")],
        ),
        (
            "two groups",
            many(&format!(
                "[pods.p]\nfs_group = 1\n{}[pods.q]\nfs_group = 2\n{}",
                mount("p", "/a", ""),
                mount("q", "/b", "")
            )),
            &[(12, "fs-group")],
        ),
        (
            "one group",
            many(&format!(
                "[pods.p]\nfs_group = 1\n{}[pods.q]\nfs_group = 1\n{}",
                mount("p", "/a", ""),
                mount("q", "/b", "")
            )),
            &[],
        ),
    ]);
}

#[test]
fn one_mistake_is_one_error() {
    expect(&[
        (
            "a wrong size says nothing about minima",
            volume("capacity = \"1G\"\nfs = { type = \"xfs\" }"),
            &[(3, "invalid-size")],
        ),
        (
            "a wrong type says nothing about options",
            image("fs = { type = \"xsf\", label = \"0123456789abc\" }\nmount_options = [\"inode64\"]"),
            &[(4, "unknown-value")],
        ),
        (
            "a wrong pool name is not ambiguous too",
            image("pool = \"A\"\n[pools.a]\npath = \"/a\"\n[pools.b]\npath = \"/b\""),
            &[(4, "invalid-name")],
        ),
        ("a wrong backing asks for no capacity", volume("tmpfs = 1"), &[(3, "wrong-type")]),
        (
            "a wrong path is not taken twice",
            image(
                "access_mode = \"rwo\"\n[[pods.p.mounts]]\nvolume = \"v\"\npath = \"a\"\n[[pods.p.mounts]]\nvolume = \"v\"\npath = \"b\"",
            ),
            &[(7, "invalid-path"), (10, "invalid-path")],
        ),
    ]);
}

#[test]
fn every_code_is_given_by_some_case() {
    let cases = include_str!("refused.rs");
    // The caps are tried among the hostile texts.
    const ELSEWHERE: [&str; 1] = ["too-large"];
    for explanation in csictl::manifest::codes::EXPLANATIONS {
        let code = explanation.code.strip_prefix("csictl::manifest::").unwrap();
        assert!(cases.contains(&format!(", \"{code}\")")) || ELSEWHERE.contains(&code), "{code}");
    }
}

#[test]
fn a_target_longer_than_the_kernel_takes() {
    let root = format!("/{}", vec!["r".repeat(250); 12].join("/"));
    let path = format!("/{}", vec!["p".repeat(250); 12].join("/"));
    let text = image(&format!("[pods.p]\nroot = \"{root}\"\n[[pods.p.mounts]]\nvolume = \"v\"\npath = \"{path}\""));

    assert_eq!(codes(&text), [(8, "invalid-path".to_owned())]);
}

#[test]
fn an_error_has_all_its_fields_in_json() {
    let errors = read("project = \"p\"\n[volumes.v]\n  capcity = \"1GiB\"\ntmpfs = { size = \"1GiB\" }").unwrap_err();

    assert_eq!(
        serde_json::to_value(errors.errors()).unwrap(),
        serde_json::json!([{
            "code": "csictl::manifest::unknown-key",
            "message": "volumes.v: unknown key 'capcity'",
            "help": "did you mean 'capacity'?",
            "file": "shop.toml",
            "line": 3,
            "column": 3,
        }])
    );
}
