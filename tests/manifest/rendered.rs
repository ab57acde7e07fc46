//! How typical mistakes read on a terminal, to the letter.

use miette::{GraphicalReportHandler, GraphicalTheme};

use super::read;

/// The report as a terminal of 100 columns shows it, without colour.
fn rendered(text: &str) -> String {
    let errors = read(text).unwrap_err();
    let mut shown = String::new();
    GraphicalReportHandler::new_themed(GraphicalTheme::none())
        .with_width(100)
        .with_links(false)
        .render_report(&mut shown, &errors)
        .unwrap();
    // Snapshots are read by people too: no blanks at line ends.
    shown.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

macro_rules! snapshot {
    ($name:literal, $text:expr) => {
        insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(concat!("manifest-", $name), rendered($text));
        });
    };
}

#[test]
fn a_misspelt_key() {
    snapshot!(
        "misspelt-key",
        "project = \"shop\"\n\n[volumes.data]\ncapcity = \"10GiB\"\ntmpfs = { size = \"1GiB\" }\n"
    );
}

#[test]
fn several_mistakes_in_one_run() {
    snapshot!(
        "several",
        r#"version = 1
project = "shop"

[volumes.data]
capacity = "10G"
fs = { type = "etx4" }

[volumes.raw]
volume_mode = "block"
capacity = "1GiB"

[pods.app]
[[pods.app.mounts]]
volume = "date"
path = "/data"
[[pods.app.mounts]]
volume = "raw"
path = "raw"
"#
    );
}

#[test]
fn more_mounts_than_the_access_mode_allows() {
    snapshot!(
        "too-many-publishes",
        r#"project = "shop"
[volumes.data]
capacity = "1GiB"
access_mode = "single-node-single-writer"

[pods.one]
[[pods.one.mounts]]
volume = "data"
path = "/srv/one"

[pods.two]
[[pods.two.mounts]]
volume = "data"
path = "/srv/two"
"#
    );
}

#[test]
fn one_path_for_two_volumes() {
    snapshot!(
        "path-taken",
        r#"project = "shop"
[volumes.a]
tmpfs = { size = "1MiB" }
[volumes.b]
tmpfs = { size = "1MiB" }

[pods.one]
root = "/srv"
[[pods.one.mounts]]
volume = "a"
path = "/cache"

[pods.two]
[[pods.two.mounts]]
volume = "b"
path = "/srv/cache"
"#
    );
}

#[test]
fn not_toml() {
    snapshot!("not-toml", "project = \"shop\"\n[volumes.data\ncapacity = 10GiB\n");
}

#[test]
fn the_end_comes_too_soon() {
    snapshot!("end-of-file", "project = \"shop\"\nvolumes = { a = ");
}

#[test]
fn a_header_twice() {
    snapshot!(
        "header-twice",
        "project = \"shop\"\n[volumes.data]\ncapacity = \"1GiB\"\n[volumes.data]\ncapacity = \"2GiB\"\n"
    );
}

#[test]
fn dangerous_options() {
    snapshot!(
        "options",
        r#"project = "shop"
[volumes.data]
capacity = "1GiB"
mount_options = ["noatime", "suid", "errors=panic"]
fs = { mkfs_options = ["-d", "/etc"], format = "always" }
"#
    );
}

#[test]
fn a_line_too_long_to_be_shown_is_left_out() {
    let text = format!("project = \"shop\"\nx = \"{}\"\n", "y".repeat(5000));

    let shown = rendered(&text);

    assert!(shown.contains("unknown key 'x' (line 2, column 1)"), "{shown}");
    assert!(shown.len() < 1000, "{shown}");
}
