//! The generated files of the repository are what the code generates: `make generate` writes them anew.

use std::collections::BTreeSet;
use std::path::Path;

use super::run::Folder;

fn repository(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().to_owned()).collect()
}

#[test]
fn completions_are_up_to_date() {
    let folder = Folder::new();
    let files = [
        ("bash", "csictl.bash"),
        ("zsh", "_csictl"),
        ("fish", "csictl.fish"),
        ("elvish", "csictl.elv"),
        ("powershell", "_csictl.ps1"),
    ];
    for (shell, file) in files {
        let there = std::fs::read_to_string(repository("completions").join(file)).unwrap();
        assert_eq!(folder.run(&["completions", shell]).stdout, there, "{file} is stale: make generate");
    }
    assert_eq!(names(&repository("completions")).len(), files.len(), "nothing else is there");
}

#[test]
fn man_pages_are_up_to_date() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["man", "pages"]).code, 0);
    let made = folder.path().join("pages");
    assert_eq!(names(&made), names(&repository("man")), "make generate");
    for name in names(&made) {
        let (new, there) =
            (std::fs::read_to_string(made.join(&name)), std::fs::read_to_string(repository("man").join(&name)));
        assert_eq!(new.unwrap(), there.unwrap(), "man/{name} is stale: make generate");
    }
    let names = names(&made);
    for page in ["csictl.1", "csictl-apply.1", "csictl-snapshot-create.1", "csictl.toml.5"] {
        assert!(names.contains(page), "{page}");
    }
}

#[test]
fn the_manual_describes_every_key_of_the_manifest() {
    let folder = Folder::new();
    folder.run(&["man", "."]);
    let page = std::fs::read_to_string(folder.path().join("csictl.toml.5")).unwrap().replace("\\-", "-");
    for row in csictl::manifest::shape::reference() {
        assert!(page.contains(&row.key), "{}", row.key);
    }
}
