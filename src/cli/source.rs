//! Reading manifests: from a file or stdin, with the directory their relative paths begin at.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::context::Context;
use super::exit::Exit;
use super::problem::{Failure, Problem, Result};
use crate::manifest;
use crate::model::StorageConfig;
use crate::model::{Desired, Layout, PodSpec};

/// The path that means stdin.
const STDIN: &str = "-";

/// A text that should be a manifest or a plan file.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name as typed.
    pub name: String,
    /// What stands in it.
    pub text: String,
    /// Where relative paths begin: the file's own directory, or the working directory for stdin.
    pub base_dir: PathBuf,
}

impl Source {
    /// Reads it whole, but not more than a manifest may have.
    ///
    /// # Errors
    /// It can't be read, or it is no UTF-8 text.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |error: &std::io::Error| Failure::new(Exit::Failed, Problem::file("read", path, error));
        // One byte more than is allowed: the manifest layer then says that it is too much.
        let most = manifest::TEXT_MAX as u64 + 1;
        let mut bytes = Vec::new();
        let (name, base) = if path == Path::new(STDIN) {
            std::io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
            ("(stdin)".to_owned(), PathBuf::from("."))
        } else {
            let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
            file.take(most).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            (path.display().to_string(), parent.to_owned())
        };
        let base_dir = base.canonicalize().map_err(|error| failed(&error))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let problem = Problem::new("manifest::syntax", format!("{name} is no text: byte {at} is not UTF-8"));
            Failure::new(Exit::Invalid, problem.help("a manifest is a TOML file in UTF-8"))
        })?;
        Ok(Self { name, text, base_dir })
    }

    /// The pools and classes it configures for a server.
    ///
    /// # Errors
    /// Every error of the configuration.
    pub fn storage(&self, layout: &Layout) -> Result<StorageConfig> {
        let against = manifest::Context { name: &self.name, base_dir: &self.base_dir, layout };
        Ok(manifest::storage(&self.text, &against)?)
    }

    /// What it wants.
    ///
    /// # Errors
    /// Every error of the manifest.
    pub fn desired(&self, context: &Context) -> Result<Desired> {
        if super::planfile::is_one(&self.text) {
            let problem = Problem::new("plan::not-a-manifest", format!("{} is a plan file, no manifest", self.name));
            let help = format!("to do what it holds: csictl apply {}", super::context::shell_word(&self.name));
            return Err(Failure::new(Exit::Invalid, problem.help(help)));
        }
        let against = manifest::Context { name: &self.name, base_dir: &self.base_dir, layout: &context.layout };
        let mut desired = manifest::parse(&self.text, &against)?;
        desired.pods.values_mut().for_each(at_real_root);
        Ok(desired)
    }
}

/// A pod's root is the user's word and may be, or lie below, a symbolic link. It is resolved once, here: nothing that is named later has
/// a link in it.
fn at_real_root(pod: &mut PodSpec) {
    let Some(root) = pod.root.clone() else { return };
    let Some(real) = resolved(&root).filter(|real| *real != root) else { return };
    for publish in &mut pod.publishes {
        if let Ok(rest) = publish.target.strip_prefix(&root) {
            publish.target = real.join(rest);
        }
        if publish.trusted_root == root {
            publish.trusted_root.clone_from(&real);
        }
    }
    pod.root = Some(real);
}

/// A path with the links in what is there of it resolved.
fn resolved(path: &Path) -> Option<PathBuf> {
    let there = path.ancestors().find(|part| part.symlink_metadata().is_ok())?;
    let rest = path.strip_prefix(there).ok()?;
    let real = there.canonicalize().ok()?;
    Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
}
