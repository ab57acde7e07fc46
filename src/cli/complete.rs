//! What the shell offers when Tab is pressed on a name: volumes, snapshots and pods known to this machine, read from the
//! record directories. It never fails and never complains: without the right to read, it simply offers nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use clap_complete::CompletionCandidate;

use super::args::Output;
use super::explain;

/// The most records read for names that stand inside them; completion has to answer at once.
const READ_MAX: usize = 2_000;

/// The directory a flag or its environment variable names; completion sees the words typed so far as its own arguments.
fn directory(flag: &str, env: &str, default: &str) -> PathBuf {
    let mut words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    while let Some(word) = words.next() {
        if word == flag {
            if let Some(value) = words.next() {
                return value.into();
            }
        } else if let Some(value) = word.to_str().and_then(|word| word.strip_prefix(flag)?.strip_prefix('=')) {
            return value.into();
        }
    }
    std::env::var_os(env).map_or_else(|| default.into(), PathBuf::from)
}

fn state_dir() -> PathBuf {
    directory("--state-dir", "CSICTL_STATE_DIR", "/var/lib/csictl")
}

fn run_dir() -> PathBuf {
    directory("--run-dir", "CSICTL_RUN_DIR", "/run/csictl")
}

/// The ids a directory has records of.
fn ids(directory: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned)).collect()
}

/// Ids as people type them: the short name where it is unique, else the whole id.
fn names(ids: &BTreeSet<String>) -> BTreeMap<String, String> {
    let short = |id: &str| id.split_once('.').map_or(id, |(_, name)| name).to_owned();
    let mut seen = BTreeMap::<String, usize>::new();
    for id in ids {
        *seen.entry(short(id)).or_default() += 1;
    }
    ids.iter().map(|id| (if seen[&short(id)] == 1 { short(id) } else { id.clone() }, id.clone())).collect()
}

fn candidates(names: BTreeMap<String, String>) -> Vec<CompletionCandidate> {
    let described = |(name, id)| CompletionCandidate::new(name).help(Some(clap::builder::StyledStr::from(id)));
    names.into_iter().map(described).collect()
}

/// Volumes.
pub fn volumes() -> Vec<CompletionCandidate> {
    candidates(names(&ids(&state_dir().join("volumes"))))
}

/// Snapshots.
pub fn snapshots() -> Vec<CompletionCandidate> {
    candidates(names(&ids(&state_dir().join("snapshots"))))
}

/// Pods that something is published to.
fn pods() -> BTreeSet<String> {
    let directory = run_dir().join("volumes");
    let mut pods = BTreeSet::new();
    for id in ids(&directory).into_iter().take(READ_MAX) {
        let Ok(text) = std::fs::read(directory.join(format!("{id}.json"))) else { continue };
        if let Ok(record) = serde_json::from_slice::<serde_json::Value>(&text) {
            gather_pods(&record, &mut pods);
        }
    }
    pods
}

/// Every `publishes.*.pod` of a record, whatever envelope it comes in.
fn gather_pods(value: &serde_json::Value, pods: &mut BTreeSet<String>) {
    let Some(object) = value.as_object() else { return };
    for (key, value) in object {
        match (key.as_str(), value.as_object()) {
            ("publishes", Some(publishes)) => {
                pods.extend(publishes.values().filter_map(|publish| Some(publish.get("pod")?.as_str()?.to_owned())));
            }
            _ => gather_pods(value, pods),
        }
    }
}

/// For `get KIND NAME`: names of the kind that was typed.
pub fn any() -> Vec<CompletionCandidate> {
    let typed = |words: &[&str]| std::env::args().any(|word| words.contains(&word.as_str()));
    if typed(&["pods", "pod"]) {
        pods().into_iter().map(CompletionCandidate::new).collect()
    } else if typed(&["snapshots", "snapshot"]) {
        snapshots()
    } else {
        volumes()
    }
}

/// The project of the manifest that was typed, if its first lines say so.
fn typed_project() -> Option<String> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    words.filter(|word| Path::new(word).extension().is_some_and(|extension| extension == "toml")).find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        project_of(&text)
    })
}

fn project_of(text: &str) -> Option<String> {
    let line =
        text.lines().find_map(|line| line.trim_start().strip_prefix("project")?.trim_start().strip_prefix('='))?;
    let value = line.trim_start();
    let quote = value.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    value[1..].split_once(quote).map(|(project, _)| project.to_owned())
}

/// The ids that belong to the manifest typed, or all.
fn of_manifest() -> BTreeSet<String> {
    let mut ids = ids(&state_dir().join("volumes"));
    if let Some(project) = typed_project() {
        ids.retain(|id| id.split_once('.').is_some_and(|(of, _)| of == project));
    }
    ids
}

/// Volumes of the manifest typed.
pub fn volumes_of_manifest() -> Vec<CompletionCandidate> {
    within_project(&of_manifest()).into_iter().map(CompletionCandidate::new).collect()
}

/// Names of volumes where a manifest is named as well: its project is meant, so the short name is always enough.
fn within_project(ids: &BTreeSet<String>) -> BTreeSet<String> {
    ids.iter().map(|id| id.split_once('.').map_or(id.as_str(), |(_, name)| name).to_owned()).collect()
}

/// For `--approve`: every volume with either loss.
pub fn approvals() -> Vec<CompletionCandidate> {
    within_project(&of_manifest())
        .into_iter()
        .flat_map(|name| ["delete", "wipe"].map(|loss| CompletionCandidate::new(format!("volume.{name}={loss}"))))
        .collect()
}

/// For `-o`: the formats that the command typed has.
pub fn outputs() -> Vec<CompletionCandidate> {
    outputs_of(|command| std::env::args().any(|word| word == command))
}

fn outputs_of(typed: impl Fn(&str) -> bool) -> Vec<CompletionCandidate> {
    let has = |output: &&Output| match output {
        Output::Text | Output::Json => true,
        Output::Dot | Output::Mermaid => typed("plan"),
        Output::Wide | Output::Name => typed("get"),
    };
    Output::value_variants().iter().filter(has).map(|output| CompletionCandidate::new(output.as_str())).collect()
}

/// Error codes.
pub fn codes() -> Vec<CompletionCandidate> {
    explain::all()
        .map(|explanation| {
            CompletionCandidate::new(explanation.code)
                .help(Some(clap::builder::StyledStr::from(explanation.title.to_owned())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_offered_only_where_it_is_unique() {
        let ids = ["shop.db", "shop.web", "blog.db", "pvc-1"].map(str::to_owned).into();
        let offered: Vec<_> = names(&ids).into_keys().collect();
        assert_eq!(offered, ["blog.db", "pvc-1", "shop.db", "web"]);
    }

    #[test]
    fn what_an_approval_may_name_is_offered() {
        let ids = ["shop.db", "blog.db", "shop.web"].map(str::to_owned).into();
        let offered: Vec<_> = within_project(&ids).into_iter().collect();
        assert_eq!(offered, ["db", "web"]);
    }

    #[test]
    fn the_project_is_read_off_a_manifest() {
        for (text, project) in [
            ("version = 1\nproject = \"shop\"  # ours\n", Some("shop")),
            ("  project='blog'", Some("blog")),
            ("projects = \"x\"\n", None),
            ("project = shop", None),
            ("", None),
        ] {
            assert_eq!(project_of(text).as_deref(), project, "{text}");
        }
    }

    #[test]
    fn a_command_is_offered_the_formats_it_has() {
        for (command, count) in [("plan", 4), ("get", 4), ("status", 2)] {
            let offered = outputs_of(|word| word == command);
            assert_eq!(offered.len(), count, "{command}: {offered:?}");
        }
    }

    #[test]
    fn pods_are_found_in_any_envelope() {
        let record =
            serde_json::json!({"version": 1, "record": {"publishes": {"/a": {"pod": "web"}, "/b": {"pod": "db"}}}});
        let mut pods = BTreeSet::new();
        gather_pods(&record, &mut pods);
        assert_eq!(pods.into_iter().collect::<Vec<_>>(), ["db", "web"]);
    }
}
