//! The rules of the house and the check of one source against them.

use std::fmt;

use super::source::{self, Path, Token};

/// Each layer and those it may use besides itself. Dependencies run downward only.
pub const LAYERS: [(&str, &[&str]); 10] = [
    ("cli", &["csi", "exec", "plan", "manifest", "driver", "state", "host", "model"]),
    ("csi", &["exec", "plan", "manifest", "driver", "state", "host", "model", "sync"]),
    ("exec", &["plan", "driver", "state", "host", "model", "sync"]),
    ("plan", &["model"]),
    ("manifest", &["model"]),
    ("driver", &["state", "host", "model"]),
    ("state", &["host", "model"]),
    ("host", &["model", "sync"]),
    ("model", &[]),
    ("sync", &[]),
];

/// Crates that only some parts may use, since they stand for what those parts are for.
const CRATES: [(&str, &[&str]); 25] = [
    ("anstream", &["src/cli/"]),
    ("clap", &["src/cli/", "src/main.rs"]),
    ("clap_complete", &["src/cli/", "src/main.rs"]),
    ("clap_mangen", &["src/cli/"]),
    ("comfy_table", &["src/cli/"]),
    ("http_body_util", &["src/csi/"]),
    ("hyper", &["src/csi/"]),
    ("hyper_util", &["src/csi/"]),
    ("indicatif", &["src/cli/"]),
    ("libc", &["src/host/"]),
    ("loopdev", &["src/host/linux/"]),
    ("miette", &["src/cli/", "src/manifest/"]),
    ("nix", &["src/host/linux/"]),
    ("prost", &["src/csi/"]),
    ("prometheus_client", &["src/csi/"]),
    ("prost_reflect", &["src/csi/"]),
    ("rayon", &["src/exec/", "src/driver/local/"]),
    ("rustix", &["src/host/linux/"]),
    ("signal_hook", &["src/exec/signal.rs"]),
    ("sys_mount", &["src/host/linux/"]),
    ("tokio", &["src/csi/"]),
    ("toml", &["src/manifest/"]),
    ("tonic", &["src/csi/"]),
    ("tonic_prost", &["src/csi/"]),
    ("tower", &["src/csi/"]),
];

/// The one module with unsafe code.
const UNSAFE: &str = "src/host/linux/sys/";

/// The one file that starts programs.
const PROGRAMS: &str = "src/host/linux/helper.rs";

/// The layers that decide and never touch the system, not even to look.
const PURE: [&str; 3] = ["model", "manifest", "plan"];

/// What of `std` touches the system.
const SYSTEM: [&str; 5] = ["env", "fs", "net", "os", "process"];

/// Calls that write to a file system, as the last two segments of their path.
const WRITES: [[&str; 2]; 17] = [
    ["fs", "*"],
    ["fs", "write"],
    ["fs", "create_dir"],
    ["fs", "create_dir_all"],
    ["fs", "remove_file"],
    ["fs", "remove_dir"],
    ["fs", "remove_dir_all"],
    ["fs", "rename"],
    ["fs", "copy"],
    ["fs", "hard_link"],
    ["fs", "symlink"],
    ["fs", "set_permissions"],
    ["fs", "OpenOptions"],
    ["fs", "DirBuilder"],
    ["File", "create"],
    ["File", "create_new"],
    ["File", "options"],
];

/// Files outside `host` that may write, each for a file that the user named and that is no volume's.
pub const WRITERS: [&str; 3] = ["src/cli/commands/init.rs", "src/cli/commands/man.rs", "src/cli/planfile.rs"];

/// What can change the machine: the writing half of the host, and what is made from it.
const WRITING: [&str; 4] = ["Host", "LinuxHost", "LocalDriver", "SimHost"];

/// Parts that only look, but for [`ACTORS`].
const READERS: [&str; 2] = ["src/cli/", "src/driver/local/observe/"];

/// The files among the readers that change the machine: the commands that are for it, and what they share.
pub const ACTORS: [&str; 8] = [
    "src/cli/context.rs",
    "src/cli/perform.rs",
    "src/cli/commands/apply.rs",
    "src/cli/commands/destroy.rs",
    "src/cli/commands/gc.rs",
    "src/cli/commands/serve.rs",
    "src/cli/commands/snapshot.rs",
    "src/cli/commands/state.rs",
];

/// Stands for rayon, so that a test of all interleavings can put another pool in its place.
const STAND_IN: &str = "src/exec/pool.rs";

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Violation {
    pub file: String,
    pub line: usize,
    pub rule: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// Every rule that a file breaks; `file` is its path from the package's root.
pub fn check(file: &str, text: &str) -> Vec<Violation> {
    let module = module_of(file);
    let tokens = source::tokens(text);
    let paths = source::paths(&tokens, &module);
    let broken = layers(&module, &paths)
        .chain(pure(&module, &paths))
        .chain(crates(file, &paths))
        .chain(unsafe_code(file, &tokens))
        .chain(programs(file, &paths))
        .chain(passed_on(&paths).filter(|_| file != STAND_IN))
        .chain(readers(file, &tokens).filter(|_| !ACTORS.contains(&file)))
        .chain(writes(file, &paths).filter(|_| !WRITERS.contains(&file)));
    broken.map(|(line, rule)| Violation { file: file.to_owned(), line, rule }).collect()
}

/// Whether a file writes to a file system.
pub fn has_writes(file: &str, text: &str) -> bool {
    writes(file, &source::paths(&source::tokens(text), &module_of(file))).next().is_some()
}

/// `src/host/linux/mount.rs` is the module `host::linux::mount`.
fn module_of(file: &str) -> Vec<String> {
    let path = file.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod");
    match path {
        "lib" | "main" => Vec::new(),
        path => path.split('/').map(str::to_owned).collect(),
    }
}

type Broken<'a> = Box<dyn Iterator<Item = (usize, String)> + 'a>;

fn layers<'a>(module: &'a [String], paths: &'a [Path]) -> Broken<'a> {
    let Some(own) = module.first() else { return Box::new(std::iter::empty()) };
    let may = LAYERS.iter().find(|(layer, _)| layer == own).map(|(_, may)| *may);
    Box::new(paths.iter().filter_map(move |path| {
        let used = path.segments.get(1).filter(|_| path.segments[0] == "crate")?;
        if used == "*" {
            return Some((path.line, format!("{own} imports the whole crate: name what it uses")));
        }
        let Some(may) = may else { return Some((path.line, format!("{own} is no layer: give it a place in LAYERS"))) };
        let known = LAYERS.iter().any(|(layer, _)| layer == used);
        let fine = used == own || may.contains(&used.as_str()) || !known;
        (!fine).then(|| (path.line, format!("{own} uses {used}, which is not below it")))
    }))
}

fn pure<'a>(module: &'a [String], paths: &'a [Path]) -> Broken<'a> {
    let own = module.first().filter(|own| PURE.contains(&own.as_str()));
    Box::new(paths.iter().filter_map(move |path| {
        let (own, used) = (own?, path.segments.get(1).filter(|_| path.segments[0] == "std")?);
        (used == "*" || SYSTEM.contains(&used.as_str()))
            .then(|| (path.line, format!("{own} decides and touches no system: std::{used} is not for it")))
    }))
}

fn crates<'a>(file: &'a str, paths: &'a [Path]) -> Broken<'a> {
    Box::new(paths.iter().filter_map(move |path| {
        let (name, places) = CRATES.iter().find(|(name, _)| path.segments[0] == *name)?;
        let fine = places.iter().any(|place| file.starts_with(place));
        (!fine).then(|| (path.line, format!("{name} is for {} only", places.join(", "))))
    }))
}

fn unsafe_code<'a>(file: &'a str, tokens: &'a [Token]) -> Broken<'a> {
    let found = tokens.iter().filter(move |token| token.text == "unsafe" && !file.starts_with(UNSAFE));
    Box::new(found.map(|token| (token.line, format!("unsafe code is for {UNSAFE} only"))))
}

fn programs<'a>(file: &'a str, paths: &'a [Path]) -> Broken<'a> {
    let starts = |path: &Path| path.has(&["process", "Command"]) || path.has(&["process", "*"]);
    let found = paths.iter().filter(move |path| starts(path) && file != PROGRAMS);
    Box::new(found.map(|path| (path.line, format!("programs are started by {PROGRAMS} only"))))
}

/// What is passed on under a name of this crate is no longer seen for what it is where it is used.
fn passed_on(paths: &[Path]) -> Broken<'_> {
    let watched = |path: &Path| match path.segments[0].as_str() {
        "std" => path.segments.get(1).is_some_and(|part| part == "*" || SYSTEM.contains(&part.as_str())),
        first => CRATES.iter().any(|(name, _)| *name == first),
    };
    let found = paths.iter().filter(move |path| path.passed_on && watched(path));
    Box::new(
        found.map(|path| (path.line, format!("{} is passed on: import it where it is used", path.segments.join("::")))),
    )
}

/// Whether a file names something that can change the machine.
pub fn acts(text: &str) -> bool {
    acting(&source::tokens(text)).next().is_some()
}

fn acting(tokens: &[Token]) -> Broken<'_> {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    Box::new(tokens.iter().enumerate().filter_map(move |(at, token)| {
        // `Error::Host` is a variant; `.host()` makes one, `.host` is a field with facts.
        let variant = at > 1 && text(at - 1) == "::" && text(at - 2).ends_with("Error");
        let named = WRITING.contains(&token.text.as_str()) && !variant;
        let made = token.text == "host" && at > 0 && text(at - 1) == "." && text(at + 1) == "(";
        let what = if made { "Host" } else { token.text.as_str() };
        (named || made).then(|| (token.line, what.to_owned()))
    }))
}

fn readers<'a>(file: &'a str, tokens: &'a [Token]) -> Broken<'a> {
    let reads = READERS.iter().any(|place| file.starts_with(place));
    let found = acting(tokens).filter(move |_| reads);
    Box::new(found.map(|(line, what)| (line, format!("{what} can write, and this file only reads: it is for ACTORS"))))
}

fn writes<'a>(file: &'a str, paths: &'a [Path]) -> Broken<'a> {
    let outside = !file.starts_with("src/host/");
    let found = paths.iter().filter(move |path| outside && WRITES.iter().any(|call| path.has(call)));
    Box::new(
        found.map(|path| {
            (path.line, format!("{} writes, which is for host and WRITERS only", path.segments.join("::")))
        }),
    )
}
