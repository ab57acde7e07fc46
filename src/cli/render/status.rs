//! `status` as text and as `csictl.status/1`.

use std::fmt::Write;

use serde::Serialize;

use super::style::{BOLD, Painted, YELLOW, count};
use super::table::{NONE, or_none, table};
use crate::cli::survey::{Pod, Survey, Volume};
use crate::model::Capacity;
use crate::plan::Drift;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    project: Option<&'a str>,
    volumes: &'a [Volume],
    pods: &'a [Pod],
}

/// As JSON; `project` is null when every project is shown.
pub fn json(survey: &Survey, project: Option<&str>) -> String {
    super::json(&Document { schema: "csictl.status/1", project, volumes: &survey.volumes, pods: &survey.pods })
}

/// As text, without a newline at its end.
pub fn text(survey: &Survey, project: Option<&str>) -> String {
    if survey.volumes.is_empty() {
        return match project {
            Some(project) => format!("project {project} has no volumes"),
            None => "no volumes".to_owned(),
        };
    }
    let headings = ["VOLUME", "PHASE", "BACKING", "DEVICE", "SIZE", "USED", "FS", "PUBLISHED", "DRIFT"];
    let rows = survey.volumes.iter().map(|volume| {
        vec![
            if project.is_some() { volume.name.clone() } else { volume.id.clone() },
            volume.phase.to_string(),
            or_none(volume.backing),
            or_none(volume.device.as_ref()),
            size(volume.capacity_bytes),
            size(volume.used_bytes),
            or_none(volume.fs.as_ref()),
            published(volume),
            if volume.drift.is_empty() { NONE.to_owned() } else { volume.drift.len().to_string() },
        ]
    });
    let mut text = table(&headings, rows);
    let drift: Vec<_> = survey.volumes.iter().flat_map(|volume| &volume.drift).collect();
    if !drift.is_empty() {
        let _ = write!(text, "\n\n{}", Painted(BOLD, "drift"));
        for drift in drift {
            let _ = write!(text, "\n{}", drift_line(drift));
        }
    }
    let unknown: Vec<_> =
        survey.volumes.iter().flat_map(|volume| volume.unknown.iter().map(move |why| (&volume.id, why))).collect();
    if !unknown.is_empty() {
        let _ = write!(text, "\n\n{}", Painted(BOLD, "unknown"));
        for (id, why) in unknown {
            let _ = write!(text, "\n  {} {id:<18} {why}", Painted(YELLOW, "?"));
        }
    }
    text
}

/// A drift as `plan` and `status` show it.
pub fn drift_line(drift: &Drift) -> String {
    let object = drift.object.to_string();
    let Drift { what, expected, found, .. } = drift;
    // Some findings are whole sentences that name what is missing.
    let words = if found.contains(expected.as_str()) {
        found.clone()
    } else {
        format!("{what}: expected {expected}, found {found}")
    };
    format!("  {} {object:<18} {words}", Painted(YELLOW, "!"))
}

fn published(volume: &Volume) -> String {
    match volume.published.as_slice() {
        [] => NONE.to_owned(),
        [one] => format!("{}{}", one.pod.as_ref().map(|pod| format!("{pod}:")).unwrap_or_default(), one.path),
        several => count(several.len(), "path"),
    }
}

/// Bytes for people.
pub fn size(bytes: Option<u64>) -> String {
    or_none(bytes.map(Capacity::bytes))
}
