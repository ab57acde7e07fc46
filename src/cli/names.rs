//! From a NAME as typed to the one object it means: VOLUME where unique, PROJECT.VOLUME, or an id; with a suggestion when
//! there is none.

use super::exit::Exit;
use super::problem::{Failure, Problem, Result};
use crate::model::{Observed, SnapshotId, VolumeId};

/// Candidates listed in an error.
const LISTED: usize = 8;

/// The volume that is meant.
pub fn volume(observed: &Observed, text: &str) -> Result<VolumeId> {
    let known = observed.volumes.iter().filter(|(_, seen)| is_known(seen)).map(|(id, _)| id.as_str());
    let id = resolve("volume", text, &known.collect::<Vec<_>>())?;
    id.parse().map_err(|_| unknown("volume", text, &[]))
}

/// The snapshot that is meant.
pub fn snapshot(observed: &Observed, text: &str) -> Result<SnapshotId> {
    let id = resolve("snapshot", text, &observed.snapshots.keys().map(SnapshotId::as_str).collect::<Vec<_>>())?;
    id.parse().map_err(|_| unknown("snapshot", text, &[]))
}

/// A volume that has a record, or storage of its name: one that a manifest only asks for is not known yet.
fn is_known(seen: &crate::model::observed::ObservedVolume) -> bool {
    use crate::model::observed::ObservedBacking;
    use crate::model::record::Recorded;
    !matches!(seen.record, Recorded::Absent) || seen.backing != ObservedBacking::Missing
}

fn short(id: &str) -> &str {
    id.split_once('.').map_or(id, |(_, name)| name)
}

fn resolve<'a>(kind: &str, text: &str, known: &[&'a str]) -> Result<&'a str> {
    let text = text.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')).unwrap_or(text);
    if let Some(id) = known.iter().find(|id| **id == text) {
        return Ok(id);
    }
    let by_name: Vec<_> = known.iter().copied().filter(|id| short(id) == text).collect();
    match by_name.as_slice() {
        [id] => Ok(id),
        [] => Err(unknown(kind, text, known)),
        several => Err(Failure::new(
            Exit::Usage,
            Problem::new("cli::ambiguous-name", format!("{kind} '{text}' is in {} projects", several.len()))
                .help(format!("write one of: {}", several.join(", "))),
        )),
    }
}

fn unknown(kind: &str, text: &str, known: &[&str]) -> Failure {
    let near = nearest(text, known.iter().flat_map(|id| [*id, short(id)]));
    let help = match near {
        Some(near) => format!("did you mean '{near}'?"),
        None if known.is_empty() => format!("this machine has no {kind}; 'csictl get {kind}s' lists them"),
        None => {
            let listed: Vec<_> = known.iter().take(LISTED).copied().collect();
            let more = if known.len() > LISTED { ", …" } else { "" };
            format!("there are: {}{more}", listed.join(", "))
        }
    };
    Failure::new(Exit::Failed, Problem::new("cli::unknown-name", format!("no {kind} is called '{text}'")).help(help))
}

/// The candidate that a typo most likely meant.
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may differ, or it is another word.
    let reach = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help(result: Result<&str>) -> String {
        match result.unwrap_err() {
            Failure::Problems(_, problems) => problems[0].help.clone().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_is_short_where_unique_or_an_id() {
        let known = || ["blog.db", "pvc-1", "shop.db", "shop.web"].as_slice();
        assert_eq!(resolve("volume", "web", known()).unwrap(), "shop.web");
        assert_eq!(resolve("volume", "volume.web", known()).unwrap(), "shop.web");
        assert_eq!(resolve("volume", "blog.db", known()).unwrap(), "blog.db");
        assert_eq!(resolve("volume", "pvc-1", known()).unwrap(), "pvc-1");
        assert_eq!(help(resolve("volume", "db", known())), "write one of: blog.db, shop.db");
        assert_eq!(help(resolve("volume", "wbe", known())), "did you mean 'web'?");
        assert_eq!(help(resolve("volume", "shop.dv", known())), "did you mean 'shop.db'?");
        assert_eq!(help(resolve("volume", "zzzzzz", known())), "there are: blog.db, pvc-1, shop.db, shop.web");
    }
}
