//! The manifest layer from outside: what is accepted, what is refused and how it reads.

mod accepted;
mod generated;
mod hostile;
mod refused;
mod rendered;
mod schema;

use std::path::Path;

use csictl::manifest::{Context, ManifestErrors, parse};
use csictl::model::{Desired, Layout};

/// Reads a manifest that lies in `/etc/csictl`, with the usual directories.
pub fn read(text: &str) -> Result<Desired, ManifestErrors> {
    let layout = Layout::new("/var/lib/csictl", "/run/csictl");
    parse(text, &Context { name: "shop.toml", base_dir: Path::new("/etc/csictl"), layout: &layout })
}

/// Reads a manifest that has to be right.
pub fn accept(text: &str) -> Desired {
    match read(text) {
        Ok(desired) => desired,
        Err(errors) => {
            let list: Vec<_> =
                errors.errors().iter().map(|e| format!("{}:{} {e} ({:?})", e.line, e.code, e.help)).collect();
            panic!("refused:\n{}\n---\n{text}", list.join("\n"))
        }
    }
}
