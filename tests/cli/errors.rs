//! Errors as users see them: every one with its code, place, cause and next step, as a report and as a document.

use super::run::Folder;

const BROKEN: &str = r#"version = 1
project = "shop"

[volumes.db]
capcity = "10GiB"

[pods.web]
[[pods.web.mounts]]
volume = "dbb"
path = "srv/db"
"#;

#[test]
fn all_errors_of_a_manifest_are_reported_at_once() {
    let folder = Folder::new();
    folder.write("shop.toml", BROKEN);
    let ran = folder.run(&["validate", "shop.toml"]);
    assert_eq!(ran.code, 65);
    assert!(ran.stdout.is_empty());
    insta::assert_snapshot!("errors-of-a-manifest", ran.stderr);
}

#[test]
fn errors_are_a_document_with_every_field() {
    let folder = Folder::new();
    folder.write("shop.toml", BROKEN);
    let ran = folder.run(&["validate", "shop.toml", "-o", "json"]);
    assert_eq!(ran.code, 65);
    let document = ran.json();
    assert_eq!(document["schema"], "csictl.error/1");
    let errors = document["errors"].as_array().unwrap();
    assert!(errors.len() >= 3, "{document:#}");
    for error in errors {
        let fields: Vec<_> = error.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = ["code", "message", "causes", "help", "file", "line", "column", "labels"];
        expected.sort_unstable();
        let mut fields = fields;
        fields.sort_unstable();
        assert_eq!(fields, expected);
        assert_eq!(error["file"], "shop.toml");
        let code = error["code"].as_str().unwrap();
        assert_eq!(folder.run(&["explain", code]).code, 0, "{code} is explained");
    }
    let unknown = errors.iter().find(|error| error["code"] == "csictl::manifest::unknown-key").unwrap();
    assert_eq!((unknown["line"].as_u64(), unknown["column"].as_u64()), (Some(5), Some(1)));
}

#[test]
fn an_unknown_code_suggests_the_nearest() {
    let ran = Folder::new().run(&["explain", "not-blnk"]);
    assert_eq!(ran.code, 1);
    insta::assert_snapshot!("error-unknown-code", ran.stderr);
}

#[test]
fn explain_lists_every_code() {
    let folder = Folder::new();
    let text = folder.run(&["explain"]).stdout;
    let document = folder.run(&["explain", "-o", "json"]).json();
    let codes = document["codes"].as_array().unwrap();
    assert!(codes.len() > 60, "{}", codes.len());
    for code in codes {
        assert!(text.contains(code["code"].as_str().unwrap()));
    }
}

#[test]
fn a_file_that_is_no_text_is_an_error_with_a_place() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("shop.toml"), b"project = \"\xff\"").unwrap();
    let ran = folder.run(&["validate", "shop.toml"]);
    assert_eq!(ran.code, 65);
    assert!(ran.stderr.contains("byte 11 is not UTF-8"), "{}", ran.stderr);
}
