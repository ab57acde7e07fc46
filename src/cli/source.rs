//! Reading manifests: from a file or stdin, with the directory their relative paths begin at.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::context::Context;
use super::exit::Exit;
use super::problem::{Failure, Problem, Result};
use crate::manifest;
use crate::model::StorageConfig;
use crate::model::{Desired, Layout};

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
        let against = manifest::Context { name: &self.name, base_dir: &self.base_dir, layout: &context.layout };
        Ok(manifest::parse(&self.text, &against)?)
    }
}
