//! Plan files, `csictl.planfile/1`: what `plan --out` writes and `apply` takes. They hold the manifest and a fingerprint of the
//! plan that was shown, not its steps: apply looks and plans anew, and goes on only if the same plan comes out.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::context::Context;
use super::exit::Exit;
use super::problem::{Failure, Problem, Result};
use super::render;
use super::source::Source;
use crate::model::{Observed, VolumeId, shell_word};
use crate::plan::{Intent, Plan, fingerprint};

const SCHEMA: &str = "csictl.planfile/1";

/// The document.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFile {
    schema: String,
    version: String,
    created_at: String,
    host: String,
    state_dir: PathBuf,
    run_dir: PathBuf,
    manifest: String,
    text: String,
    base_dir: PathBuf,
    /// What was asked: an apply, or a destroy.
    pub intent: Intent,
    fingerprint: String,
}

impl PlanFile {
    /// What has to be remembered of a plan.
    pub fn new(context: &Context, source: &Source, intent: &Intent, plan: &Plan, observed: &Observed) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at: jiff::Timestamp::now().to_string(),
            host: observed.host.hostname.clone(),
            state_dir: context.layout.state.clone(),
            run_dir: context.layout.run.clone(),
            manifest: source.name.clone(),
            text: source.text.clone(),
            base_dir: source.base_dir.clone(),
            intent: intent.clone(),
            fingerprint: fingerprint(plan, observed),
        }
    }

    /// Writes it, readable to its owner only: a manifest may say more than everybody should know.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let failed = |error| Failure::new(Exit::Failed, Problem::file("write", path, &error));
        if let Some(what) = in_the_way(path) {
            let problem = Problem::new("plan::not-a-plan", format!("{}: {what}", path.display()));
            return Err(Failure::new(
                Exit::Refused,
                problem.help("give another name; only an older plan file is replaced"),
            ));
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        file.write_all(render::json(self).as_bytes()).map_err(failed)
    }

    /// The plan file in this text; nothing when it is none (a manifest never begins with a brace).
    ///
    /// # Errors
    /// It is one, but not of this csictl, machine or directories.
    pub fn parse(context: &Context, source: &Source) -> Result<Option<Self>> {
        if !source.text.trim_start().starts_with('{') {
            return Ok(None);
        }
        let name = &source.name;
        let bad = |what: String, help: &str| {
            Failure::new(Exit::Refused, Problem::new("plan::bad-file", format!("{name}: {what}")).help(help))
        };
        let again = "make it anew: csictl plan MANIFEST --out FILE";
        let file: Self =
            serde_json::from_str(&source.text).map_err(|error| bad(format!("it is no plan file: {error}"), again))?;
        if file.schema != SCHEMA || file.version != env!("CARGO_PKG_VERSION") {
            return Err(bad(format!("it was made by csictl {} as {}", file.version, file.schema), again));
        }
        if file.state_dir != context.layout.state || file.run_dir != context.layout.run {
            let (state, run) = (file.state_dir.display(), file.run_dir.display());
            let help = format!("apply it with --state-dir {state} --run-dir {run}");
            return Err(bad("it was made with other state and run directories".to_owned(), &help));
        }
        Ok(Some(file))
    }

    /// The manifest in it.
    pub fn source(&self) -> Source {
        Source { name: self.manifest.clone(), text: self.text.clone(), base_dir: self.base_dir.clone() }
    }

    /// The command that makes it anew.
    fn made_by(&self, file: &str) -> String {
        let mut words = format!("csictl plan {}", shell_word(&self.manifest));
        if let Intent::Destroy { delete_data } = &self.intent {
            words += " --destroy";
            let names: Vec<&str> = delete_data.iter().map(VolumeId::short).collect();
            if !names.is_empty() {
                words += &format!(" --delete-data {}", names.join(","));
            }
        }
        words + " --out " + &shell_word(file)
    }

    /// Refuses a plan other than the one that was shown.
    ///
    /// # Errors
    /// Machine or plan differ.
    pub fn check(&self, plan: &Plan, observed: &Observed, file: &str) -> Result<()> {
        let stale = |what: String| {
            let again = format!("look at what would happen now: {}", self.made_by(file));
            Failure::new(Exit::Refused, Problem::new("plan::stale", format!("{file}: {what}")).help(again))
        };
        let host = &observed.host.hostname;
        if self.host != *host {
            return Err(stale(format!("it was made on {}, this is {host}", self.host)));
        }
        if self.fingerprint != fingerprint(plan, observed) {
            return Err(stale("the machine has changed since it was made: another plan comes out now".to_owned()));
        }
        Ok(())
    }
}

/// Whether a text says that it is a plan file.
pub fn is_one(text: &str) -> bool {
    let begun = text.trim_start();
    begun.starts_with('{') && begun.chars().take(BEGINNING).collect::<String>().contains(SCHEMA)
}

/// The schema is the document's first key.
const BEGINNING: usize = 64;

/// What lies where a plan file should be written and must not be lost: a typing mistake may name an image.
fn in_the_way(path: &Path) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    let file = std::fs::File::open(path).ok()?;
    let facts = file.metadata().ok()?;
    let mut beginning = Vec::new();
    if facts.file_type().is_block_device() {
        return Some("a block device is there");
    }
    if !facts.is_file() || facts.len() == 0 {
        return None;
    }
    file.take(BEGINNING as u64).read_to_end(&mut beginning).ok()?;
    let ours = String::from_utf8_lossy(&beginning).contains(SCHEMA);
    (!ours).then_some("a file that is no plan file is there")
}
