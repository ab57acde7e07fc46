//! The house's shape, kept by a test: layers use only what is below them, crates stay in the part they are for, unsafe code, programs
//! and writes have one place each. The checker itself is tried on made-up sources, so that it is known to be able to fail.

mod rules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use rules::{ACTORS, LAYERS, WRITERS, acts, check, has_writes};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `src`, by its path from the package's root, with its text.
fn sources() -> Vec<(String, String)> {
    let (mut found, mut open) = (Vec::new(), vec![root().join("src")]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
                let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// Unit tests in a file of their own (`#[cfg(test)] mod tests;`) are not shipped.
fn is_test(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "tests.rs")
}

#[test]
fn the_house_keeps_its_rules() {
    let sources = sources();
    assert!(sources.len() > 20, "the sources were found");
    let broken: Vec<_> = sources.iter().flat_map(|(file, text)| check(file, text)).collect();
    let report: Vec<_> = broken.iter().map(ToString::to_string).collect();
    assert!(report.is_empty(), "{}", report.join("\n"));
}

#[test]
fn every_layer_has_a_module_and_every_module_a_layer() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    for module in modules {
        assert!(LAYERS.iter().any(|(layer, _)| *layer == module), "{module} has no place among the layers");
    }
}

#[test]
fn no_exception_outlives_its_need() {
    for file in WRITERS {
        let text =
            fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{file} is gone: remove its exception"));
        assert!(has_writes(file, &text), "{file} writes no longer: remove its exception");
    }
    for file in ACTORS {
        let text =
            fs::read_to_string(root().join(file)).unwrap_or_else(|_| panic!("{file} is gone: remove its exception"));
        assert!(acts(&text), "{file} only reads by now: remove its exception");
    }
}

#[test]
fn the_checker_finds_what_is_forbidden() {
    let cases = [
        ("src/plan/diff.rs", "use crate::host::Observe;", "plan uses host"),
        ("src/plan/diff.rs", "use crate::{model::Name, host::{self, Observe}};", "plan uses host"),
        ("src/plan/diff.rs", "use super::super::host::Observe;", "plan uses host"),
        ("src/plan/mod.rs", "use super::driver;  use super::driver::Driver;", "plan uses driver"),
        ("src/plan/diff.rs", "fn f() { let _ = csictl::exec::execute; }", "plan uses exec"),
        ("src/model/name.rs", "type X = Vec<crate::plan::Step>;", "model uses plan"),
        ("src/plan/diff.rs", "fn f() { std::fs::read(p); }", "plan decides and touches no system"),
        ("src/model/name.rs", "use std::{env, fmt};", "model decides and touches no system"),
        ("src/state/store.rs", "fn f() { std::fs::File::options().write(true); }", "std::fs::File::options writes"),
        ("src/driver/mod.rs", "use crate::exec::Engine;", "driver uses exec"),
        ("src/manifest/mod.rs", "pub use crate::plan::*;", "manifest uses plan"),
        ("src/csi/node.rs", "use crate::cli::printer::Printer;", "csi uses cli"),
        ("src/extra/mod.rs", "use crate::model::Name;", "extra is no layer"),
        ("src/exec/run.rs", "async fn f() { tokio::spawn(g()).await; }", "tokio is for src/csi/"),
        ("src/driver/mod.rs", "use tonic::{Status as S, Code};", "tonic is for src/csi/"),
        ("src/driver/mod.rs", "use nix::mount::umount2;", "nix is for src/host/linux/"),
        ("src/host/linux/mount.rs", "fn f() { unsafe { g() } }", "unsafe code is for"),
        ("src/host/linux/mkfs.rs", "use std::process::{self, Command};", "programs are started by"),
        ("src/cli/who.rs", "fn f() { std::process::Command::new(\"lsof\"); }", "programs are started by"),
        ("src/state/store.rs", "use std::fs; fn f() { fs::write(p, b)?; }", "fs::write writes"),
        ("src/cli/plan.rs", "fn f() { std::fs::File::create(p); }", "std::fs::File::create writes"),
        ("src/driver/x.rs", "use std::fs::{File, OpenOptions};", "std::fs::OpenOptions writes"),
        ("src/state/x.rs", "use std::fs as f; fn g() { f::write(p, b); }", "std::fs::write writes"),
        ("src/state/x.rs", "use std::{fs as f}; fn g() { f::rename(p, b); }", "std::fs::rename writes"),
        ("src/state/x.rs", "use std::fs::{self as f}; fn g() { f::copy(p, b); }", "std::fs::copy writes"),
        (
            "src/state/x.rs",
            "use std as s; use s::fs as f; fn g() { f::remove_file(p); }",
            "std::fs::remove_file writes",
        ),
        ("src/state/x.rs", "use std::fs::File as F; fn g() { F::create(p); }", "std::fs::File::create writes"),
        ("src/state/x.rs", "type F = std::fs::File; fn g() { F::create(p); }", "std::fs::File::create writes"),
        ("src/state/x.rs", "fn g() { ::std::fs::write(p, b); }", "std::fs::write writes"),
        ("src/state/x.rs", "use {std::fs as f, std::io}; fn g() { f::write(p, b); }", "std::fs::write writes"),
        ("src/state/x.rs", "use std::fs::*;", "std::fs::* writes"),
        ("src/state/x.rs", "pub use std::fs as f;", "std::fs is passed on"),
        ("src/host/linux/x.rs", "pub(crate) use std::{fs};", "std::fs is passed on"),
        ("src/host/linux/x.rs", "pub use rustix;", "rustix is passed on"),
        ("src/csi/x.rs", "pub use tonic::transport as t;", "tonic::transport is passed on"),
        ("src/driver/x.rs", "use tonic as t; fn g() { t::spawn(); }", "tonic is for src/csi/"),
        ("src/driver/x.rs", "use tonic;", "tonic is for src/csi/"),
        ("src/driver/x.rs", "use std::process as p; fn g() { p::Command::new(a); }", "programs are started by"),
        ("src/driver/x.rs", "use std::process::*;", "programs are started by"),
        ("src/plan/x.rs", "use crate as c; fn g() { c::host::x(); }", "plan uses host"),
        ("src/plan/x.rs", "use crate::*;", "plan imports the whole crate"),
        ("src/plan/x.rs", "use std::*;", "plan decides and touches no system"),
        ("src/cli/commands/status.rs", "fn g(host: &dyn Host) {}", "Host can write"),
        ("src/cli/commands/who.rs", "fn g() { context.host().sync(p); }", "Host can write"),
        ("src/cli/survey.rs", "use crate::host::{self as h, linux::LinuxHost as L};", "LinuxHost can write"),
        ("src/cli/commands/get.rs", "fn g() { LocalDriver::new(a, b); }", "LocalDriver can write"),
        ("src/driver/local/observe/volume.rs", "use crate::host::{Host, Observe};", "Host can write"),
    ];
    for (file, text, expected) in cases {
        let broken = check(file, &format!("//! A file.\n\n{text}\n"));
        assert!(!broken.is_empty(), "{file}: {text}: nothing was found");
        for violation in broken {
            assert!(violation.rule.starts_with(expected), "{file}: {text}: {violation}");
            assert_eq!(violation.line, 3, "{file}: {text}");
        }
    }
}

#[test]
fn the_checker_leaves_alone_what_is_allowed() {
    let cases = [
        ("src/plan/diff.rs", "use crate::model::{Name, VolumeId}; use super::Step; use self::graph::x;"),
        ("src/exec/run.rs", "use crate::{driver::Driver, host::HostError, plan::Step};"),
        ("src/cli/apply.rs", "use crate::csi::server; use clap::Command; fn f() { std::fs::read_to_string(p); }"),
        ("src/plan/diff.rs", "// use crate::host::Observe;\n/* unsafe /* nested */ tokio::spawn */"),
        (
            "src/plan/diff.rs",
            r##"const A: &str = "crate::host::x"; const B: &str = r#"unsafe "tokio::y"#; const C: char = '"';"##,
        ),
        ("src/plan/diff.rs", r"const Q: char = '\''; const R: char = '\u{1F600}'; fn f<'a>(x: &'a str) {}"),
        ("src/plan/diff.rs", "#[cfg(test)]\nmod tests { use crate::host::sim::SimHost; fn f() { { unsafe {} } } }"),
        ("src/driver/mod.rs", "#[cfg(test)]\nuse crate::exec::execute;\nuse crate::state::Store;"),
        ("src/host/linux/sys/loops.rs", "fn f() { unsafe { libc::ioctl(0, 0) }; std::fs::write(p, b); }"),
        ("src/host/linux/helper.rs", "use std::process::Command;"),
        ("src/csi/server.rs", "use tokio::net::UnixListener; use tonic::transport::Server;"),
        ("src/lib.rs", "pub mod host; pub mod plan;"),
        ("src/state/x.rs", "use std::fs as f; fn g(x: u8) { f::read(p); x::y as u64; }"),
        ("src/cli/commands/apply.rs", "use crate::host::Host; fn g() { context.host(); }"),
        (
            "src/cli/commands/status.rs",
            "use crate::host::Observe; fn g() { looked.observed.host.privileged; StateError::Host(e) }",
        ),
        ("src/driver/local/attach.rs", "use crate::host::{Host, Observe};"),
        ("src/sync.rs", "pub use std::sync::{Arc, Mutex};"),
    ];
    for (file, text) in cases {
        assert_eq!(check(file, text), [], "{file}: {text}");
    }
}
